"""Dense lung that density and shape cannot tell from the chest wall, added where a model recognises it.

A lung or lobe without any air is as dense as the muscle beside it. A model that has seen such lungs calls it
both lung and lesion; next to the lungs found by density that is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as label_components

from core.domain import LUNG_LABEL, Side
from core.geometry import Scalar

#: Probability from which a voxel is lung.
LUNG_THRESHOLD = 0.5
#: Air in trachea and bronchi is below −900 HU, partly filled voxels at their walls hardly reach this.
_AIRWAY_BELOW_HU = -700
#: Ribs and vertebrae; lung enhanced by contrast medium stays below.
_BONE_ABOVE_HU = 300
#: How far from lung that was found by density a voxel may lie.
_REACH_MM = 30.0
#: Wanted edge of the cells in which distance and connection are reckoned.
_CELL_MM = 2.0
#: Holes up to this size in a slice of added lung are noise, or bronchi within it.
_HOLE_MM2 = 30.0
#: Pixels beyond added lung among which its holes are looked for; a wider hole is no noise.
_HOLE_MARGIN = 8
#: Beyond this growth of a lung a reader should look at its outline: effusion might be taken for lung.
_REMARK_FROM_SHARE = 0.6

_SQUARE = np.ones((3, 3), np.uint8)


def looks_like_dense_lung(lung_yx: NDArray[np.float32], hu_yx: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Tell where the model sees lung in what is neither air nor bone.

    Parameters
    ----------
    lung_yx
        (y, x) probability of lung.
    hu_yx
        (y, x) HU of the same voxels.
    """
    return (lung_yx >= LUNG_THRESHOLD) & (hu_yx >= _AIRWAY_BELOW_HU) & (hu_yx <= _BONE_ABOVE_HU)


