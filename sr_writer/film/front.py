"""What rays from the front meet: attenuation, lesions and lungs, by height and from the right to the left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.domain import FINDING_LABEL, LUNG_LABEL, Analysis, Finding, Side
from core.geometry import CanonicalOrder, Geometry
from core.layers import Layers

#: Room around the lungs, as a share of their extent.
AROUND = 0.06
#: Attenuation that rays add up: what is denser is bone or metal.
_RAY_HU = (-1000.0, 200.0)

#: What rays are asked for: a finding, or what became of it.
Mark = TypeVar("Mark")


@dataclass(frozen=True, slots=True, eq=False)
class Marked(Generic[Mark]):
    """What rays go through.

    Parameters
    ----------
    geometry
        Grid of the arrays.
    hu_zyx
        int16 HU.
    lungs_zyx
        uint8 (`core.domain.LUNG_LABEL`).
    marks_zyx
        uint8.
    labels
        What each label of them means.
    """

    geometry: Geometry
    hu_zyx: NDArray[np.int16]
    lungs_zyx: NDArray[np.uint8]
    marks_zyx: NDArray[np.uint8]
    labels: Mapping[Mark, int]


@dataclass(frozen=True, slots=True, eq=False)
class Front(Generic[Mark]):
    """Both lungs as seen from the front, cut around them.

    Row 0 is the lowest, column 0 the rightmost of the patient.

    Parameters
    ----------
    spacing_zx_mm
        Distance of rows and of columns, mm.
    mean_hu_zx
        float32, mean attenuation along each ray, HU.
    depth_mm
        float32 (z, x), depth of each finding, or other mark, along each ray, mm.
    lungs_zx
        bool, whether a ray meets each lung. Its rows are the layers by which zones are divided
        (`core.regions.zone_layers`).
    """

    spacing_zx_mm: tuple[float, float]
    mean_hu_zx: NDArray[np.float32]
    depth_mm: dict[Mark, NDArray[np.float32]]
    lungs_zx: dict[Side, NDArray[np.bool_]]

    @staticmethod
    def of(analysis: Analysis) -> Front[Finding]:
        """Look from the front at findings."""
        lungs, lesions = analysis.lungs.labels_zyx, analysis.lesions.labels_zyx
        volume = analysis.volume
        return Front.through(Marked(volume.geometry, volume.hu_zyx, lungs, lesions, FINDING_LABEL))

    @staticmethod
    def through(seen: Marked[Mark]) -> Front[Mark]:
        """Look from the front: along the images where they stand upright, else by where each voxel stands."""
        upright = Layers.rising_to_head(seen.geometry).are_slices and not seen.geometry.is_sheared
        return _along_images(seen) if upright else _by_voxels(seen)


def _along_images(seen: Marked[Mark]) -> Front[Mark]:
    """Add up along the image axis that comes closest to front and back."""
    order = CanonicalOrder.of(seen.geometry)
    row_mm, depth_mm, column_mm = order.apply_geometry(seen.geometry).spacing_zyx_mm
    hu = order.apply(seen.hu_zyx)
    lungs, marks = order.apply(seen.lungs_zyx), order.apply(seen.marks_zyx)
    z, x = _box(np.stack([plane.any(axis=0) for plane in lungs]))
    voxels = {
        mark: np.stack([np.count_nonzero(plane[:, x] == label, axis=0) for plane in marks[z]])
        for mark, label in seen.labels.items()
    }
    return Front(
        (row_mm, column_mm),
        np.stack([np.clip(plane[:, x], *_RAY_HU).mean(axis=0, dtype=np.float32) for plane in hu[z]]),
        {mark: count.astype(np.float32) * depth_mm for mark, count in voxels.items()},
        {
            side: np.stack([(plane[:, x] == label).any(axis=0) for plane in lungs[z]])
            for side, label in LUNG_LABEL.items()
        },
    )


def _by_voxels(seen: Marked[Mark]) -> Front[Mark]:
    """Add up voxels by where they stand in the patient; a ray that meets none sees air."""
    geometry, cells = seen.geometry, _Cells.of(seen.geometry)
    voxels, hu = np.zeros(cells.shape), np.zeros(cells.shape)
    lungs = {side: np.zeros(cells.shape) for side in LUNG_LABEL}
    marks = {mark: np.zeros(cells.shape) for mark in seen.labels}
    for index, plane in enumerate(seen.hu_zyx):
        place = cells.of_slice(index)
        voxels += cells.sums(place)
        hu += cells.sums(place, np.clip(plane, *_RAY_HU))
        for side, label in LUNG_LABEL.items():
            lungs[side] += cells.sums(place[seen.lungs_zyx[index] == label])
        for mark, label in seen.labels.items():
            marks[mark] += cells.sums(place[seen.marks_zyx[index] == label])
    box = _box(np.asarray(np.stack(list(lungs.values())).any(axis=0)))
    mean_hu = np.where(voxels > 0, hu / np.maximum(voxels, 1.0), _RAY_HU[0])
    depth_mm = 1000.0 * geometry.voxel_ml / (cells.rows.step_mm * cells.columns.step_mm)
    return Front(
        (cells.rows.step_mm, cells.columns.step_mm),
        mean_hu[box].astype(np.float32),
        {mark: (count[box] * depth_mm).astype(np.float32) for mark, count in marks.items()},
        {side: count[box] > 0 for side, count in lungs.items()},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """The picture's grid: layers that rise to the head, across layers that rise to the patient's left."""

    rows: Layers
    columns: Layers
    y: NDArray[np.intp]
    x: NDArray[np.intp]

    @classmethod
    def of(cls, geometry: Geometry) -> _Cells:
        """Choose the grid in which every line of voxels meets every row, or every column, once."""
        _, height, width = geometry.shape_zyx
        y, x = np.arange(height)[:, None], np.arange(width)[None, :]
        return cls(Layers.rising_to_head(geometry), Layers.rising_to_left(geometry), y, x)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.count, self.columns.count

    def of_slice(self, index: int) -> NDArray[np.intp]:
        """Return the flat index of the cell of each pixel of a slice, (y, x)."""
        layers: NDArray[np.intp] = self.rows.at(index, self.y, self.x) * self.columns.count
        return layers + self.columns.at(index, self.y, self.x)

    def sums(self, place: NDArray[np.intp], values: NDArray[np.int16] | None = None) -> NDArray[np.float64]:
        """Return the sum of values in each cell, or the number of pixels."""
        weights = None if values is None else values.ravel()
        rows, columns = self.shape
        sums = np.bincount(place.ravel(), weights, minlength=rows * columns)
        return sums.reshape(rows, columns).astype(np.float64)


def _box(lungs_zx: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns of the lungs with some room; everything where there are none."""
    if not lungs_zx.any():
        return slice(0, lungs_zx.shape[0]), slice(0, lungs_zx.shape[1])
    box = []
    for axis in (1, 0):
        filled = np.flatnonzero(lungs_zx.any(axis=axis))
        room = round((filled[-1] - filled[0] + 1) * AROUND)
        box.append(
            slice(max(0, int(filled[0]) - room), min(lungs_zx.shape[1 - axis], int(filled[-1]) + 1 + room))
        )
    return box[0], box[1]
