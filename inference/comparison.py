"""A scan compared with earlier ones of the patient: one of them in every number, all of them in the trend."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.comparison import (
    Alignment,
    Comparison,
    CompositionShift,
    CourseRules,
    HistoryPoint,
)
from core.domain import FINDING_LABEL, Finding, Side
from core.repeatability import Condition, Repeatability
from core.time_point import TimePoint
from inference.change_limits import Limits
from inference.common_view import CommonView, Register, Registered, View
from inference.comparability import HIDDEN_FROM, Comparability, comparability
from inference.course import Evidence, course_of
from inference.doubts import doubt
from inference.earlier_scans import baseline_of, earlier_scans, in_trend
from inference.lesion_fates import Fates, fates
from inference.region_changes import Regions
from inference.registration import register as _register

#: Volumes by (finding then, finding now), ml (`core.comparison.CompositionShift.ml`).
_Became = dict[tuple[Finding | None, Finding | None], float]
#: Where less of the lungs is in both scans, no course is told.
_LEAST_COMMON = 0.5
_KINDS: tuple[Finding | None, ...] = (None, *FINDING_LABEL)
#: Of a voxel that the prior scan does not show; no label of a finding.
_NOT_SHOWN = 255
_AIR_HU = -1024
#: Slices counted at once; bounds the memory of the wide integers that counting needs.
_SLAB = 16


def compare(
    current: TimePoint,
    earlier: Sequence[TimePoint],
    repeatability: Repeatability,
    rules: CourseRules = CourseRules(),  # noqa: B008 - frozen
    register: Register = _register,
    whole: Callable[[TimePoint], TimePoint] = lambda point: point,
) -> Comparison | None:
    """Compare a scan with earlier ones of the same patient.

    Parameters
    ----------
    current
        The current scan.
    earlier
        What else is known of the patient, in any order; what is no earlier scan is left out.
    repeatability
        Of the current scan's model.
    rules
        From which change on the site calls it one.
    register
        Brings a prior scan onto the current one.
    whole
        Completes an earlier scan of which only the numbers were read; called for the one that the current
        scan is compared with.

    Returns
    -------
    Comparison or None
        With the newest earlier scan (`inference.earlier_scans.baseline_of`); None where there is none.
    """
    scans = earlier_scans(current, earlier)
    if not scans:
        return None
    baseline = baseline_of(scans, current)
    trend = in_trend(scans, baseline, current)
    prior = whole(baseline)
    registered = register(prior, current)
    placed = registered if registered.quality.succeeded else None
    view = CommonView.of(prior, current, placed)
    able = comparability(prior, current, view, repeatability)
    days = _days(prior, current)
    why_not = doubt(prior, current)
    # Between two models no difference is a change: what either of them repeats says nothing of the other.
    comparable = able.same_model and not why_not
    known = repeatability if comparable else Repeatability(())
    limits = Limits(known, able.conditions, rules, days)
    regions = Regions(prior, current, view, limits)
    findings = tuple(regions.findings())
    told, alignment, shift = Fates(), None, None
    if placed is not None:
        told = fates(prior, current, placed, limits, comparable=comparable)
        alignment, became = _brought(prior, current, placed)
        shift = CompositionShift(became, max(one.volume_ml.limit for one in findings))
    course, because = course_of(_evidence(regions, able, told if placed else None, why_not))
    return Comparison(
        prior=prior,
        scanned_at=current.facts.scanned_at,
        days=days,
        course=course,
        because=because,
        lung_ml=regions.lungs(),
        regions=tuple(regions.regions()),
        findings=findings,
        zones=tuple(regions.zones()),
        lesions=told.lesions,
        shift=shift,
        registration=registered.quality,
        warnings=(*able.warnings, *([why_not] if why_not else []), *told.remarks),
        history=tuple(HistoryPoint.of(point) for point in (*trend, current)),
        alignment=alignment,
        tracking_uids=told.tracking_uids,
        inputs=tuple(point.digest for point in trend),
    )


def _days(prior: TimePoint, current: TimePoint) -> float | None:
    then, now = prior.facts.scanned_at, current.facts.scanned_at
    return None if then is None or now is None else (now - then).total_seconds() / 86400.0


def _evidence(regions: Regions, able: Comparability, told: Fates | None, why_not: str) -> Evidence:
    view = regions.view
    total, share = regions.in_common()
    hidden = max(view.prior.share, view.current.share)
    return Evidence(
        total=total,
        share=share if Condition.OTHER_INSPIRATION in able.conditions else None,
        lungs=tuple(regions.in_common(side=side)[0] for side in Side),
        ground_glass=regions.in_common(Finding.GROUND_GLASS)[0],
        consolidation=regions.in_common(Finding.CONSOLIDATION)[0],
        lesions=None if told is None else told.lesions,
        limits=regions.limits,
        unknown=_unknown(regions, able, hidden) or why_not,
        where=" in the part of the lungs that both scans show" if hidden >= HIDDEN_FROM else "",
    )


def _unknown(regions: Regions, able: Comparability, hidden: float) -> str:
    """Say why no course can be told; nothing where it can."""
    if not able.same_model:
        names = [f"{one.model.name} {one.model.version}" for one in (regions.prior, regions.current)]
        return (
            f"Two models looked at the scans ({names[0]}, then {names[1]}), whose numbers cannot be compared."
        )
    if not regions.view.is_known:
        return "The lungs are cut off, and which part of them both scans show is not known."
    if hidden > 1.0 - _LEAST_COMMON:
        return (
            f"The scans have too little of the lungs in common: {100 * hidden:.0f} % are in one of them only."
        )
    return ""


def _brought(prior: TimePoint, current: TimePoint, registered: Registered) -> tuple[Alignment, _Became]:
    """Return the prior scan on the current one, and what turned into what."""
    # What lies beyond the end of a scan that shows all of the lungs is not lung: no lesion.
    outside = 0 if View.of(prior).is_whole else _NOT_SHOWN
    found = registered.brought(
        prior.lesions.labels_zyx, prior.geometry, current.geometry, order=0, outside=outside
    )
    labels = np.rint(found, out=found).astype(np.uint8)
    del found
    became = _became(labels, current)
    labels[labels == _NOT_SHOWN] = 0
    density = registered.brought(
        prior.density_hu_zyx, prior.density_geometry, current.density_geometry, order=1, outside=_AIR_HU
    )
    hu = np.rint(density, out=density).astype(np.int16)
    return Alignment(hu, labels), became


def _became(then_zyx: NDArray[np.uint8], current: TimePoint) -> _Became:
    """Count what turned into what inside the current lungs: outside, the two do not quite fit."""
    count, lungs, now_zyx = len(_KINDS), current.lungs.labels_zyx, current.lesions.labels_zyx
    counts = np.zeros(count * count, np.int64)
    for start in range(0, len(then_zyx), _SLAB):
        slab = slice(start, start + _SLAB)
        then = then_zyx[slab]
        here = (lungs[slab] > 0) & (then != _NOT_SHOWN)
        counts += np.bincount(then[here] * np.uint8(count) + now_zyx[slab][here], minlength=counts.size)
    volumes = (counts * current.geometry.voxel_ml).tolist()
    return {
        (then, now): volumes[i * count + j]
        for i, then in enumerate(_KINDS)
        for j, now in enumerate(_KINDS)
        if i or j
    }
