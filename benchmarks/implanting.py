"""Lesions of known volume, put into a real CT volume in memory and imaged as its scanner would have.

Shapes are those of the phantom: ellipsoids with an irregular surface, cut by the lung. A slice averages over
its thickness, the border is blurred by the scanner's point spread; the lung's own noise, texture and vessels
stay, because attenuation is added where there is parenchyma and nothing is replaced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.implant_imaging import Box, box_around, painted, share_in_voxels, smoothed_hu
from core.domain import CtVolume, Finding, LesionClass, LungMask, Side
from lesionnode.phantom.lesions import PlacedLesion
from lesionnode.phantom.shapes import FloatArray
from lesionnode.phantom.spec import PhantomLesion

#: Free lung between two lesions, so that they stay two.
_APART_MM = 12.0
#: A lesion is only put where lung is clearly less dense than it: mean HU, and share of dense voxels.
_LEAST_CONTRAST_HU, _AERATED_BELOW_HU = 60.0, -650.0
_DENSE_FROM_HU, _MOST_DENSE = -500.0, 0.2
_TRIES, _ROUNDS = 60, 5


class Density(StrEnum):
    """How dense an implanted lesion is."""

    FAINT_GROUND_GLASS = "faint_ground_glass"
    GROUND_GLASS = "ground_glass"
    CONSOLIDATION = "consolidation"

    @property
    def finding(self) -> Finding:
        """What a model should call it."""
        return Finding.CONSOLIDATION if self is Density.CONSOLIDATION else Finding.GROUND_GLASS


#: Mean attenuation of a lesion is drawn from here, HU.
TARGET_HU: dict[Density, tuple[float, float]] = {
    Density.FAINT_GROUND_GLASS: (-700.0, -620.0),
    Density.GROUND_GLASS: (-600.0, -450.0),
    Density.CONSOLIDATION: (-50.0, 40.0),
}
#: Volume classes, ml: from, to.
SIZES_ML: dict[str, tuple[float, float]] = {
    "<1": (0.3, 1.0),
    "1–3": (1.0, 3.0),
    "3–10": (3.0, 10.0),
    "10–50": (10.0, 50.0),
    ">50": (50.0, 150.0),
}


class Place(StrEnum):
    """Where in the lung a lesion lies."""

    SUBPLEURAL = "subpleural"
    CENTRAL = "central"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What lesion is asked for.

    Parameters
    ----------
    density, size, place
        Its classes; size is a key of `SIZES_ML`.
    """

    density: Density
    size: str
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """A volume that lesions are put into.

    Parameters
    ----------
    volume
        The scan.
    lungs_zyx
        Its lungs.
    candidates_zyx
        (n, 3) indices of lung voxels on a lattice of about 2.5 mm in the plane.
    depth_mm
        (n,) distance of each from the surface of the lungs.
    """

    volume: CtVolume
    lungs_zyx: NDArray[np.bool_]
    candidates_zyx: NDArray[np.intp]
    depth_mm: NDArray[np.float64]

    @classmethod
    def of(cls, volume: CtVolume, lungs: LungMask) -> Host:
        """Measure where in the lungs there is room."""
        lungs_zyx = lungs.labels_zyx > 0
        spacing = volume.geometry.spacing_zyx_mm
        step = np.array([1, *(max(1, round(2.5 / edge)) for edge in spacing[1:])])
        coarse = lungs_zyx[:: step[0], :: step[1], :: step[2]]
        depth = np.asarray(ndimage.distance_transform_edt(coarse, sampling=step * spacing))
        return cls(volume, lungs_zyx, np.argwhere(coarse) * step, depth[coarse])


@dataclass(frozen=True, slots=True, eq=False)
class Implant:
    """A lesion in its place.

    Parameters
    ----------
    wanted
        Its classes.
    placed
        Its body, LPS mm.
    target_hu
        Its mean attenuation.
    box
        Part of the volume that holds it.
    share_zyx
        float32 on the box: share of each voxel that is lesion, 0…1; 0 outside the lungs.
    volume_ml
        Sum of the shares times the volume of a voxel.
    """

    wanted: Wanted
    placed: PlacedLesion
    target_hu: float
    box: Box
    share_zyx: FloatArray
    volume_ml: float


