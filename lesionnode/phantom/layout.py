"""Random lesions with a future: places where they do not touch, at either time, whatever their size then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from core.domain import LesionClass, Side
from lesionnode.phantom import thorax
from lesionnode.phantom.breathing import Breathing
from lesionnode.phantom.lesions import PlacedLesion, place_all
from lesionnode.phantom.patient import lungs_at_rest, own_lung_mm
from lesionnode.phantom.shapes import lattice, vector
from lesionnode.phantom.spec import PhantomLesion, PhantomSpec
from lesionnode.phantom.time_points import Fate, LesionChange

APART_MM = 8.0
_VOLUME_ML = (2.5, 75.0)
_FACTORS: dict[Fate, tuple[float, float]] = {Fate.GROWN: (1.4, 3.0), Fate.SHRUNK: (0.25, 0.7)}
#: How much of a lesion has to be inside its lung, and by how much that may differ between sizes and scans.
_LEAST_INSIDE, _SHARE_DIFFERENCE = 0.75, 0.06
#: Pieces smaller than the rest of this share of a lesion are lost in any voxels.
_LARGEST_PIECE = 0.995
_TRIES, _LAYOUTS = 80, 40


def lay_out(
    fates: Sequence[Fate], patient: PhantomSpec, inspiration: float, rng: np.random.Generator
) -> tuple[LesionChange, ...]:
    """Draw one lesion for every fate, in the right and the left lung in turn.

    Parameters
    ----------
    fates
        What happens to the lesions.
    patient
        Seed and size.
    inspiration
        Inspiration at the second scan; at the first the patient is at rest.
    rng
        Source of chance.

    Returns
    -------
    tuple of LesionChange
        In the order of the fates, identities counted from 0. Each is one piece of about 2 to 80 ml, and 8 mm
        or more from every other, also from those that are gone or not yet there.

    Raises
    ------
    RuntimeError
        Where no such lesions were found in many tries.
    """
    at_times = (patient, replace(patient, inspiration=inspiration))
    points, _, lungs = lungs_at_rest()

    def attempt() -> list[LesionChange]:
        changes: list[LesionChange] = []
        taken: list[list[PlacedLesion]] = []
        tries = 0
        while len(changes) < len(fates) and tries < _TRIES:
            number, tries = len(changes), tries + 1
            change = _change(number, fates[number], rng)
            sizes = tuple(dict.fromkeys((change.lesion, change.after or change.lesion)))
            shapes = [
                shape for time in at_times for shape in place_all(replace(time, lesions=sizes), lungs, points)
            ]
            if _apart(shapes, taken, patient.size) and _whole(shapes, len(sizes), inspiration):
                changes.append(change)
                taken.append(shapes)
        return changes

    for _ in range(_LAYOUTS):
        changes = attempt()
        if len(changes) == len(fates):
            return tuple(changes)
    raise RuntimeError(f"no place was found for {len(fates)} lesions that do not touch")


def _change(number: int, fate: Fate, rng: np.random.Generator) -> LesionChange:
    """Draw a lesion and what becomes of it; it is no smaller and no larger than wanted at either time."""
    factor = float(rng.uniform(*_FACTORS.get(fate, (1.0, 1.0))))
    smallest, largest = _VOLUME_ML[0] / min(factor, 1.0), _VOLUME_ML[1] / max(factor, 1.0)
    volume_mm3 = 1000.0 * math.exp(rng.uniform(math.log(smallest), math.log(largest)))
    stretches = rng.uniform(0.8, 1.25, size=3)
    radii = stretches * (volume_mm3 / (4.0 / 3.0 * math.pi * np.prod(stretches))) ** (1.0 / 3.0)
    lesion = PhantomLesion(
        list(LesionClass)[int(rng.integers(len(LesionClass)))],
        list(Side)[number % 2],
        up=float(rng.uniform(0.12, 0.88)),
        back=float(rng.uniform(0.12, 0.92)),
        out=float(rng.uniform(0.15, 0.95)),
        radii_mm=vector(radii),
        irregularity=float(rng.uniform(0.05, 0.18)),
        identity=number,
    )
    return LesionChange(lesion, fate, factor)


def _apart(shapes: Sequence[PlacedLesion], taken: Sequence[Sequence[PlacedLesion]], size: float) -> bool:
    """Return whether a lesion keeps its distance from all others at both times, boxes taken for shapes."""
    return all(
        float(np.max(np.maximum(np.subtract(low, other_high), np.subtract(other_low, high))))
        >= APART_MM / size
        for other in taken
        for (low, high), (other_low, other_high) in zip(_boxes(shapes), _boxes(other), strict=True)
    )


def _boxes(shapes: Sequence[PlacedLesion]) -> list[tuple[list[float], list[float]]]:
    """Return the box of one lesion's largest size at the first and at the second time."""
    half = len(shapes) // 2
    return [
        (
            np.min([shape.low_mm for shape in part], axis=0).tolist(),
            np.max([shape.high_mm for shape in part], axis=0).tolist(),
        )
        for part in (shapes[:half], shapes[half:])
    ]


def _whole(shapes: Sequence[PlacedLesion], sizes: int, inspiration: float) -> bool:
    """Return whether the pleura leaves one piece of each shape, and of all about the same share."""
    shares = []
    for number, shape in enumerate(shapes):
        share = _share_inside(shape, Breathing(1.0 if number < sizes else inspiration))
        if share < _LEAST_INSIDE:
            return False
        shares.append(share)
    return max(shares) - min(shares) <= _SHARE_DIFFERENCE


def _share_inside(shape: PlacedLesion, breathing: Breathing) -> float:
    """Return how much of a lesion lies in its lung, 0 where that is more than one piece."""
    step_mm = float(np.clip(min(shape.radii) / 6.0, 0.8, 2.0))
    points = lattice(shape.low_mm, shape.high_mm, step_mm)
    lesion = shape.outer_mm(points) < 0
    lung = own_lung_mm(shape, points, thorax.lungs_mm(breathing.at_rest(points), points)) < 0
    inside = lesion & lung
    count = np.count_nonzero(inside)
    pieces, _ = ndimage.label(inside)
    if count == 0 or np.bincount(pieces.ravel())[1:].max() < _LARGEST_PIECE * count:
        return 0.0
    return float(count / np.count_nonzero(lesion))
