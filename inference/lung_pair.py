"""Which air inside the body is the right and which the left lung."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_components

from core.domain import LUNG_LABEL, Side
from core.errors import NotAChest
from inference.lung_grid import CoarseGrid, dilate, erode

#: Mean of the inner part: denser than gas of the bowel or the room, lighter than fat.
_LUNG_MEAN_HU = (-960.0, -400.0)
#: An infant's smaller lung is larger.
_SMALLEST_LUNG_ML = 20.0
#: The smaller lung has at least this share of the larger one's volume.
_SMALLEST_SHARE = 0.05
#: Share of a lung that lies on its own side of the plane between the two.
_OWN_SIDE = 0.85
#: Erosions tried to part joined lungs.
_PARTING_STEPS = 6
#: Largest pieces looked at.
_PIECES = 8
#: A piece that disease has cut off from its lung, and how large it is where bowel may lie as well.
_SMALLEST_PIECE_ML = 1.0
_SMALLEST_LOW_PIECE_ML = 100.0

NO_LUNGS = "No pair of air-filled lungs was found in this series; send a CT of the whole chest."


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A connected piece of air: its label, voxels, mean HU and centre (coarse index)."""

    label: int
    voxels: int
    mean_hu: float
    centre_zyx: NDArray[np.float64]

    @property
    def is_lung_like(self) -> bool:
        return _LUNG_MEAN_HU[0] <= self.mean_hu <= _LUNG_MEAN_HU[1]


