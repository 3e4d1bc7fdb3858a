"""A scan is compared with the right earlier one, in every number, and all of it can be written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.comparison import Comparison, Course, CourseRules, Direction, Fate
from core.domain import FINDING_LABEL, Finding, Region, ResultKind, Zone
from core.repeatability import Condition, Quantity, Repeatability
from core.time_point import TimePoint
from inference.comparison import compare
from inference.earlier_scans import MOST_SCANS, baseline_of, earlier_scans, in_trend
from inference.time_points import time_point_of
from lesionnode.comparison_json import comparison_json
from lesionnode.phantom import PairGrid, PairKind, generate_pair, random_pair
from sr_writer.results import write_results
from tests.helpers.analyses import MODEL, context_of
from tests.helpers.comparisons import EVERY_LESION, Pair, later_analysis
from tests.helpers.scans import (
    CONSOLIDATION,
    MOMENT,
    REPEATABILITY,
    Ball,
    Chest,
    Exact,
    between,
    failed,
    phantom_point,
    shifted,
)

STAYS, GROWS = Ball((45.0, 0.0, 30.0), 9.0), Ball((-45.0, 0.0, 0.0), 9.0)
GROWN = replace(GROWS, radius_mm=14.0)
BEFORE, NOW = Chest([STAYS, GROWS]), Chest([STAYS, GROWN, Ball((-45.0, 0.0, 0.0), 6.0, CONSOLIDATION)])


def day(number: float) -> datetime:
    """Return a moment so many days after the first scan."""
    return MOMENT + timedelta(days=number)


def compared(
    before: Chest = BEFORE,
    now: Chest = NOW,
    register: Exact | None = None,
    repeatability: Repeatability = REPEATABILITY,
    rules: CourseRules | None = None,
) -> Comparison:
    """Compare two chests, 30 days apart."""
    points = before.point(1), now.point(2, day(30))
    found = compare(
        points[1], [points[0]], repeatability, rules or CourseRules(), register=register or Exact()
    )
    assert found is not None, "there is an earlier scan"
    return found


# --- which scan -------------------------------------------------------------------------------------------


def scans(*moments: float | None, **header: Any) -> list[TimePoint]:
    """Return a scan for each day, numbered from 1; None: without a date."""
    point = Chest(header=header).point(1)
    return [on_day(point, number, moment) for number, moment in enumerate(moments, start=1)]


def on_day(point: TimePoint, number: int, moment: float | None) -> TimePoint:
    """Return another series of a scan."""
    when = None if moment is None else day(moment)
    facts = replace(point.facts, series_instance_uid=f"2.25.{number}2", scanned_at=when)
    return replace(point, facts=facts, digest=f"{number:064d}")


def test_the_newest_earlier_scan_is_the_one_in_whatever_order_they_come() -> None:
    """History runs from the oldest to the current scan, and what went in is named."""
    first, second, third, current = scans(0, 10, 20, 30)
    found = compare(current, [second, third, first], REPEATABILITY, register=Exact())
    assert found is not None
    assert found.prior is third
    assert found.days == 10.0
    assert [point.facts for point in found.history] == [one.facts for one in (first, second, third, current)]
    assert found.inputs == (first.digest, second.digest, third.digest)
    assert found.peak is None


def test_scans_of_the_future_the_scan_itself_and_scans_without_lungs_are_left_out() -> None:
    """Where nothing else is known there is no comparison."""
    current, later, again = scans(0, 1, 0)
    again = replace(again, facts=replace(again.facts, series_instance_uid=current.facts.series_instance_uid))
    regions = tuple(replace(one, volume_ml=0.0) for one in current.measurements.regions)
    empty = replace(on_day(current, 9, -5), measurements=replace(current.measurements, regions=regions))
    assert compare(current, [later, again, empty], REPEATABILITY, register=Exact()) is None
    assert compare(current, [], REPEATABILITY, register=Exact()) is None


def test_another_series_of_the_same_moment_is_an_earlier_scan() -> None:
    """Two reconstructions of one scan can be compared; they lie no day apart."""
    first, second = scans(0, 0)
    found = compare(second, [first], REPEATABILITY, register=Exact())
    assert found is not None
    assert found.days == 0.0
    assert found.total.volume_ml.per_day is None


def test_a_scan_without_a_date_comes_before_all_others() -> None:
    """It is compared with where there is no other."""
    dated, undated, current = scans(0, None, 30)
    assert earlier_scans(current, [dated, undated]) == [undated, dated]
    found = compare(current, [undated], REPEATABILITY, register=Exact())
    assert found is not None
    assert found.days is None
    assert any("no date" in warning for warning in found.warnings)


def test_of_a_series_analysed_twice_one_analysis_counts() -> None:
    """That of the current scan's model."""
    one, current = scans(0, 30)
    other = replace(one, model=replace(MODEL, version="0.9"), digest="ff")
    assert earlier_scans(current, [one, other]) == [one]
    assert earlier_scans(current, [other, one]) == [one]


