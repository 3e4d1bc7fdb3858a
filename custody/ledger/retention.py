"""What may be deleted: finished series and results, found by index, judged one by one.

`custody.ledger.purging` deletes it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, func, select, tuple_

from custody.ledger import commitment_requests
from custody.ledger.files import located
from custody.ledger.states import (
    FINAL_JOB_STATES,
    CommitmentRequestState,
    CommitmentState,
    DeliveryState,
    JobState,
)
from custody.ledger.tables import (
    commitment,
    commitment_request,
    delivery,
    instance,
    job,
    manifest,
    result_object,
    series,
    series_source,
)

_SETTLED = [one.value for one in (DeliveryState.DELIVERED, DeliveryState.LEFT_OUT, DeliveryState.SUPERSEDED)]


class Place(NamedTuple):
    """Where a walk through what is kept stands: a time, and the id of the row with it."""

    at: float
    id: str


#: Before everything.
BEGINNING = Place(0.0, "")


class Kind(StrEnum):
    """Which rule applies to the files of a series."""

    RECEIVED = "received"
    SET_ASIDE = "set_aside"
    #: Refused, or failed: somebody may want to look.
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class KeptSeries:
    """The files of a series, as far as deleting them is concerned.

    Parameters
    ----------
    series_id
        Our own id.
    kind
        Which rule applies.
    last_used_at
        When the newest of it was sealed, or anything of it came once more, seconds since 1970 UTC.
    held_by
        Why nothing of it may be deleted now, in the user's words; None where it may.
    manifest_ids, paths
        Its manifests whose files are here.
    files, size_bytes
        How much they list.
    """

    series_id: str
    kind: Kind
    last_used_at: float
    held_by: str | None
    manifest_ids: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    files: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class KeptResults:
    """The results of a job, as far as deleting them is concerned; parameters as of `KeptSeries`."""

    job_id: str
    series_id: str
    finished_at: float
    held_by: str | None
    objects: int
    size_bytes: int


def oldest_series(
    connection: Connection, node: str, after: Place, before: float, limit: int
) -> Sequence[tuple[Place, str]]:
    """Return where the next manifests stand whose files a node has, and the series of each, oldest first."""
    rows = connection.execute(
        select(manifest.c.written_at, manifest.c.id, manifest.c.series_id)
        .where(
            manifest.c.purged_at.is_(None),
            manifest.c.node == node,
            manifest.c.written_at >= after.at,
            manifest.c.written_at < before,
            tuple_(manifest.c.written_at, manifest.c.id) > (after.at, after.id),
        )
        .order_by(manifest.c.written_at, manifest.c.id)
        .limit(limit)
    )
    return [(Place(row.written_at, row.id), row.series_id) for row in rows]


def oldest_jobs(
    connection: Connection, after: Place, before: float, limit: int
) -> Sequence[tuple[Place, str]]:
    """Return where the next ended jobs stand whose results are not deleted, and their ids, oldest first."""
    rows = connection.execute(
        select(job.c.finished_at, job.c.id)
        .where(
            job.c.results_purged_at.is_(None),
            job.c.finished_at >= after.at,
            job.c.finished_at < before,
            tuple_(job.c.finished_at, job.c.id) > (after.at, after.id),
        )
        .order_by(job.c.finished_at, job.c.id)
        .limit(limit)
    )
    return [(Place(row.finished_at, row.id), row.id) for row in rows]


def look_at_series(
    connection: Connection,
    series_id: str,
    node: str,
    owed_to: Collection[str],
    kept_for_good: Collection[str] = (),
) -> KeptSeries:
    """Judge whether the files of a series may be deleted.

    Parameters
    ----------
    connection
        A transaction; where the judgement is to stand, a writing one that has locked the series.
    series_id, node
        Whose files, in whose spool.
    owed_to
        Names of the sources that are configured: they are owed results also before there are deliveries.
    kept_for_good
        Names of the sources to which this node promises to keep what they send.
    """
    one = connection.execute(select(series).where(series.c.id == series_id)).one()
    listed = connection.execute(
        select(manifest).where(
            manifest.c.series_id == series_id, manifest.c.purged_at.is_(None), manifest.c.node == node
        )
    ).all()
    jobs = _jobs(connection, series_id)
    newest = JobState(jobs[-1].state) if jobs else None
    nothing_analysable = all(row.set_aside == row.instances for row in listed)
    return KeptSeries(
        series_id=series_id,
        kind=Kind.SET_ASIDE if nothing_analysable else _kind(newest),
        last_used_at=max([one.last_received_at, *(row.written_at for row in listed)]),
        held_by=_promised(connection, series_id, kept_for_good)
        or _series_held(connection, series_id, jobs)
        or _results_held(connection, [row.id for row in jobs], series_id, owed_to),
        manifest_ids=tuple(row.id for row in listed),
        paths=tuple(located(connection, row.path) for row in listed),
        files=sum(row.instances for row in listed),
        size_bytes=sum(row.size_bytes for row in listed),
    )


def look_at_results(connection: Connection, job_id: str, owed_to: Collection[str]) -> KeptResults:
    """Judge whether the results of a job may be deleted; `owed_to` as for `look_at_series`."""
    found = connection.execute(select(job).where(job.c.id == job_id)).one()
    jobs = _jobs(connection, found.series_id)
    objects, size = connection.execute(
        select(func.count(), func.coalesce(func.sum(result_object.c.size_bytes), 0)).where(
            result_object.c.job_id == job_id
        )
    ).one()
    return KeptResults(
        job_id=job_id,
        series_id=found.series_id,
        finished_at=found.finished_at,
        # An analysis that is still to come reads what it replaces.
        held_by=_series_held(connection, found.series_id, jobs)
        or (_results_held(connection, [job_id], found.series_id, owed_to) if objects else None),
        objects=int(objects),
        size_bytes=int(size),
    )


def awaited_instances(connection: Connection) -> frozenset[str]:
    """Return the SOP Instance UIDs that senders wait to have committed: their files must not go before."""
    rows = connection.execute(
        select(commitment_request.c["items"].label("wanted")).where(
            commitment_request.c.state == CommitmentRequestState.WAITING.value
        )
    )
    return frozenset(str(uid) for row in rows for _, uid in row.wanted)


def _kind(newest: JobState | None) -> Kind:
    if newest is JobState.FAILED:
        return Kind.FAILED
    return Kind.REFUSED if newest is JobState.REFUSED else Kind.RECEIVED


def _jobs(connection: Connection, series_id: str) -> Sequence[Any]:
    return connection.execute(
        select(job.c.id, job.c.state).where(job.c.series_id == series_id).order_by(job.c.generation)
    ).all()


def _series_held(connection: Connection, series_id: str, jobs: Sequence[Any]) -> str | None:
    if any(row.state not in FINAL_JOB_STATES for row in jobs):
        return "its analysis has not ended"
    still_open = select(instance.c.id).where(instance.c.series_id == series_id).limit(1)
    return "more of it is coming in" if connection.execute(still_open).first() else None


def _promised(connection: Connection, series_id: str, kept_for_good: Collection[str]) -> str | None:
    sent = select(series_source.c.source).where(
        series_source.c.series_id == series_id, series_source.c.source.in_(list(kept_for_good))
    )
    found = kept_for_good and connection.execute(sent.limit(1)).first()
    if found or commitment_requests.promised(connection, series_id):
        return "its source was promised that it is kept for good"
    return None


def _results_held(
    connection: Connection, job_ids: Sequence[str], series_id: str, owed_to: Collection[str]
) -> str | None:
    unsettled = select(delivery.c.state).where(
        delivery.c.job_id.in_(job_ids), delivery.c.state.not_in(_SETTLED)
    )
    states = set(connection.execute(unsettled.distinct()).scalars())
    if states:
        given_up = DeliveryState.FAILED.value in states
        return f"its results are {'given up' if given_up else 'not delivered yet'}"
    not_committed = (
        select(commitment.c.id)
        .join_from(commitment, delivery)
        .where(delivery.c.job_id.in_(job_ids), commitment.c.state != CommitmentState.COMMITTED.value)
    )
    if connection.execute(not_committed.limit(1)).first():
        return "a peer has not committed to its results yet"
    has_objects = select(result_object.c.id).where(result_object.c.job_id.in_(job_ids)).limit(1)
    owed = select(series_source.c.source).where(
        and_(
            series_source.c.series_id == series_id,
            series_source.c.settled == 0,
            series_source.c.source.in_(list(owed_to)),
        )
    )
    if connection.execute(has_objects).first() and connection.execute(owed.limit(1)).first():
        return "a source that sent it too is owed its results"
    return None
