"""A picture of a few slices with the outlines of the segmentation that came back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain import Finding, Region

# How radiologists read lungs: centre and width in HU.
_WINDOW_HU = (-600.0, 1500.0)
_TILE = 460
_MARGIN = 14
_HEAD, _FOOT = 64, 52

# Blue, green, red. Colours that people with red-green blindness tell apart, on grey.
_COLOURS = {
    Finding.GROUND_GLASS: (230, 180, 60),
    Finding.CONSOLIDATION: (40, 140, 255),
    None: (140, 210, 120),
}
_LABELS = {Finding.GROUND_GLASS: "ground-glass opacity", Finding.CONSOLIDATION: "consolidation", None: "lung"}


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """What is drawn.

    Parameters
    ----------
    hu_zyx
        int16 Hounsfield units.
    regions_zyx
        Mask of each region on the same grid.
    row_column_mm
        Pixel spacing in mm, for tiles that are not distorted.
    headline, footline
        Text above and below.
    """

    hu_zyx: NDArray[np.int16]
    regions_zyx: dict[Region, NDArray[np.bool_]]
    row_column_mm: tuple[float, float]
    headline: str
    footline: str


def draw(overlay: Overlay, slices: Sequence[int], path: Path) -> None:
    """Write the picture as PNG, the slices side by side in two rows."""
    tiles = [_tile(overlay, k) for k in slices]
    per_row = (len(tiles) + 1) // 2
    height = _HEAD + 2 * (_TILE + _MARGIN) + _FOOT
    width = _MARGIN + per_row * (_TILE + _MARGIN)
    page = np.full((height, width, 3), 18, dtype=np.uint8)
    for at, tile in enumerate(tiles):
        top = _HEAD + (at // per_row) * (_TILE + _MARGIN)
        left = _MARGIN + (at % per_row) * (_TILE + _MARGIN)
        page[top : top + _TILE, left : left + _TILE] = tile
    _write(page, overlay.headline, (_MARGIN, 40), 0.8)
    _legend(page, height - 20)
    _write(page, overlay.footline, (_MARGIN + 640, height - 20), 0.5, (150, 150, 150))
    cv2.imwrite(str(path), page)


def slices_worth_showing(regions_zyx: dict[Region, NDArray[np.bool_]], count: int) -> list[int]:
    """Return slices spread over the lesions, each the one with the largest lesion area in its stretch."""
    area = regions_zyx[Region.LESIONS].sum(axis=(1, 2))
    if not area.any():
        area = regions_zyx[Region.LUNG_RIGHT].sum(axis=(1, 2))
    inside = np.flatnonzero(area)
    stretches = np.array_split(np.arange(inside[0], inside[-1] + 1), count)
    return [int(part[np.argmax(area[part])]) for part in stretches if part.size][::-1]


def _tile(overlay: Overlay, k: int) -> NDArray[np.uint8]:
    centre, width = _WINDOW_HU
    grey = np.clip((overlay.hu_zyx[k].astype(np.float32) - (centre - width / 2)) / width, 0, 1) * 255
    rows, columns = grey.shape
    scale = _TILE / max(rows * overlay.row_column_mm[0], columns * overlay.row_column_mm[1])
    size = (
        round(columns * overlay.row_column_mm[1] * scale),
        round(rows * overlay.row_column_mm[0] * scale),
    )
    shown = cv2.resize(grey.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    colour = cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR)
    for region, mask_zyx in overlay.regions_zyx.items():
        if region is Region.LESIONS:
            continue
        mask = cv2.resize(mask_zyx[k].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(colour, outlines, -1, _COLOURS[region.finding], 1, cv2.LINE_AA)
    tile = np.zeros((_TILE, _TILE, 3), dtype=np.uint8)
    top, left = (_TILE - size[1]) // 2, (_TILE - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = colour
    _write(tile, f"slice {k + 1} of {overlay.hu_zyx.shape[0]}", (8, 20), 0.45, (200, 200, 200))
    _write(tile, "R", (8, _TILE - 10), 0.6, (200, 200, 200))
    _write(tile, "L", (_TILE - 22, _TILE - 10), 0.6, (200, 200, 200))
    return tile


def _legend(page: NDArray[np.uint8], baseline: int) -> None:
    left = _MARGIN
    for finding, label in _LABELS.items():
        cv2.rectangle(page, (left, baseline - 12), (left + 18, baseline), _COLOURS[finding], -1)
        _write(page, label, (left + 26, baseline), 0.5)
        left += 40 + 9 * len(label)


def _write(
    page: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int] = (235, 235, 235),
) -> None:
    cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
