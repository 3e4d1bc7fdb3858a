"""Lesions: from a share of the lung to a place in the patient, and their irregular shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import LesionClass, Side
from lesionnode.phantom.breathing import Breathing
from lesionnode.phantom.shapes import FloatArray, Points, Vector, ellipsoid_mm, waves
from lesionnode.phantom.spec import PhantomLesion, PhantomSpec

_NOWHERE_MM = np.float32(1e3)


@dataclass(frozen=True, slots=True)
class PlacedLesion:
    """A lesion in its place; mm of the anatomy of the breathing patient.

    Parameters
    ----------
    lesion
        As asked for.
    centre, radii
        Ellipsoid, LPS mm.
    seed
        Chooses the irregularity.
    origin
        Where the irregularity is anchored, LPS mm; it moves with the lesion.
    """

    lesion: PhantomLesion
    centre: Vector
    radii: Vector
    seed: tuple[int, ...]
    origin: Vector = (0.0, 0.0, 0.0)

    @property
    def low_mm(self) -> Vector:
        """Lower corner of a box that holds the lesion."""
        return self._corner(-1.0)

    @property
    def high_mm(self) -> Vector:
        """Upper corner of a box that holds the lesion."""
        return self._corner(1.0)

    def outer_mm(self, points: Points) -> FloatArray:
        """Return the distance to the whole lesion, before the lung cuts it."""
        return self._irregular_mm(points, 1.0, 0)

    def dense_mm(self, points: Points) -> FloatArray:
        """Return the distance to the consolidated part, before the lung cuts it."""
        match self.lesion.lesion_class:
            case LesionClass.CONSOLIDATION:
                return self.outer_mm(points)
            case LesionClass.MIXED:
                return self._irregular_mm(points, self.lesion.core_share, 1)
            case LesionClass.GROUND_GLASS:
                return np.full((1,) * len(points.shape), _NOWHERE_MM)

    def _irregular_mm(self, points: Points, share: float, which: int) -> FloatArray:
        x, y, z = self.radii
        smallest = share * min(self.radii)
        plain = ellipsoid_mm(points, self.centre, (share * x, share * y, share * z))
        rng = np.random.default_rng((*self.seed, which))
        anchored = points.shifted(self.origin)
        return plain + np.float32(self.lesion.irregularity * smallest) * waves(anchored, rng, 1.6 * smallest)

    def _corner(self, sign: float) -> Vector:
        reach = 1.0 + 2.0 * self.lesion.irregularity
        x, y, z = (c + sign * reach * r for c, r in zip(self.centre, self.radii, strict=True))
        return x, y, z


def place_all(spec: PhantomSpec, lungs: dict[Side, NDArray[np.bool_]], points: Points) -> list[PlacedLesion]:
    """Place all lesions of a specification; lungs and points as for `place`, one lung per side."""
    return [
        place(lesion, lungs[lesion.side], points, spec, number) for number, lesion in enumerate(spec.lesions)
    ]


def place(
    lesion: PhantomLesion, lung_zyx: NDArray[np.bool_], points: Points, spec: PhantomSpec, number: int
) -> PlacedLesion:
    """Find the place of a lesion in its lung.

    Parameters
    ----------
    lesion
        As asked for.
    lung_zyx
        Its lung at rest on a lattice.
    points
        That lattice, mm of the anatomy.
    spec
        The patient: size, inspiration and seed.
    number
        Its place in the list of lesions, its identity where it has none of its own.

    Returns
    -------
    PlacedLesion
        In mm of the anatomy of the breathing patient.
    """
    plane = _at(np.flatnonzero(lung_zyx.any(axis=(1, 2))), lesion.up)
    row = _at(np.flatnonzero(lung_zyx[plane].any(axis=1)), lesion.back)
    medial_first = np.flatnonzero(lung_zyx[plane, row])
    if lesion.side is Side.RIGHT:
        medial_first = medial_first[::-1]  # +x is the patient's left
    column = _at(medial_first, lesion.out)
    at_rest = (
        float(points.x.ravel()[column]),
        float(points.y.ravel()[row]),
        float(points.z.ravel()[plane]),
    )
    centre = Breathing(spec.inspiration).moved_vector(at_rest)
    x, y, z = (radius / spec.size for radius in lesion.radii_mm)
    if lesion.identity is not None:
        return PlacedLesion(lesion, centre, (x, y, z), (spec.seed, 2, lesion.identity), origin=centre)
    descent = (0.0, 0.0, centre[2] - at_rest[2])
    return PlacedLesion(lesion, centre, (x, y, z), (spec.seed, 2, number), origin=descent)


def _at(indices: NDArray[np.intp], share: float) -> int:
    return int(indices[round(np.clip(share, 0.0, 1.0) * (indices.size - 1))])
