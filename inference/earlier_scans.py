"""Which earlier scans of a patient a scan is compared with: one in every number, the others in the trend."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from core.domain import Region
from core.time_point import TimePoint
from inference.comparability import acquisition_conditions, is_same_model, lungs_ml
from inference.doubts import without_order

#: So many earlier scans, the newest, are in the trend, and the one with the largest share of lesion.
MOST_SCANS = 50


def earlier_scans(current: TimePoint, points: Sequence[TimePoint]) -> list[TimePoint]:
    """Return what of a patient's scans is earlier, oldest first; scans without a date before all others.

    Left out are scans made after the current one, the current series itself, and scans without lungs. Of a
    series that was analysed more than once one analysis is left, by the current scan's model if there is one.
    """
    kept: dict[str, TimePoint] = {}
    for point in sorted(points, key=lambda one: (is_same_model(one.model, current.model), one.digest)):
        if _is_earlier(point, current) and lungs_ml(point) > 0.0:
            kept[point.facts.series_instance_uid or point.digest] = point
    return sorted(kept.values(), key=_order)


def baseline_of(earlier: Sequence[TimePoint], current: TimePoint) -> TimePoint:
    """Return the scan that every number is compared with: the newest one.

    Of several on that day, one that the same model looked at, then the one that was made most alike, then the
    newest.

    Parameters
    ----------
    earlier
        At least one, as `earlier_scans` returns them.
    current
        The current scan.
    """
    # What may be the later one of the two is the last choice.
    earlier = [one for one in earlier if not without_order(one.facts, current.facts)] or earlier
    newest = earlier[-1].facts.scanned_at
    if newest is None:
        return earlier[-1]
    of_that_day = [
        one for one in earlier if one.facts.scanned_at and one.facts.scanned_at.date() == newest.date()
    ]
    return max(
        of_that_day,
        key=lambda one: (
            is_same_model(one.model, current.model),
            -len(acquisition_conditions(one, current)),
            _order(one),
        ),
    )


def in_trend(earlier: Sequence[TimePoint], baseline: TimePoint, current: TimePoint) -> list[TimePoint]:
    """Return the earlier scans that the trend shows, oldest first: the newest, the baseline, and the peak.

    The peak is that of the scans that the current scan's model looked at.
    """
    comparable = [one for one in earlier if is_same_model(one.model, current.model)]
    peak = max(
        comparable, key=lambda one: one.measurements.of(Region.LESIONS).percent_of_lung, default=baseline
    )
    newest = earlier[-MOST_SCANS:]
    return [one for one in earlier if one is peak or one is baseline or any(one is other for other in newest)]


def _is_earlier(point: TimePoint, current: TimePoint) -> bool:
    then, now = point.facts, current.facts
    if then.series_instance_uid and then.series_instance_uid == now.series_instance_uid:
        return False
    return then.scanned_at is None or now.scanned_at is None or then.scanned_at <= now.scanned_at


def _order(point: TimePoint) -> tuple[datetime, str, str]:
    facts = point.facts
    return facts.scanned_at or datetime.min, facts.series_instance_uid, point.digest
