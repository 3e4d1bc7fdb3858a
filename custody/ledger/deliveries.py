"""The delivery queue: one row for each object and peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import select, update

from custody.ledger.engine import Ledger
from custody.ledger.tables import delivery, job, result_object


class DeliveryState(StrEnum):
    """Where an object stands on its way to a peer."""

    DUE = "due"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """One object that a peer is to get now.

    Parameters
    ----------
    id, owner, attempt
        Identity of the claim.
    job_id
        The job that made it; objects of one job travel on one association.
    path, sop_class_uid, sop_instance_uid
        The object.
    created_at
        When it was entered, seconds since 1970 UTC.
    """

    id: str
    owner: str
    attempt: int
    job_id: str
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Attempted:
    """The outcome of sending one object.

    Parameters
    ----------
    due
        Which delivery.
    state
        `DELIVERED`; `DUE` to be tried again; `FAILED` for good.
    reason
        What the peer said.
    status
        DIMSE status, None where none was received.
    due_at
        When to try again.
    """

    due: DueDelivery
    state: DeliveryState
    reason: str | None
    status: int | None
    due_at: float


def claim_for_peer(ledger: Ledger, peer: str, owner: str, *, lease_s: float, now: float) -> list[DueDelivery]:
    """Take everything that is due to one peer from its oldest job, in sending order.

    All undelivered objects of that job are taken together once one of them is due: a report must not arrive
    long before the segmentation that it refers to.
    """
    lapsed = (delivery.c.state == DeliveryState.SENDING.value) & (delivery.c.lease_until < now)
    waiting = (delivery.c.state == DeliveryState.DUE.value) & (delivery.c.due_at <= now)
    with ledger.write() as connection:
        first = connection.execute(
            select(delivery.c.job_id)
            .join_from(delivery, job)
            .where(delivery.c.peer == peer, waiting | lapsed)
            .order_by(delivery.c.due_at, job.c.sealed_at)
            .limit(1)
        ).scalar_one_or_none()
        if first is None:
            return []
        connection.execute(
            update(delivery)
            .where(
                delivery.c.peer == peer,
                delivery.c.job_id == first,
                (delivery.c.state == DeliveryState.DUE.value) | lapsed,
            )
            .values(
                state=DeliveryState.SENDING.value,
                owner=owner,
                attempt=delivery.c.attempt + 1,
                lease_until=now + lease_s,
            )
        )
        rows = connection.execute(
            select(
                delivery,
                result_object.c.path,
                result_object.c.sop_class_uid,
                result_object.c.sop_instance_uid,
            )
            .join_from(delivery, result_object)
            .where(
                delivery.c.peer == peer,
                delivery.c.job_id == first,
                delivery.c.state == DeliveryState.SENDING.value,
                delivery.c.owner == owner,
            )
            .order_by(result_object.c.position)
        )
        return [
            DueDelivery(
                id=row.id,
                owner=row.owner,
                attempt=row.attempt,
                job_id=row.job_id,
                path=Path(row.path),
                sop_class_uid=row.sop_class_uid,
                sop_instance_uid=row.sop_instance_uid,
                created_at=row.created_at,
            )
            for row in rows
        ]


def record(ledger: Ledger, outcomes: Sequence[Attempted], now: float) -> None:
    """Record what became of claimed deliveries; claims that were lost meanwhile are left alone."""
    with ledger.write() as connection:
        for outcome in outcomes:
            delivered = outcome.state is DeliveryState.DELIVERED
            connection.execute(
                update(delivery)
                .where(
                    delivery.c.id == outcome.due.id,
                    delivery.c.state == DeliveryState.SENDING.value,
                    delivery.c.owner == outcome.due.owner,
                    delivery.c.attempt == outcome.due.attempt,
                )
                .values(
                    state=outcome.state.value,
                    reason=outcome.reason,
                    status=outcome.status,
                    due_at=outcome.due_at,
                    delivered_at=now if delivered else None,
                    lease_until=None,
                )
            )


def release_every_owner(ledger: Ledger, now: float) -> int:
    """Let every lease end at once: at start-up of a node that owns its ledger alone, every owner is dead."""
    with ledger.write() as connection:
        return connection.execute(
            update(delivery)
            .where(delivery.c.state == DeliveryState.SENDING.value)
            .values(lease_until=now - 1)
        ).rowcount


def peers_with_deliveries(ledger: Ledger) -> frozenset[str]:
    """Return the names of the peers that are owed something."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(delivery.c.peer)
            .where(delivery.c.state.in_([DeliveryState.DUE.value, DeliveryState.SENDING.value]))
            .distinct()
        )
        return frozenset(row.peer for row in rows)
