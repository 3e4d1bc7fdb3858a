"""Trachea and main bronchi on the coarse grid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as label_components

from inference.lung_grid import CoarseGrid, dilate

#: Air behind a wall of about 1 mm stays parted at this density even after averaging to 2 mm.
_LUMEN_BELOW_HU = -700
#: The middle of an airway; parenchyma in tips of the lung is denser unless badly emphysematous.
_LUMEN_CORE_BELOW_HU = -900
_LUMEN_AREA_MM2 = (25.0, 900.0)
_TRACHEA_AREA_MM2 = (60.0, 700.0)
_TRACHEA_LENGTH_MM = 20.0
#: Longest over shortest extent of a spot; a bronchus may run in the plane.
_ELONGATION = 4
#: Coarse voxels of partly filled rim, taken along as far as they are air; the wall stops them.
_RIM = 2
#: The trachea stands within this share of the width of all covered air from its middle.
_OFF_MIDDLE = 0.25


def airways(grid: CoarseGrid, covered_zyx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Find trachea and main bronchi as far as the hilum.

    In an axial plane both are small round spots of air with a wall of their own, while the lung is one
    large area: all such spots that hang together with the longest upright chain of them near the middle.

    Parameters
    ----------
    grid
        The coarse volume.
    covered_zyx
        (z, y, x) uint8, 1 for air inside the body.

    Returns
    -------
    ndarray
        (z, y, x) uint8, 1 for the lumen with its inner rim; all 0 where no trachea is in view.
    """
    spots = np.zeros_like(covered_zyx)
    for z, plane in enumerate(covered_zyx & (grid.hu_zyx < _LUMEN_BELOW_HU)):
        _mark_spots(grid, z, plane.astype(np.uint8), spots[z])
    labels = label_components(spots, connectivity=1)
    trachea = _trachea(grid, labels, np.asarray(covered_zyx.any(axis=(0, 1)), np.bool_))
    if trachea == 0:
        return np.zeros_like(covered_zyx)
    tubes: NDArray[np.uint8] = np.equal(labels, trachea).astype(np.uint8)
    for _ in range(_RIM):
        tubes |= dilate(tubes, in_plane=True) & covered_zyx
    return tubes


def _mark_spots(grid: CoarseGrid, z: int, lumen_yx: NDArray[np.uint8], spots_yx: NDArray[np.uint8]) -> None:
    """Mark the small, dark, compact spots of one axial plane."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lumen_yx, connectivity=4)
    for spot in range(1, count):
        x, y, width, height, area = stats[spot]
        if not _LUMEN_AREA_MM2[0] <= area * grid.pixel_mm2 <= _LUMEN_AREA_MM2[1]:
            continue
        if max(width, height) > _ELONGATION * min(width, height):
            continue
        box = np.s_[y : y + height, x : x + width]
        own = labels[box] == spot
        if grid.hu_zyx[z][box][own].min() < _LUMEN_CORE_BELOW_HU:
            spots_yx[box][own] = 1


def _trachea(grid: CoarseGrid, labels: NDArray[np.int32], air_columns: NDArray[np.bool_]) -> int:
    """Return the label of the longest chain of tracheal width near the middle, 0 where there is none."""
    if not labels.any():
        return 0
    columns = np.flatnonzero(air_columns)
    middle, reach = 0.5 * (columns[0] + columns[-1]), _OFF_MIDDLE * (columns[-1] - columns[0])
    best, best_length = 0, _TRACHEA_LENGTH_MM
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        area_mm2 = np.count_nonzero(labels[box] == number, axis=(1, 2)) * grid.pixel_mm2
        wide = (area_mm2 >= _TRACHEA_AREA_MM2[0]) & (area_mm2 <= _TRACHEA_AREA_MM2[1])
        length = float(np.count_nonzero(wide)) * grid.spacing_zyx_mm[0]
        centre = 0.5 * (box[2].start + box[2].stop - 1)
        if length > best_length and abs(centre - middle) <= reach:
            best, best_length = number, length
    return best
