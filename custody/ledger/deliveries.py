"""The delivery queue: one row for each object and peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from custody.ledger import commitments
from custody.ledger.engine import Ledger
from custody.ledger.files import located
from custody.ledger.leases import end_leases
from custody.ledger.states import DeliveryState
from custody.ledger.tables import delivery, job, result_object
from custody.result_set import Receipt, append_receipt

_OBJECT_COLUMNS = (
    result_object.c.kind,
    result_object.c.variant,
    result_object.c.path,
    result_object.c.sop_class_uid,
    result_object.c.sop_instance_uid,
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One result object of a job, as a courier may send it.

    Parameters
    ----------
    id
        Our own.
    kind, variant
        What it is, in which encoding.
    path, sop_class_uid, sop_instance_uid
        The object.
    """

    id: str
    kind: str
    variant: str
    path: Path
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """One object that a peer is to get now.

    Parameters
    ----------
    id, owner, attempt
        Identity of the claim.
    job_id
        The job that made it; objects of one job travel on one association.
    object
        What is to be sent, in the encoding that was chosen so far.
    created_at
        When it was entered, seconds since 1970 UTC.
    """

    id: str
    owner: str
    attempt: int
    job_id: str
    object: StoredObject
    created_at: float


@dataclass(frozen=True, slots=True)
class Attempted:
    """The outcome of sending one object.

    Parameters
    ----------
    due
        Which delivery.
    sent
        What was sent, or tried: the object that was due, or another encoding of it.
    state
        `DELIVERED`; `DUE` to be tried again; `LEFT_OUT` because the peer takes no encoding of it; `FAILED`
        for good.
    reason
        What the peer said, and why it was another encoding.
    status
        DIMSE status, None where none was received.
    due_at
        When to try again.
    """

    due: DueDelivery
    sent: StoredObject
    state: DeliveryState
    reason: str | None
    status: int | None
    due_at: float


def claim_for_peer(ledger: Ledger, peer: str, owner: str, *, lease_s: float, now: float) -> list[DueDelivery]:
    """Take everything that is due to one peer from its most urgent job, in sending order.

    Urgent lanes go first, then what shows more disease, then what was sealed first.

    All undelivered objects of that job are taken together once one of them is due: a report must not arrive
    long before the segmentation that it refers to.
    """
    lapsed = (delivery.c.state == DeliveryState.SENDING.value) & (delivery.c.lease_until < now)
    waiting = (delivery.c.state == DeliveryState.DUE.value) & (delivery.c.due_at <= now)
    with ledger.write() as connection:
        open_states = [DeliveryState.DUE.value, DeliveryState.SENDING.value]
        of_job = select(delivery.c.job_id).where(
            delivery.c.state.in_(open_states), delivery.c.peer == peer, waiting | lapsed
        )
        first = connection.execute(
            select(job.c.id)
            .where(job.c.id.in_(of_job))
            .order_by(job.c.lane, job.c.triage.desc(), job.c.sealed_at)
            .limit(1)
            .with_for_update(skip_locked=True)  # another machine takes another job of this peer
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
            select(delivery, *_OBJECT_COLUMNS)
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
                object=_stored(connection, row.result_object_id, row),
                created_at=row.created_at,
            )
            for row in rows
        ]


def renew(ledger: Ledger, claimed: Sequence[DueDelivery], lease_until: float) -> None:
    """Extend the lease of claimed deliveries that are still being worked on."""
    with ledger.write() as connection:
        connection.execute(
            update(delivery)
            .where(
                delivery.c.id.in_([one.id for one in claimed]),
                delivery.c.state == DeliveryState.SENDING.value,
                delivery.c.owner == claimed[0].owner,
            )
            .values(lease_until=lease_until)
        )


def objects_of_job(ledger: Ledger, job_id: str, corrected: str = "") -> list[StoredObject]:
    """Return every object of a job in every encoding, in sending order.

    Under the patient of the images, or under the corrected identity of that digest.
    """
    with ledger.read() as connection:
        rows = connection.execute(
            select(result_object.c.id, *_OBJECT_COLUMNS)
            .where(result_object.c.job_id == job_id, result_object.c.corrected == corrected)
            .order_by(result_object.c.position)
        )
        return [_stored(connection, row.id, row) for row in rows]


def kinds_for_peer(ledger: Ledger, job_id: str, peer: str) -> frozenset[str]:
    """Return the kinds of object that a peer gets of a job, or has."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(result_object.c.kind)
            .join_from(delivery, result_object)
            .where(delivery.c.job_id == job_id, delivery.c.peer == peer)
        )
        return frozenset(row.kind for row in rows)


def _stored(connection: Connection, object_id: str, row: Any) -> StoredObject:
    return StoredObject(
        id=object_id,
        kind=row.kind,
        variant=row.variant,
        path=located(connection, row.path),
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
    )


def record(
    ledger: Ledger, outcomes: Sequence[Attempted], now: float, *, ask_commitment: bool = False
) -> None:
    """Record what became of claimed deliveries; claims that were lost meanwhile are left alone.

    What was delivered is to be committed by its peer where `ask_commitment` says so. What ended is noted
    beside the objects too, afterwards, so that a new ledger would know of it.
    """
    ended = []
    with ledger.write() as connection:
        for outcome in outcomes:
            delivered = outcome.state is DeliveryState.DELIVERED
            recorded = connection.execute(
                update(delivery)
                .where(
                    delivery.c.id == outcome.due.id,
                    delivery.c.state == DeliveryState.SENDING.value,
                    delivery.c.owner == outcome.due.owner,
                    delivery.c.attempt == outcome.due.attempt,
                )
                .values(
                    state=outcome.state.value,
                    result_object_id=outcome.sent.id,
                    reason=outcome.reason,
                    status=outcome.status,
                    due_at=outcome.due_at,
                    delivered_at=now if delivered else None,
                    lease_until=None,
                )
                .returning(delivery.c.peer)
            ).one_or_none()
            if recorded is not None and delivered and ask_commitment:
                commitments.owe(connection, outcome.due.id, now)
            if recorded is not None and outcome.state is not DeliveryState.DUE:
                identity = select(result_object.c.corrected).where(result_object.c.id == outcome.sent.id)
                ended.append((recorded.peer, connection.execute(identity).scalar_one(), outcome))
    for peer, identity, outcome in ended:
        append_receipt(outcome.sent.path.parent, _receipt(peer, identity, outcome, now))


def _receipt(peer: str, identity: str, outcome: Attempted, now: float) -> Receipt:
    return Receipt(
        peer=peer,
        kind=outcome.sent.kind,
        variant=outcome.sent.variant,
        identity=identity,
        sop_instance_uid=outcome.sent.sop_instance_uid,
        state=outcome.state.value,
        reason=outcome.reason,
        status=outcome.status,
        attempt=outcome.due.attempt,
        created_at=outcome.due.created_at,
        ended_at=now,
    )


def release_owners(ledger: Ledger, prefix: str, now: float) -> int:
    """Let the leases of all owners of that name end at once: their process is dead."""
    return end_leases(ledger, delivery, DeliveryState.SENDING.value, prefix, now)


def peers_with_deliveries(ledger: Ledger) -> frozenset[str]:
    """Return the names of the peers that are owed something."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(delivery.c.peer)
            .where(delivery.c.state.in_([DeliveryState.DUE.value, DeliveryState.SENDING.value]))
            .distinct()
        )
        return frozenset(row.peer for row in rows)
