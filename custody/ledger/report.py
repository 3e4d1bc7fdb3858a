"""What ``lesion-node status`` shows: counts, the newest jobs with their reasons, deliveries, incidents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from custody.ledger.engine import Ledger
from custody.ledger.tables import association, delivery, incident, instance, job, series, service


def status(ledger: Ledger, *, newest: int = 20) -> dict[str, Any]:
    """Return the state of the node as plain values, without patient identifiers.

    Parameters
    ----------
    ledger
        Of a running or a stopped node.
    newest
        How many jobs and incidents are listed.

    Returns
    -------
    dict
        ``counts`` (by state), ``series`` (the newest jobs), ``receiving``, ``deliveries`` (by peer),
        ``incidents``, ``services``. Times are seconds since 1970 UTC.
    """
    with ledger.read() as connection:
        return {
            "counts": _counts(connection),
            "receiving": _receiving(connection),
            "series": _newest_jobs(connection, newest),
            "deliveries": _deliveries(connection),
            "incidents": _rows(
                connection, select(incident).order_by(incident.c.last_at.desc()).limit(newest)
            ),
            "services": _rows(connection, select(service).order_by(service.c.name)),
        }


def _rows(connection: Connection, statement: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(statement).mappings()]


def _counts(connection: Connection) -> Mapping[str, Any]:
    states = connection.execute(select(job.c.state, func.count()).group_by(job.c.state))
    return {
        "instances": connection.execute(select(func.count()).select_from(instance)).scalar_one(),
        "instances_set_aside": connection.execute(
            select(func.count()).select_from(instance).where(instance.c.set_aside.is_not(None))
        ).scalar_one(),
        "series": connection.execute(select(func.count()).select_from(series)).scalar_one(),
        "open_associations": connection.execute(
            select(func.count()).select_from(association).where(association.c.closed_at.is_(None))
        ).scalar_one(),
        "jobs": {str(state): int(number) for state, number in states},
    }


def _receiving(connection: Connection) -> list[dict[str, Any]]:
    return _rows(
        connection,
        select(
            series.c.series_instance_uid,
            func.count().label("instances"),
            func.max(instance.c.received_at).label("last_received_at"),
        )
        .join_from(instance, series)
        .where(instance.c.generation.is_(None), instance.c.set_aside.is_(None))
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


def _deliveries(connection: Connection) -> list[dict[str, Any]]:
    return _rows(
        connection,
        select(
            delivery.c.peer,
            delivery.c.state,
            func.count().label("objects"),
            func.max(delivery.c.reason).label("reason"),
            func.min(delivery.c.due_at).label("next_due_at"),
            func.max(delivery.c.delivered_at).label("last_delivered_at"),
        ).group_by(delivery.c.peer, delivery.c.state),
    )
