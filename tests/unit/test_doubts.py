"""Scans of which nothing may be called a change: not the same lungs, or no known order."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from core.comparison import Course, Direction, Fate
from core.domain import Region
from core.time_point import TimePoint
from inference.comparison import compare
from inference.doubts import doubt
from tests.helpers.scans import MOMENT, REPEATABILITY, Ball, Chest, Exact

LARGE = Ball((45.0, 0.0, 0.0), 14.0)
WHOLE = Chest([LARGE])


def with_left_lung(point: TimePoint, share: float) -> TimePoint:
    """Return a scan of whose left lung only so much was found."""
    regions = tuple(
        replace(one, volume_ml=share * one.volume_ml) if one.region is Region.LUNG_LEFT else one
        for one in point.measurements.regions
    )
    return replace(point, measurements=replace(point.measurements, regions=regions))


def pair(before: Chest, now: Chest) -> tuple[TimePoint, TimePoint]:
    """Return two scans, 30 days apart."""
    return before.point(1), now.point(2, MOMENT + timedelta(days=30))


def test_two_scans_of_the_same_lungs_may_be_compared() -> None:
    """Nothing is said against them, also where one lung differs a little or both breathed in more."""
    prior, current = pair(WHOLE, WHOLE)
    assert doubt(prior, current) == ""
    assert doubt(prior, with_left_lung(current, 0.9)) == ""
    assert doubt(*pair(WHOLE, Chest([LARGE], stretch=0.8))) == ""


@pytest.mark.parametrize(
    ("then", "now", "is_known"),
    [
        (datetime(2026, 3, 1), datetime(2026, 3, 1), False),
        (datetime(2026, 3, 1), datetime(2026, 3, 1, 10, 30), False),
        (datetime(2026, 3, 1, 9), datetime(2026, 3, 1, 10, 30), True),
        (datetime(2026, 3, 1), datetime(2026, 3, 2), True),
    ],
)
def test_two_studies_of_one_date_without_a_time_have_no_order(
    then: datetime, now: datetime, is_known: bool
) -> None:
    """Each would be the earlier one of the other, and one of the two changes the wrong way round."""
    prior, current = WHOLE.point(1, then), WHOLE.point(2, now)
    assert (doubt(prior, current) == "") == is_known
    study_uid = prior.facts.study_instance_uid
    of_one_study = replace(current, facts=replace(current.facts, study_instance_uid=study_uid))
    assert doubt(prior, of_one_study) == ""


@pytest.mark.parametrize("swapped", [False, True])
def test_images_that_hold_only_a_part_of_the_width_show_no_change(swapped: bool) -> None:
    """A targeted field of view leaves lesions out: none is resolved or new, whichever came first."""
    targeted = Chest([LARGE], shape_zyx=(52, 62, 60), centre_mm=(-32.0, 0.0, 0.0))
    prior, current = pair(targeted, WHOLE) if swapped else pair(WHOLE, targeted)
    assert "do not hold the whole width" in doubt(prior, current)
    found = compare(current, [prior], REPEATABILITY, register=Exact())
    assert found is not None
    assert found.course is Course.UNDETERMINED
    assert found.because in found.warnings
    assert {one.volume_ml.direction for one in found.regions} == {Direction.NO_SIGNIFICANT_CHANGE}
    assert {one.fate for one in found.lesions} <= {Fate.PERSISTENT}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 1.3])
def test_a_lung_that_changed_alone_shows_no_change(share: float) -> None:
    """A collapsed or consolidated lobe is not found as lung, and its lesions with it."""
    prior, current = pair(WHOLE, WHOLE)
    assert "One lung changed alone" in doubt(prior, with_left_lung(current, share))
    assert "One lung changed alone" in doubt(with_left_lung(prior, share), current)
    found = compare(with_left_lung(current, share), [prior], REPEATABILITY, register=Exact())
    assert found is not None
    assert found.course is Course.UNDETERMINED


@pytest.mark.parametrize("undated", [0, 1])
def test_without_a_date_the_order_is_not_known(undated: int) -> None:
    """What would be a regression could be a progression."""
    points = list(pair(WHOLE, Chest()))
    points[undated] = replace(points[undated], facts=replace(points[undated].facts, scanned_at=None))
    assert "has no date" in doubt(*points)
    found = compare(points[1], [points[0]], REPEATABILITY, register=Exact())
    assert found is not None
    assert found.course is Course.UNDETERMINED
    assert {one.fate for one in found.lesions} <= {Fate.PERSISTENT}
