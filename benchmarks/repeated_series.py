"""Real CT repeated: lesions put in, then moved, turned by up to 5 degrees, resampled, and noise added.

Resampling must not do what a second scan would not: linear interpolation blurs, above all from slice to
slice, and takes noise away, which is another kernel and another thickness. Cubic splines keep both. A second
kernel is real where a study has one; slices of another thickness are resampled, in every other patient by
linear interpolation, as viewers and archives do it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.implanting import Density, Host, Implant, Place, Wanted, implanted, place_lesions
from benchmarks.real_series import SENSATION_SHARP, SENSATION_SOFT, series_files
from benchmarks.repeated_scans import Protocol, RepeatedPatient, RepeatedScan, ToRest
from core.domain import CtVolume
from core.geometry import Geometry
from inference.lungs import segment_lungs
from inference.series_reader import read_series
from inference.straightening import Straightening

#: So many patients are made of every scan; what lesions they have depends on the number.
_RUNS = (1, 2, 3, 4)
_SIZES = ("<1", "1–3", "1–3", "3–10", "3–10", "10–50")
_TURN_DEG, _SHIFT_MM = 5.0, 8.0
#: Slices added at both ends, more of the same, so that a turned lung stays in view.
_SPARE_MM = 15.0
_NOISE_HU, _NOISE_GRAIN_PX = 25.0, 0.7
#: Thicker slices cannot be turned out of their plane without losing what is in them.
_TURNED_UP_TO_MM = 6.0
_THICK_FROM_MM = 4.0
_AIR_HU = -1024
_LINEAR, _CUBIC = 1, 3
#: How far beyond the first and the last slice anything is looked for, mm.
_REACH_MM = 60.0


@dataclass(frozen=True, slots=True)
class Move:
    """How the patient lies the second time: turned about the middle of the volume, then shifted, LPS mm."""

    turn_deg: tuple[float, float, float]
    shift_mm: tuple[float, float, float]

    def affine(self, middle_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the way from the first scan to the second, 4 × 4 LPS mm."""
        turn = np.eye(3)
        for axis, degrees in enumerate(self.turn_deg):
            one, other = (axis + 1) % 3, (axis + 2) % 3
            step = np.eye(3)
            step[one, one] = step[other, other] = math.cos(math.radians(degrees))
            step[other, one] = math.sin(math.radians(degrees))
            step[one, other] = -step[other, one]
            turn = step @ turn
        affine = np.eye(4)
        affine[:3, :3] = turn
        affine[:3, 3] = middle_lps_mm - turn @ middle_lps_mm + np.array(self.shift_mm)
        return affine


_CHECKED = Move((2.9, 2.9, 2.9), (3.3, -4.6, 2.2))  # 5 degrees in all


def series_patients(folders: Sequence[Path]) -> list[RepeatedPatient]:
    """Return the patients that are made of real series.

    Parameters
    ----------
    folders
        One per series. Both kernels of the Sensation study are one patient.
    """
    by_name = {folder.name: folder for folder in folders}
    sharp = by_name.pop(SENSATION_SHARP, None) if SENSATION_SOFT in by_name else None
    return [
        RepeatedPatient(
            f"{name}-{run}", "real", partial(_scans, folder, sharp if name == SENSATION_SOFT else None, run)
        )
        for name, folder in by_name.items()
        for run in _RUNS
    ]


def series_checks(folders: Sequence[Path]) -> list[RepeatedPatient]:
    """Return pairs of real scans, nothing put in, that no limit is made of: all have to lie inside.

    Both kernels of the Sensation study as they are; every other series as it is, and turned by 5 degrees,
    shifted and resampled to slices of 3 mm (of 5 mm where 3 mm are its own).
    """
    by_name = {folder.name: folder for folder in folders}
    checks = []
    if SENSATION_SHARP in by_name and SENSATION_SOFT in by_name:
        pair = by_name.pop(SENSATION_SOFT), by_name.pop(SENSATION_SHARP)
        checks.append(RepeatedPatient("two kernels", "check", partial(_kernels, *pair)))
    return checks + [
        RepeatedPatient(f"{name}, resampled ({words})", "check", partial(_resampled, folder, order))
        for name, folder in by_name.items()
        for words, order in (("cubic", _CUBIC), ("linear", _LINEAR))
    ]


