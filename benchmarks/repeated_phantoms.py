"""Phantoms scanned twelve times, each time with other noise and in another position."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.phantom_patients import scans
from benchmarks.repeated_scans import Protocol, RepeatedPatient, RepeatedScan, ToRest
from core.domain import CtVolume
from lesionnode.phantom.correspondence import corresponding_lps_mm, lung_box_lps_mm
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.spec import PhantomLesion, PhantomSpec

#: Each is scanned so often.
PROTOCOLS: tuple[tuple[Protocol, int], ...] = (
    (Protocol(), 2),
    (Protocol(kernel="lung"), 2),
    (Protocol(slice_mm=1.0), 2),
    (Protocol(slice_mm=5.0), 2),
    (Protocol(contrast=True), 2),
    (Protocol(inspiration=0.85), 1),
    (Protocol(inspiration=1.12), 1),
)
#: Rows and columns, and their distance: holds the body wherever it lies.
_EDGE, _IN_PLANE_MM = 320, 1.15
#: What is in view beyond the lungs.
_SPARE_MM = 12.0
#: Two scans are turned against each other by up to twice so much, 5 degrees about a single axis.
_TURN_DEG = 2.5
_SHIFT_MM = (8.0, 15.0, 12.0)
#: Lesions of a patient with little disease: how many, and their size.
_FEW, _SMALLER = 3, 0.6


@dataclass(frozen=True, slots=True)
class PhantomGrid:
    """Rows and columns of every phantom, and their distance in mm."""

    edge: int = _EDGE
    in_plane_mm: float = _IN_PLANE_MM


def phantom_patients(seeds: tuple[int, ...], grid: PhantomGrid | None = None) -> list[RepeatedPatient]:
    """Return one patient per seed.

    In turn: the default patient with six large lesions; one whose 4 to 8 lesions the seed chooses; one of
    them with three smaller lesions only.

    Parameters
    ----------
    seeds
        Of 1 to 20, which are kept for measuring.
    grid
        In the plane; None for 320 pixels of 1.15 mm.
    """
    grid = grid or PhantomGrid()
    return [RepeatedPatient(f"phantom-{seed}", "phantom", partial(_scans, seed, grid)) for seed in seeds]


def _scans(seed: int, grid: PhantomGrid) -> Iterator[RepeatedScan]:
    patient = replace(_patient(seed), shape_zyx=(1, grid.edge, grid.edge))
    at_rest = replace(patient, inspiration=1.0, shift_mm=(0.0, 0.0, 0.0), turn_deg=(0.0, 0.0, 0.0))
    rng = np.random.default_rng((seed, 95))
    for protocol, times in PROTOCOLS:
        for number in range(1, times + 1):
            spec = _scanned(patient, protocol, int(rng.integers(1, 2**31)), grid, rng)
            phantom = generate_phantom(spec)
            yield RepeatedScan(
                name=f"{protocol.words()}, {number}",
                protocol=protocol,
                volume=CtVolume(phantom.hu_zyx, phantom.geometry, (), ()),
                to_rest=_to_rest(spec, at_rest),
            )


def _patient(seed: int) -> PhantomSpec:
    default, varied, _healthy = scans(seed)
    if seed % 3 == 0:
        return default.spec
    lesions = varied.spec.lesions
    if seed % 3 == 2:
        lesions = tuple(_smaller(lesion) for lesion in lesions[:_FEW])
    return replace(varied.spec, lesions=lesions)


def _smaller(lesion: PhantomLesion) -> PhantomLesion:
    x, y, z = (max(_SMALLER * radius, 5.0) for radius in lesion.radii_mm)
    return replace(lesion, radii_mm=(x, y, z))


def _scanned(
    patient: PhantomSpec, protocol: Protocol, noise_seed: int, grid: PhantomGrid, rng: np.random.Generator
) -> PhantomSpec:
    """Choose position, noise and blur of one scan; as many slices as hold the lungs."""
    lung_kernel = protocol.kernel == "lung"
    # Thin slices have more noise, but less than their thickness says: scanners raise the dose a little.
    noise = rng.uniform(35.0, 50.0) if lung_kernel else rng.uniform(15.0, 25.0)
    shift_x, shift_y, shift_z = (float(rng.uniform(-most, most)) for most in _SHIFT_MM)
    turn_x, turn_y, turn_z = _turn_deg(rng)
    spec = replace(
        patient,
        contrast=protocol.contrast,
        inspiration=protocol.inspiration,
        noise_sd_hu=float(noise * (2.5 / protocol.slice_mm) ** 0.4),
        noise_grain_mm=0.2 if lung_kernel else 0.6,
        blur_mm=float(rng.uniform(0.25, 0.35) if lung_kernel else rng.uniform(0.6, 0.8)),
        noise_seed=noise_seed,
        shift_mm=(shift_x, shift_y, shift_z),
        turn_deg=(turn_x, turn_y, turn_z),
    )
    low, high = lung_box_lps_mm(spec)
    slices = math.ceil((high[2] - low[2] + 2.0 * _SPARE_MM) / protocol.slice_mm)
    return replace(
        spec,
        shape_zyx=(slices, grid.edge, grid.edge),
        spacing_zyx_mm=(protocol.slice_mm, grid.in_plane_mm, grid.in_plane_mm),
        # The middle of the slices is anywhere in a slice, as the lungs' own is.
        centre_lps_mm=(0.0, 10.0, float(low[2] + high[2]) / 2.0 + float(rng.uniform(-0.5, 0.5))),
    )


def _turn_deg(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a turn of up to 2.5 degrees about a random axis."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis) * rng.uniform(0.0, _TURN_DEG)
    return float(x), float(y), float(z)


def _to_rest(spec: PhantomSpec, at_rest: PhantomSpec) -> ToRest:
    def to_rest(points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        return corresponding_lps_mm(spec, at_rest, points_lps_mm)

    return to_rest
