"""Searches for earlier scans in a PACS; also the queue of asking. Every end is fenced on owner and attempt.

A job waits for its search for a bounded time (`custody.ledger.prior_waits`). What comes later leads to
another generation (`custody.ledger.prior_arrivals`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from custody.ledger.engine import Ledger, new_id
from custody.ledger.leases import end_leases
from custody.ledger.states import PRIOR_SEARCH_UNDER_WAY, JobState, PriorSearchState, PriorSeriesState
from custody.ledger.tables import job, prior_search, prior_series, series

#: Message IDs are 16 bit (PS3.7 E.1); 0 is left to others.
_MOST_MESSAGE_ID = 65535
_MOST_NOTES = 20


@dataclass(frozen=True, slots=True)
class ClaimedSearch:
    """A search that this owner may work on until its lease ends.

    Parameters
    ----------
    id, owner, attempt
        Identity of the claim; every later call is fenced on it.
    job_id, series_id, generation
        The current scan, our own ids.
    study_instance_uid, patient_digest
        Of the current scan.
    waited_for_until
        When its job no longer waits, seconds since 1970 UTC.
    is_listed
        Whether the PACS has answered which scans there are.
    """

    id: str
    owner: str
    attempt: int
    job_id: str
    series_id: str
    generation: int
    study_instance_uid: str
    patient_digest: str
    waited_for_until: float
    is_listed: bool


@dataclass(frozen=True, slots=True)
class WantedSeries:
    """A series to be fetched.

    Parameters
    ----------
    id
        Our own id.
    study_instance_uid, series_instance_uid
        Where it is in the PACS.
    message_id
        Message ID that the request has to have.
    """

    id: str
    study_instance_uid: str
    series_instance_uid: str
    message_id: int


def claim(ledger: Ledger, peer: str, owner: str, *, lease_s: float, now: float) -> ClaimedSearch | None:
    """Take the next search in a PACS that is due, or whose owner let its lease run out.

    One for a job whose images are still on their way to shared storage is left: nobody could read them.
    """
    due = or_(
        and_(prior_search.c.state == PriorSearchState.DUE.value, prior_search.c.due_at <= now),
        and_(prior_search.c.state == PriorSearchState.ASKED.value, prior_search.c.lease_until < now),
    )
    with ledger.write() as connection:
        row = connection.execute(
            select(
                prior_search,
                job.c.series_id,
                job.c.generation,
                series.c.study_instance_uid,
                series.c.patient_digest,
            )
            .join_from(prior_search, job)
            .join(series, series.c.id == job.c.series_id)
            .where(prior_search.c.peer == peer, due, job.c.state != JobState.PUBLISHING.value)
            .order_by(job.c.lane, prior_search.c.due_at, prior_search.c.id)
            .limit(1)
            .with_for_update(of=prior_search, skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        connection.execute(
            update(prior_search)
            .where(prior_search.c.id == row.id)
            .values(
                state=PriorSearchState.ASKED.value,
                owner=owner,
                attempt=row.attempt + 1,
                lease_until=now + lease_s,
            )
        )
        return ClaimedSearch(
            id=row.id,
            owner=owner,
            attempt=row.attempt + 1,
            job_id=row.job_id,
            series_id=row.series_id,
            generation=row.generation,
            study_instance_uid=row.study_instance_uid,
            patient_digest=row.patient_digest,
            waited_for_until=row.created_at + row.wait_s,
            is_listed=row.listed_at is not None,
        )


def listed(
    ledger: Ledger,
    claimed: ClaimedSearch,
    found: Sequence[tuple[str, str]],
    notes: Iterable[str],
    now: float,
) -> bool:
    """Record what a PACS has: study and series UIDs, the newest first; the search goes on at once.

    What this node has already, or has of the same study, is not fetched again.
    """
    with ledger.write() as connection:
        if not _end_step(connection, claimed, PriorSearchState.DUE, now, listed_at=now):
            return False
        add_notes(connection, claimed.id, notes)
        for position, (study_uid, series_uid) in enumerate(found):
            known = _is_known(connection, study_uid, claimed.patient_digest)
            state = PriorSeriesState.KNOWN if known else PriorSeriesState.WANTED
            connection.execute(
                prior_series.insert().values(
                    id=new_id(),
                    search_id=claimed.id,
                    position=position,
                    study_instance_uid=study_uid,
                    series_instance_uid=series_uid,
                    state=state.value,
                )
            )
        return True


def next_wanted(ledger: Ledger, claimed: ClaimedSearch, now: float) -> WantedSeries | None:
    """Return the next series to be fetched, and expect its images from now on; None where there is none."""
    with ledger.write() as connection:
        if not _is_mine(connection, claimed):
            return None
        row = connection.execute(
            select(prior_series)
            .where(
                prior_series.c.search_id == claimed.id,
                # Asked for by a process that died: it is asked for again.
                prior_series.c.state.in_([PriorSeriesState.WANTED.value, PriorSeriesState.ASKED.value]),
            )
            .order_by(prior_series.c.position)
            .limit(1)
        ).one_or_none()
        if row is None:
            return None
        message_id = _free_message_id(connection)
        connection.execute(
            update(prior_series)
            .where(prior_series.c.id == row.id)
            .values(state=PriorSeriesState.ASKED.value, message_id=message_id, asked_at=now)
        )
        return WantedSeries(row.id, row.study_instance_uid, row.series_instance_uid, message_id)


def fetched(
    ledger: Ledger,
    claimed: ClaimedSearch,
    wanted: WantedSeries,
    *,
    came: bool,
    reason: str | None,
    now: float,
) -> None:
    """Record what came of a request; the search goes on at once with the next series."""
    with ledger.write() as connection:
        if not _end_step(connection, claimed, PriorSearchState.DUE, now):
            return
        connection.execute(
            update(prior_series)
            .where(prior_series.c.id == wanted.id)
            .values(
                state=(PriorSeriesState.CAME if came else PriorSeriesState.FAILED).value,
                reason=reason,
                ended_at=now,
            )
        )
        if reason is not None:
            add_notes(connection, claimed.id, [f"An earlier scan is missing or incomplete: {reason}."])


def all_fetched(ledger: Ledger, claimed: ClaimedSearch, now: float) -> None:
    """Record that nothing more is to be asked for."""
    with ledger.write() as connection:
        _end_step(connection, claimed, PriorSearchState.ARRIVING, now)


def put_off(ledger: Ledger, claimed: ClaimedSearch, due_at: float, now: float) -> None:
    """Give a search back, to be tried again."""
    with ledger.write() as connection:
        _end_step(connection, claimed, PriorSearchState.DUE, now, due_at=due_at)


def fail(ledger: Ledger, claimed: ClaimedSearch, notes: Iterable[str], now: float) -> None:
    """End a search that found nothing out; its job goes on without."""
    with ledger.write() as connection:
        if _end_step(connection, claimed, PriorSearchState.FAILED, now, ended_at=now):
            add_notes(connection, claimed.id, notes)


def release_owners(ledger: Ledger, prefix: str, now: float) -> int:
    """Let the leases of all owners of that name end at once: their process is dead."""
    return end_leases(ledger, prior_search, PriorSearchState.ASKED.value, prefix, now)


def add_notes(connection: Connection, search_id: str, notes: Iterable[str]) -> None:
    """Add sentences to what a reader of the result should know, each once."""
    known = connection.execute(
        select(prior_search.c.notes).where(prior_search.c.id == search_id)
    ).scalar_one()
    every = list(dict.fromkeys([*known, *notes]))[:_MOST_NOTES]
    if every != known:
        connection.execute(update(prior_search).where(prior_search.c.id == search_id).values(notes=every))


def _is_mine(connection: Connection, claimed: ClaimedSearch) -> bool:
    found = select(prior_search.c.id).where(_fence(claimed))
    return connection.execute(found.with_for_update()).first() is not None


def _end_step(
    connection: Connection, claimed: ClaimedSearch, state: PriorSearchState, now: float, **values: float
) -> bool:
    """Leave a claimed search in a state; False where the claim is lost."""
    return (
        connection.execute(
            update(prior_search)
            .where(_fence(claimed))
            .values({"state": state.value, "lease_until": None, "due_at": now, **values})
        ).rowcount
        == 1
    )


def _fence(claimed: ClaimedSearch) -> ColumnElement[bool]:
    return and_(
        prior_search.c.id == claimed.id,
        prior_search.c.state == PriorSearchState.ASKED.value,
        prior_search.c.owner == claimed.owner,
        prior_search.c.attempt == claimed.attempt,
    )


def _is_known(connection: Connection, study_uid: str, patient_digest: str) -> bool:
    """Tell whether a study of the patient was analysed here, or is about to be."""
    useless = [one.value for one in (JobState.REFUSED, JobState.FAILED, JobState.NOT_SELECTED)]
    found = (
        select(job.c.id)
        .join_from(job, series)
        .where(
            series.c.study_instance_uid == study_uid,
            series.c.patient_digest == patient_digest,
            job.c.state.not_in(useless),
        )
    )
    return connection.execute(found.limit(1)).first() is not None


def _free_message_id(connection: Connection) -> int:
    """Return a Message ID that no request which may still bring images has."""
    taken = (
        select(prior_series.c.message_id)
        .join_from(prior_series, prior_search)
        .where(prior_search.c.state.in_(PRIOR_SEARCH_UNDER_WAY), prior_series.c.message_id.is_not(None))
    )
    last = select(prior_series.c.message_id).where(prior_series.c.asked_at.is_not(None))
    newest = connection.execute(last.order_by(prior_series.c.asked_at.desc()).limit(1)).scalar_one_or_none()
    used = set(connection.execute(taken).scalars())
    candidate = (newest or 0) % _MOST_MESSAGE_ID + 1
    while candidate in used:
        candidate = candidate % _MOST_MESSAGE_ID + 1
    return candidate
