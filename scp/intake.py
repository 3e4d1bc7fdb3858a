"""Rules of sources against floods: what is kept without analysis, and whose series wait for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config import AnalyseRule, Priority, SourceSettings
from core.ct_facts import CtFacts
from custody.ledger.states import Lane

_LANES = {Priority.URGENT: Lane.URGENT, Priority.ROUTINE: Lane.ROUTINE, Priority.LOW: Lane.LOW}


def why_not_analysed(sources: Sequence[SourceSettings], facts: Sequence[CtFacts], now: float) -> str | None:
    """Return why a series is kept without analysis; None where at least one of its sources wants one.

    Parameters
    ----------
    sources
        Those that sent it and are configured; a series of none of them is analysed.
    facts
        Of its images.
    now
        Seconds since 1970 UTC.
    """
    reasons = [_why_not(source, facts, now) for source in sources]
    wanted = not reasons or any(reason is None for reason in reasons)
    return None if wanted else reasons[0]


def lane_of(sources: Sequence[SourceSettings], sealed_last_hour: Callable[[str], int]) -> Lane:
    """Return the lane of a series: the best that one of its sources has for it.

    Parameters
    ----------
    sources
        Those that sent it and are configured.
    sealed_last_hour
        From a source's name to how many series of it were sealed for analysis within the last hour.
    """
    lanes = []
    for source in sources:
        limit = source.series_per_hour
        beyond = limit is not None and sealed_last_hour(source.name) >= limit
        lanes.append(Lane.LOW if beyond else _LANES[source.priority])
    return min(lanes, default=Lane.ROUTINE)


def _why_not(source: SourceSettings, facts: Sequence[CtFacts], now: float) -> str | None:
    if source.analyse is AnalyseRule.NONE:
        return f'source "{source.name}" is received without analysis (analyse = "none")'
    days = _age_days(facts, now)
    if source.max_age_days is None or days is None or days <= source.max_age_days:
        return None
    return (
        f'the scan is {days:.0f} days old; scans of source "{source.name}" are analysed up to an age of '
        f"{source.max_age_days:g} days (max_age_days)"
    )


def _age_days(facts: Sequence[CtFacts], now: float) -> float | None:
    """Return the age of the newest image, by its acquisition or else by its study; None where undated."""
    moments = [fact.studied_at if fact.acquired_at is None else fact.acquired_at for fact in facts]
    dated = [moment for moment in moments if moment is not None]
    return (now - max(dated)) / 86400 if dated else None
