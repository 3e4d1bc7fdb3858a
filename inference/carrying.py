"""An array of one scan brought to the grid of another along a smooth map, slab by slab.

A map between scans of one patient bends little within 5 mm. So it is asked at nodes that far apart, and what
lies between is interpolated: places of 36 million voxels cost as much as sampling them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.geometry import Geometry
from core.regions import bounding_box

#: (n, 3) LPS mm of one scan to LPS mm of another.
PlacesMap = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_NODE_MM = 5.0
#: Slabs at a time; every slab is computed alone, so that their number changes nothing in the result.
_THREADS = 2


def carried(
    array_zyx: NDArray[np.generic],
    geometry: Geometry,
    onto: Geometry,
    places: PlacesMap,
    *,
    order: int,
    outside: float,
) -> NDArray[np.float32]:
    """Sample an array at the voxels of another grid.

    Parameters
    ----------
    array_zyx, geometry
        The array and where it is.
    onto
        The other grid.
    places
        From that grid's patient space to the array's.
    order
        0 nearest voxel, 1 linear.
    outside
        Value beyond the array's grid; where the array holds nothing else, nothing is computed.

    Returns
    -------
    ndarray
        (z, y, x) float32 on the other grid.
    """
    carried_zyx = np.full(onto.shape_zyx, outside, np.float32)
    box = bounding_box(array_zyx != outside)
    if any(edge.stop <= edge.start for edge in box) or carried_zyx.size == 0:
        return carried_zyx
    nodes = [_nodes(length, step) for length, step in zip(onto.shape_zyx, onto.spacing_zyx_mm, strict=True)]
    index = _indices(nodes, onto, geometry, places)
    low = np.array([edge.start - 1.0 for edge in box])
    high = np.array([float(edge.stop) for edge in box])
    carrier = _Carrier(array_zyx, order, outside, nodes, index, low, high)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda at: carrier.fill(carried_zyx, at), range(len(nodes[0]) - 1)))
    return carried_zyx


def _nodes(length: int, step_mm: float) -> NDArray[np.intp]:
    """Return indices about 5 mm apart; the last one is the last voxel, and there are two at least."""
    count = max(2, int(np.ceil((length - 1) * step_mm / _NODE_MM)) + 1)
    return np.unique(np.rint(np.linspace(0, max(length - 1, 1), count)).astype(np.intp))


def _indices(
    nodes: list[NDArray[np.intp]], onto: Geometry, geometry: Geometry, places: PlacesMap
) -> NDArray[np.float32]:
    """Return where in the array the nodes are: (3, z, y, x) indices of axes z, y, x."""
    to_index = np.linalg.inv(geometry.affine_lps)
    layers = []
    for z in nodes[0]:
        grid = np.stack(np.meshgrid([z], nodes[1], nodes[2], indexing="ij"), axis=-1).reshape(-1, 3)
        there = places(mapped(onto.affine_lps, grid.astype(np.float64)))
        layers.append(mapped(to_index, there).astype(np.float32))
    shape = tuple(len(along) for along in nodes)
    return np.ascontiguousarray(np.moveaxis(np.stack(layers).reshape(*shape, 3), -1, 0))


@dataclass(frozen=True, slots=True, eq=False)
class _Carrier:
    """What every slab needs: the array, the nodes with their indices in it, and the box of its content."""

    array_zyx: NDArray[np.generic]
    order: int
    outside: float
    nodes: list[NDArray[np.intp]]
    index: NDArray[np.float32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def fill(self, carried_zyx: NDArray[np.float32], at: int) -> None:
        """Compute the slices from one layer of nodes to the next."""
        first, last = int(self.nodes[0][at]), int(self.nodes[0][at + 1])
        below, above = self.index[:, at], self.index[:, at + 1]
        cells = self._cells(below, above)
        if cells is None:
            return
        (top, bottom), (left, right) = cells
        rows = slice(int(self.nodes[1][top]), int(self.nodes[1][bottom]) + 1)
        columns = slice(int(self.nodes[2][left]), int(self.nodes[2][right]) + 1)
        part = (slice(None), slice(top, bottom + 1), slice(left, right + 1))
        ends = [
            _between(
                _between(layer[part], self.nodes[1][top : bottom + 1], 1), self.nodes[2][left : right + 1], 2
            )
            for layer in (below, above)
        ]
        is_end = at == len(self.nodes[0]) - 2
        for z in range(first, min(last + is_end, len(carried_zyx))):
            share = np.float32((z - first) / (last - first))
            index = ends[0] + share * (ends[1] - ends[0])
            target = carried_zyx[z, rows, columns]
            target[...] = self._sampled(index)[: target.shape[0], : target.shape[1]]

    def _cells(
        self, below: NDArray[np.float32], above: NDArray[np.float32]
    ) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Return the first and last node along y and x between which the slab may meet content."""
        may = np.ones((below.shape[1] - 1, below.shape[2] - 1), np.bool_)
        for axis in range(3):
            ends = np.stack([below[axis], above[axis]])
            corners = [ends[:, y : y - 1 or None, x : x - 1 or None] for y in (0, 1) for x in (0, 1)]
            least = np.min([corner.min(axis=0) for corner in corners], axis=0)
            most = np.max([corner.max(axis=0) for corner in corners], axis=0)
            may &= (most >= self.low[axis]) & (least <= self.high[axis])
        if not may.any():
            return None
        y, x = np.flatnonzero(may.any(axis=1)), np.flatnonzero(may.any(axis=0))
        return (int(y[0]), int(y[-1]) + 1), (int(x[0]), int(x[-1]) + 1)

    def _sampled(self, index: NDArray[np.float32]) -> NDArray[np.float32]:
        sampled: NDArray[np.float32] = ndimage.map_coordinates(
            self.array_zyx, index, output=np.float32, order=self.order, mode="nearest"
        )
        for axis, length in enumerate(self.array_zyx.shape):
            lies = index[axis]
            if lies.min() < -0.5 or lies.max() > length - 0.5:
                sampled[(lies < -0.5) | (lies > length - 0.5)] = self.outside
        return sampled


def _between(at_nodes: NDArray[np.float32], nodes: NDArray[np.intp], axis: int) -> NDArray[np.float32]:
    """Interpolate along an axis: from values at nodes to those at all voxels from the first to the last."""
    voxels = np.arange(nodes[0], nodes[-1] + 1)
    before = np.clip(np.searchsorted(nodes, voxels, side="right") - 1, 0, len(nodes) - 2)
    shares = ((voxels - nodes[before]) / (nodes[before + 1] - nodes[before])).astype(np.float32)
    shares = shares.reshape([-1 if at == axis else 1 for at in range(at_nodes.ndim)])
    low, high = (np.take(at_nodes, which, axis=axis) for which in (before, before + 1))
    return np.asarray(low + shares * (high - low))


def mapped(affine: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply a 4 × 4 map to (n, 3) points.

    Without the matrix product of the linear algebra library: its last bits depend on the number of cores.
    """
    return np.asarray(np.einsum("ij,nj->ni", affine[:3, :3], points) + affine[:3, 3])