def test_of_several_scans_of_one_day_the_one_made_most_alike_is_compared_with() -> None:
    """By the same model first, then kernel, thickness and contrast, then time."""
    (current,) = scans(30)
    soft = on_day(Chest().point(1), 2, 10.0)
    sharp = on_day(Chest(header={"ConvolutionKernel": "B70f"}).point(1), 3, 10.1)
    other = on_day(Chest(model=replace(MODEL, version="0.9")).point(1), 4, 10.2)
    assert baseline_of(earlier_scans(current, [soft, sharp, other]), current) is soft
    assert baseline_of(earlier_scans(current, [sharp, other]), current) is sharp
    newer = on_day(Chest(header={"ConvolutionKernel": "B70f"}).point(1), 5, 11.2)
    assert baseline_of(earlier_scans(current, [soft, newer]), current) is newer


def test_a_scan_that_may_be_the_later_one_is_the_last_choice() -> None:
    """One of the current scan's date without a time costs the comparison with no older one."""
    older, same_day, current = scans(0, 30, 30)
    same_day, current = (
        replace(one, facts=replace(one.facts, study_instance_uid=f"2.25.7{at}", scanned_at=moment))
        for at, (one, moment) in enumerate(
            ((same_day, datetime(2026, 5, 1)), (current, datetime(2026, 5, 1, 10, 30)))
        )
    )
    assert baseline_of(earlier_scans(current, [older, same_day]), current) is older
    assert baseline_of([same_day], current) is same_day


def test_the_trend_is_bounded_and_keeps_the_peak() -> None:
    """The newest scans, and the worst of all however old it is."""
    *earlier, _ = scans(*range(MOST_SCANS + 11))
    worst = replace(earlier[3], measurements=NOW.point(1).measurements)
    current = scans(99)[0]
    trend = in_trend([*earlier[:3], worst, *earlier[4:]], earlier[-1], current)
    assert trend == [worst, *earlier[-MOST_SCANS:]]
    of_another_model = replace(worst, model=replace(MODEL, version="0.9"))
    trend = in_trend([*earlier[:3], of_another_model, *earlier[4:]], earlier[-1], current)
    assert of_another_model not in trend


def test_the_peak_is_one_of_the_scans_that_the_current_model_looked_at() -> None:
    """What another model found cannot be compared; without lesion there is no peak."""
    worst, middle, current = scans(0, 10, 20)
    worst = replace(worst, model=replace(MODEL, version="0.9"), measurements=NOW.point(1).measurements)
    found = compare(current, [worst, middle], REPEATABILITY, register=Exact())
    assert found is not None
    assert found.peak is None
    ill = replace(middle, measurements=BEFORE.point(1).measurements)
    found = compare(current, [worst, ill], REPEATABILITY, register=Exact())
    assert found is not None
    assert found.peak is not None
    assert found.peak.facts is ill.facts


# --- every number -----------------------------------------------------------------------------------------


