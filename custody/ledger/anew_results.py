"""Rows of jobs, results and deliveries of a ledger that is made anew from result sets and receipts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from custody.ledger import commitments
from custody.ledger.anew import ENDED, raise_generation, take_scan, take_sender, take_series
from custody.ledger.destinations import supersede_deliveries
from custody.ledger.engine import new_id
from custody.ledger.files import recorded
from custody.ledger.states import NOT_TOLD, DeliveryState, JobState
from custody.ledger.tables import attempt, commitment, delivery, job, result_object, series
from custody.result_set import CorrectedSet, KeptObject, Receipt, ResultSet

_GONE = "its file was deleted before it was sent"
_NO_TRACE = "nothing of this generation was left in the spool when the ledger was made anew"


def take_result_set(
    connection: Connection,
    folder: Path,
    found: ResultSet,
    corrected: Sequence[CorrectedSet],
    receipts: Sequence[Receipt],
    purged_at: float | None,
) -> bool:
    """Enter a job with its end, objects and deliveries; False where the ledger has its end already.

    Parameters
    ----------
    connection
        A writing transaction.
    folder
        Where the objects are.
    found, corrected, receipts
        What lies in it.
    purged_at
        When the objects were deleted; None where they are here.
    """
    times = (found.first_received_at, found.last_received_at)
    series_id = take_series(connection, found.series_id, found.key, found.modality, times)
    known = connection.execute(
        select(job).where(job.c.series_id == series_id, job.c.generation == found.generation)
    ).one_or_none()
    if known is not None and (known.state in ENDED or known.id != found.job_id):
        return False
    take_scan(connection, found.acquisition)
    values = _job_values(found, series_id, purged_at)
    if known is None:
        connection.execute(job.insert().values(id=found.job_id, **values))
    else:
        connection.execute(update(job).where(job.c.id == found.job_id).values(values))
    raise_generation(connection, series_id, found.generation)
    for one in found.senders:
        settled = int(one.settled) if one.told else NOT_TOLD
        take_sender(connection, series_id, one.source, one.calling_ae_title, settled=settled)
    _take_attempt(connection, found)
    objects = _take_objects(connection, folder, found, corrected)
    for row in _deliveries(found, objects, receipts, gone=purged_at is not None):
        connection.execute(delivery.insert().values(id=new_id(), job_id=found.job_id, **row))
    return True


def _job_values(found: ResultSet, series_id: str, purged_at: float | None) -> dict[str, Any]:
    return {
        "series_id": series_id,
        "acquisition_id": found.acquisition["id"],
        "generation": found.generation,
        "calling_ae_title": found.calling_ae_title,
        "state": found.state,
        "reason": found.reason,
        "evidence": found.evidence,
        "model": found.model,
        "sealed_at": found.sealed_at,
        "due_at": found.sealed_at,
        "attempt": found.attempt,
        "started_at": found.started_at,
        "finished_at": found.finished_at,
        "result": dict(found.result) if found.result is not None else None,
        "lane": found.lane,
        "purpose": found.purpose,
        "triage": found.triage,
        "results_purged_at": purged_at,
        "results_gone_at": purged_at,
    }


def _take_attempt(connection: Connection, found: ResultSet) -> None:
    """Enter the attempt that led to the result; those before are forgotten."""
    if found.started_at is not None:
        connection.execute(
            attempt.insert().values(
                id=new_id(),
                job_id=found.job_id,
                attempt=found.attempt,
                owner="before",
                started_at=found.started_at,
                ended_at=found.finished_at,
                outcome=found.state,
                reason=found.reason,
            )
        )


def _take_objects(
    connection: Connection, folder: Path, found: ResultSet, corrected: Sequence[CorrectedSet]
) -> dict[tuple[str, str, str], str]:
    """Enter the objects; return their ids by kind, variant and identity."""
    order = {(one.kind, one.variant): position for position, one in enumerate(found.objects)}
    sets: list[tuple[str, Sequence[KeptObject], float]] = [("", found.objects, found.finished_at)]
    sets += [(one.identity, one.objects, one.written_at) for one in corrected]
    ids = {}
    for identity, objects, written_at in sets:
        for one in objects:
            ids[one.kind, one.variant, identity] = new_id()
            connection.execute(
                result_object.insert().values(
                    id=ids[one.kind, one.variant, identity],
                    job_id=found.job_id,
                    position=order.get((one.kind, one.variant), len(order)),
                    kind=one.kind,
                    variant=one.variant,
                    corrected=identity,
                    sop_class_uid=one.sop_class_uid,
                    sop_instance_uid=one.sop_instance_uid,
                    path=recorded(connection, folder / one.file),
                    sha256=one.sha256,
                    size_bytes=one.size_bytes,
                    written_at=written_at,
                )
            )
    return ids


def _deliveries(
    found: ResultSet,
    objects: dict[tuple[str, str, str], str],
    receipts: Sequence[Receipt],
    *,
    gone: bool,
) -> Iterator[dict[str, Any]]:
    """Yield the deliveries: as the newest receipt says, and due again where there is none."""
    newest = {(one.peer, one.kind): one for one in receipts}
    for (peer, kind), one in newest.items():
        sent = objects.get((kind, one.variant, one.identity)) or objects.get((kind, one.variant, ""))
        if sent is None:
            continue
        delivered = one.state == DeliveryState.DELIVERED
        yield {
            "result_object_id": sent,
            "peer": peer,
            "state": one.state,
            "reason": one.reason,
            "status": one.status,
            "due_at": one.ended_at,
            "attempt": one.attempt,
            "created_at": one.created_at,
            "delivered_at": one.ended_at if delivered else None,
        }
    for owed in found.owed:
        first = objects.get((owed.kind, owed.variant, ""))
        if (owed.peer, owed.kind) in newest or first is None:
            continue
        yield {
            "result_object_id": first,
            "peer": owed.peer,
            "state": (DeliveryState.FAILED if gone else DeliveryState.DUE).value,
            "reason": _GONE if gone else None,
            "due_at": found.finished_at,
            "attempt": 0,
            "created_at": found.finished_at,
        }


def close_gaps(connection: Connection, committing: Collection[str], now: float) -> None:
    """Give every sealed generation a job, end what later results supersede, ask for commitment anew.

    Parameters
    ----------
    connection
        A writing transaction; everything else was taken in.
    committing
        Names of the peers that are asked for storage commitment.
    now
        Seconds since 1970 UTC.
    """
    later = connection.execute(select(series.c.id, series.c.generation).where(series.c.generation > 1)).all()
    for one in later:
        rows = connection.execute(
            select(job).where(job.c.series_id == one.id).order_by(job.c.generation)
        ).all()
        there = {row.generation for row in rows}
        for generation in range(1, one.generation + 1):
            if generation not in there and rows:
                _fill(connection, rows[0], generation)
        best = [row.generation for row in rows if row.state == JobState.ANALYSED.value]
        if best:
            supersede_deliveries(connection, one.id, max(best))
    asked = select(commitment.c.delivery_id)
    delivered = select(delivery.c.id).where(
        delivery.c.state == DeliveryState.DELIVERED.value,
        delivery.c.peer.in_(list(committing)),
        delivery.c.id.not_in(asked),
    )
    for delivery_id in connection.execute(delivered).scalars().all():
        commitments.owe(connection, delivery_id, now)
    # What was owed is owed from now on: the time for which the peer is tried begins anew.
    connection.execute(
        update(delivery).where(delivery.c.state == DeliveryState.DUE.value).values(due_at=now, created_at=now)
    )


def _fill(connection: Connection, like: Any, generation: int) -> None:
    values = {
        "series_id": like.series_id,
        "acquisition_id": like.acquisition_id,
        "generation": generation,
        "calling_ae_title": like.calling_ae_title,
        "state": JobState.NOT_SELECTED.value,
        "reason": _NO_TRACE,
        "evidence": _NO_TRACE,
        "model": like.model,
        "sealed_at": like.sealed_at,
        "due_at": like.sealed_at,
        "attempt": 0,
        "finished_at": like.sealed_at,
    }
    connection.execute(job.insert().values(id=new_id(), **values))
