"""Which phantoms are measured, and where each of their lesions lies."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.implant_imaging import Box, box_around, voxel_points
from core.domain import LUNG_LABEL, CtVolume, LesionClass, Side
from lesionnode.phantom.lesions import PlacedLesion
from lesionnode.phantom.shapes import Points
from lesionnode.phantom.spec import PatientPosition, Phantom, PhantomLesion, PhantomSpec

_SPACINGS_MM = (1.0, 5.0, 2.5)
_HEIGHT_MM = 300.0
_EDGE, _IN_PLANE_MM = 400, 0.9
_SOFT_GRAIN_MM, _LUNG_GRAIN_MM = 0.6, 0.2


@dataclass(frozen=True, slots=True)
class Scan:
    """One phantom to measure.

    Parameters
    ----------
    kind
        default, varied or healthy.
    spec
        All about it.
    """

    kind: str
    spec: PhantomSpec

    def described(self) -> dict[str, Any]:
        """Return what matters of the patient and the scan."""
        spec = self.spec
        return {
            "seed": spec.seed,
            "kind": self.kind,
            "spacing_mm": spec.spacing_zyx_mm[0],
            "position": spec.patient_position.value,
            "noise_hu": round(spec.noise_sd_hu, 1),
            "kernel": "lung" if spec.noise_grain_mm < _SOFT_GRAIN_MM else "soft",
            "contrast": spec.contrast,
        }


def scans(seed: int) -> list[Scan]:
    """Return the phantoms of a seed: the default patient, a varied one, a healthy one."""
    rng = np.random.default_rng((seed, 77))
    lesions = tuple(_lesion(rng) for _ in range(int(rng.integers(4, 9))))
    varied = replace(_varied(seed, seed, rng), lesions=lesions)
    healthy = replace(_varied(seed, seed + 1, rng), lesions=())
    return [Scan("default", PhantomSpec(seed=seed)), Scan("varied", varied), Scan("healthy", healthy)]


def lesion_mask(phantom: Phantom, placed: PlacedLesion) -> tuple[Box, NDArray[np.bool_]]:
    """Return where one lesion of a phantom lies.

    Parameters
    ----------
    phantom
        The phantom.
    placed
        The lesion, mm of the anatomy.

    Returns
    -------
    tuple
        A box of the grid, and bool (z, y, x) on it: voxels of the true lesions whose centre is in this one.
    """
    size = phantom.spec.size
    volume = CtVolume(phantom.hu_zyx, phantom.geometry, (), ())
    box = box_around(volume, _scaled(placed, size))
    points = voxel_points(volume, box, 0.0)
    anatomy = Points(*(part / np.float32(size) for part in (points.x, points.y, points.z)))
    own = phantom.truth.lungs_zyx[box] == LUNG_LABEL[placed.lesion.side]
    return box, (placed.outer_mm(anatomy) < 0) & own & (phantom.truth.lesions_zyx[box] > 0)


def _scaled(placed: PlacedLesion, size: float) -> PlacedLesion:
    """Return a lesion in mm of the patient."""
    x, y, z = (size * part for part in placed.centre)
    rx, ry, rz = (size * part for part in placed.radii)
    return replace(placed, centre=(x, y, z), radii=(rx, ry, rz))


def _varied(seed: int, turn: int, rng: np.random.Generator) -> PhantomSpec:
    """Choose patient and scanner; slices and position go in turn, so that few seeds see them all."""
    spacing_mm = _SPACINGS_MM[turn % len(_SPACINGS_MM)]
    positions = list(PatientPosition)
    lung_kernel = bool(rng.integers(2))
    return PhantomSpec(
        shape_zyx=(round(_HEIGHT_MM / spacing_mm), _EDGE, _EDGE),
        spacing_zyx_mm=(spacing_mm, _IN_PLANE_MM, _IN_PLANE_MM),
        noise_sd_hu=float(rng.uniform(25.0, 50.0) if lung_kernel else rng.uniform(10.0, 30.0)),
        noise_grain_mm=_LUNG_GRAIN_MM if lung_kernel else _SOFT_GRAIN_MM,
        blur_mm=0.4 if lung_kernel else 0.7,
        seed=seed,
        contrast=bool(rng.integers(2)),
        size=float(rng.uniform(0.9, 1.05)),
        patient_position=positions[turn % len(positions)],
    )


def _lesion(rng: np.random.Generator) -> PhantomLesion:
    classes, sides = list(LesionClass), list(Side)
    radius_mm = math.exp(rng.uniform(math.log(7.0), math.log(40.0)))
    x, y, z = (float(radius_mm * stretch) for stretch in rng.uniform(0.75, 1.3, size=3))
    return PhantomLesion(
        classes[int(rng.integers(len(classes)))],
        sides[int(rng.integers(len(sides)))],
        up=float(rng.uniform(0.15, 0.85)),
        back=float(rng.uniform(0.1, 0.95)),
        out=float(rng.uniform(0.2, 1.0)),
        radii_mm=(x, y, z),
    )
