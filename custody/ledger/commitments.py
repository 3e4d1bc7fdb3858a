"""Delivered objects that a peer is asked to commit to (PS3.4 Annex J); also the queue of asking."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from custody.ledger.dialect import upsert
from custody.ledger.engine import Ledger, new_id
from custody.ledger.states import CommitmentState, DeliveryState
from custody.ledger.tables import commitment, commitment_transaction, delivery, result_object

_UNDER_WAY = (CommitmentState.DUE.value, CommitmentState.ASKED.value)
_NEVER_SENT = (DeliveryState.FAILED.value, DeliveryState.LEFT_OUT.value, DeliveryState.SUPERSEDED.value)
NO_REPORT = "no report came on the last request"


@dataclass(frozen=True, slots=True)
class Asking:
    """What one request for commitment is about.

    Parameters
    ----------
    transaction_uid
        Fresh for every request, so it also tells this claim from any other.
    owner
        Who claimed.
    attempt
        How often the most asked for of the objects was asked for.
    items
        SOP Class UID and SOP Instance UID of each object.
    """

    transaction_uid: str
    owner: str
    attempt: int
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """An object that nobody commits to."""

    sop_instance_uid: str
    reason: str


def owe(connection: Connection, delivery_id: str, now: float) -> None:
    """Enter that the peer of a delivery, which has just been recorded, is to commit to it."""
    peer = connection.execute(select(delivery.c.peer).where(delivery.c.id == delivery_id)).scalar_one()
    fresh = {
        "state": CommitmentState.DUE.value,
        "transaction_uid": None,
        "reason": None,
        "due_at": now,
        "owner": None,
        "attempt": 0,
        "lease_until": None,
        "created_at": now,
        "asked_at": None,
        "ended_at": None,
    }
    new = {"id": new_id(), "delivery_id": delivery_id, "peer": peer, "resent": 0, **fresh}
    upsert(connection, commitment, new, key=("delivery_id",), changes=fresh)


def claim(ledger: Ledger, peer: str, owner: str, *, lease_s: float, now: float) -> Asking | None:
    """Take the objects of one job that a peer is to be asked about, and note the request before it is made.

    They are all that were delivered and are not committed, except those that another request is about.
    """
    ready = (
        commitment.c.peer == peer,
        commitment.c.state.in_(_UNDER_WAY),
        commitment.c.due_at <= now,
        delivery.c.state == DeliveryState.DELIVERED.value,
    )
    with ledger.write() as connection:
        job_id = connection.execute(
            select(delivery.c.job_id)
            .join_from(commitment, delivery)
            .where(*ready)
            .order_by(commitment.c.due_at, commitment.c.id)
            .limit(1)
            .with_for_update(of=commitment, skip_locked=True)
        ).scalar_one_or_none()
        if job_id is None:
            return None
        rows = connection.execute(
            select(
                commitment.c.id,
                commitment.c.attempt,
                result_object.c.sop_class_uid,
                result_object.c.sop_instance_uid,
            )
            .join_from(commitment, delivery)
            .join(result_object, result_object.c.id == delivery.c.result_object_id)
            .where(*ready, delivery.c.job_id == job_id)
            .order_by(result_object.c.position)
            .with_for_update(of=commitment, skip_locked=True)
        ).all()
        asking = Asking(
            transaction_uid=f"2.25.{uuid.uuid4().int}",
            owner=owner,
            attempt=max(row.attempt for row in rows) + 1,
            items=tuple((row.sop_class_uid, row.sop_instance_uid) for row in rows),
        )
        was_asked = commitment.c.state == CommitmentState.ASKED.value
        connection.execute(
            update(commitment)
            .where(commitment.c.id.in_([row.id for row in rows]))
            .values(
                reason=case((was_asked, NO_REPORT), else_=commitment.c.reason),
                state=CommitmentState.ASKED.value,
                transaction_uid=asking.transaction_uid,
                owner=owner,
                attempt=commitment.c.attempt + 1,
                asked_at=now,
                due_at=now + lease_s,
                lease_until=now + lease_s,
            )
        )
        enter_transaction(connection, asking.transaction_uid, peer, now, job_id=job_id)
        return asking


def enter_transaction(
    connection: Connection, transaction_uid: str, peer: str, now: float, **about: str
) -> None:
    """Note a request that is about to be made of a peer; `about` is ``job_id`` or ``request_id``."""
    connection.execute(
        commitment_transaction.insert().values(
            transaction_uid=transaction_uid, peer=peer, asked_at=now, **about
        )
    )


def taken(ledger: Ledger, asking: Asking, report_by: float) -> None:
    """Record that the peer took the request; without a report until then it is asked again."""
    with ledger.write() as connection:
        connection.execute(_claimed(asking).values(due_at=report_by, lease_until=None))


def ask_again(ledger: Ledger, asking: Asking, reason: str, due_at: float) -> None:
    """Record that the peer did not take the request."""
    values = {"state": CommitmentState.DUE.value, "due_at": due_at, "lease_until": None, "reason": reason}
    with ledger.write() as connection:
        connection.execute(_claimed(asking).values(**values))


def _claimed(asking: Asking) -> Any:
    """Return the update of what is still claimed; a report may have come before the answer."""
    return update(commitment).where(
        commitment.c.transaction_uid == asking.transaction_uid,
        commitment.c.owner == asking.owner,
        commitment.c.state == CommitmentState.ASKED.value,
    )


def is_awaited(ledger: Ledger, transaction_uid: str) -> bool:
    """Tell whether a report on a request is still to come."""
    with ledger.read() as connection:
        found = select(commitment.c.id).where(
            commitment.c.transaction_uid == transaction_uid,
            commitment.c.state == CommitmentState.ASKED.value,
        )
        return connection.execute(found.limit(1)).first() is not None


def give_up(ledger: Ledger, peer: str, *, asked_since: float, now: float) -> list[GivenUp]:
    """End what is due and was asked for in vain since then, and what is never sent again; return both."""
    due = (commitment.c.peer == peer, commitment.c.state.in_(_UNDER_WAY), commitment.c.due_at <= now)
    too_old = (commitment.c.created_at < asked_since) & (commitment.c.attempt > 0)
    never_sent = delivery.c.state.in_(_NEVER_SENT)
    with ledger.read() as connection:  # mostly there is nothing to write
        if connection.execute(_ending(*due, too_old | never_sent).limit(1)).first() is None:
            return []
    with ledger.write() as connection:
        rows = connection.execute(
            _ending(*due, too_old | never_sent).with_for_update(of=commitment, skip_locked=True)
        ).all()
        ended = []
        for row in rows:
            why = row.reason or NO_REPORT
            if row.state in _NEVER_SENT:
                why = f"{why}; it was not sent again ({row.why_not_sent or row.state})"
            ended.append(GivenUp(row.sop_instance_uid, why))
            end_as_failed(connection, row.id, why, now)
        return ended


def _ending(*conditions: Any) -> Any:
    return (
        select(
            commitment.c.id,
            commitment.c.reason,
            delivery.c.state,
            delivery.c.reason.label("why_not_sent"),
            result_object.c.sop_instance_uid,
        )
        .join_from(commitment, delivery)
        .join(result_object, result_object.c.id == delivery.c.result_object_id)
        .where(*conditions)
    )


def end_as_failed(connection: Connection, commitment_id: str, reason: str, now: float) -> None:
    """Record that a peer will not commit to an object."""
    connection.execute(
        update(commitment)
        .where(commitment.c.id == commitment_id)
        .values(state=CommitmentState.FAILED.value, reason=reason, ended_at=now, lease_until=None)
    )


def release_owners(ledger: Ledger, prefix: str, now: float) -> int:
    """Let the leases of all owners of that name end at once: their process is dead."""
    with ledger.write() as connection:
        return connection.execute(
            update(commitment)
            .where(
                commitment.c.state == CommitmentState.ASKED.value,
                commitment.c.lease_until.is_not(None),
                commitment.c.owner.startswith(prefix, autoescape=True),
            )
            .values(lease_until=None, due_at=now)
        ).rowcount


def awaited(connection: Connection, job_id: str, peers: Collection[str]) -> bool:
    """Tell whether any of these peers has yet to commit to an object of a job, or would not.

    For whoever deletes results: while this holds, the copy here may be the only one.
    """
    found = (
        select(commitment.c.id)
        .join_from(commitment, delivery)
        .where(
            delivery.c.job_id == job_id,
            commitment.c.peer.in_(list(peers)),
            commitment.c.state != CommitmentState.COMMITTED.value,
        )
    )
    return connection.execute(found.limit(1)).first() is not None


def summary(connection: Connection, since: float) -> list[dict[str, Any]]:
    """Count by peer and state what is under way or was given up, and what was committed since then."""
    columns = (
        commitment.c.peer,
        commitment.c.state,
        func.count().label("objects"),
        func.max(commitment.c.reason).label("reason"),
        func.min(commitment.c.due_at).label("next_due_at"),
        func.max(commitment.c.ended_at).label("last_ended_at"),
    )
    unsettled = commitment.c.state.in_([*_UNDER_WAY, CommitmentState.FAILED.value])
    lately = (commitment.c.ended_at >= since) & (commitment.c.state == CommitmentState.COMMITTED.value)
    return [
        dict(row)
        for chosen in (unsettled, lately)
        for row in connection.execute(
            select(*columns)
            .where(chosen)
            .group_by(commitment.c.peer, commitment.c.state)
            .order_by(commitment.c.peer, commitment.c.state)
        ).mappings()
    ]
