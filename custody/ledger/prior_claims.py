"""Claims of searches for earlier scans: who may work on one, and until when. Every end is fenced on them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, not_, or_, select, update

from custody.ledger.engine import Ledger
from custody.ledger.leases import end_leases
from custody.ledger.states import JobState, PriorSearchState, PriorSeriesState
from custody.ledger.tables import job, prior_search, prior_series, series

#: A result that comes so long after the scan is of use to whoever reads it, even as the second one.
_OF_USE_FOR_S = 86_400.0
#: States of a series that has to be fetched: one that was asked for by a process that died is among them.
TO_BE_FETCHED = (PriorSeriesState.WANTED.value, PriorSeriesState.ASKED.value)


@dataclass(frozen=True, slots=True)
class ClaimedSearch:
    """A search that this owner may work on until its lease ends.

    Parameters
    ----------
    id, owner, attempt
        Identity of the claim; every later call is fenced on it. `attempt` is 1, and more where the claims
        before this one broke off without a word.
    job_id, series_id, generation
        The current scan, our own ids.
    study_instance_uid, patient_digest
        Of the current scan.
    entered_at, waited_for_until
        Since when it is searched, and when its job no longer waits, seconds since 1970 UTC.
    is_listed, to_fetch
        Whether the PACS has answered which scans there are, and whether one of them has to be fetched.
    """

    id: str
    owner: str
    attempt: int
    job_id: str
    series_id: str
    generation: int
    study_instance_uid: str
    patient_digest: str
    entered_at: float
    waited_for_until: float
    is_listed: bool
    to_fetch: bool

    @property
    def of_use_until(self) -> float:
        """Until when the job may profit from it, be it for a second result."""
        return max(self.waited_for_until, self.entered_at + _OF_USE_FOR_S)


def claim(
    ledger: Ledger, peer: str, owner: str, *, lease_s: float, now: float, may_fetch: bool = True
) -> ClaimedSearch | None:
    """Take the next search in a PACS that is due, or whose owner let its lease run out.

    One for a job whose images are still on their way to shared storage is left: nobody could read them.

    Parameters
    ----------
    ledger, peer, owner
        Where, and who claims it.
    lease_s, now
        For how long, and the time, seconds since 1970 UTC.
    may_fetch
        Whether one is taken of which something is to be fetched next.
    """
    to_fetch = (
        select(prior_series.c.id)
        .where(prior_series.c.search_id == prior_search.c.id, prior_series.c.state.in_(TO_BE_FETCHED))
        .exists()
    )
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
                to_fetch.label("to_fetch"),
            )
            .join_from(prior_search, job)
            .join(series, series.c.id == job.c.series_id)
            .where(prior_search.c.peer == peer, due, job.c.state != JobState.PUBLISHING.value)
            .where(*(() if may_fetch else (not_(to_fetch),)))
            .order_by(job.c.lane, prior_search.c.due_at, prior_search.c.id)
            .limit(1)
            .with_for_update(of=prior_search, skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        # Counted anew after each step. An owner works on one search at a time, so an earlier claim of its own
        # is never taken for a later one.
        attempt = row.attempt + 1 if row.state == PriorSearchState.ASKED.value else 1
        connection.execute(
            update(prior_search)
            .where(prior_search.c.id == row.id)
            .values(
                state=PriorSearchState.ASKED.value,
                owner=owner,
                attempt=attempt,
                lease_until=now + lease_s,
            )
        )
        return ClaimedSearch(
            id=row.id,
            owner=owner,
            attempt=attempt,
            job_id=row.job_id,
            series_id=row.series_id,
            generation=row.generation,
            study_instance_uid=row.study_instance_uid,
            patient_digest=row.patient_digest,
            entered_at=row.created_at,
            waited_for_until=row.created_at + row.wait_s,
            is_listed=row.listed_at is not None,
            to_fetch=bool(row.to_fetch),
        )


def put_off(ledger: Ledger, claimed: ClaimedSearch, due_at: float, now: float) -> None:
    """Give a search back, to be tried again."""
    with ledger.write() as connection:
        end_step(connection, claimed, PriorSearchState.DUE, now, due_at=due_at)


def release_owners(ledger: Ledger, prefix: str, now: float) -> int:
    """Let the leases of all owners of that name end at once: their process is dead."""
    return end_leases(ledger, prior_search, PriorSearchState.ASKED.value, prefix, now)


def is_mine(connection: Connection, claimed: ClaimedSearch) -> bool:
    """Tell whether a claim still stands; it does until the transaction ends."""
    found = select(prior_search.c.id).where(_fence(claimed))
    return connection.execute(found.with_for_update()).first() is not None


def end_step(
    connection: Connection, claimed: ClaimedSearch, state: PriorSearchState, now: float, **values: float
) -> bool:
    """Leave a claimed search in a state; False where the claim is lost."""
    changed = (
        update(prior_search)
        .where(_fence(claimed))
        .values({"state": state.value, "lease_until": None, "due_at": now, **values})
    )
    return connection.execute(changed).rowcount == 1


def _fence(claimed: ClaimedSearch) -> ColumnElement[bool]:
    return and_(
        prior_search.c.id == claimed.id,
        prior_search.c.state == PriorSearchState.ASKED.value,
        prior_search.c.owner == claimed.owner,
        prior_search.c.attempt == claimed.attempt,
    )
