"""Earlier scans that were asked for: known when they come, and waited for until they are analysed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from core.errors import NodeError
from custody.ledger import merges
from custody.ledger.again import Order, analyse_again
from custody.ledger.completion import IS_OPEN
from custody.ledger.engine import Ledger
from custody.ledger.prior_searches import add_notes
from custody.ledger.prior_waits import BY_PRIORS
from custody.ledger.states import (
    FINAL_JOB_STATES,
    PRIOR_SEARCH_UNDER_WAY,
    JobState,
    PriorSearchState,
    PriorSeriesState,
)
from custody.ledger.tables import instance, job, prior_search, prior_series, series, time_point

#: Images may still come so long after they were asked for, for example on an association that hangs; and so
#: long after the PACS said that it had sent all.
_EXPECTED_FOR_S, _STRAGGLE_FOR_S = 86_400.0, 600.0
#: Of what was sent completely, something must be here after so long; it would be another patient's else.
_ARRIVES_WITHIN_S = 120.0
#: Clocks of several machines differ by less. What was here so long before was known, whatever came of it.
_CLOCKS_DIFFER_BY_S = 300.0
#: An analysis of an earlier scan is waited for so long, to make a later result of the current one.
_ANALYSED_WITHIN_S = 86_400.0
_OTHER_PATIENT = (
    "An earlier scan was fetched, but its images name another Patient ID or issuer: not compared."
)


@dataclass(frozen=True, slots=True)
class Origin:
    """For whom a series was fetched.

    Parameters
    ----------
    source
        Name of the source whose scan is to be compared with it.
    lane
        `custody.ledger.states.Lane` of that scan.
    model
        That looked at that scan.
    """

    source: str
    lane: int
    model: str


@dataclass(frozen=True, slots=True)
class Arriving:
    """An image that may be one that was asked for.

    Parameters
    ----------
    study_uid, series_uid
        Of the image.
    patient_digest
        `core.uid.patient_digest` of its patient: no other one's images are taken for an answer.
    message_id
        Move Originator Message ID; None where it is not looked at.
    only_now
        Whether it has to be asked for this moment.
    """

    study_uid: str
    series_uid: str
    patient_digest: str
    message_id: int | None = None
    only_now: bool = False


def _is_of(study_uid: str, series_uid: str) -> ColumnElement[bool]:
    """Return the condition that a row is about this series."""
    return and_(
        prior_series.c.study_instance_uid == study_uid, prior_series.c.series_instance_uid == series_uid
    )


def is_expected(ledger: Ledger, image: Arriving, now: float) -> bool:
    """Tell whether an image is one that was asked for; `now` in seconds since 1970 UTC."""
    ended = prior_series.c.ended_at
    found = (
        select(series.c.patient_digest)
        .join_from(prior_series, prior_search, prior_search.c.id == prior_series.c.search_id)
        .join(job, job.c.id == prior_search.c.job_id)
        .join(series, series.c.id == job.c.series_id)
        .where(
            _is_of(image.study_uid, image.series_uid),
            prior_series.c.asked_at > now - _EXPECTED_FOR_S,
            ended.is_(None) if image.only_now else or_(ended.is_(None), ended > now - _STRAGGLE_FOR_S),
            *([prior_series.c.message_id == image.message_id] if image.message_id is not None else []),
        )
    )
    with ledger.read() as connection:
        patients = set(connection.execute(found).scalars())
        return bool(patients) and bool(patients & merges.same_patient(connection, image.patient_digest))


def tell_of_stranger(ledger: Ledger, image: Arriving) -> None:
    """Note that a PACS sent images of another patient than it had listed: they are refused."""
    found = (
        select(prior_search.c.id)
        .join_from(prior_series, prior_search, prior_search.c.id == prior_series.c.search_id)
        .where(
            _is_of(image.study_uid, image.series_uid),
            prior_series.c.state == PriorSeriesState.ASKED.value,
        )
    )
    with ledger.write() as connection:
        for search_id in connection.execute(found).scalars().all():
            add_notes(connection, search_id, [_OTHER_PATIENT])


def was_asked_for(connection: Connection, study_uid: str, series_uid: str) -> bool:
    """Tell whether a series was ever fetched: nothing is fetched for it in turn."""
    found = select(prior_series.c.id).where(
        _is_of(study_uid, series_uid),
        prior_series.c.asked_at.is_not(None),
    )
    return connection.execute(found.limit(1)).first() is not None


def origin_of(connection: Connection, study_uid: str, series_uid: str) -> Origin | None:
    """Return for whom a series was fetched last; None where it was not."""
    row = connection.execute(
        select(prior_search.c.source, job.c.lane, job.c.model)
        .join_from(prior_series, prior_search)
        .join(job, job.c.id == prior_search.c.job_id)
        .where(
            _is_of(study_uid, series_uid),
            prior_series.c.asked_at.is_not(None),
        )
        .order_by(prior_series.c.asked_at.desc())
        .limit(1)
    ).one_or_none()
    return Origin(row.source, row.lane, row.model) if row is not None else None


def notes_for(ledger: Ledger, job_id: str) -> tuple[str, ...]:
    """Return what a reader of a job's result should know of the search for earlier scans.

    Of the job's own search; of the newest one of its series where it has none, as a later generation has.
    """
    with ledger.read() as connection:
        of_series = select(job.c.series_id).where(job.c.id == job_id).scalar_subquery()
        row = connection.execute(
            select(prior_search.c.state, prior_search.c.peer, prior_search.c.notes)
            .join_from(prior_search, job)
            .where(job.c.series_id == of_series)
            .order_by(job.c.id == job_id, job.c.generation)
        ).all()
    if not row:
        return ()
    last = row[-1]
    waiting = (
        f"Earlier scans are still being fetched from {last.peer}; if they can be compared with, another "
        "result will replace this one.",
    )
    return (*last.notes, *(waiting if last.state in PRIOR_SEARCH_UNDER_WAY else ()))


def settle(ledger: Ledger, peer: str, now: float) -> int:
    """End the searches in a PACS of which everything that came is analysed; return how many.

    Where the current scan was analysed without what came, it is queued again as its next generation.
    """
    with ledger.read() as connection:
        arriving = connection.execute(
            select(prior_search.c.id).where(
                prior_search.c.peer == peer, prior_search.c.state == PriorSearchState.ARRIVING.value
            )
        ).scalars()
        waiting = [one for one in arriving if _is_over(connection, one, now)]
    return sum(_settle(ledger, one, now) for one in waiting)


def _settle(ledger: Ledger, search_id: str, now: float) -> int:
    with ledger.write() as connection:
        if not _is_over(connection, search_id, now):
            return 0
        # Another machine may be ending it this moment: its current scan is analysed again once.
        ended = connection.execute(
            update(prior_search)
            .where(prior_search.c.id == search_id, prior_search.c.state == PriorSearchState.ARRIVING.value)
            .values(state=PriorSearchState.DONE.value, ended_at=now)
        )
        if ended.rowcount == 0:
            return 0
        search = _search(connection, search_id)
        for one in _series_of(connection, search_id):
            add_notes(connection, search_id, _notes_of(connection, search, one))
        if search.job_state == JobState.ANALYSED.value and _is_something_new(connection, search):
            _queue_again(connection, search, now)
        return 1


def _is_something_new(connection: Connection, search: Any) -> bool:
    """Tell whether an earlier scan can be compared with, and the result that there is was not.

    What is another person's or later, and what has no lungs, would lead to the same result once more.
    """
    of_job = select(time_point).where(time_point.c.job_id == search.job_id)
    current = connection.execute(of_job).one_or_none()
    if current is None or not current.person_digest or current.scanned_at is None:
        return False
    comparison = (search.result or {}).get("comparison") or {}
    compared = {one["study_instance_uid"] for one in comparison.get("history", ())}
    studies = {one.study_instance_uid for one in _series_of(connection, search.id)} - compared
    found = select(time_point.c.id).where(
        time_point.c.study_instance_uid.in_(studies),
        time_point.c.patient_digest.in_(merges.same_patient(connection, search.patient_digest)),
        time_point.c.person_digest == current.person_digest,
        time_point.c.scanned_at <= current.scanned_at,
        time_point.c.written_at > search.started_at - _CLOCKS_DIFFER_BY_S,
        time_point.c.purged_at.is_(None),
    )
    return connection.execute(found.limit(1)).first() is not None


def _queue_again(connection: Connection, search: Any, now: float) -> None:
    try:
        analyse_again(
            connection, search.series_id, f"earlier scans came from {search.peer}", Order(BY_PRIORS, now)
        )
    except NodeError as error:  # its images are gone: the first result stands
        add_notes(connection, search.id, [f"Earlier scans came too late: {error}"])


def _is_over(connection: Connection, search_id: str, now: float) -> bool:
    """Tell whether nothing that a search waits for is under way, and it can be told what follows."""
    search = _search(connection, search_id)
    if search is None or search.state != PriorSearchState.ARRIVING.value:
        return False
    if now - search.due_at > _ANALYSED_WITHIN_S:
        return True
    if any(_is_under_way(connection, search, one, now) for one in _series_of(connection, search_id)):
        return False
    return bool(search.job_state != JobState.RUNNING.value)  # it may run without what came since it began


def _search(connection: Connection, search_id: str) -> Any:
    return connection.execute(
        select(
            prior_search,
            job.c.series_id,
            job.c.state.label("job_state"),
            job.c.started_at,
            job.c.result,
            series.c.patient_digest,
        )
        .join_from(prior_search, job)
        .join(series, series.c.id == job.c.series_id)
        .where(prior_search.c.id == search_id)
    ).one_or_none()


def _series_of(connection: Connection, search_id: str) -> list[Any]:
    """Return the series of a search that are here or may come."""
    hoped_for = [one.value for one in (PriorSeriesState.KNOWN, PriorSeriesState.CAME)]
    found = select(prior_series).where(
        prior_series.c.search_id == search_id, prior_series.c.state.in_(hoped_for)
    )
    return list(connection.execute(found).all())


def _jobs_of(connection: Connection, search: Any, one: Any) -> list[Any]:
    """Return the jobs of an earlier scan, the newest last; of one that was known every one of its study."""
    known = one.state == PriorSeriesState.KNOWN.value
    of_series = [] if known else [series.c.series_instance_uid == one.series_instance_uid]
    return list(
        connection.execute(
            select(job.c.state, job.c.reason)
            .join_from(job, series)
            .where(
                series.c.study_instance_uid == one.study_instance_uid,
                series.c.patient_digest.in_(merges.same_patient(connection, search.patient_digest)),
                *of_series,
            )
            .order_by(job.c.sealed_at, job.c.generation)
        ).all()
    )


def _is_under_way(connection: Connection, search: Any, one: Any, now: float) -> bool:
    jobs = _jobs_of(connection, search, one)
    if _is_coming_in(connection, search, one):
        return True
    if not jobs:
        return one.ended_at is not None and now - one.ended_at < _ARRIVES_WITHIN_S
    return any(row.state not in FINAL_JOB_STATES for row in jobs)


def _is_coming_in(connection: Connection, search: Any, one: Any) -> bool:
    """Tell whether images of an earlier scan are here that were not sealed yet."""
    waiting = (
        select(instance.c.id)
        .join_from(instance, series)
        .where(
            series.c.study_instance_uid == one.study_instance_uid,
            series.c.series_instance_uid == one.series_instance_uid,
            series.c.patient_digest.in_(merges.same_patient(connection, search.patient_digest)),
            IS_OPEN,
        )
    )
    return connection.execute(waiting.limit(1)).first() is not None


def _notes_of(connection: Connection, search: Any, one: Any) -> list[str]:
    """Say why an earlier scan that came cannot be compared with."""
    jobs = _jobs_of(connection, search, one)
    if not jobs:
        return [_OTHER_PATIENT]
    if any(row.state == JobState.ANALYSED.value for row in jobs):
        return []
    reason = jobs[-1].reason
    return [f"An earlier scan could not be analysed{f': {reason}' if reason else ''}."]