def place_lesions(host: Host, wanted: Sequence[Wanted], rng: np.random.Generator) -> list[Implant]:
    """Find places for lesions in aerated lung, at least 12 mm apart.

    Parameters
    ----------
    host
        Where to.
    wanted
        What lesions; the largest is placed first. One that finds no room is left out.
    rng
        Decides everything else; the same state gives the same lesions.
    """
    sizes = list(SIZES_ML)
    placed: list[Implant] = []
    for one in sorted(wanted, key=lambda lesion: -sizes.index(lesion.size)):
        for _ in range(_TRIES):
            implant = _attempt(host, one, placed, rng)
            if implant is not None:
                placed.append(implant)
                break
    return placed


def implanted(host: Host, implants: Sequence[Implant]) -> CtVolume:
    """Return the volume with the lesions in it; the host's own stays as it is."""
    hu_zyx = host.volume.hu_zyx.copy()
    for implant in implants:
        changed = painted(host.volume, host.lungs_zyx, implant.placed, implant.target_hu, implant.box)
        # Boxes of neighbours may overlap; nothing ever becomes darker.
        hu_zyx[implant.box] = np.maximum(hu_zyx[implant.box], changed)
    return replace(host.volume, hu_zyx=hu_zyx)


def _attempt(host: Host, wanted: Wanted, others: list[Implant], rng: np.random.Generator) -> Implant | None:
    """Try one random place; None where it does not suit."""
    low_ml, high_ml = SIZES_ML[wanted.size]
    volume_ml = math.exp(rng.uniform(math.log(low_ml), math.log(high_ml)))
    target_hu = float(rng.uniform(*TARGET_HU[wanted.density]))
    radius_mm = (volume_ml * 750.0 / math.pi) ** (1.0 / 3.0)
    radii = radius_mm * _stretches(rng)
    places = np.flatnonzero(_suitable(host, wanted.place, radius_mm))
    centre = host.volume.geometry.to_lps_mm(host.candidates_zyx[rng.choice(places)])
    seed = (int(rng.integers(2**31)),)
    for _ in range(_ROUNDS):
        placed = _body(centre, radii, seed)
        if not all(_apart(placed, other.placed) for other in others):
            return None
        box = box_around(host.volume, placed)
        share = share_in_voxels(host.volume, placed, box) * host.lungs_zyx[box]
        found_ml = float(share.sum(dtype=np.float64)) * host.volume.geometry.voxel_ml
        if low_ml <= found_ml < high_ml:
            implant = Implant(wanted, placed, target_hu, box, share, found_ml)
            return implant if _aerated(host, implant) else None
        radii = radii * min((volume_ml / max(found_ml, 1e-3)) ** (1.0 / 3.0), 1.6)
    return None


def _stretches(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how the three half axes depart from their geometric mean."""
    logs = rng.uniform(-0.25, 0.25, size=3)
    return np.asarray(np.exp(logs - logs.mean()))


def _suitable(host: Host, place: Place, radius_mm: float) -> NDArray[np.bool_]:
    if place is Place.SUBPLEURAL:
        return host.depth_mm <= max(0.5 * radius_mm, float(host.depth_mm.min()))
    return host.depth_mm >= min(radius_mm, float(np.quantile(host.depth_mm, 0.85)))


def _body(centre: NDArray[np.float64], radii: NDArray[np.float64], seed: tuple[int, ...]) -> PlacedLesion:
    x, y, z = (float(value) for value in centre)
    rx, ry, rz = (float(value) for value in radii)
    # Only radii and irregularity of the phantom's lesion count here: the place is given in mm.
    lesion = PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.5, 0.5, 0.5, (rx, ry, rz))
    return PlacedLesion(lesion, (x, y, z), (rx, ry, rz), seed)


def _apart(one: PlacedLesion, other: PlacedLesion) -> bool:
    reach = sum(1.15 * max(body.radii) for body in (one, other))
    return math.dist(one.centre, other.centre) > reach + _APART_MM


def _aerated(host: Host, implant: Implant) -> bool:
    """Tell whether the lung there is less dense than the lesion, and free of large vessels and disease."""
    inside = implant.share_zyx >= 0.5 * implant.share_zyx.max()
    smooth = smoothed_hu(host.volume, implant.box)[inside]
    least_hu = min(implant.target_hu - _LEAST_CONTRAST_HU, _AERATED_BELOW_HU)
    return bool(smooth.mean() <= least_hu and (smooth > _DENSE_FROM_HU).mean() <= _MOST_DENSE)