def _kernels(soft: Path, sharp: Path) -> Iterator[RepeatedScan]:
    for kernel, folder in (("soft", soft), ("lung", sharp)):
        volume = _read(folder)
        own = Protocol(kernel, round(volume.geometry.spacing_zyx_mm[0], 1))
        yield RepeatedScan(folder.name, own, volume, _identity)


def _resampled(folder: Path, order: int) -> Iterator[RepeatedScan]:
    volume = _read(folder)
    own = Protocol(slice_mm=round(volume.geometry.spacing_zyx_mm[0], 1))
    yield RepeatedScan("as it is", own, volume, _identity)
    other = replace(own, slice_mm=_other_mm(own.slice_mm))
    there, to_rest = moved(volume, _CHECKED, other.slice_mm, order=order)
    yield RepeatedScan("resampled", other, there, to_rest)


def _other_mm(slice_mm: float) -> float:
    return 3.0 if slice_mm > _THICK_FROM_MM else 5.0


def _scans(folder: Path, sharp: Path | None, run: int) -> Iterator[RepeatedScan]:
    rng = np.random.default_rng((run, 96))
    volume = _read(folder)
    host = Host.of(volume, segment_lungs(volume))
    implants = place_lesions(host, _wanted(run, rng), rng)
    first_mm = round(volume.geometry.spacing_zyx_mm[0], 1)
    own = Protocol(slice_mm=first_mm)
    yield from _repeated(implanted(host, implants), own, rng)
    if sharp is not None:
        yield from _other_kernel(sharp, implants, replace(own, kernel="lung"), rng)
    elif first_mm <= _TURNED_UP_TO_MM:
        other = replace(own, slice_mm=_other_mm(first_mm))
        order = _CUBIC if run % 2 else _LINEAR
        yield _moved(implanted(host, implants), other, 1, order, rng)


def _repeated(volume: CtVolume, protocol: Protocol, rng: np.random.Generator) -> Iterator[RepeatedScan]:
    """Return the scan as it is, and moved twice."""
    yield RepeatedScan(f"{protocol.words()}, as it is", protocol, volume, _identity)
    for number in (1, 2):
        yield _moved(volume, protocol, number, _CUBIC, rng)


def _moved(
    volume: CtVolume, protocol: Protocol, number: int, order: int, rng: np.random.Generator
) -> RepeatedScan:
    move = _move(volume.geometry, rng)
    there, to_rest = moved(volume, move, protocol.slice_mm, order=order)
    noisy = replace(there, hu_zyx=_with_noise(there.hu_zyx, rng))
    return RepeatedScan(f"{protocol.words()}, moved {number}", protocol, noisy, to_rest)


def _other_kernel(
    folder: Path, implants: Sequence[Implant], protocol: Protocol, rng: np.random.Generator
) -> Iterator[RepeatedScan]:
    volume = _read(folder)
    host = Host.of(volume, segment_lungs(volume))
    yield from _repeated(implanted(host, implants), protocol, rng)


def _read(folder: Path) -> CtVolume:
    volume = read_series(series_files(folder))
    return Straightening.of(volume.geometry).straight(volume)


def _wanted(run: int, rng: np.random.Generator) -> list[Wanted]:
    densities, places = list(Density), list(Place)
    return [
        Wanted(densities[(run + at) % len(densities)], size, places[int(rng.integers(len(places)))])
        for at, size in enumerate(_SIZES)
    ]


def _move(geometry: Geometry, rng: np.random.Generator) -> Move:
    """Choose a shift of up to 8 mm along each axis, and a turn; thick slices stay in their plane."""
    x, y, z = (float(rng.uniform(-_SHIFT_MM, _SHIFT_MM)) for _ in range(3))
    axis = rng.normal(size=3)
    degrees = rng.uniform(2.0, _TURN_DEG)
    if geometry.spacing_zyx_mm[0] > _TURNED_UP_TO_MM:
        return Move((0.0, 0.0, float(degrees)), (x, y, 0.0))
    turn_x, turn_y, turn_z = axis / np.linalg.norm(axis) * degrees
    return Move((float(turn_x), float(turn_y), float(turn_z)), (x, y, z))


