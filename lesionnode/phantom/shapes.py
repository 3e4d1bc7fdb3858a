"""Signed distances to simple bodies: negative inside, in mm, exact or first-order right at the surface.

Inigo Quilez, "distance functions", gives the ellipsoid's first-order distance, the round cone's idea and the
polynomial smooth minimum. Anatomy is evaluated plane by plane, so coordinates are arrays that broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Vector = tuple[float, float, float]

#: Tubes wider than this would be cut where only their near pieces are evaluated.
_REACH_MM = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of the patient, LPS mm.

    Parameters
    ----------
    x, y, z
        float32 arrays that broadcast to the shape of the set of points; axes that a coordinate does not
        depend on have length 1, which makes axis-aligned grids cheap.
    """

    x: FloatArray
    y: FloatArray
    z: FloatArray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the set."""
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape)

    def crop(self, window: tuple[slice, ...]) -> Points:
        """Return the points inside a window of the set."""

        def cut(coordinate: FloatArray) -> FloatArray:
            return coordinate[
                tuple(
                    part if length > 1 else slice(None)
                    for part, length in zip(window, coordinate.shape, strict=True)
                )
            ]

        return Points(cut(self.x), cut(self.y), cut(self.z))

    def shifted(self, origin: Vector) -> Points:
        """Return the points as seen from an origin, the very same where that is zero."""
        if not any(origin):
            return self
        x, y, z = (np.float32(part) for part in origin)
        return Points(self.x - x, self.y - y, self.z - z)


Field = Callable[[Points], FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """A body with its bounding box.

    Parameters
    ----------
    distance_mm
        Signed distance.
    low_mm, high_mm
        Corners of a box outside of which the distance is positive, LPS mm.
    """

    distance_mm: Field
    low_mm: Vector
    high_mm: Vector


def lattice(low_mm: Sequence[float], high_mm: Sequence[float], step_mm: float) -> Points:
    """Return a (z, y, x) lattice of cell centres that fills a box, axis-aligned, cells of step_mm."""
    axes = [
        np.arange(low + step_mm / 2, high, step_mm, dtype=np.float32)
        for low, high in zip(low_mm, high_mm, strict=True)
    ]
    return Points(axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None])


def occupancy(distance_mm: FloatArray, width_mm: float) -> FloatArray:
    """Turn signed distance into the share of a cell that is inside: a linear ramp over the cell's width."""
    share = distance_mm * np.float32(-1.0 / width_mm)
    share += np.float32(0.5)
    return np.clip(share, 0.0, 1.0, out=share)


def smooth_max(one: FloatArray, other: FloatArray, reach_mm: float) -> FloatArray:
    """Intersect two bodies and round the edge over reach_mm."""
    blend = np.clip(reach_mm - np.abs(one - other), 0.0, None)
    return np.asarray(np.maximum(one, other) + blend * blend * np.float32(0.25 / reach_mm))


def smooth_min(one: FloatArray, other: FloatArray, reach_mm: float) -> FloatArray:
    """Unite two bodies and fillet the groove over reach_mm."""
    return -smooth_max(-one, -other, reach_mm)


def ellipsoid_mm(points: Points, centre: Vector, radii: Vector) -> FloatArray:
    """Return the first-order distance to an axis-aligned ellipsoid; an infinite radius makes a cylinder."""
    scaled = np.zeros((1,) * len(points.shape), dtype=np.float32)
    steep = scaled + np.float32(1e-12)
    for value, middle, radius in zip((points.x, points.y, points.z), centre, radii, strict=True):
        if np.isfinite(radius):
            part = ((value - np.float32(middle)) * np.float32(1.0 / radius)) ** 2
            scaled = scaled + part
            steep = steep + part * np.float32(1.0 / radius**2)
    length = np.sqrt(scaled)
    return np.asarray(length * (length - 1.0) / np.sqrt(steep), dtype=np.float32)


def capsule_mm(points: Points, start: Vector, end: Vector, radii: tuple[float, float]) -> FloatArray:
    """Return the distance to a tube with round ends whose radius runs linearly from start to end."""
    axis = np.subtract(end, start).astype(np.float32)
    dx, dy, dz = (points.x - start[0], points.y - start[1], points.z - start[2])
    dot = dx * axis[0] + dy * axis[1] + dz * axis[2]
    along = np.clip(dot * np.float32(1.0 / max(float(axis @ axis), 1e-6)), 0.0, 1.0)
    square = (dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2
    return np.asarray(np.sqrt(square) - (radii[0] + along * (radii[1] - radii[0])), dtype=np.float32)


def ellipsoid(centre: Vector, radii: Vector) -> Solid:
    """Return an axis-aligned ellipsoid."""
    low, high = np.subtract(centre, radii), np.add(centre, radii)
    return Solid(lambda points: ellipsoid_mm(points, centre, radii), vector(low), vector(high))


def tube(path: Sequence[Vector], radii: Sequence[float]) -> Solid:
    """Return a tube along a polyline with one radius per corner, mm."""
    corners, width = np.asarray(path, dtype=np.float64), np.asarray(radii, dtype=np.float64)[:, None]
    low_z = np.minimum(corners[:-1, 2], corners[1:, 2])
    high_z = np.maximum(corners[:-1, 2], corners[1:, 2])

    def distance(points: Points) -> FloatArray:
        # Pieces far above or below the points cannot hold their surface: only near ones are evaluated.
        gap = np.maximum(low_z - float(points.z.max()), float(points.z.min()) - high_z)
        near = np.flatnonzero(gap <= max(_REACH_MM, float(gap.min())))
        result = None
        for at in near.tolist():
            part = capsule_mm(points, path[at], path[at + 1], (radii[at], radii[at + 1]))
            result = part if result is None else np.minimum(result, part)
        if result is None:
            raise ValueError("a tube needs at least two corners")
        return result

    return Solid(distance, vector((corners - width).min(axis=0)), vector((corners + width).max(axis=0)))


def waves(points: Points, rng: np.random.Generator, wavelength_mm: float, count: int = 4) -> FloatArray:
    """Return smooth irregularity: a sum of plane waves in random directions, about −1 to 1, seeded by rng."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = wavelength_mm * rng.uniform(0.6, 1.5, size=count)
    phases = rng.uniform(0.0, 2.0 * np.pi, size=count)
    total = np.zeros((1,) * len(points.shape), dtype=np.float32)
    for direction, length, phase in zip(directions, lengths, phases, strict=True):
        x, y, z = (np.float32(part) for part in direction * (2.0 * np.pi / length))
        total = total + np.sin(points.x * x + points.y * y + points.z * z + np.float32(phase))
    return np.asarray(total * np.float32(1.0 / np.sqrt(2.0 * count)), dtype=np.float32)


def vector(values: NDArray[np.float64]) -> Vector:
    """Return three numbers as plain floats: NumPy's own would make float32 arithmetic float64."""
    return float(values[0]), float(values[1]), float(values[2])
