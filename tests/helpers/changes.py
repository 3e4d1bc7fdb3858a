"""What changed between two time points on one grid, told without the code that compares scans."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from core.comparison import (
    Change,
    CompositionShift,
    Fate,
    FindingChange,
    LesionChange,
    RegionChange,
    ZoneChange,
)
from core.domain import Finding, Lesion, Region, ZoneMeasurement
from core.time_point import TimePoint
from inference.time_points import numbered_lesions

Changed = Callable[[float, float], Change]


def changes(days: float | None, *, known: bool) -> Changed:
    """Return what makes a change of two numbers; the limit is a fifth of the larger one and a little."""

    def changed(prior: float, current: float) -> Change:
        limit = 0.02 + 0.2 * max(prior, current) if known else math.inf
        return Change(prior, current, limit, days)

    return changed


def region_changes(prior: TimePoint, current: TimePoint, changed: Changed) -> Iterator[RegionChange]:
    """Yield what became of each region."""
    for region in Region:
        then, now = prior.measurements.of(region), current.measurements.of(region)
        yield RegionChange(
            region,
            changed(then.volume_ml, now.volume_ml),
            changed(then.percent_of_lung, now.percent_of_lung),
        )


def finding_changes(prior: TimePoint, current: TimePoint, changed: Changed) -> Iterator[FindingChange]:
    """Yield what became of each finding."""
    for finding in Finding:
        yield FindingChange(finding, changed(_finding_ml(prior, finding), _finding_ml(current, finding)))


def zone_changes(prior: TimePoint, current: TimePoint, changed: Changed) -> Iterator[ZoneChange]:
    """Yield what became of each zone: all lesion, then each finding."""
    for finding in (None, *Finding):
        for then, now in zip(prior.measurements.zones, current.measurements.zones, strict=True):
            volumes = [_zone_ml(zone, finding) for zone in (then, now)]
            shares = [
                100 * ml / zone.lung_ml if zone.lung_ml else 0.0
                for ml, zone in zip(volumes, (then, now), strict=True)
            ]
            yield ZoneChange(now.zone, finding, changed(*volumes), changed(*shares))


def _zone_ml(zone: ZoneMeasurement, finding: Finding | None) -> float:
    return zone.lesion_ml if finding is None else zone.finding_ml(finding)


def _finding_ml(point: TimePoint, finding: Finding) -> float:
    return sum(one.volume_ml for one in point.measurements.regions if one.region.finding is finding)


def lung_ml(point: TimePoint) -> float:
    """Return the volume of both lungs, ml."""
    lungs = (Region.LUNG_RIGHT, Region.LUNG_LEFT)
    return sum(point.measurements.of(lung).volume_ml for lung in lungs)


def lesion_changes(prior: TimePoint, current: TimePoint, changed: Changed) -> Iterator[LesionChange]:
    """Yield lesions brought together by common voxels: those that are here first, then what resolved."""
    before, now = numbered_lesions(prior), numbered_lesions(current)
    pairs = {(int(a), int(b)) for a, b in zip(before.ravel(), now.ravel(), strict=True) if a and b}
    then_by_number = {one.number: one for one in prior.measurements.lesions}
    now_by_number = {one.number: one for one in current.measurements.lesions}
    seen: set[int] = set()
    for number in now_by_number:
        if number in seen:
            continue
        olds = {a for a, b in pairs if b == number}
        news = {number} | {b for a, b in pairs if a in olds}
        seen |= news
        yield _change(
            prior,
            [then_by_number[one] for one in sorted(olds)],
            [now_by_number[one] for one in sorted(news)],
            changed,
        )
    for number, lesion in then_by_number.items():
        if number not in {a for a, _ in pairs}:
            yield _change(prior, [lesion], [], changed)


def _change(
    prior: TimePoint, then: Sequence[Lesion], now: Sequence[Lesion], changed: Changed
) -> LesionChange:
    volume = changed(sum(one.volume_ml for one in then), sum(one.volume_ml for one in now))
    if not then or not now:
        fate = Fate.NEW if now else Fate.RESOLVED
    elif len(then) > 1 or len(now) > 1:
        fate = Fate.MERGED if len(then) > 1 else Fate.SPLIT
    elif volume.is_significant:
        fate = Fate.GROWN if volume.absolute > 0 else Fate.SHRUNK
    else:
        fate = Fate.PERSISTENT
    uid = prior.tracking_uids.get(then[0].number, f"2.25.77{then[0].number}") if then else ""
    carried_on = tuple((a.number, b.number) for a, b in zip(then[:1], now[:1], strict=False))
    return LesionChange(fate, uid, tuple(then), tuple(now), volume, carried_on)


def shift(prior: TimePoint, current: TimePoint) -> CompositionShift:
    """Count what turned into what, voxel by voxel."""
    kinds: tuple[Finding | None, ...] = (None, Finding.GROUND_GLASS, Finding.CONSOLIDATION)
    then, now = prior.lesions.labels_zyx, current.lesions.labels_zyx
    voxel_ml = current.geometry.voxel_ml
    return CompositionShift(
        {
            (old, new): float(np.count_nonzero((then == i) & (now == j))) * voxel_ml
            for i, old in enumerate(kinds)
            for j, new in enumerate(kinds)
            if i or j
        },
        limit_ml=5.0,
    )
