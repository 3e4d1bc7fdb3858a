"""Scans that are compared: random phantom pairs, two large ones for the clock, unchanged real CT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from pydicom.dataset import Dataset

from benchmarks.comparison_judgement import TrueLesion, marked
from benchmarks.opened import OpenedModel
from benchmarks.repeated_series import series_checks
from core.domain import Analysis, CtVolume, LesionMask, LungMask
from core.errors import NotAChest
from core.time_point import TimePoint
from core.uid import derived_uid
from inference.lesions import measure
from inference.time_points import time_point_of
from lesionnode.phantom.random_pairs import PairGrid, PairKind, random_pair
from lesionnode.phantom.spec import Phantom
from lesionnode.phantom.time_points import PairPlan, PhantomPair, Scan, generate_pair

#: Patients of their own: those of the repeatability are 1 to 12, and on 101 to 240 the rule was made.
FIRST_SEED = 301
_FIRST, _DAYS = datetime(2026, 1, 5, 9, 0), 90
#: Pixels as large as those of the phantoms that the repeatability is measured on: with larger ones the
#: densitometry marks what lies at the hilum, in one scan of a patient and not in the other. Slices so much
#: alike that they count as one thickness: else limits are so wide that few changes could be judged.
_GRID = PairGrid(edge=320, in_plane_mm=1.15, slices_mm=(2.0, 2.5))
_LARGE_GRID, _LARGE_SLICES = PairGrid(slices_mm=(1.0,)), 300


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Two scans that a model looked at, and what is known of the patient.

    Parameters
    ----------
    name
        Which ones.
    prior, current
        As they are kept.
    lesions
        The truth; none of real patients.
    """

    name: str
    prior: TimePoint
    current: TimePoint
    lesions: tuple[TrueLesion, ...] = ()


def kind_of(seed: int) -> PairKind:
    """Return what happens to the lesions of a random patient: each kind in turn."""
    return list(PairKind)[seed % len(PairKind)]


def phantom_pair(model: OpenedModel, seed: int) -> tuple[Compared, Compared]:
    """Scan a random patient twice, on a coarse grid: as the model sees it, and by the true masks."""
    pair = generate_pair(random_pair(seed, kind_of(seed), _GRID))
    points = [_looked_at(model, phantom, scan, number) for number, (phantom, scan) in enumerate(_scans(pair))]
    truths = [
        _truth(phantom, point) for phantom, point in zip((pair.first, pair.second), points, strict=True)
    ]
    name = f"phantom-{seed}"
    return _pair(name, pair, points), _pair(f"{name}, true masks", pair, truths)


def _pair(name: str, pair: PhantomPair, points: Sequence[TimePoint]) -> Compared:
    prior, current = points
    then, now = marked(pair.first, prior), marked(pair.second, current)
    lesions = tuple(
        TrueLesion(
            one.before_ml,
            one.after_ml,
            () if one.first is None else then[one.first],
            () if one.second is None else now[one.second],
        )
        for one in pair.lesions
    )
    return Compared(name, prior, current, lesions)


def _truth(phantom: Phantom, point: TimePoint) -> TimePoint:
    """Return a scan as a model without fault would see it."""
    header = Dataset()
    volume = CtVolume(phantom.hu_zyx, phantom.geometry, (), (header,))
    lungs, lesions = LungMask(phantom.truth.lungs_zyx), LesionMask(phantom.truth.lesions_zyx, point.model)
    seen = time_point_of(Analysis(volume, lungs, lesions, measure(volume, lungs, lesions)))
    if seen is None:
        raise NotAChest("A phantom without lungs cannot be compared.")
    return replace(seen, facts=point.facts)


def large_pair(model: OpenedModel, seed: int = FIRST_SEED) -> Compared:
    """Scan a patient twice in 300 slices of 512 × 512."""
    plan = random_pair(seed, PairKind.VARIED, _LARGE_GRID)
    first, second = (
        replace(scan, shape_zyx=(_LARGE_SLICES, *scan.shape_zyx[1:])) for scan in (plan.first, plan.second)
    )
    pair = generate_pair(PairPlan(plan.patient, plan.changes, first, second))
    prior, current = (
        _looked_at(model, phantom, scan, number) for number, (phantom, scan) in enumerate(_scans(pair))
    )
    return Compared(f"{_LARGE_SLICES} slices", prior, current)


def real_pairs(model: OpenedModel, folders: Sequence[Path]) -> Iterator[Compared]:
    """Yield two scans of each real patient who did not change (`repeated_series.series_checks`).

    A scan that was made by resampling gets the header of the real one: a month later, another series, the
    thickness of its slices.
    """
    for check in series_checks(folders):
        points: list[TimePoint] = []
        header: Dataset | None = None
        for number, scan in enumerate(check.scans()):
            volume = scan.volume
            if volume.headers:
                header = volume.headers[0]
            elif header is not None:
                header = _later(header, scan.protocol.slice_mm)
                volume = replace(volume, headers=(header,))
            points.append(_point(model, volume, f"{check.name}, scan {number + 1}"))
        yield Compared(check.name, points[0], points[1])


def _scans(pair: PhantomPair) -> tuple[tuple[Phantom, Scan], tuple[Phantom, Scan]]:
    return (pair.first, pair.plan.first), (pair.second, pair.plan.second)


def _looked_at(model: OpenedModel, phantom: Phantom, scan: Scan, number: int) -> TimePoint:
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = f"2.25.{number + 1}", f"2.25.{number + 1}.1"
    header.ConvolutionKernel, header.SliceThickness = scan.kernel.name, phantom.spec.thickness_mm
    header.PatientPosition = phantom.spec.patient_position.value
    header.AcquisitionDate = f"{_FIRST + timedelta(days=number * _DAYS):%Y%m%d}"
    volume = CtVolume(phantom.hu_zyx, phantom.geometry, (), (header,))
    return _point(model, volume, f"scan {number + 1} of the phantom with seed {phantom.spec.seed}")


def _later(header: Dataset, slice_mm: float) -> Dataset:
    header = deepcopy(header)
    header.SeriesInstanceUID = derived_uid("resampled", str(header.SeriesInstanceUID), str(slice_mm))
    header.SliceThickness = slice_mm
    for keyword in ("AcquisitionDateTime", "AcquisitionTime"):
        header.pop(keyword, None)
    day = datetime.strptime(str(header.StudyDate), "%Y%m%d") + timedelta(days=30)
    header.AcquisitionDate = f"{day:%Y%m%d}"
    return header


def _point(model: OpenedModel, volume: CtVolume, name: str) -> TimePoint:
    """Look at a scan as the node does."""
    found = model.segment(volume)
    numbers = measure(volume, found.lungs, found.lesions)
    point = time_point_of(Analysis(volume, found.lungs, found.lesions, numbers))
    if point is None:
        raise NotAChest(f"No lungs were found in {name}.")
    return point
