"""What became of every lesion, and under which Tracking UID it goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.comparison import Change, Fate, LesionChange
from core.domain import Lesion
from core.repeatability import Quantity
from core.time_point import TimePoint
from inference.change_limits import Limits
from inference.common_view import Registered, View, current_places_lps_mm
from inference.lesion_matching import Group, lesion_places_lps_mm, matched

#: A lesion that is in one scan only is judged where the other scan shows that much of its place.
_SEEN_FROM = 0.5
#: Of several parts of a lesion those count that have at least this share of the largest one's volume.
_PART_FROM = 0.1
#: Places of a lesion at which that is looked at.
_PLACES = 200


@dataclass(frozen=True, slots=True)
class Fates:
    """The lesions of two scans.

    Parameters
    ----------
    lesions
        What became of each (`core.comparison.Comparison.lesions`).
    tracking_uids
        Tracking UID of each lesion of the current scan that was there before, by its number.
    remarks
        Which lesions nothing is said of, and why; sentences.
    """

    lesions: tuple[LesionChange, ...] = ()
    tracking_uids: dict[int, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """How much of each lesion the other scan shows, 0…1, by its number in either scan."""

    prior: Mapping[int, float]
    current: Mapping[int, float]

    @classmethod
    def of(cls, prior: TimePoint, current: TimePoint, registered: Registered) -> _Sight:
        def back(places: NDArray[Any]) -> NDArray[np.float64]:
            return current_places_lps_mm(registered, places)

        return cls(
            _seen(prior, View.of(current), back),
            _seen(current, View.of(prior), registered.prior_places_lps_mm),
        )

    def share(self, group: Group) -> float:
        """Return it for a lesion that is in one scan only."""
        if group.current:
            return self.current[group.current[0].number]
        return self.prior[group.prior[0].number]

    def hidden_ml(self, group: Group) -> float:
        """Return the volume of all parts of which the other scan does not show the place."""
        return sum((1.0 - self.prior[one.number]) * one.volume_ml for one in group.prior) + sum(
            (1.0 - self.current[one.number]) * one.volume_ml for one in group.current
        )


def fates(
    prior: TimePoint, current: TimePoint, registered: Registered, limits: Limits, *, comparable: bool
) -> Fates:
    """Tell what became of every lesion of two scans.

    Parameters
    ----------
    prior, current, registered
        The scans, brought together.
    limits
        What a change is.
    comparable
        Whether one model looked at both, and both show the same lungs. Otherwise lesions are followed, but
        none is called new or resolved.
    """
    sight = _Sight.of(prior, current, registered)
    told: list[LesionChange] = []
    unseen = not_judged = too_small = 0
    for group in matched(prior, current, registered):
        if not (group.prior and group.current):
            if not comparable:
                not_judged += 1
                continue
            if sight.share(group) < _SEEN_FROM:
                unseen += 1
                continue
            if group.current and group.current[0].volume_ml < limits.rules.least_new_lesion_ml:
                too_small += 1
                continue
        told.append(_change(prior, group, limits, sight.hidden_ml(group)))
    return Fates(
        tuple(told),
        {
            now: prior.tracking_uids[then]
            for one in told
            for then, now in one.carried_on
            if then in prior.tracking_uids
        },
        tuple(_remarks(told, unseen, not_judged, too_small, limits.rules.least_new_lesion_ml)),
    )


def fate_of(group: Group, volume: Change) -> Fate:
    """Name what became of a lesion.

    As many parts as before, be it one or several, are held against their limit like one. Parts that are
    small beside the largest do not count: specks that a lesion grew over did not merge with it.
    """
    then, now = _parts(group.prior), _parts(group.current)
    if then == 0 or now == 0:
        return Fate.NEW if now else Fate.RESOLVED
    if then != now:
        return Fate.MERGED if then > now else Fate.SPLIT
    if not volume.is_significant:
        return Fate.PERSISTENT
    return Fate.GROWN if volume.absolute > 0.0 else Fate.SHRUNK


def _parts(lesions: Sequence[Lesion]) -> int:
    largest_ml = max((one.volume_ml for one in lesions), default=0.0)
    return sum(one.volume_ml >= _PART_FROM * largest_ml for one in lesions)


def _change(prior: TimePoint, group: Group, limits: Limits, hidden_ml: float) -> LesionChange:
    then, now = (math.fsum(one.volume_ml for one in parts) for parts in (group.prior, group.current))
    volume = limits.lesion(Quantity.SINGLE_LESION, then, now, hidden_ml)
    carried = [then for then, _ in group.carried_on] or [one.number for one in group.prior]
    # A lesion of which no result was written has none: then it begins with the current scan.
    uid = prior.tracking_uids.get(carried[0], "") if carried else ""
    return LesionChange(fate_of(group, volume), uid, group.prior, group.current, volume, group.carried_on)


def _seen(
    point: TimePoint, other: View, there: Callable[[NDArray[Any]], NDArray[np.float64]]
) -> dict[int, float]:
    lesions = point.measurements.lesions
    if other.is_whole or not lesions:
        return {one.number: 1.0 for one in lesions}
    places = [_some(lesion_places_lps_mm(point, one)) for one in lesions]
    shown = np.split(other.shows(there(np.concatenate(places))), np.cumsum([len(one) for one in places])[:-1])
    return {one.number: float(found.mean()) for one, found in zip(lesions, shown, strict=True)}


def _some(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return places[:: max(1, len(places) // _PLACES)]


def _remarks(
    told: Sequence[LesionChange], unseen: int, not_judged: int, too_small: int, least_ml: float
) -> Iterator[str]:
    if unseen:
        yield (
            f"{_counted(unseen)} in a part of the lungs that only one of the scans shows: called neither new "
            "nor resolved."
        )
    if not_judged:
        yield (
            f"{_counted(not_judged)} in one of the scans only: called neither new nor resolved, as the scans "
            "cannot be compared."
        )
    if too_small:
        yield f"{_counted(too_small)} of less than {least_ml:g} ml not called new, by the rule of this site."
    chance = [
        max(one.volume_ml.prior, one.volume_ml.current)
        for one in told
        if one.fate in (Fate.NEW, Fate.RESOLVED) and not one.volume_ml.is_significant
    ]
    if chance:
        yield (
            f"{_counted(len(chance))} called new or resolved of up to {max(chance):.1f} ml: measuring alone "
            "may show or miss lesions of that size."
        )


def _counted(count: int) -> str:
    return f"{count} lesion" if count == 1 else f"{count} lesions"
