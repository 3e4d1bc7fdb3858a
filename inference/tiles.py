"""Sliding windows: where patches of one fixed shape stand, and how much each counts where they overlap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Standard deviation of the blending weights, as a share of the patch: what nnU-Net uses
# (Isensee et al., Nature Methods 2021, doi 10.1038/s41592-020-01008-z).
_SIGMA_SHARE = 1.0 / 8.0
# Even the rim of a patch counts a little, so that no voxel is left without any weight.
_SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class AxisTile:
    """One window along one axis.

    Parameters
    ----------
    inside
        The voxels of the array that it covers.
    at
        Where these stand in the patch; the rest of the patch is padding.
    weights
        (inside,) float32, or (1,) for a window that stands alone; the weights of all windows over one voxel
        add up to one.
    """

    inside: slice
    at: slice
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One window in three axes, z, y, x."""

    z: AxisTile
    y: AxisTile
    x: AxisTile

    @property
    def inside(self) -> tuple[slice, slice, slice]:
        """The voxels of the array that it covers."""
        return self.z.inside, self.y.inside, self.x.inside

    @property
    def at(self) -> tuple[slice, slice, slice]:
        """Where these stand in the patch."""
        return self.z.at, self.y.at, self.x.at

    def weights_zyx(self) -> NDArray[np.float32]:
        """Return the weights of the voxels inside: float32 that broadcasts to (z, y, x)."""
        return (
            self.z.weights[:, np.newaxis, np.newaxis]
            * self.y.weights[:, np.newaxis]
            * self.x.weights[np.newaxis, :]
        )


def axis_tiles(length: int, patch: int, overlap: float) -> tuple[AxisTile, ...]:
    """Cover one axis with windows of one length.

    Parameters
    ----------
    length
        Voxels to cover, at least 1.
    patch
        Length of a window in voxels.
    overlap
        Smallest share of a window that its neighbour covers too, 0 ≤ overlap < 1.

    Returns
    -------
    tuple of AxisTile
        Evenly spread, from the first voxel to the last. A patch longer than the axis stands alone, with the
        array in its middle.
    """
    if length <= patch:
        before = (patch - length) // 2
        return (AxisTile(slice(0, length), slice(before, before + length), np.ones(1, np.float32)),)
    step = max(1, int(patch * (1.0 - overlap)))
    count = 1 + math.ceil((length - patch) / step)
    starts = [round(index * (length - patch) / (count - 1)) for index in range(count)]
    distance = (np.arange(patch) - (patch - 1) / 2.0) / (patch * _SIGMA_SHARE)
    bell = np.maximum(np.exp(-0.5 * distance**2), _SMALLEST_WEIGHT)
    total = np.zeros(length)
    for start in starts:
        total[start : start + patch] += bell
    return tuple(
        AxisTile(
            slice(start, start + patch),
            slice(0, patch),
            np.asarray(bell / total[start : start + patch], dtype=np.float32),
        )
        for start in starts
    )


def tiles(shape_zyx: tuple[int, int, int], patch_zyx: tuple[int, int, int], overlap: float) -> Iterator[Tile]:
    """Cover an array with windows of one shape, x fastest; see `axis_tiles`."""
    axes = (axis_tiles(length, patch, overlap) for length, patch in zip(shape_zyx, patch_zyx, strict=True))
    return (Tile(z, y, x) for z, y, x in itertools.product(*axes))
