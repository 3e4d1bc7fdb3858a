"""Between the grid of the scan and the grid of the model: crop to the lungs, resample, and back again.

Both grids cover exactly the same box, edge to edge, so that going there and back moves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.manifest import ModelInput


@dataclass(frozen=True, slots=True)
class WorkingGrid:
    """A box of the canonical volume and its sampling at the model's spacing.

    Parameters
    ----------
    box
        First and last-plus-one voxel of the box along canonical z, y, x.
    shape_zyx
        Voxels along the same edges at the model's spacing.
    """

    box: tuple[slice, slice, slice]
    shape_zyx: tuple[int, int, int]

    @property
    def box_shape_zyx(self) -> tuple[int, int, int]:
        """Voxels of the box in the scan."""
        z, y, x = (edge.stop - edge.start for edge in self.box)
        return z, y, x


def working_grid(
    inside_zyx: NDArray[np.uint8], spacing_zyx_mm: tuple[float, float, float], wanted: ModelInput
) -> WorkingGrid | None:
    """Choose the box around the lungs and its sampling.

    Parameters
    ----------
    inside_zyx
        Canonical lung labels, 0 outside.
    spacing_zyx_mm
        Canonical spacing of the scan, mm.
    wanted
        Spacing and margin of the model.

    Returns
    -------
    WorkingGrid or None
        None where there is no lung.
    """
    box: list[slice] = []
    # Whole planes first: any() along y and x at once would build a full-size boolean array.
    rows = np.array([plane.any() for plane in inside_zyx])
    if not rows.any():
        return None
    silhouette = np.zeros(inside_zyx.shape[1:], dtype=bool)
    for plane in inside_zyx[rows]:
        silhouette |= plane > 0
    profiles = (rows, silhouette.any(axis=1), silhouette.any(axis=0))
    for profile, spacing in zip(profiles, spacing_zyx_mm, strict=True):
        margin = math.ceil(wanted.margin_mm / spacing)
        occupied = np.flatnonzero(profile)
        box.append(
            slice(max(0, int(occupied[0]) - margin), min(profile.size, int(occupied[-1]) + 1 + margin))
        )
    targets = (wanted.spacing_mm.z, wanted.spacing_mm.in_plane, wanted.spacing_mm.in_plane)
    shape = [
        _samples(edge.stop - edge.start, spacing, target)
        for edge, spacing, target in zip(box, spacing_zyx_mm, targets, strict=True)
    ]
    return WorkingGrid((box[0], box[1], box[2]), (shape[0], shape[1], shape[2]))


def to_working_grid(
    hu_zyx: NDArray[np.int16],
    inside_zyx: NDArray[np.uint8],
    grid: WorkingGrid,
    outside_hu: float | None,
) -> NDArray[np.float32]:
    """Sample the scan on the model's grid.

    Parameters
    ----------
    hu_zyx
        Canonical volume, HU.
    inside_zyx
        Canonical lung labels, 0 outside.
    grid
        Box and sampling.
    outside_hu
        Value given to everything outside the lungs first, None to keep it.

    Returns
    -------
    ndarray
        (z, y, x) float32 of `grid.shape_zyx`, HU. Area averages where the model is coarser than the scan,
        linear interpolation where it is finer.
    """
    box_z, box_y, box_x = grid.box
    planes = np.empty((grid.box_shape_zyx[0], *grid.shape_zyx[1:]), dtype=np.float32)
    for index, plane_z in enumerate(range(box_z.start, box_z.stop)):
        plane = np.ascontiguousarray(hu_zyx[plane_z, box_y, box_x], dtype=np.float32)
        if outside_hu is not None:
            plane[inside_zyx[plane_z, box_y, box_x] == 0] = outside_hu
        planes[index] = _resize_plane(plane, (grid.shape_zyx[1], grid.shape_zyx[2]))
    if planes.shape[0] == grid.shape_zyx[0]:
        return planes
    resampled = np.empty(grid.shape_zyx, dtype=np.float32)
    for row in range(grid.shape_zyx[1]):
        resampled[:, row] = _resize_plane(planes[:, row], (grid.shape_zyx[0], grid.shape_zyx[2]))
    return resampled


def plane_on_scan(values_czyx: NDArray[np.float32], grid: WorkingGrid, plane: int) -> NDArray[np.float32]:
    """Interpolate one slice of the scan from values on the model's grid.

    Parameters
    ----------
    values_czyx
        (c, z, y, x) float32 on the model's grid.
    grid
        Box and sampling.
    plane
        Slice of the box, counted from its first.

    Returns
    -------
    ndarray
        (c, y, x) float32 on the box's pixels.
    """
    box_shape = grid.box_shape_zyx
    last = grid.shape_zyx[0] - 1
    # Edges coincide, so centres are half a voxel off the edges on either grid.
    at = min(max((plane + 0.5) * grid.shape_zyx[0] / box_shape[0] - 0.5, 0.0), float(last))
    below = int(at)
    share = np.float32(at - below)
    values = values_czyx[:, below]
    if share > 0:
        values = values * (1 - share) + values_czyx[:, min(below + 1, last)] * share
    return np.stack([_resize(channel, box_shape[1:], cv2.INTER_LINEAR) for channel in values])


def _samples(count: int, spacing_mm: float, target: float | Literal["native"]) -> int:
    """Return the number of voxels that comes closest to the target spacing on the same edge."""
    return count if target == "native" else max(1, round(count * spacing_mm / target))


def _resize_plane(plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize edge to edge, one axis at a time: averaging is right only for an axis that gets coarser."""
    rows, columns = shape
    # Columns first: they shrink, as a rule, and the second pass then has less to do.
    method = cv2.INTER_AREA if columns < plane.shape[1] else cv2.INTER_LINEAR
    plane = _resize(plane, (plane.shape[0], columns), method)
    method = cv2.INTER_AREA if rows < plane.shape[0] else cv2.INTER_LINEAR
    return _resize(plane, shape, method)


def _resize(plane: NDArray[np.float32], shape: tuple[int, ...], method: int) -> NDArray[np.float32]:
    """Resize edge to edge; OpenCV wants the size as (columns, rows)."""
    if plane.shape == shape:
        return plane
    return np.asarray(cv2.resize(plane, (shape[1], shape[0]), interpolation=method), dtype=np.float32)
