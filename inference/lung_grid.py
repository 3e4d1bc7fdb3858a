"""A coarse copy of a volume for finding the lungs, and the way back to the full grid."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain import LUNG_LABEL

#: Wanted distance of coarse voxels, mm: fine enough for the wall of the trachea.
COARSE_MM = 2.0
#: Half way between aerated lung (about −850 HU) and soft tissue (about 40 HU) the border would be −400;
#: ground-glass opacity reaches −300 HU and has to stay inside.
AIR_BELOW_HU = -300

#: Coarse code of a voxel: outside; border, where the full grid decides; inside whatever its density.
OUTSIDE, BORDER, INSIDE = 0, 1, 2
CODES_PER_LUNG = 3

#: Radius of the closing of the outline: a notch up to twice as wide is a vessel or a septum that reaches the
#: border, with its blur; a wider one may be hilum or chest wall.
_NOTCH_MM = 3.0

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class CoarseGrid:
    """Block means of a canonical volume.

    Parameters
    ----------
    hu_zyx
        (z, y, x) int16 HU; z rises to the head, y to the back, x to the patient's left.
    spacing_zyx_mm
        Distance of its voxel centres, mm.
    slices_per_step
        Full slices averaged into one coarse slice.
    """

    hu_zyx: NDArray[np.int16]
    spacing_zyx_mm: tuple[float, float, float]
    slices_per_step: int

    @property
    def voxel_ml(self) -> float:
        """Volume of a coarse voxel in millilitres."""
        return float(np.prod(self.spacing_zyx_mm)) / 1000.0

    @property
    def pixel_mm2(self) -> float:
        """Axial area of a coarse voxel in square millimetres."""
        return self.spacing_zyx_mm[1] * self.spacing_zyx_mm[2]

    def crop(self, box: tuple[slice, slice, slice]) -> CoarseGrid:
        """Return the part inside a box (a view)."""
        return CoarseGrid(self.hu_zyx[box], self.spacing_zyx_mm, self.slices_per_step)


def coarsen(hu_zyx: NDArray[np.int16], spacing_zyx_mm: tuple[float, float, float]) -> CoarseGrid:
    """Average a canonical volume to about `COARSE_MM`; axes that are coarser already stay.

    Parameters
    ----------
    hu_zyx
        (z, y, x) int16 HU, canonical order; any strides.
    spacing_zyx_mm
        Distance of its voxel centres, mm.
    """
    slices, rows, columns = hu_zyx.shape
    step = max(1, round(COARSE_MM / spacing_zyx_mm[0]))
    size_yx = [
        max(1, round(count * min(1.0, spacing / COARSE_MM)))
        for count, spacing in zip((rows, columns), spacing_zyx_mm[1:], strict=True)
    ]
    depth = -(-slices // step)
    coarse = np.empty((depth, size_yx[0], size_yx[1]), np.int16)
    for k in range(depth):
        block = [_shrink(plane, (size_yx[1], size_yx[0])) for plane in hu_zyx[k * step : (k + 1) * step]]
        coarse[k] = block[0] if len(block) == 1 else np.mean(block, axis=0)
    spacing = (
        spacing_zyx_mm[0] * step,
        spacing_zyx_mm[1] * rows / size_yx[0],
        spacing_zyx_mm[2] * columns / size_yx[1],
    )
    return CoarseGrid(coarse, spacing, step)


def refine(
    hu_zyx: NDArray[np.int16], codes_zyx: NDArray[np.uint8], step: int, out_zyx: NDArray[np.uint8]
) -> None:
    """Write coarse lungs onto the full grid; their border follows the full-grid density.

    Parameters
    ----------
    hu_zyx
        (z, y, x) int16 HU, canonical full grid.
    codes_zyx
        uint8 coarse codes, `CODES_PER_LUNG` × lung label + `OUTSIDE`, `BORDER` or `INSIDE`.
    step
        Full slices of one coarse slice.
    out_zyx
        uint8 of the shape of `hu_zyx`, zeros on entry; receives the lung labels.
    """
    slices, rows, columns = hu_zyx.shape
    for k in np.flatnonzero(codes_zyx.any(axis=(1, 2))):
        code = cv2.resize(codes_zyx[k], (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
        sure = np.where(codes_zyx[k] % CODES_PER_LUNG == INSIDE, np.uint8(255), np.uint8(0))
        # Linear weights round the staircase of the coarse voxels where no density edge shapes the border.
        inside = cv2.resize(sure, (columns, rows), interpolation=cv2.INTER_LINEAR) > 127
        label = code // CODES_PER_LUNG
        border = code % CODES_PER_LUNG == BORDER
        for z in range(int(k) * step, min((int(k) + 1) * step, slices)):
            out_zyx[z] = label * (inside | (border & (hu_zyx[z] < AIR_BELOW_HU)))


def close_notches(labels_zyx: NDArray[np.uint8], spacing_yx_mm: tuple[float, float]) -> None:
    """Fill narrow notches of each lung's outline on the full grid, in place.

    At the border the full-grid density decides, so a vessel or an opacity that ends there leaves a notch,
    which the closing on the coarse grid does not see: averaged with its surroundings it is air.

    Parameters
    ----------
    labels_zyx
        (z, y, x) uint8, `LUNG_LABEL`; any strides. What one lung holds the other does not take.
    spacing_yx_mm
        Distance of rows and of columns, mm.
    """
    radius_y, radius_x = (round(_NOTCH_MM / spacing) for spacing in spacing_yx_mm)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_x + 1, 2 * radius_y + 1))
    for plane in labels_zyx:
        for label in LUNG_LABEL.values():
            lung = np.ascontiguousarray(plane == label).view(np.uint8)
            x, y, width, height = cv2.boundingRect(lung)
            if not width:
                continue
            box = np.s_[
                max(y - radius_y, 0) : y + height + radius_y, max(x - radius_x, 0) : x + width + radius_x
            ]
            closed = cv2.morphologyEx(
                lung[box], cv2.MORPH_CLOSE, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0
            )
            plane[box][(closed > 0) & (plane[box] == 0)] = label


def erode(mask_zyx: NDArray[np.uint8], *, in_plane: bool) -> NDArray[np.uint8]:
    """Erode a 0/1 mask by its face neighbours (in the axial plane only, or also along z); outside is 0."""
    eroded = np.empty_like(mask_zyx)
    for z, plane in enumerate(mask_zyx):
        eroded[z] = cv2.erode(plane, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if not in_plane:
        eroded[1:] &= mask_zyx[:-1]
        eroded[:-1] &= mask_zyx[1:]
    return eroded


def dilate(mask_zyx: NDArray[np.uint8], *, in_plane: bool) -> NDArray[np.uint8]:
    """Dilate a 0/1 mask by its face neighbours (in the axial plane only, or also along z)."""
    dilated = np.empty_like(mask_zyx)
    for z, plane in enumerate(mask_zyx):
        dilated[z] = cv2.dilate(plane, _CROSS)
    if not in_plane:
        dilated[1:] |= mask_zyx[:-1]
        dilated[:-1] |= mask_zyx[1:]
    return dilated


def _shrink(plane: NDArray[np.int16], size_xy: tuple[int, int]) -> NDArray[np.int16]:
    contiguous = np.ascontiguousarray(plane)
    if size_xy == (plane.shape[1], plane.shape[0]):
        return contiguous
    return np.asarray(cv2.resize(contiguous, size_xy, interpolation=cv2.INTER_AREA), np.int16)
