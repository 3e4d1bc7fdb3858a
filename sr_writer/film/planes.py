"""Planes across the patient, seen from the feet: any two scans in one direction and at one scale.

A plane is given in the patient's millimetres and every array is sampled there. So the patient's right is at
the left and the front above, whatever way the slices of a scan lie, and a pixel of two pictures of one plane
is one place in the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.geometry import Geometry
from core.layers import Layers

#: Where nothing is known.
AIR_HU = -1024.0


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a plane that a picture shows.

    Parameters
    ----------
    centre_xy_mm
        Middle of the picture, LPS x and y.
    mm_per_pixel
        Scale, the same in both directions.
    width, height
        Pixels.
    """

    centre_xy_mm: tuple[float, float]
    mm_per_pixel: float
    width: int
    height: int

    def places(self, z_mm: float) -> NDArray[np.float64]:
        """Return where the pixels are at a height: (height, width, 3), LPS mm."""
        x = self.centre_xy_mm[0] + (np.arange(self.width) - (self.width - 1) / 2) * self.mm_per_pixel
        y = self.centre_xy_mm[1] + (np.arange(self.height) - (self.height - 1) / 2) * self.mm_per_pixel
        places = np.empty((self.height, self.width, 3))
        places[..., 0], places[..., 1], places[..., 2] = x[None, :], y[:, None], z_mm
        return places

    def moved_to(self, centre_xy_mm: tuple[float, float]) -> Window:
        """Return the window around another middle, at the same scale."""
        return Window(centre_xy_mm, self.mm_per_pixel, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Extent:
    """How far something reaches in the patient, LPS mm: lowest and highest x, y, z of its voxels."""

    low_xyz_mm: tuple[float, float, float]
    high_xyz_mm: tuple[float, float, float]

    @classmethod
    def of(cls, labels_zyx: NDArray[Any], geometry: Geometry) -> Extent:
        """Measure everything that is not 0; the whole grid where there is nothing."""
        filled = labels_zyx > 0
        lines = np.argwhere(filled.any(axis=2))
        if lines.size:
            # What reaches furthest in any direction is at an end of a line of voxels.
            first = filled.argmax(axis=2)[tuple(lines.T)]
            last = filled.shape[2] - 1 - filled[:, :, ::-1].argmax(axis=2)[tuple(lines.T)]
            found = np.concatenate([np.column_stack([lines, ends]) for ends in (first, last)])
        else:
            found = np.argwhere(np.ones((2, 2, 2))) * (np.array(geometry.shape_zyx) - 1)
        places = geometry.to_lps_mm(found)
        low, high = places.min(axis=0), places.max(axis=0)
        return cls((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    @property
    def centre_xy_mm(self) -> tuple[float, float]:
        """Middle across the patient."""
        (left, front, _), (right, back, _) = self.low_xyz_mm, self.high_xyz_mm
        return (left + right) / 2, (front + back) / 2

    def mm_per_pixel(self, width: int, height: int, around: float) -> float:
        """Return the scale at which it fits into a picture, with room around it as a share of its size."""
        x, y = (high - low for low, high in zip(self.low_xyz_mm[:2], self.high_xyz_mm[:2], strict=True))
        return max((1 + 2 * around) * max(x / width, y / height), 1e-3)

    def at(self, share: float) -> float:
        """Return a height, from 0 at the lowest to 1 at the highest voxel, mm."""
        return self.low_xyz_mm[2] + share * (self.high_xyz_mm[2] - self.low_xyz_mm[2])

    def share_of(self, z_mm: float) -> float:
        """Return at which share of the height something is; the inverse of `at`."""
        return (z_mm - self.low_xyz_mm[2]) / max(self.high_xyz_mm[2] - self.low_xyz_mm[2], 1e-3)

    def is_near(self, places: NDArray[np.float64], room_mm: float) -> NDArray[np.bool_]:
        """Tell which places, (…, 3) LPS mm, are within it across the patient, or no further away."""
        low, high = (np.array(edge[:2]) for edge in (self.low_xyz_mm, self.high_xyz_mm))
        across = places[..., :2]
        return np.asarray(((across >= low - room_mm) & (across <= high + room_mm)).all(axis=-1))


@dataclass(frozen=True, slots=True, eq=False)
class Heights:
    """Heights of the patient at which a scan has its slices, or steps as fine where they are inclined.

    Parameters
    ----------
    z_mm
        LPS z, rising.
    layers
        Which voxel stands at which of them.
    """

    z_mm: NDArray[np.float64]
    layers: Layers

    @classmethod
    def of(cls, geometry: Geometry) -> Heights:
        """List the heights of a grid."""
        layers = Layers.rising_to_head(geometry)
        first = geometry.affine_lps[2, 3]
        return cls(first + (np.arange(layers.count) - layers.start) * layers.step_mm, layers)

    def counts(self, mask_zyx: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Count the voxels of a mask on the same grid at each height."""
        layers = self.layers
        if layers.are_slices:  # the usual case, and many times faster than by voxels
            axis = layers.grid_axis
            others = tuple(one for one in range(3) if one != axis)
            steps = np.zeros((3, layers.length), np.intp)
            steps[axis] = np.arange(layers.length)
            weights = np.count_nonzero(mask_zyx, axis=others)
            return np.bincount(layers.at(*steps), weights, minlength=layers.count).astype(np.float64)
        return np.bincount(layers.at(*np.nonzero(mask_zyx)), minlength=layers.count).astype(np.float64)

    def nearest(self, z_mm: float) -> float:
        """Return the height that is nearest to one."""
        return float(self.z_mm[np.argmin(np.abs(self.z_mm - z_mm))])


def sampled(
    array_zyx: NDArray[Any],
    geometry: Geometry,
    places: NDArray[np.float64],
    *,
    order: int = 1,
    outside: float = 0.0,
    block_zyx: tuple[int, int, int] = (1, 1, 1),
) -> NDArray[np.float32]:
    """Sample an array at places in the patient.

    Parameters
    ----------
    array_zyx, geometry
        What, and its grid, sheared or not.
    places
        (…, 3), LPS mm.
    order
        0: the nearest voxel, 1: linear.
    outside
        What there is beyond the grid.
    block_zyx
        As sharp as averages over blocks of so many voxels would be, between which is interpolated.

    Returns
    -------
    ndarray
        (…) float32.
    """
    index = np.moveaxis(geometry.to_index_zyx(places), -1, 0)
    part, start = _around(array_zyx, index, block_zyx)
    if not part.size:
        return np.full(index.shape[1:], outside, np.float32)
    near = part.astype(np.float32)
    for axis, size in enumerate(block_zyx):
        if size > 1:
            # As wide (in variance) as an average over a block, then a line from block to block.
            sigma = np.sqrt(size**2 - 1) / 2
            near = ndimage.gaussian_filter1d(near, sigma, axis=axis, mode="nearest", truncate=3.0)
    inside = np.stack([at - first for at, first in zip(index, start, strict=True)])
    values = ndimage.map_coordinates(near, inside, order=order, mode="nearest")
    return np.where(_covered(geometry, index), values, np.float32(outside)).astype(np.float32)


def covered(geometry: Geometry, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which places, (…, 3) LPS mm, are in a voxel of a grid."""
    return _covered(geometry, np.moveaxis(geometry.to_index_zyx(places), -1, 0))


def _covered(geometry: Geometry, index: NDArray[np.float64]) -> NDArray[np.bool_]:
    limits = np.array(geometry.shape_zyx)[:, None, None] - 0.5
    return np.asarray(((index >= -0.5) & (index < limits)).all(axis=0))


def _around(
    array_zyx: NDArray[Any], index: NDArray[np.float64], block_zyx: tuple[int, int, int]
) -> tuple[NDArray[Any], list[int]]:
    """Return the part of an array that some indices need, and where it begins."""
    edges = []
    for at, size, length in zip(index, block_zyx, array_zyx.shape, strict=True):
        room = 2 * size
        first, last = int(np.floor(at.min())) - room, int(np.ceil(at.max())) + room + 1
        edges.append(slice(min(max(first, 0), length), max(min(last, length), 0)))
    z, y, x = edges
    return array_zyx[z, y, x], [edge.start for edge in edges]