def test_every_number_is_that_of_its_scan() -> None:
    """Regions, findings and zones, in the order in which they are written."""
    points = BEFORE.point(1), NOW.point(2, day(30))
    found = compared()
    assert [one.region for one in found.regions] == list(Region)
    assert [one.finding for one in found.findings] == list(Finding)
    assert [(one.finding, one.zone) for one in found.zones] == [
        (finding, zone) for finding in (None, *Finding) for zone in Zone
    ]
    for region, change in zip(Region, found.regions, strict=True):
        then, now = (point.measurements.of(region) for point in points)
        assert (change.volume_ml.prior, change.volume_ml.current) == (then.volume_ml, now.volume_ml)
        shares = (change.percent_of_lung.prior, change.percent_of_lung.current)
        assert shares == pytest.approx((then.percent_of_lung, now.percent_of_lung))
    for zone in found.zones:
        then_zone, now_zone = (
            next(one for one in point.measurements.zones if one.zone is zone.zone) for point in points
        )
        if zone.finding is None:
            assert (zone.volume_ml.prior, zone.volume_ml.current) == (then_zone.lesion_ml, now_zone.lesion_ml)
            assert (zone.percent.prior, zone.percent.current) == pytest.approx(
                (then_zone.percent, now_zone.percent)
            )
    assert found.lung_ml.limit == pytest.approx(0.02 * found.lung_ml.prior)
    assert sum(one.volume_ml.current for one in found.findings) == pytest.approx(
        found.total.volume_ml.current
    )
    assert found.days == found.total.volume_ml.days == 30.0


def test_each_region_has_the_limit_of_what_it_is() -> None:
    """Lungs, findings and all lesion were measured apart."""
    table = Repeatability(
        tuple(
            replace(one, floor_ml=float(at), percent=0.0)
            for at, one in enumerate(
                (one for one in REPEATABILITY.limits if one.condition is Condition.SAME_PROTOCOL), start=1
            )
        )
    )
    limits = {one.quantity: one.floor_ml for one in table.limits}
    found = compared(repeatability=table)
    for change in found.regions:
        wanted = Quantity.LESIONS if change.region is Region.LESIONS else Quantity.LUNG
        if change.region.finding is not None:
            wanted = Quantity(change.region.finding.value)
        assert change.volume_ml.limit == limits[wanted]
    assert found.lesions[0].volume_ml.limit == limits[Quantity.SINGLE_LESION]
    assert {one.volume_ml.limit for one in found.zones if one.finding is None} == {limits[Quantity.LESIONS]}


def test_a_lesion_that_grew_is_progression() -> None:
    """The course, its reason, the fate, and what turned into what."""
    found = compared()
    assert found.course is Course.PROGRESSION
    assert f"to {found.total.volume_ml.current:.1f} ml" in found.because
    assert [one.fate for one in found.lesions] == [Fate.GROWN, Fate.PERSISTENT]
    assert found.tracking_uids == {1: found.lesions[0].tracking_uid, 2: found.lesions[1].tracking_uid}
    assert found.warnings == ()
    assert found.shift is not None
    assert found.shift.consolidated_ml == pytest.approx(Ball((0.0, 0.0, 0.0), 6.0).volume_ml, rel=0.1)
    new = sum(ml for (then, _), ml in found.shift.ml.items() if then is None)
    assert new == pytest.approx(found.total.volume_ml.absolute, rel=0.01)


def test_what_turned_into_what_adds_up_to_either_scan() -> None:
    """By the finding now to the current scan, by the finding then to the prior one as it was brought."""
    current = NOW.point(2, day(30))
    found = compare(current, [BEFORE.point(1)], REPEATABILITY, register=shifted(4.0, 2.0, 0.0))
    assert found is not None
    assert found.shift is not None
    assert found.alignment is not None
    for kind in Finding:
        now = sum(ml for (_, one), ml in found.shift.ml.items() if one is kind)
        assert now == pytest.approx(finding_ml(current, kind))
        then = sum(ml for (one, _), ml in found.shift.ml.items() if one is kind)
        labels = found.alignment.lesions_zyx[current.lungs.labels_zyx > 0]
        assert then == pytest.approx(
            np.count_nonzero(labels == FINDING_LABEL[kind]) * current.geometry.voxel_ml
        )


def finding_ml(point: TimePoint, finding: Finding) -> float:
    """Return a finding's volume in both lungs."""
    return sum(one.volume_ml for one in point.measurements.regions if one.region.finding is finding)