def lung_pair(grid: CoarseGrid, air_zyx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Label the aerated parts of the lungs.

    Air is eroded until what joins the two lungs is gone, then both grow back at the same pace; pieces that
    disease has cut off join the lung of their side.

    Parameters
    ----------
    grid
        The coarse volume.
    air_zyx
        (z, y, x) uint8, 1 for air inside the body without airways.

    Returns
    -------
    ndarray
        (z, y, x) uint8, `LUNG_LABEL`.

    Raises
    ------
    NotAChest
        No two lung-like pieces stand on the two sides of a plane between them.
    """
    in_plane = grid.spacing_zyx_mm[0] > 2 * grid.spacing_zyx_mm[1]
    core = air_zyx
    for step in range(1, _PARTING_STEPS + 1):
        core = erode(core, in_plane=in_plane)
        labels = label_components(core, connectivity=1)
        pieces = _pieces(grid, labels, _SMALLEST_LUNG_ML)
        pair = _pair(labels, pieces)
        if pair is not None:
            lungs = np.zeros_like(air_zyx)
            for side, piece in zip((Side.RIGHT, Side.LEFT), pair, strict=True):
                lungs[labels == piece.label] = LUNG_LABEL[side]
            _grow(lungs, air_zyx, step + 2, in_plane=in_plane)
            _reach_tips(lungs, air_zyx)
            _add_pieces(grid, lungs, air_zyx, in_plane=in_plane)
            return lungs
    raise NotAChest(NO_LUNGS)


def _pieces(grid: CoarseGrid, labels: NDArray[np.int32], smallest_ml: float) -> list[_Piece]:
    """Return the largest labelled pieces, largest first."""
    where = np.flatnonzero(labels)
    numbers = labels.ravel()[where]
    sizes = np.bincount(numbers)
    large = [int(n) for n in np.argsort(sizes)[::-1][:_PIECES] if sizes[n] * grid.voxel_ml >= smallest_ml]
    if not large:
        return []
    values: list[NDArray[Any]] = [*np.unravel_index(where, labels.shape), grid.hu_zyx.ravel()[where]]
    totals = [np.bincount(numbers, weights=value.astype(np.float64)) for value in values]
    means = np.stack(totals, axis=1)[large] / sizes[large, None]
    return [_Piece(n, int(sizes[n]), float(mean[3]), mean[:3]) for n, mean in zip(large, means, strict=True)]


def _pair(labels: NDArray[np.int32], pieces: list[_Piece]) -> tuple[_Piece, _Piece] | None:
    """Return the right and the left lung, None where they are not two yet."""
    likely = [piece for piece in pieces if piece.is_lung_like]
    for other in likely[1:]:
        right, left = sorted((likely[0], other), key=lambda piece: float(piece.centre_zyx[2]))
        if other.voxels >= _SMALLEST_SHARE * likely[0].voxels and _on_own_sides(labels, right, left):
            return right, left
    return None


def _on_own_sides(labels: NDArray[np.int32], right: _Piece, left: _Piece) -> bool:
    """Tell whether two pieces lie on the two sides of the plane half way between them."""
    columns = np.arange(labels.shape[2])
    middle = 0.5 * (right.centre_zyx[2] + left.centre_zyx[2])
    for piece, own in ((right, columns < middle), (left, columns > middle)):
        if np.count_nonzero(labels[:, :, own] == piece.label) < _OWN_SIDE * piece.voxels:
            return False
    return True


def _grow(lungs: NDArray[np.uint8], air_zyx: NDArray[np.uint8], steps: int, *, in_plane: bool) -> None:
    """Let both lungs grow at the same pace inside the air that they were eroded from, in place."""
    for _ in range(steps):
        for label in LUNG_LABEL.values():
            grown = dilate((lungs == label).astype(np.uint8), in_plane=in_plane) & air_zyx & (lungs == 0)
            lungs[grown > 0] = label


def _reach_tips(lungs: NDArray[np.uint8], air_zyx: NDArray[np.uint8]) -> None:
    """Give air that growing did not reach (thin tips and recesses) to the lung it touches most, in place."""
    labels, count = label_components(air_zyx * (lungs == 0), connectivity=1, return_num=True)
    touches = np.zeros((len(LUNG_LABEL) + 1, count + 1), np.intp)
    for axis in range(3):
        low, high = (
            np.s_[(slice(None),) * axis + (slice(None, -1),)],
            np.s_[(slice(None),) * axis + (slice(1, None),)],
        )
        for tip, lung in ((labels[low], lungs[high]), (labels[high], lungs[low])):
            meets = (tip > 0) & (lung > 0)
            np.add.at(touches, (lung[meets], tip[meets]), 1)
    owner = np.where(touches.any(axis=0), np.argmax(touches, axis=0), 0).astype(np.uint8)
    lungs += owner[labels]


def _add_pieces(
    grid: CoarseGrid, lungs: NDArray[np.uint8], air_zyx: NDArray[np.uint8], *, in_plane: bool
) -> None:
    """Give lung-like pieces between the lungs' own limits to the lung of their side, in place."""
    rest = air_zyx * (lungs == 0)
    labels = label_components(erode(rest, in_plane=in_plane), connectivity=1)
    limits = [np.flatnonzero((lungs > 0).any(axis=axes))[[0, -1]] for axes in ((1, 2), (0, 2), (0, 1))]
    # Bowel lies under the diaphragm, so small pieces count only above the lower third.
    above = limits[0][0] + (limits[0][1] - limits[0][0]) / 3
    middle = np.mean([np.mean(np.flatnonzero((lungs == n).any(axis=(0, 1)))[[0, -1]]) for n in (1, 2)])
    for piece in _pieces(grid, labels, _SMALLEST_PIECE_ML):
        z, y, x = piece.centre_zyx
        within = limits[1][0] <= y <= limits[1][1] and limits[2][0] <= x <= limits[2][1]
        high = z >= above or (z >= limits[0][0] and piece.voxels * grid.voxel_ml >= _SMALLEST_LOW_PIECE_ML)
        if piece.is_lung_like and within and high:
            grown = dilate((labels == piece.label).astype(np.uint8), in_plane=in_plane) & rest
            lungs[grown > 0] = LUNG_LABEL[Side.RIGHT if x < middle else Side.LEFT]