def add_dense_lung(
    lungs_zyx: NDArray[np.uint8],
    dense_zyx: NDArray[np.uint8],
    spacing_zyx_mm: tuple[float, float, float],
) -> tuple[str, ...]:
    """Add what hangs together with the lungs, to the side of the nearest lung.

    Parameters
    ----------
    lungs_zyx
        (z, y, x) uint8, canonical labels; changed in place where they are 0, nowhere else.
    dense_zyx
        uint8 of the same shape, non-zero where lung and lesion was recognised; inside the lungs it does not
        count.
    spacing_zyx_mm
        Distance of voxel centres, mm.

    Returns
    -------
    tuple of str
        One sentence for each lung that grew by more than 60 percent.
    """
    before = _counts(lungs_zyx)
    cells = _Cells.around(lungs_zyx, dense_zyx, spacing_zyx_mm)
    if cells is None:
        return ()
    side_zyx = _sides(cells)
    step_z, step_y, step_x = cells.step_zyx
    box_z, box_y, box_x = cells.box
    for z in range(box_z.start, box_z.stop):
        sides = side_zyx[(z - box_z.start) // step_z]
        if sides.any():
            shape = (box_y.stop - box_y.start, box_x.stop - box_x.start)
            fine = sides.repeat(step_y, axis=0).repeat(step_x, axis=1)[: shape[0], : shape[1]]
            lungs = lungs_zyx[z, box_y, box_x]
            added = (dense_zyx[z, box_y, box_x] > 0) & (lungs == 0) & (fine > 0)
            lungs[added] = fine[added]
            _fill_holes(lungs, added, spacing_zyx_mm[1] * spacing_zyx_mm[2])
    return _remarks(before, _counts(lungs_zyx), float(np.prod(spacing_zyx_mm)) / 1000.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """The surroundings of what may be added, in cells of whole voxels.

    Parameters
    ----------
    box
        Of the full grid.
    step_zyx
        Voxels of a cell.
    edges_mm
        Edges of a cell.
    lungs_zyx
        uint8 (z, y, x), the largest lung label in each cell.
    dense_zyx
        bool, whether a cell holds anything to add.
    """

    box: tuple[slice, slice, slice]
    step_zyx: tuple[int, int, int]
    edges_mm: tuple[float, float, float]
    lungs_zyx: NDArray[np.uint8]
    dense_zyx: NDArray[np.bool_]

    @classmethod
    def around(
        cls,
        lungs_zyx: NDArray[np.uint8],
        dense_zyx: NDArray[np.uint8],
        spacing_zyx_mm: tuple[float, float, float],
    ) -> _Cells | None:
        """Cut the box around what may be added, as far as lung can lie; None where there is nothing."""
        rows = np.zeros(dense_zyx.shape[0], dtype=bool)
        silhouette = np.zeros(dense_zyx.shape[1:], dtype=bool)
        for z, (dense, lungs) in enumerate(zip(dense_zyx, lungs_zyx, strict=True)):
            new = (dense > 0) & (lungs == 0)
            rows[z] = new.any()
            silhouette |= new
        if not rows.any():
            return None
        box = []
        for profile, mm in zip(
            (rows, silhouette.any(axis=1), silhouette.any(axis=0)), spacing_zyx_mm, strict=True
        ):
            filled, margin = np.flatnonzero(profile), int(np.ceil(_REACH_MM / mm)) + 1
            box.append(
                slice(max(0, int(filled[0]) - margin), min(profile.size, int(filled[-1]) + 1 + margin))
            )
        step = [max(1, round(_CELL_MM / mm)) for mm in spacing_zyx_mm]
        shape = [-(-(edge.stop - edge.start) // one) for edge, one in zip(box, step, strict=True)]
        lung_cells, dense_cells = np.zeros(shape, np.uint8), np.zeros(shape, bool)
        for at, z in enumerate(range(box[0].start, box[0].stop)):
            lungs = lungs_zyx[z, box[1], box[2]]
            new = (dense_zyx[z, box[1], box[2]] > 0) & (lungs == 0)
            cell = at // step[0]
            np.maximum(lung_cells[cell], _largest(lungs, step[1], step[2]), out=lung_cells[cell])
            dense_cells[cell] |= _largest(new, step[1], step[2])
        edges_mm = [one * mm for one, mm in zip(step, spacing_zyx_mm, strict=True)]
        return cls(
            (box[0], box[1], box[2]),
            (step[0], step[1], step[2]),
            (edges_mm[0], edges_mm[1], edges_mm[2]),
            lung_cells,
            dense_cells,
        )


def _largest(plane: NDArray[Scalar], step_y: int, step_x: int) -> NDArray[Scalar]:
    """Return the largest value of each cell of a plane; cells at its end may be short."""
    rows, columns = plane.shape
    whole = np.pad(plane, ((0, -rows % step_y), (0, -columns % step_x)))
    by_row = reduce(np.maximum, (whole[at::step_y] for at in range(step_y)))
    return np.asarray(reduce(np.maximum, (by_row[:, at::step_x] for at in range(step_x))))


def _sides(cells: _Cells) -> NDArray[np.uint8]:
    """Return for each cell the label of what is added there, 0 for nothing."""
    lung = cells.lungs_zyx > 0
    if not lung.any():
        return np.zeros_like(cells.lungs_zyx)
    distance, nearest = ndimage.distance_transform_edt(~lung, sampling=cells.edges_mm, return_indices=True)
    near = cells.dense_zyx & (distance <= _REACH_MM)
    labels, count = label_components(lung | near, connectivity=1, return_num=True)
    joined = np.zeros(count + 1, dtype=bool)
    joined[labels[lung]] = True
    return np.where(near & joined[labels], cells.lungs_zyx[tuple(nearest)], np.uint8(0))


def _fill_holes(lungs_yx: NDArray[np.uint8], added_yx: NDArray[np.bool_], pixel_mm2: float) -> None:
    """Fill small holes that added lung leaves in one slice; each takes the label of what it touches."""
    if not added_yx.any():
        return
    box = tuple(
        slice(max(0, int(line[0]) - _HOLE_MARGIN), int(line[-1]) + 1 + _HOLE_MARGIN)
        for line in (np.flatnonzero(added_yx.any(axis=axis)) for axis in (1, 0))
    )
    lungs_yx, added_yx = lungs_yx[box], added_yx[box]
    outside = np.ascontiguousarray(lungs_yx == 0, dtype=np.uint8)
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    grown = cv2.dilate(np.ascontiguousarray(added_yx, dtype=np.uint8), _SQUARE)
    height, width = lungs_yx.shape
    for number in np.unique(numbers[(grown > 0) & (outside > 0)]):
        x, y, wide, high, area = stats[number]
        if area * pixel_mm2 > _HOLE_MM2 or x == 0 or y == 0 or x + wide == width or y + high == height:
            continue
        around = np.s_[y - 1 : y + high + 1, x - 1 : x + wide + 1]
        hole = numbers[around] == number
        beside = cv2.dilate(hole.astype(np.uint8), _SQUARE) > 0
        votes = np.bincount(lungs_yx[around][beside & added_yx[around]])
        lungs_yx[around][hole] = np.uint8(votes.argmax())


def _counts(lungs_zyx: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count voxels by label."""
    counts = np.zeros(len(LUNG_LABEL) + 1, np.int64)
    for plane in lungs_zyx:
        counts += np.bincount(plane.ravel(), minlength=counts.size)
    return counts


def _remarks(before: NDArray[np.int64], after: NDArray[np.int64], voxel_ml: float) -> tuple[str, ...]:
    """Tell which lung grew so much that somebody should look."""
    remarks = []
    for side in Side:
        label = LUNG_LABEL[side]
        grown = int(after[label] - before[label])
        if grown > _REMARK_FROM_SHARE * before[label]:
            remarks.append(
                f"{grown * voxel_ml:.0f} ml of dense tissue are counted as {side} lung by the model alone, "
                f"beside {before[label] * voxel_ml:.0f} ml found by density: check the outline, effusion can "
                "look alike."
            )
    return tuple(remarks)