def test_the_prior_scan_lies_on_the_grids_of_the_current_one() -> None:
    """Lesions on that of the masks, densities on the coarser one; air where there is nothing."""
    before = Chest([STAYS], spacing_zyx_mm=(3.0, 1.5, 1.5), shape_zyx=(36, 82, 120))
    current = Chest([STAYS.moved(6.0, 0.0, 0.0)], shape_zyx=(60, 70, 110)).point(2, day(30))
    found = compare(current, [before.point(1)], REPEATABILITY, register=shifted(-6.0, 0.0, 0.0))
    assert found is not None
    assert found.alignment is not None
    assert found.alignment.lesions_zyx.shape == current.geometry.shape_zyx
    assert found.alignment.lesions_zyx.dtype == np.uint8
    same = (found.alignment.lesions_zyx > 0) == (current.lesions.labels_zyx > 0)
    assert np.count_nonzero(~same) < 0.3 * np.count_nonzero(current.lesions.labels_zyx)
    assert found.alignment.density_hu_zyx.shape == current.density_geometry.shape_zyx
    assert found.alignment.density_hu_zyx.dtype == np.int16
    assert set(np.unique(found.alignment.density_hu_zyx[:2])) == {-1024}


def test_without_places_volumes_alone_are_compared() -> None:
    """The registration says why."""
    found = compared(register=failed("The overlap of the lungs is 0.40."))
    assert (found.lesions, found.shift, found.alignment, found.tracking_uids) == ((), None, None, {})
    assert found.registration.reason == "The overlap of the lungs is 0.40."
    assert found.course is Course.PROGRESSION
    assert "single lesions are not matched" in found.because
    assert found.total.volume_ml.direction is Direction.INCREASE


def test_numbers_of_two_models_are_no_change() -> None:
    """They are shown; no limit is known, and no course."""
    found = compared(before=replace(BEFORE, model=replace(MODEL, version="1.0")))
    assert found.course is Course.UNDETERMINED
    assert "Two models looked at the scans (densitometry 1.0, then densitometry 1.2.0)" in found.because
    assert math.isinf(found.lung_ml.limit)
    assert all(math.isinf(one.volume_ml.limit) for one in found.regions)
    assert all(math.isinf(one.volume_ml.limit) for one in found.findings)
    assert all(math.isinf(one.volume_ml.limit) for one in found.zones)
    assert {one.fate for one in found.lesions} == {Fate.PERSISTENT}
    assert len(found.tracking_uids) == 2


def test_another_kernel_widens_every_limit() -> None:
    """As it was measured: 30 instead of 20 percent."""
    found, plain = compared(now=replace(NOW, header={"ConvolutionKernel": "B60f"})), compared()
    assert any("kernels differ" in warning for warning in found.warnings)
    volume = found.total.volume_ml
    assert volume.limit == pytest.approx(1.0 + 0.3 * volume.current)
    assert volume.limit > plain.total.volume_ml.limit


def test_what_the_site_asks_for_counts_for_lesions_and_not_for_lungs() -> None:
    """A rule of 40 ml makes nothing of a lesion that grew by 8."""
    found = compared(rules=CourseRules(least_change_ml=40.0))
    assert found.course is Course.STABLE
    assert {one.fate for one in found.lesions} == {Fate.PERSISTENT}
    assert found.lung_ml.limit < 40.0


CUT = replace(BEFORE, shape_zyx=(35, 62, 90), centre_mm=(0.0, 0.0, 22.0))


def low(*lesions: Ball) -> Chest:
    """Return a chest with large lesions below what the cut scan shows."""
    return replace(
        BEFORE, lesions=[*lesions, Ball((-45.0, 20.0, -30.0), 12.0), Ball((45.0, 0.0, -30.0), 12.0)]
    )


