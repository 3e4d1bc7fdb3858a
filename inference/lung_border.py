"""The outline of one lung: vessels, opacities and consolidation at its costal side are part of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.lung_grid import CoarseGrid

#: Radius of the closing that takes in vessels, fissures and small opacities at the border.
_CLOSING_MM = 8.0
#: A gap inside the lung of one axial plane up to this size is a vessel or an opacity, not the diaphragm.
_HOLE_MM2 = 400.0
#: Concavities of fewer coarse pixels are the staircase of the outline and smoothed away.
_SMALLEST_POCKET = 3
#: A concavity opens to the chest wall where this cosine to the thorax's outward direction is reached …
_OUTWARD_COS = 0.75
#: … or this one behind the middle of the thorax, where only spine and aorta are not chest wall; these lie
#: within this share of the thorax's half-width from its middle.
_OUTWARD_COS_BEHIND = 0.25
_SPINE_SHARE = 0.35
#: A concavity filled with fat (median) belongs to the mediastinum or the chest wall; in a smaller one the
#: median is that of its partly filled border.
_FAT_BELOW_HU = -30
_FAT_FROM_MM2 = 100.0
#: A large one filled with fluid (median) is an effusion.
_FLUID_BELOW_HU = 10
_FLUID_FROM_MM2 = 400.0
#: A concavity with more bone than this is a rib or the spine that indents the lung.
_BONE_ABOVE_HU = 250
_BONE_SHARE = 0.05


def complete_outline(
    grid: CoarseGrid,
    lung_zyx: NDArray[np.uint8],
    forbidden_zyx: NDArray[np.bool_],
    centre_yx: tuple[float, float],
) -> NDArray[np.bool_]:
    """Fill what belongs to a lung though it is dense.

    Parameters
    ----------
    grid
        The coarse volume.
    lung_zyx
        (z, y, x) uint8, 1 for the aerated part of one lung.
    forbidden_zyx
        (z, y, x) bool, airways and the other lung.
    centre_yx
        Middle between the two lungs, coarse index.

    Returns
    -------
    ndarray
        (z, y, x) bool; closed in every axial plane, small gaps filled, concavities of the costal side
        filled up to their chord.
    """
    row_mm, column_mm = grid.spacing_zyx_mm[1:]
    radius = (max(1, round(_CLOSING_MM / column_mm)), max(1, round(_CLOSING_MM / row_mm)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius[0] + 1, 2 * radius[1] + 1))
    filled: NDArray[np.bool_] = lung_zyx > 0
    for z in np.flatnonzero(lung_zyx.any(axis=(1, 2))):
        closed = cv2.morphologyEx(
            lung_zyx[z], cv2.MORPH_CLOSE, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
        plane = np.asarray(closed, np.uint8) | lung_zyx[z]
        _fill_gaps(plane, _HOLE_MM2 / grid.pixel_mm2)
        _fill_costal(plane, grid.hu_zyx[z], centre_yx, grid.pixel_mm2)
        filled[z] |= (plane > 0) & ~forbidden_zyx[z]
    filled |= _enclosed(filled.view(np.uint8)) & ~forbidden_zyx
    return filled


def _enclosed(lung_zyx: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return what lung surrounds in at least two of the three planes.

    A mass stays enclosed though a vessel ties it to the hilum; the dome of the diaphragm and the heart are
    enclosed in one plane at most.
    """
    votes = np.zeros(lung_zyx.shape, np.uint8)
    for axis in range(3):
        lung, vote = np.moveaxis(lung_zyx, axis, 0), np.moveaxis(votes, axis, 0)
        for at in np.flatnonzero(lung.any(axis=(1, 2))):
            padded = np.pad(lung[at], 1)
            cv2.floodFill(padded, None, (0, 0), 2)
            vote[at] += padded[1:-1, 1:-1] == 0
    return votes >= 2


def _fill_gaps(plane_yx: NDArray[np.uint8], largest: float) -> None:
    """Fill enclosed gaps of at most so many pixels, in place."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - plane_yx, connectivity=4)
    rows, columns = plane_yx.shape
    for gap in range(1, count):
        x, y, width, height, area = stats[gap]
        enclosed = x > 0 and y > 0 and x + width < columns and y + height < rows
        if enclosed and area <= largest:
            box = np.s_[y : y + height, x : x + width]
            plane_yx[box][labels[box] == gap] = 1


def _fill_costal(
    plane_yx: NDArray[np.uint8], hu_yx: NDArray[np.int16], centre_yx: tuple[float, float], pixel_mm2: float
) -> None:
    """Fill dense concavities of the outline that open to the chest wall, in place."""
    hull = np.zeros_like(plane_yx)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(plane_yx)), 1)
    rim = hull - cv2.erode(hull, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    _, labels, stats, centroids = cv2.connectedComponentsWithStats(hull & (1 - plane_yx), connectivity=4)
    half_width = float(np.abs(np.flatnonzero(plane_yx.any(axis=0)) - centre_yx[1]).max())
    tiny = stats[:, cv2.CC_STAT_AREA] < _SMALLEST_POCKET
    plane_yx[tiny[labels]] = 1
    for pocket in 1 + np.flatnonzero(~tiny[1:]):
        x, y, width, height, area = stats[pocket]
        box = np.s_[y : y + height, x : x + width]
        own = labels[box] == pocket
        hu = hu_yx[box][own]
        if _is_other_tissue(hu, area * pixel_mm2):
            continue
        middle_yx = centroids[pocket][::-1]
        if x <= centre_yx[1] <= x + width:
            continue  # whatever reaches over the middle of the thorax is mediastinum
        behind, beside = middle_yx - centre_yx
        off_spine = behind > 0 and abs(beside) > _SPINE_SHARE * half_width
        limit = _OUTWARD_COS_BEHIND if off_spine else _OUTWARD_COS
        if _outwardness(own & (rim[box] > 0), middle_yx - (y, x), np.asarray(centre_yx) - (y, x)) >= limit:
            plane_yx[box][own] = 1


def _is_other_tissue(hu: NDArray[np.int16], area_mm2: float) -> bool:
    """Tell whether a concavity holds bone, fat or fluid rather than dense lung."""
    if np.mean(hu > _BONE_ABOVE_HU) > _BONE_SHARE:
        return True
    median = float(np.median(hu))
    fat = area_mm2 >= _FAT_FROM_MM2 and median < _FAT_BELOW_HU
    return fat or (area_mm2 >= _FLUID_FROM_MM2 and median < _FLUID_BELOW_HU)


def _outwardness(
    mouth_yx: NDArray[np.bool_], middle_yx: NDArray[np.float64], centre_yx: NDArray[np.float64]
) -> float:
    """Return the cosine between where a concavity opens and the way out of the thorax.

    The least of all its mouths counts; −1 where it has none.
    """
    _, _, _, mouths = cv2.connectedComponentsWithStats(mouth_yx.astype(np.uint8), connectivity=8)
    cosines = []
    for mouth in mouths[1:, ::-1]:
        opens, outward = mouth - middle_yx, mouth - centre_yx
        # A lung may reach over the middle; a mouth there still faces the mediastinum.
        if outward[1] * (middle_yx[1] - centre_yx[1]) < 0:
            outward[1] = 0.0
        scale = float(np.linalg.norm(opens) * np.linalg.norm(outward))
        # A concavity one voxel deep has no direction; filling it changes nothing but the staircase.
        cosines.append(float(opens @ outward) / scale if scale else 1.0)
    return min(cosines, default=-1.0)
