"""What ``lesion-node status`` shows: counts, the newest jobs with their reasons, deliveries, incidents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from custody.ledger import commitment_requests, commitments, instances, switches
from custody.ledger.completion import IS_OPEN
from custody.ledger.engine import Ledger
from custody.ledger.purging import kept
from custody.ledger.states import DeliveryState, JobState
from custody.ledger.tables import association, delivery, incident, instance, job, series, service

#: What has ended is counted for so long: to count all there ever was would take longer every year.
COUNTED_S = 86_400.0


def status(ledger: Ledger, *, newest: int = 20, now: float | None = None) -> dict[str, Any]:
    """Return the state of the node as plain values, without patient identifiers.

    Parameters
    ----------
    ledger
        Of a running or a stopped node.
    newest
        How many jobs and incidents are listed.
    now
        Seconds since 1970 UTC; the clock of this machine by default.

    Returns
    -------
    dict
        ``counts`` (by state), ``series`` (the newest jobs), ``receiving``, ``deliveries``,
        ``commitments`` (by peer), ``commitment_requests`` (by caller), ``incidents``, ``kept``,
        ``switches``, ``services``. Counts are of what is under way and of the last 24 hours. Times are
        seconds since 1970 UTC.
    """
    since = (time.time() if now is None else now) - COUNTED_S
    with ledger.read() as connection:
        return {
            "counts": _counts(connection, since),
            "receiving": _receiving(connection),
            "series": _newest_jobs(connection, newest),
            "deliveries": _deliveries(connection, since),
            "commitments": commitments.summary(connection, since),
            "commitment_requests": commitment_requests.summary(connection, since),
            "incidents": _rows(
                connection, select(incident).order_by(incident.c.last_at.desc()).limit(newest)
            ),
            "kept": kept(connection, since),
            "switches": switches.all_on(connection),
            "services": _rows(connection, select(service).order_by(service.c.name)),
        }


def _grouped(column: ColumnElement[str]) -> ColumnElement[str]:
    """Return the same value in a form that no index has.

    SQLite would else walk the whole index of the groups instead of the short one of the times.
    """
    return column.concat("")


def _rows(connection: Connection, statement: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(statement).mappings()]


def _counts(connection: Connection, since: float) -> Mapping[str, Any]:
    came, aside = instances.count(connection, since)
    begun = select(func.count()).select_from(series).where(series.c.first_received_at >= since)
    return {
        "instances": came,
        "instances_set_aside": aside,
        "series": connection.execute(begun).scalar_one(),
        "open_associations": connection.execute(
            select(func.count()).select_from(association).where(association.c.closed_at.is_(None))
        ).scalar_one(),
        "jobs": _job_counts(connection, since),
    }


def _job_counts(connection: Connection, since: float) -> Mapping[str, int]:
    """Count what is under way, and what ended since then; never all there ever was."""
    counts: dict[str, int] = {}
    unfinished = (JobState.PUBLISHING, JobState.QUEUED, JobState.RUNNING)
    under_way = job.c.state.in_([one.value for one in unfinished])
    for chosen in (under_way, job.c.finished_at >= since):
        state = _grouped(job.c.state)
        rows = connection.execute(select(state, func.count()).where(chosen).group_by(state))
        counts |= {str(state): counts.get(str(state), 0) + int(number) for state, number in rows}
    return counts


def _receiving(connection: Connection) -> list[dict[str, Any]]:
    return _rows(
        connection,
        select(
            series.c.series_instance_uid,
            func.count().label("instances"),
            func.max(instance.c.received_at).label("last_received_at"),
        )
        .join_from(instance, series)
        .where(IS_OPEN)
        .group_by(series.c.id),
    )


def _newest_jobs(connection: Connection, newest: int) -> list[dict[str, Any]]:
    return _rows(
        connection,
        select(
            series.c.study_instance_uid,
            series.c.series_instance_uid,
            job.c.id,
            job.c.generation,
            job.c.calling_ae_title,
            job.c.state,
            job.c.reason,
            job.c.evidence,
            job.c.model,
            job.c.attempt,
            job.c.sealed_at,
            job.c.started_at,
            job.c.finished_at,
            job.c.result,
        )
        .join_from(job, series)
        .order_by(job.c.sealed_at.desc())
        .limit(newest),
    )


def _deliveries(connection: Connection, since: float) -> list[dict[str, Any]]:
    """Count by peer what is under way or was given up, and what ended otherwise since then."""
    peer, state = _grouped(delivery.c.peer).label("peer"), _grouped(delivery.c.state).label("state")
    columns = (
        peer,
        state,
        func.count().label("objects"),
        func.max(delivery.c.reason).label("reason"),
        func.min(delivery.c.due_at).label("next_due_at"),
        func.max(delivery.c.delivered_at).label("last_delivered_at"),
    )
    unsettled = [one.value for one in (DeliveryState.DUE, DeliveryState.SENDING, DeliveryState.FAILED)]
    not_sent = [one.value for one in (DeliveryState.LEFT_OUT, DeliveryState.SUPERSEDED)]
    chosen = (
        delivery.c.delivered_at >= since,
        delivery.c.state.in_(unsettled),
        delivery.c.state.in_(not_sent) & (delivery.c.due_at >= since),
    )
    rows = [
        row for one in chosen for row in _rows(connection, select(*columns).where(one).group_by(peer, state))
    ]
    return sorted(rows, key=lambda row: (row["peer"], row["state"]))