def test_a_scan_that_shows_less_of_the_lungs_is_no_regression() -> None:
    """The course is told from what both scans show, and limits grow by what only one does."""
    found = compared(before=low(STAYS, GROWS), now=CUT)
    assert found.total.volume_ml.absolute < -12.0
    assert found.total.volume_ml.direction is Direction.NO_SIGNIFICANT_CHANGE
    assert found.lung_ml.direction is Direction.NO_SIGNIFICANT_CHANGE
    assert found.course is Course.STABLE
    assert "in the part of the lungs that both scans show" in found.because
    assert all(math.isinf(zone.volume_ml.limit) for zone in found.zones)
    assert {one.fate for one in found.lesions} == {Fate.PERSISTENT}
    assert len(found.warnings) == 2
    grown = compared(before=low(STAYS, GROWS), now=replace(CUT, lesions=[STAYS, GROWN]))
    assert grown.course is Course.PROGRESSION


def test_what_the_prior_scan_does_not_show_is_not_counted_as_new() -> None:
    """Voxel by voxel neither: what turned into what leaves it out."""
    found = compared(before=CUT, now=low(STAYS, GROWS))
    assert found.shift is not None
    new_ml = sum(ml for (then, _), ml in found.shift.ml.items() if then is None)
    assert new_ml < 0.05 * found.total.volume_ml.absolute
    assert found.course is Course.STABLE


@pytest.mark.parametrize("register", [failed(), Exact()], ids=["apart", "little in common"])
def test_where_too_little_is_in_both_scans_there_is_no_course(register: Exact) -> None:
    """Because nobody knows what is, or because it is less than half."""
    tiny = replace(BEFORE, shape_zyx=(20, 62, 90), centre_mm=(0.0, 0.0, 38.0))
    found = compared(now=tiny, register=register)
    assert found.course is Course.UNDETERMINED
    assert found.because.startswith(("The lungs are cut off", "The scans have too little of the lungs"))


# --- phantoms and writers ---------------------------------------------------------------------------------


def test_a_phantom_patient_has_the_course_that_was_planned() -> None:
    """With exact masks and registration, in another breath and position; volumes are the true ones."""
    grid = PairGrid(edge=128, in_plane_mm=2.8, slices_mm=(4.0,), slice_thickness_mm=1.3)
    pair = generate_pair(random_pair(3, PairKind.PROGRESSION, grid))
    current = phantom_point(pair.second, 2, day(90))
    register = between(pair.first.spec, pair.second.spec)
    found = compare(current, [phantom_point(pair.first, 1)], REPEATABILITY, register=register)
    assert found is not None
    assert found.course is Course.PROGRESSION
    assert len(found.lesions) == len(pair.lesions)
    truth = sum(one.after_ml - one.before_ml for one in pair.lesions)
    assert found.total.volume_ml.absolute == pytest.approx(truth, abs=0.05 * found.total.volume_ml.current)


def written_points() -> Iterator[TimePoint]:
    """Yield the earlier and the later scan of the writers' tests."""
    yield Pair().time_point()
    later = time_point_of(later_analysis())
    assert later is not None
    yield later


def test_a_comparison_can_be_written_and_kept() -> None:
    """Every object, and result.json: the report has the reason, the SEG the Tracking UIDs of before."""
    prior, current = written_points()
    found = compare(current, [prior], REPEATABILITY, register=Exact())
    assert found is not None
    assert {one.fate for one in found.lesions} >= {Fate.MERGED, Fate.SPLIT, Fate.NEW, Fate.RESOLVED}
    analysis = replace(later_analysis(), comparison=found)
    results = write_results(analysis, context_of(analysis, lesions_from_ml=EVERY_LESION))
    assert {one.kind for one in results.objects} >= {ResultKind.MEASUREMENT_REPORT, ResultKind.FILM}
    report = next(one for one in results.objects if one.kind is ResultKind.MEASUREMENT_REPORT).dataset
    assert found.because in all_texts(report)
    segments = next(one for one in results.objects if one.kind is ResultKind.SEGMENTATION).dataset
    uids = {str(one.SegmentLabel): str(one.TrackingUID) for one in segments.SegmentSequence}
    assert {number: uids[f"Lesion {number}"] for number in found.tracking_uids} == found.tracking_uids
    kept = comparison_json(found)
    assert kept is not None
    assert kept["course"] == found.course.value
    assert len(kept["lesions"]) == len(found.lesions)


def all_texts(report: Any) -> Sequence[str]:
    """Return every text of a report."""
    return [str(item.value) for item in report.iterall() if item.keyword == "TextValue"]
