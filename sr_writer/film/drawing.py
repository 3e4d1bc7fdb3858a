"""From numbers to pixels: the window of lungs, outlines, hatching, and what rays from the front meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from sr_writer.film.front import Front, Mark

#: How radiologists read lungs: window centre and width, HU.
WINDOW_CENTRE_HU, WINDOW_WIDTH_HU = -600.0, 1500.0
#: Depth at which the colour of a lesion in a view from the front is full, mm.
FULL_COLOUR_MM = 60.0
_STRIPE_PX = 6


def lung_window(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map HU to grey, 0…255."""
    low = WINDOW_CENTRE_HU - WINDOW_WIDTH_HU / 2
    return np.asarray(np.clip((hu - low) / WINDOW_WIDTH_HU, 0.0, 1.0) * np.float32(255.0), np.float32)


def outline(
    picture: NDArray[np.uint8], mask_yx: NDArray[np.bool_], colour: tuple[int, int, int], width: int
) -> None:
    """Draw the border of a mask into a picture of its size."""
    outlines, _ = cv2.findContours(
        np.ascontiguousarray(mask_yx, np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(picture, outlines, -1, colour, width)


def enlarged(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Stretch a plane to (columns, rows)."""
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)


def stripes(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a pattern of diagonal stripes, (rows, columns)."""
    rows, columns = np.indices(shape)
    return np.asarray((rows + columns) % _STRIPE_PX < _STRIPE_PX // 2)


def pixels_per_mm(front: Front[Mark], width: int, height: int) -> float:
    """Return the scale at which a view from the front fits into a picture, its proportions kept."""
    rows, columns = front.mean_hu_zx.shape
    row_mm, column_mm = front.spacing_zx_mm
    return float(min(width / (columns * column_mm), height / (rows * row_mm)))


def shaded(
    front: Front[Mark],
    scale: float,
    colours: Mapping[Mark, tuple[int, int, int]],
    hatched: Collection[Mark] = (),
    full_colour_mm: float = FULL_COLOUR_MM,
) -> NDArray[np.uint8]:
    """Draw what a ray from the front meets: all tissue in grey, what is marked in colour by its depth.

    Parameters
    ----------
    front
        What rays meet.
    scale
        Pixels per mm.
    colours
        Of each mark.
    hatched
        Marks that are striped.
    full_colour_mm
        Depth at which a colour is full.

    Returns
    -------
    ndarray
        (y, x, 3) uint8, red, green, blue; the head above.
    """
    size = _size(front, scale)
    low, high = (float(value) for value in np.quantile(front.mean_hu_zx, (0.01, 0.99)))
    grey = np.clip((front.mean_hu_zx - low) / max(high - low, 1.0), 0.0, 1.0)
    picture = np.repeat(enlarged(grey, size)[..., None], 3, axis=2) * 200.0
    for mark, depth_mm in front.depth_mm.items():
        share = np.clip(enlarged(depth_mm / full_colour_mm, size), 0.0, 1.0)
        alpha = (0.85 * np.sqrt(share))[..., None]
        if mark in hatched:
            alpha = np.where(stripes((size[1], size[0]))[..., None], alpha, 0.0)
        picture = picture * (1.0 - alpha) + np.array(colours[mark], np.float32) * alpha
    return np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8)[::-1])


def outline_lungs(picture: NDArray[np.uint8], front: Front[Mark], colour: tuple[int, int, int]) -> None:
    """Draw the border of each lung into a view from the front."""
    size = (picture.shape[1], picture.shape[0])
    for shadow in front.lungs_zx.values():
        if shadow.any():
            outline(picture, enlarged(shadow.astype(np.float32), size)[::-1] > 0.5, colour, 1)


def _size(front: Front[Mark], scale: float) -> tuple[int, int]:
    (row_mm, column_mm), (rows, columns) = front.spacing_zx_mm, front.mean_hu_zx.shape
    return max(1, round(columns * column_mm * scale)), max(1, round(rows * row_mm * scale))
