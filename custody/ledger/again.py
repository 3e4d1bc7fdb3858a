"""What a person orders to be done once more: an analysis, a delivery. What is running is never touched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from core.domain import ResultKind
from core.errors import NodeError
from custody.ledger import audit, instances
from custody.ledger.destinations import Destinations, Written, audience
from custody.ledger.dialect import lock_series
from custody.ledger.engine import new_id
from custody.ledger.states import FINAL_JOB_STATES, DeliveryState, JobState
from custody.ledger.tables import commitment, delivery, job, result_object, series

#: Of a job that is like the one before.
_AS_BEFORE: Mapping[str, Any] = MappingProxyType({})
_BROKE = (JobState.FAILED.value, JobState.REFUSED.value)
_NOT_SENDING = tuple(
    one.value
    for one in (DeliveryState.DELIVERED, DeliveryState.LEFT_OUT, DeliveryState.FAILED, DeliveryState.DUE)
)


@dataclass(frozen=True, slots=True)
class Order:
    """By whom and when, seconds since 1970 UTC."""

    by: str
    at: float


def failed_series(connection: Connection) -> list[str]:
    """Return the series whose newest analysis failed, or of which a delivery was given up."""
    later = job.alias("later")
    newest = (
        select(func.max(later.c.generation)).where(later.c.series_id == job.c.series_id).scalar_subquery()
    )
    broke = select(job.c.series_id).where(job.c.state == JobState.FAILED.value, job.c.generation == newest)
    given_up = (
        select(job.c.series_id)
        .join_from(delivery, job)
        .where(delivery.c.state == DeliveryState.FAILED.value)
        .distinct()
    )
    found = [*connection.execute(broke).scalars(), *connection.execute(given_up).scalars()]
    return list(dict.fromkeys(str(one) for one in found))


def retry(connection: Connection, series_id: str, order: Order) -> list[str]:
    """Queue an analysis that failed or was refused, and what was given up of its deliveries.

    Returns
    -------
    list of str
        What was ordered, for people; empty where there is nothing to retry.

    Raises
    ------
    NodeError
        Its images are not here any more.
    """
    lock_series(connection, [series_id])
    done = []
    newest = _newest_job(connection, series_id)
    if newest is not None and newest.state in _BROKE:
        _require_images(connection, series_id)
        done.append(_queue_again(connection, newest, order))
    of_series = select(job.c.id).where(job.c.series_id == series_id)
    given_up = _make_due(
        connection,
        (delivery.c.job_id.in_(of_series), delivery.c.state == DeliveryState.FAILED.value),
        order.at,
    )
    if given_up:
        done.append(f"{given_up} deliveries that were given up are due again")
    if done:
        audit.record(connection, order.by, "retry", series_id, {"done": done}, order.at)
    return done


def _newest_job(connection: Connection, series_id: str) -> Any:
    return connection.execute(
        select(job).where(job.c.series_id == series_id).order_by(job.c.generation.desc()).limit(1)
    ).one_or_none()


def _require_images(connection: Connection, series_id: str) -> None:
    here = {one.sop_instance_uid for one in instances.of_series(connection, series_id)}
    deleted = {one.sop_instance_uid for one in instances.deleted_images(connection, series_id)}
    if deleted - here:  # what came again since is here
        raise NodeError("its images were deleted (`lesion-node trace` says when): have the series sent again")


def _queue_again(connection: Connection, row: Any, order: Order) -> str:
    """Queue a job again; as the next generation where peers were told that there is no result.

    So the new result cites and withdraws what was said before, and no object of the old one is overwritten.
    """
    told = connection.execute(select(result_object.c.id).where(result_object.c.job_id == row.id)).first()
    if told is None:
        connection.execute(
            update(job)
            .where(job.c.id == row.id, job.c.state.in_(_BROKE))
            .values(
                state=JobState.QUEUED.value,
                attempt=0,
                due_at=order.at,
                reason=None,
                result=None,
                owner=None,
                lease_until=None,
                started_at=None,
                finished_at=None,
            )
        )
        return f"generation {row.generation} is queued again"
    generation = _next_generation(connection, row, "ordered again", order)
    return (
        f"the same images are queued as generation {generation}, because peers were told that there is no "
        f"result of generation {row.generation}"
    )


def analyse_again(
    connection: Connection,
    series_id: str,
    why: str,
    order: Order,
    changes: Mapping[str, Any] = _AS_BEFORE,
) -> int | None:
    """Queue the same images as the next generation, whose result replaces the newest one if there is one.

    Parameters
    ----------
    connection
        A writing transaction.
    series_id
        Our own id.
    why
        Said in the evidence of the new job.
    order
        By whom and when.
    changes
        What is otherwise in the new job, by column: model, lane, purpose.

    Returns
    -------
    int or None
        The new generation; None where the newest one has not ended, and so will be the newer result anyway.

    Raises
    ------
    NodeError
        Its images are not here any more.
    """
    lock_series(connection, [series_id])
    newest = _newest_job(connection, series_id)
    if newest is None or newest.state not in FINAL_JOB_STATES:
        return None
    _require_images(connection, series_id)
    generation = _next_generation(connection, newest, why, order, changes)
    audit.record(connection, order.by, "analyse_again", series_id, {"why": why}, order.at)
    return generation


def _next_generation(
    connection: Connection,
    row: Any,
    why: str,
    order: Order,
    changes: Mapping[str, Any] = _AS_BEFORE,
) -> int:
    """Enter a job for the images of another one; return its generation."""
    generation = int(row.generation) + 1
    connection.execute(update(series).where(series.c.id == row.series_id).values(generation=generation))
    copied = ("series_id", "acquisition_id", "calling_ae_title", "model", "lane", "purpose")
    connection.execute(
        job.insert().values(
            id=new_id(),
            generation=generation,
            state=JobState.QUEUED.value,
            evidence=f"{why}; {row.evidence}",
            sealed_at=order.at,
            due_at=order.at,
            attempt=0,
            **{name: changes.get(name, getattr(row, name)) for name in copied},
        )
    )
    return generation


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be sent again.

    Parameters
    ----------
    peers
        Names of configured peers; empty for all that get results of the series.
    kinds
        Kinds of object; empty for all that a peer is to get.
    """

    peers: Collection[str] = ()
    kinds: Collection[str] = ()


