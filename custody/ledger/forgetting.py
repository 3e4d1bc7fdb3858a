"""Deletes the rows of a patient."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, or_, select

from custody.ledger.completion import IS_OPEN
from custody.ledger.states import (
    FINAL_JOB_STATES,
    PRIOR_SEARCH_UNDER_WAY,
    CommitmentState,
    DeliveryState,
)
from custody.ledger.tables import (
    acquisition,
    attempt,
    commitment,
    commitment_transaction,
    delivery,
    incident,
    instance,
    job,
    manifest,
    prior_search,
    prior_series,
    result_object,
    series,
    series_source,
    time_point,
)

#: More of a series may be on its way so soon after its last image.
_QUIET_S = 60.0


@dataclass(frozen=True, slots=True)
class Known:
    """What is here of a patient.

    Parameters
    ----------
    series_ids
        Our own.
    images, results
        How many.
    peers
        Names of those that have results; they keep them.
    under_way
        What is being done for it this moment, for people.
    elsewhere
        Names of other nodes whose spools have files of it.
    """

    series_ids: tuple[str, ...]
    images: int
    results: int
    peers: tuple[str, ...]
    under_way: tuple[str, ...]
    elsewhere: tuple[str, ...]


def known_of(connection: Connection, digests: Collection[str], node: str | None, now: float) -> Known:
    """Return what is here of a patient.

    Parameters
    ----------
    connection
        A transaction.
    digests
        Every identity of it.
    node
        Whose spool is here; None for a ledger of our own.
    now
        Seconds since 1970 UTC.
    """
    ids = list(
        connection.execute(select(series.c.id).where(series.c.patient_digest.in_(list(digests)))).scalars()
    )
    jobs = select(job.c.id).where(job.c.series_id.in_(ids))
    rows = select(func.count()).where(instance.c.series_id.in_(ids))
    listed = select(func.coalesce(func.sum(manifest.c.instances), 0)).where(manifest.c.series_id.in_(ids))
    results = select(func.count()).where(result_object.c.job_id.in_(jobs))
    peers = (
        select(delivery.c.peer)
        .where(delivery.c.job_id.in_(jobs), delivery.c.state == DeliveryState.DELIVERED.value)
        .distinct()
    )
    nodes: set[str] = set()
    for table in (instance, manifest):
        nodes |= set(
            connection.execute(select(table.c.node).where(table.c.series_id.in_(ids)).distinct()).scalars()
        )
    return Known(
        series_ids=tuple(ids),
        images=connection.execute(rows).scalar_one() + int(connection.execute(listed).scalar_one()),
        results=connection.execute(results).scalar_one(),
        peers=tuple(sorted(connection.execute(peers).scalars())),
        under_way=tuple(_under_way(connection, ids, now)),
        elsewhere=tuple(sorted(nodes - {node, ""})) if node is not None else (),
    )


def _under_way(connection: Connection, ids: Sequence[str], now: float) -> list[str]:
    jobs = select(job.c.id).where(job.c.series_id.in_(ids))
    of_jobs = select(delivery.c.id).where(delivery.c.job_id.in_(jobs))
    counts = {
        "images that came within the last minute": select(func.count()).where(
            series.c.id.in_(ids), series.c.last_received_at > now - _QUIET_S
        ),
        "images that are not sealed yet": select(func.count()).where(instance.c.series_id.in_(ids), IS_OPEN),
        "analyses": select(func.count()).where(
            job.c.series_id.in_(ids), job.c.state.not_in(FINAL_JOB_STATES)
        ),
        "searches for earlier scans": select(func.count()).where(
            prior_search.c.job_id.in_(jobs), prior_search.c.state.in_(PRIOR_SEARCH_UNDER_WAY)
        ),
        "deliveries": select(func.count()).where(
            delivery.c.job_id.in_(jobs),
            delivery.c.state.in_([DeliveryState.DUE.value, DeliveryState.SENDING.value]),
        ),
        "commitments": select(func.count()).where(
            commitment.c.delivery_id.in_(of_jobs),
            commitment.c.state.in_([CommitmentState.DUE.value, CommitmentState.ASKED.value]),
        ),
    }
    return [what for what, count in counts.items() if connection.execute(count).scalar_one()]


def delete_here(connection: Connection, series_id: str, node: str | None) -> bool:
    """Delete the rows of the files that a node has of a series; return whether no other node has any."""
    if node is None:
        return True
    others = 0
    for table in (instance, manifest):
        of_series = table.c.series_id == series_id
        connection.execute(delete(table).where(of_series, table.c.node.in_([node, ""])))
        others += connection.execute(select(func.count()).select_from(table).where(of_series)).scalar_one()
    return others == 0


def jobs_of(connection: Connection, series_id: str) -> list[str]:
    """Return the ids of a series' jobs."""
    return [
        str(one) for one in connection.execute(select(job.c.id).where(job.c.series_id == series_id)).scalars()
    ]


def delete_series(connection: Connection, series_id: str) -> list[str]:
    """Delete every row of a series; return the ids of its jobs, whose results have to go too."""
    row = connection.execute(select(series).where(series.c.id == series_id)).one()
    jobs = jobs_of(connection, series_id)
    sent = select(delivery.c.id).where(delivery.c.job_id.in_(jobs))
    objects = list(
        connection.execute(
            select(result_object.c.sop_instance_uid).where(result_object.c.job_id.in_(jobs))
        ).scalars()
    )
    searches = select(prior_search.c.id).where(prior_search.c.job_id.in_(jobs))
    connection.execute(delete(prior_series).where(prior_series.c.search_id.in_(searches)))
    connection.execute(delete(commitment).where(commitment.c.delivery_id.in_(sent)))
    for table in (delivery, result_object, attempt, commitment_transaction, prior_search, time_point):
        connection.execute(delete(table).where(table.c.job_id.in_(jobs)))
    for table in (job, manifest, instance, series_source):
        connection.execute(delete(table).where(table.c.series_id == series_id))
    named = incident.c.subject.in_([series_id, row.series_instance_uid])
    about = [incident.c.subject.endswith(f": {uid}", autoescape=True) for uid in objects]
    connection.execute(delete(incident).where(or_(named, *about)))
    connection.execute(delete(series).where(series.c.id == series_id))
    used = select(job.c.acquisition_id)
    connection.execute(
        delete(acquisition).where(
            acquisition.c.patient_digest == row.patient_digest, acquisition.c.id.not_in(used)
        )
    )
    return jobs
