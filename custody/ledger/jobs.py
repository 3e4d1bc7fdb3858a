"""The analysis queue: claims with a lease, every end fenced on owner and attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, not_, or_, select, update

from core.domain import Predecessor, SeriesInstanceUID, SeriesKey, StudyInstanceUID
from core.log import get_logger
from custody.ledger import attempts, time_points
from custody.ledger.destinations import Destinations, create_deliveries, supersede_deliveries
from custody.ledger.engine import Ledger, new_id
from custody.ledger.files import recorded
from custody.ledger.lanes import low_lane_starves
from custody.ledger.leases import end_leases
from custody.ledger.prior_waits import is_waited_for
from custody.ledger.states import JobPurpose, JobState, Lane
from custody.ledger.tables import attempt, job, result_object, series
from custody.ledger.time_points import NewTimePoint
from custody.result_set import KeptFile


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that this owner may work on until its lease ends.

    Parameters
    ----------
    id, owner, attempt
        Identity of the claim; every later call is fenced on it.
    model
        Name of the model package.
    sealed_at
        When its series was sealed, seconds since 1970 UTC.
    series_id, key, generation
        What to analyse; `custody.ledger.instances.sealed_series` says which files that are.
    calling_ae_title
        The caller that sent it first.
    evidence
        Why the series was held to be complete.
    purpose
        What it is for.
    """

    id: str
    owner: str
    attempt: int
    model: str
    sealed_at: float
    series_id: str
    key: SeriesKey
    generation: int
    calling_ae_title: str
    evidence: str
    purpose: JobPurpose = JobPurpose.REPORT


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result object that is in the spool already."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str
    variant: str = ""
    size_bytes: int = 0
    series_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended.

    Parameters
    ----------
    state
        `ANALYSED`, `REFUSED` or `FAILED`.
    reason
        Why it was refused or failed.
    result
        What ``result.json`` holds.
    objects
        In the order in which peers should get them.
    triage
        How much was found, the severity score: what shows more is delivered first.
    package
        Name and checksum of the objects' package on shared storage.
    predecessors
        What the objects cite as replaced.
    files
        What is kept beside the objects and not sent.
    time_point
        What later scans are compared with; None where there is nothing to compare.
    compared_with, notes
        Digests of the earlier scans that it was compared with, and what was said about others.
    """

    state: JobState
    reason: str | None
    result: Mapping[str, Any] | None
    objects: Sequence[StoredResult] = ()
    triage: int = 0
    package: str | None = None
    predecessors: Sequence[Predecessor] = ()
    files: Sequence[KeptFile] = ()
    time_point: NewTimePoint | None = None
    compared_with: Sequence[str] = ()
    notes: Sequence[str] = ()


def claim(ledger: Ledger, owner: str, *, lease_s: float, max_attempts: int, now: float) -> ClaimedJob | None:
    """Take the next job that is due, or whose owner let its lease run out.

    A job that broke its last attempt off is handed out once more, for the word about it only
    (`ClaimedJob.attempt` is beyond the most then). One that kills even that is set to failed here: a series
    that kills the worker must not do so for ever.

    A job that waits for earlier scans from a PACS is left, for as long as it may have to wait
    (`custody.ledger.prior_waits`). Lanes go in their order, and in each whatever was due first; only where
    the low lane starves (`custody.ledger.lanes`) it has one turn.
    """
    overdue = and_(job.c.state == JobState.RUNNING.value, job.c.lease_until < now)
    with ledger.write() as connection:
        reason = f"the analysis broke off {max_attempts} times without an answer"
        given_up = connection.execute(
            update(job)
            .where(overdue, job.c.attempt > max_attempts)
            .values(state=JobState.FAILED.value, finished_at=now, lease_until=None, reason=reason)
            .returning(job.c.id, job.c.attempt)
        )
        for failed in given_up:
            attempts.end(connection, attempt.c.job_id == failed.id, attempts.BROKE_OFF, reason, now)
            get_logger().error("analysis_failed", job=failed.id, attempt=failed.attempt, reason=reason)
        waiting = and_(
            job.c.state == JobState.QUEUED.value, job.c.due_at <= now, not_(is_waited_for(job.c.id, now))
        )
        due = or_(waiting, overdue)
        if low_lane_starves(connection, now):
            due = and_(waiting, job.c.lane == Lane.LOW.value)
        first = (
            select(job.c.id)
            # The states once more, so that SQLite looks at these alone.
            .where(job.c.state.in_([JobState.QUEUED.value, JobState.RUNNING.value]), due)
            .order_by(job.c.lane, job.c.due_at)
            .limit(1)
            .with_for_update(skip_locked=True)  # another machine may take another one at the same moment
        )
        row = connection.execute(
            update(job)
            .where(job.c.id == first.scalar_subquery())
            .values(
                state=JobState.RUNNING.value,
                owner=owner,
                attempt=job.c.attempt + 1,
                lease_until=now + lease_s,
                started_at=now,
            )
            .returning(job)
        ).one_or_none()
        if row is None:
            return None
        attempts.begin(connection, row, now)
        return _claimed(connection, row)


def renew(ledger: Ledger, claimed: ClaimedJob, *, lease_s: float, now: float) -> bool:
    """Extend the lease; False where the claim is lost."""
    with ledger.write() as connection:
        return (
            connection.execute(update(job).where(_fence(claimed)).values(lease_until=now + lease_s)).rowcount
            == 1
        )


def finish(ledger: Ledger, claimed: ClaimedJob, end: JobEnd, destinations: Destinations, now: float) -> bool:
    """Record the end of a job, its objects and their deliveries in one transaction.

    Parameters
    ----------
    ledger, claimed
        Which job, under which claim.
    end
        How it ended.
    destinations
        Who is to get them.
    now
        Seconds since 1970 UTC.

    Returns
    -------
    bool
        False where the claim was lost meanwhile; nothing is recorded then.
    """
    with ledger.write() as connection:
        done = connection.execute(
            update(job)
            .where(_fence(claimed))
            .values(
                state=end.state.value,
                reason=end.reason,
                result=dict(end.result) if end.result is not None else None,
                triage=end.triage,
                results_package=end.package,
                finished_at=now,
                lease_until=None,
                results_purged_at=None,  # an earlier end of the same job may have had results that are gone
                results_gone_at=None,
            )
        )
        if done.rowcount != 1:
            return False
        attempts.end(connection, attempt.c.job_id == claimed.id, end.state.value, end.reason, now)
        for position, stored in enumerate(end.objects):
            connection.execute(
                result_object.insert().values(
                    id=new_id(),
                    job_id=claimed.id,
                    position=position,
                    kind=stored.kind,
                    variant=stored.variant,
                    corrected="",
                    sop_class_uid=stored.sop_class_uid,
                    sop_instance_uid=stored.sop_instance_uid,
                    series_instance_uid=stored.series_instance_uid,
                    path=recorded(connection, stored.path),
                    sha256=stored.sha256,
                    size_bytes=stored.size_bytes,
                    written_at=now,
                )
            )
        if end.time_point is not None:
            time_points.enter(connection, claimed.id, end.time_point, now)
        create_deliveries(connection, claimed.series_id, destinations, now)
        if end.state is JobState.ANALYSED:
            supersede_deliveries(connection, claimed.series_id, claimed.generation)
        return True


def try_again(
    ledger: Ledger, claimed: ClaimedJob, reason: str, *, due_at: float, max_attempts: int, now: float
) -> None:
    """Give a job back after an error that may pass, or set it to failed after its last attempt."""
    last = claimed.attempt >= max_attempts
    with ledger.write() as connection:
        given_back = connection.execute(
            update(job)
            .where(_fence(claimed))
            .values(
                state=(JobState.FAILED if last else JobState.QUEUED).value,
                reason=reason,
                due_at=due_at,
                finished_at=now if last else None,
                lease_until=None,
            )
        )
        if given_back.rowcount == 1:
            outcome = JobState.FAILED.value if last else attempts.AGAIN
            attempts.end(connection, attempt.c.job_id == claimed.id, outcome, reason, now)


def is_known(ledger: Ledger, job_id: str) -> bool:
    """Tell whether there is such a job; there is none any more once its patient was forgotten."""
    with ledger.read() as connection:
        return connection.execute(select(job.c.id).where(job.c.id == job_id)).first() is not None


def put_back(ledger: Ledger, claimed: ClaimedJob, reason: str, *, due_at: float, now: float) -> None:
    """Give a job back after an error that is none of its own; such an attempt does not count."""
    with ledger.write() as connection:
        given_back = connection.execute(
            update(job)
            .where(_fence(claimed))
            .values(
                state=JobState.QUEUED.value,
                reason=reason,
                due_at=due_at,
                attempt=job.c.attempt - 1,
                lease_until=None,
            )
        )
        if given_back.rowcount == 1:
            attempts.end(connection, attempt.c.job_id == claimed.id, attempts.STOPPED, reason, now)


def lease_lapsed(ledger: Ledger, owner: str, now: float) -> bool:
    """Tell whether an owner did not renew the lease of a job that it works on."""
    with ledger.read() as connection:
        found = select(job.c.id).where(
            job.c.state == JobState.RUNNING.value, job.c.owner == owner, job.c.lease_until < now
        )
        return connection.execute(found).first() is not None


def give_back(ledger: Ledger, owner: str, now: float) -> int:
    """Requeue the jobs of an owner that was stopped on purpose; such an attempt does not count."""
    with ledger.write() as connection:
        mine = select(job.c.id).where(job.c.state == JobState.RUNNING.value, job.c.owner == owner)
        attempts.end(connection, attempt.c.job_id.in_(mine), attempts.STOPPED, None, now)
        return connection.execute(
            update(job)
            .where(job.c.state == JobState.RUNNING.value, job.c.owner == owner)
            .values(state=JobState.QUEUED.value, attempt=job.c.attempt - 1, due_at=now, lease_until=None)
        ).rowcount


def release_owners(ledger: Ledger, prefix: str, now: float) -> int:
    """Let the leases of all owners of that name end at once: their process is dead."""
    return end_leases(ledger, job, JobState.RUNNING.value, prefix, now)


def _fence(claimed: ClaimedJob) -> Any:
    return and_(
        job.c.id == claimed.id,
        job.c.state == JobState.RUNNING.value,
        job.c.owner == claimed.owner,
        job.c.attempt == claimed.attempt,
    )


def _claimed(connection: Connection, row: Any) -> ClaimedJob:
    one = connection.execute(select(series).where(series.c.id == row.series_id)).one()
    return ClaimedJob(
        id=row.id,
        owner=row.owner,
        attempt=row.attempt,
        model=row.model,
        sealed_at=row.sealed_at,
        series_id=row.series_id,
        key=SeriesKey(
            StudyInstanceUID(one.study_instance_uid),
            SeriesInstanceUID(one.series_instance_uid),
            one.patient_digest,
        ),
        generation=row.generation,
        calling_ae_title=row.calling_ae_title,
        evidence=row.evidence,
        purpose=JobPurpose(row.purpose),
    )