def resend(
    connection: Connection, series_id: str, wanted: Wanted, destinations: Destinations, order: Order
) -> dict[str, int]:
    """Make the newest result of a series due once more; return how many objects by peer.

    Raises
    ------
    NodeError
        There is no result, or its objects were deleted.
    """
    lock_series(connection, [series_id])
    row = _newest_result(connection, series_id)
    counts: dict[str, int] = {}
    for peer in wanted.peers or _peers_of(connection, row, destinations):
        sent = select(result_object.c.id).where(
            result_object.c.job_id == row.id,
            *([result_object.c.kind.in_(list(wanted.kinds))] if wanted.kinds else []),
        )
        of_peer = (delivery.c.job_id == row.id, delivery.c.peer == peer)
        at_rest = (delivery.c.result_object_id.in_(sent), delivery.c.state.in_(_NOT_SENDING))
        number = _make_due(connection, (*of_peer, *at_rest), order.at)
        number += _add(connection, row, peer, wanted, destinations, order.at)
        if number:
            counts[peer] = number
    if counts:
        detail = {"job": row.id, "objects": counts, "kinds": sorted(wanted.kinds)}
        audit.record(connection, order.by, "resend", series_id, detail, order.at)
    return counts


def _newest_result(connection: Connection, series_id: str) -> Any:
    with_objects = select(result_object.c.job_id).where(result_object.c.job_id == job.c.id).exists()
    row = connection.execute(
        select(job)
        .where(job.c.series_id == series_id, with_objects)
        .order_by(job.c.generation.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise NodeError("this series has no result to send: `lesion-node trace` says why")
    if row.results_purged_at is not None:
        raise NodeError("its result objects were deleted: `lesion-node trace` says when")
    return row


def _peers_of(connection: Connection, row: Any, destinations: Destinations) -> Iterable[str]:
    told = audience(connection, row.series_id)
    configured = [peer for one in told for peer in destinations.peers_of_source.get(one, ())]
    before = connection.execute(
        select(delivery.c.peer).where(delivery.c.job_id == row.id).distinct()
    ).scalars()
    return dict.fromkeys([*configured, *before])


def _make_due(connection: Connection, chosen: Iterable[Any], now: float) -> int:
    """Make deliveries due as if they were new; what a peer committed to before says nothing of them."""
    ids = list(connection.execute(select(delivery.c.id).where(*chosen)).scalars())
    connection.execute(delete(commitment).where(commitment.c.delivery_id.in_(ids)))
    return connection.execute(
        update(delivery)
        .where(delivery.c.id.in_(ids), delivery.c.state != DeliveryState.SENDING.value)
        .values(
            state=DeliveryState.DUE.value,
            attempt=0,
            due_at=now,
            created_at=now,
            delivered_at=None,
            status=None,
            reason=None,
        )
    ).rowcount


def _add(
    connection: Connection, row: Any, peer: str, wanted: Wanted, destinations: Destinations, now: float
) -> int:
    """Enter what a peer was not to get when the result was made, and is to get now."""
    written = connection.execute(
        select(result_object)
        .where(result_object.c.job_id == row.id, result_object.c.corrected == "")
        .order_by(result_object.c.position)
    ).all()
    there = set(
        connection.execute(
            select(result_object.c.kind)
            .join_from(delivery, result_object)
            .where(delivery.c.job_id == row.id, delivery.c.peer == peer)
        ).scalars()
    )
    sources = audience(connection, row.series_id)
    number = 0
    for kind in dict.fromkeys(one.kind for one in written if one.kind not in there):
        encodings = [Written(one.id, row.id, kind, one.variant) for one in written if one.kind == kind]
        chosen = destinations.choice(peer, encodings) if destinations.sends(sources, kind) else None
        # Named explicitly it is sent also to a peer that is not to get it by its settings.
        if chosen is None and kind in wanted.kinds and kind != ResultKind.REJECTION_NOTE.value:
            chosen = encodings[0]
        if chosen is None or (wanted.kinds and kind not in wanted.kinds):
            continue
        connection.execute(
            delivery.insert().values(
                id=new_id(),
                result_object_id=chosen.id,
                job_id=row.id,
                peer=peer,
                state=DeliveryState.DUE.value,
                due_at=now,
                attempt=0,
                created_at=now,
            )
        )
        number += 1
    return number
