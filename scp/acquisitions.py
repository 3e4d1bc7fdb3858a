"""Which series are reconstructions of one and the same scan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from core.ct_facts import CtFacts
from custody.ledger.completion import KnownAcquisition

#: Reconstructions of one scan name slightly different times for it.
_SAME_TIME_S = 5.0


def acquisition_of(facts: Sequence[CtFacts], id: str) -> KnownAcquisition:
    """Describe the scan behind a series.

    Parameters
    ----------
    facts
        Of every instance of the series; each slice may have a time of its own.
    id
        What the ledger will call the scan if it is new.
    """
    times = [fact.acquired_at for fact in facts if fact.acquired_at is not None]
    numbers = {fact.acquisition_number for fact in facts}
    return KnownAcquisition(
        id=id,
        frame_of_reference_uid=facts[0].frame_of_reference_uid if facts else "",
        acquisition_number=next(iter(numbers)) if len(numbers) == 1 else "",
        started_at=min(times, default=None),
        ended_at=max(times, default=None),
    )


def match(one: KnownAcquisition, known: Iterable[KnownAcquisition]) -> KnownAcquisition:
    """Return the known scan that this one is, widened to its times, or this one where it is new.

    The same scan has one Frame of Reference, no contradicting Acquisition Number, and overlapping times. Two
    phases (before and after contrast) share the frame of reference and differ in number and time.
    """
    for other in known:
        same_frame = one.frame_of_reference_uid == other.frame_of_reference_uid
        numbers = {one.acquisition_number, other.acquisition_number} - {""}
        if same_frame and len(numbers) <= 1 and _overlap(one, other):
            starts = [time for time in (one.started_at, other.started_at) if time is not None]
            ends = [time for time in (one.ended_at, other.ended_at) if time is not None]
            return replace(
                other,
                acquisition_number=next(iter(numbers), ""),
                started_at=min(starts, default=None),
                ended_at=max(ends, default=None),
            )
    return one


def _overlap(one: KnownAcquisition, other: KnownAcquisition) -> bool:
    if one.started_at is None or one.ended_at is None:
        return True
    if other.started_at is None or other.ended_at is None:
        return True
    return one.started_at <= other.ended_at + _SAME_TIME_S and other.started_at <= one.ended_at + _SAME_TIME_S
