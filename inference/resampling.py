"""Between the grid of the scan and the grid of the model: sample the lungs and their surroundings, and back.

Both grids cover exactly the same box, edge to edge, so that going there and back moves nothing.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.framing import Square, square_around
from inference.manifest import ModelInput


@dataclass(frozen=True, slots=True)
class Sampling(ABC):
    """A box of the canonical volume and how the model sees it.

    Parameters
    ----------
    box
        First and last-plus-one voxel of the box along canonical z, y, x.
    shape_zyx
        Voxels on the model's grid.
    outside_hu
        Value given to everything outside the lungs before sampling, None to keep it.
    """

    box: tuple[slice, slice, slice]
    shape_zyx: tuple[int, int, int]
    outside_hu: float | None

    @property
    def box_shape_zyx(self) -> tuple[int, int, int]:
        """Voxels of the box in the scan."""
        z, y, x = (edge.stop - edge.start for edge in self.box)
        return z, y, x

    def to_model(self, hu_zyx: NDArray[np.int16], inside_zyx: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Sample the scan on the model's grid.

        Parameters
        ----------
        hu_zyx
            Canonical volume, HU.
        inside_zyx
            Canonical lung labels, 0 outside.

        Returns
        -------
        ndarray
            (z, y, x) float32 of `shape_zyx`, HU. Area averages where the model is coarser than the scan,
            interpolation where it is finer.
        """
        box_z, box_y, box_x = self.box
        planes = np.empty((self.box_shape_zyx[0], *self.shape_zyx[1:]), dtype=np.float32)
        for index, plane_z in enumerate(range(box_z.start, box_z.stop)):
            plane = np.ascontiguousarray(hu_zyx[plane_z, box_y, box_x], dtype=np.float32)
            if self.outside_hu is not None:
                plane[inside_zyx[plane_z, box_y, box_x] == 0] = self.outside_hu
            planes[index] = self._plane_to_model(plane)
        if planes.shape[0] == self.shape_zyx[0]:
            return planes
        resampled = np.empty(self.shape_zyx, dtype=np.float32)
        for row in range(self.shape_zyx[1]):
            resampled[:, row] = _resize_plane(planes[:, row], (self.shape_zyx[0], self.shape_zyx[2]))
        return resampled

    def on_scan(self, values_czyx: NDArray[np.float32], plane: int) -> NDArray[np.float32]:
        """Interpolate one slice of the scan from values on the model's grid.

        Parameters
        ----------
        values_czyx
            (c, z, y, x) float32 on the model's grid.
        plane
            Slice of the box, counted from its first.

        Returns
        -------
        ndarray
            (c, y, x) float32 on the box's pixels; linear interpolation.
        """
        last = self.shape_zyx[0] - 1
        # Edges coincide, so centres are half a voxel off the edges on either grid.
        at = min(max((plane + 0.5) * self.shape_zyx[0] / self.box_shape_zyx[0] - 0.5, 0.0), float(last))
        below = int(at)
        share = np.float32(at - below)
        values = values_czyx[:, below]
        if share > 0:
            values = values * (1 - share) + values_czyx[:, min(below + 1, last)] * share
        return np.stack([self._plane_on_scan(channel) for channel in values])

    @abstractmethod
    def _plane_to_model(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sample one slice: from the box's pixels to the model's rows and columns."""

    @abstractmethod
    def _plane_on_scan(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate one slice: from the model's rows and columns to the box's pixels."""


@dataclass(frozen=True, slots=True)
class SpacingSampling(Sampling):
    """The box at the pixel spacing of the model."""

    def _plane_to_model(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return _resize_plane(plane, (self.shape_zyx[1], self.shape_zyx[2]))

    def _plane_on_scan(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _resize(values, self.box_shape_zyx[1:], cv2.INTER_LINEAR)


@dataclass(frozen=True, slots=True)
class SquareSampling(Sampling):
    """The part of the box that one square shows, as large as the model's patch.

    Parameters
    ----------
    square
        Its edges in pixels of the box; they may lie beyond it.
    """

    square: Square

    def _plane_to_model(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.square.cut(plane, self.shape_zyx[1])

    def _plane_on_scan(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        plane = np.zeros(self.box_shape_zyx[1:], dtype=np.float32)
        self.square.paste(values, plane)
        return plane


def choose_sampling(
    inside_zyx: NDArray[np.uint8], spacing_zyx_mm: tuple[float, float, float], wanted: ModelInput
) -> Sampling | None:
    """Choose the box around the lungs and its sampling.

    Parameters
    ----------
    inside_zyx
        Canonical lung labels, 0 outside.
    spacing_zyx_mm
        Canonical spacing of the scan, mm.
    wanted
        Spacing, margin and field of view of the model.

    Returns
    -------
    Sampling or None
        None where there is no lung.
    """
    # Whole planes first: any() along y and x at once would build a full-size boolean array.
    rows = np.array([plane.any() for plane in inside_zyx])
    if not rows.any():
        return None
    box_z = _with_margin(rows, wanted.margin_mm / spacing_zyx_mm[0])
    count_z = _samples(box_z, spacing_zyx_mm[0], wanted.spacing_mm.z)
    if wanted.axes == "NCYX":
        # Slices between those that were scanned would show nothing new to a model that sees one at a time.
        count_z = min(count_z, box_z.stop - box_z.start)
    if wanted.spacing_mm.in_plane == "fit":
        return _fitted(inside_zyx, spacing_zyx_mm, wanted, box_z, count_z)
    silhouette = np.zeros(inside_zyx.shape[1:], dtype=bool)
    for plane in inside_zyx[rows]:
        silhouette |= plane > 0
    box_y, box_x = (
        _with_margin(np.asarray(silhouette.any(axis=axis)), wanted.margin_mm / spacing)
        for axis, spacing in zip((1, 0), spacing_zyx_mm[1:], strict=True)
    )
    count_y, count_x = (
        _samples(edge, spacing, wanted.spacing_mm.in_plane)
        for edge, spacing in zip((box_y, box_x), spacing_zyx_mm[1:], strict=True)
    )
    return SpacingSampling((box_z, box_y, box_x), (count_z, count_y, count_x), wanted.outside_lungs_hu)


def _fitted(
    inside_zyx: NDArray[np.uint8],
    spacing_zyx_mm: tuple[float, float, float],
    wanted: ModelInput,
    box_z: slice,
    count_z: int,
) -> SquareSampling | None:
    """Choose the square around the lungs; the box is what it shows of the scan."""
    square = square_around(inside_zyx, spacing_zyx_mm[1:], wanted.field_of_view or 1.0)
    if square is None:
        return None
    box_y, box_x = (
        slice(max(0, first), min(count, last))
        for (first, last), count in zip((square.rows, square.columns), inside_zyx.shape[1:], strict=True)
    )
    own = Square(
        (square.rows[0] - box_y.start, square.rows[1] - box_y.start),
        (square.columns[0] - box_x.start, square.columns[1] - box_x.start),
    )
    shape = (count_z, *wanted.patch_zyx[1:])
    return SquareSampling((box_z, box_y, box_x), shape, wanted.outside_lungs_hu, own)


def _with_margin(profile: NDArray[np.bool_], margin: float) -> slice:
    """Return the span of a profile, widened by so many voxels and ending where the scan ends."""
    occupied = np.flatnonzero(profile)
    wide = math.ceil(margin)
    return slice(max(0, int(occupied[0]) - wide), min(profile.size, int(occupied[-1]) + 1 + wide))


def _samples(edge: slice, spacing_mm: float, target: float | Literal["native", "fit"]) -> int:
    """Return the number of voxels that comes closest to the target spacing on the same edge."""
    count: int = edge.stop - edge.start
    return count if isinstance(target, str) else max(1, round(count * spacing_mm / target))


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