def moved(volume: CtVolume, move: Move, slice_mm: float, *, order: int = _CUBIC) -> tuple[CtVolume, ToRest]:
    """Scan a patient who lies otherwise, in slices of another thickness.

    Parameters
    ----------
    volume
        The first scan, on a straight grid.
    move
        How the patient lies now.
    slice_mm
        Thickness and distance of the slices; thicker ones than the volume's average over several of its own.
    order
        Of the splines between voxels, 1 for linear interpolation.

    Returns
    -------
    tuple
        The second scan on axes of the same directions, 15 mm longer at both ends, int16 HU; and the way back
        from its LPS mm to the first scan's.
    """
    parts = max(1, round(slice_mm / volume.geometry.spacing_zyx_mm[0]))
    target = _target(volume.geometry, slice_mm, parts)
    affine = move.affine(volume.geometry.to_lps_mm((np.array(volume.hu_zyx.shape) - 1.0) / 2.0))
    back: NDArray[np.float64] = np.asarray(np.linalg.inv(affine), np.float64)
    index = np.linalg.inv(volume.geometry.affine_lps) @ back @ target.affine_lps
    fine = _sampled(volume, index, target.shape_zyx, order)
    hu = fine.reshape(-1, parts, *fine.shape[1:]).mean(axis=1)
    thick = target.affine_lps.copy()
    thick[:3, 3] += thick[:3, 0] * (parts - 1) / 2.0
    thick[:3, 0] *= parts
    geometry = Geometry(thick, (hu.shape[0], hu.shape[1], hu.shape[2]), "")
    return CtVolume(_as_hu(hu), geometry, (), ()), partial(_through, back)


def _target(geometry: Geometry, slice_mm: float, parts: int) -> Geometry:
    """Return the grid that is sampled: `parts` planes for each slice."""
    slices, rows, columns = geometry.shape_zyx
    first_mm = geometry.spacing_zyx_mm[0]
    wanted = math.ceil(((slices - 1) * first_mm + 2.0 * _SPARE_MM) / slice_mm) + 1
    affine = geometry.affine_lps.copy()
    affine[:3, 3] -= affine[:3, 0] * (_SPARE_MM / first_mm)
    affine[:3, 0] *= slice_mm / first_mm / parts
    return Geometry(affine, (wanted * parts, rows, columns), "")


def _sampled(
    volume: CtVolume, index: NDArray[np.float64], shape_zyx: tuple[int, int, int], order: int
) -> NDArray[np.float32]:
    """Sample a volume where an affine of indices points, the slices at its ends repeated; float32 HU."""
    spare = math.ceil(_REACH_MM / volume.geometry.spacing_zyx_mm[0])
    padded = np.pad(volume.hu_zyx, ((spare, spare), (0, 0), (0, 0)), mode="edge").astype(np.float32)
    sampled = ndimage.affine_transform(
        padded,
        index[:3, :3],
        index[:3, 3] + np.array([spare, 0.0, 0.0]),
        output_shape=shape_zyx,
        output=np.float32,
        order=order,
        cval=_AIR_HU,
    )
    return np.asarray(sampled)


def _with_noise(hu_zyx: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """Add noise of about 10 HU: a little more than resampling takes away."""
    noise = rng.standard_normal(hu_zyx.shape, dtype=np.float32) * np.float32(_NOISE_HU)
    return _as_hu(hu_zyx + ndimage.gaussian_filter(noise, (0.0, _NOISE_GRAIN_PX, _NOISE_GRAIN_PX)))


def _as_hu(values: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.rint(values), _AIR_HU, 3071).astype(np.int16)


def _identity(points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return points_lps_mm


def _through(affine: NDArray[np.float64], points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points_lps_mm @ affine[:3, :3].T + affine[:3, 3])
