"""What senders ask this node to commit to (PS3.4 Annex J); also the queue of answering them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from custody.ledger import incidents, instances
from custody.ledger.dialect import insert_new, lock_series
from custody.ledger.engine import Ledger, new_id
from custody.ledger.incidents import IncidentKind
from custody.ledger.reception import Caller
from custody.ledger.states import CommitmentRequestState
from custody.ledger.tables import commitment_request, commitment_transaction, series

#: SOP Class UID and SOP Instance UID.
Item = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ClaimedRequest:
    """A request that is to be decided or answered now.

    Parameters
    ----------
    id, owner, attempt
        Identity of the claim.
    transaction_uid, calling_ae_title, source, address
        Who asked.
    items
        For what.
    requested_at, decided_at
        Seconds since 1970 UTC; the second is None until the outcome is known.
    outcome
        By SOP Instance UID: 0 for committed, else the Failure Reason (0008,1197).
    """

    id: str
    owner: str
    attempt: int
    transaction_uid: str
    calling_ae_title: str
    source: str
    address: str
    items: tuple[Item, ...]
    requested_at: float
    decided_at: float | None
    outcome: Mapping[str, int] | None


def enter(
    ledger: Ledger, caller: Caller, node: str, transaction_uid: str, items: Sequence[Item], now: float
) -> bool:
    """Record a request before it is acknowledged.

    The same request once more (its acknowledgement was lost, or the report) is reported on once more.

    Returns
    -------
    bool
        False where this caller used the Transaction UID for another request.
    """
    values = {
        "id": new_id(),
        "transaction_uid": transaction_uid,
        "source": caller.source,
        "calling_ae_title": caller.calling_ae_title,
        "address": caller.address,
        "node": node,
        "items": [list(item) for item in items],
        "state": CommitmentRequestState.WAITING.value,
        "requested_at": now,
        "due_at": now,
        "attempt": 0,
    }
    with ledger.write() as connection:
        if insert_new(connection, commitment_request, values):
            return True
        known = connection.execute(
            select(commitment_request)
            .where(
                commitment_request.c.calling_ae_title == caller.calling_ae_title,
                commitment_request.c.transaction_uid == transaction_uid,
            )
            .with_for_update()
        ).one()
        if {tuple(item) for item in known._mapping["items"]} != set(items):
            return False
        if known.state != CommitmentRequestState.WAITING.value:
            afresh = {**values, "decided_at": None, "outcome": None, "ended_at": None, "reason": None}
            for kept in ("id", "attempt", "transaction_uid", "calling_ae_title"):
                del afresh[kept]
            connection.execute(
                update(commitment_request).where(commitment_request.c.id == known.id).values(**afresh)
            )
        return True


def claim(ledger: Ledger, node: str, owner: str, *, lease_s: float, now: float) -> ClaimedRequest | None:
    """Take the request that has been due for longest."""
    with ledger.write() as connection:
        row = connection.execute(
            select(commitment_request)
            .where(
                commitment_request.c.state == CommitmentRequestState.WAITING.value,
                commitment_request.c.node == node,
                commitment_request.c.due_at <= now,
            )
            .order_by(commitment_request.c.due_at, commitment_request.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        attempt = row.attempt + 1
        lease = {"due_at": now + lease_s, "lease_until": now + lease_s}
        connection.execute(
            update(commitment_request)
            .where(commitment_request.c.id == row.id)
            .values(owner=owner, attempt=attempt, **lease)
        )
        return ClaimedRequest(
            id=row.id,
            owner=owner,
            attempt=attempt,
            transaction_uid=row.transaction_uid,
            calling_ae_title=row.calling_ae_title,
            source=row.source,
            address=row.address,
            items=tuple((str(sop_class), str(uid)) for sop_class, uid in row._mapping["items"]),
            requested_at=row.requested_at,
            decided_at=row.decided_at,
            outcome=row.outcome,
        )


def decide(
    ledger: Ledger,
    claimed: ClaimedRequest,
    outcome: Mapping[str, int],
    held: Mapping[str, Collection[str]],
    now: float,
) -> bool:
    """Record the outcome before the sender is told; what this node promises to keep is kept from then on.

    Parameters
    ----------
    ledger, claimed, outcome
        What will be answered.
    held
        By our own id of a series the ids of its instances that the outcome rests on; they have to be there
        still, for whoever deletes images may have been at work meanwhile.
    now
        Seconds since 1970 UTC.

    Returns
    -------
    bool
        False where the claim was lost, or something that the outcome rests on is gone.
    """
    with ledger.write() as connection:
        lock_series(connection, held)
        for series_id, ids in held.items():
            there = {one.id for one in instances.of_series(connection, series_id)}
            if not set(ids) <= there:
                return False
        decided = connection.execute(
            _claimed(claimed).values(outcome=dict(outcome), decided_at=now, reason=None)
        )
        if not decided.rowcount:
            return False
        connection.execute(
            update(series)
            .where(series.c.id.in_(list(held)), series.c.promised_at.is_(None))
            .values(promised_at=now)
        )
        return True


def promised(connection: Connection, series_id: str) -> bool:
    """Tell whether a sender relies on this node to keep a series for good.

    Its images must not be deleted then, whatever their age. To be asked after
    `custody.ledger.dialect.lock_series`, in the transaction that marks the images as deleted and before any
    file is: only so can no promise be made in between.
    """
    found = select(series.c.promised_at).where(series.c.id == series_id)
    return connection.execute(found).scalar_one_or_none() is not None


def wait(ledger: Ledger, claimed: ClaimedRequest, reason: str | None, due_at: float) -> None:
    """Give a claim back; the request is looked at again then."""
    with ledger.write() as connection:
        connection.execute(_claimed(claimed).values(reason=reason, due_at=due_at, lease_until=None))


def answered(ledger: Ledger, claimed: ClaimedRequest, now: float) -> None:
    """Record that the sender took the report."""
    _end(ledger, claimed, CommitmentRequestState.ANSWERED, None, now)


def give_up(ledger: Ledger, claimed: ClaimedRequest, reason: str, now: float) -> None:
    """Record that the sender could not be told, and tell people."""
    if _end(ledger, claimed, CommitmentRequestState.FAILED, reason, now):
        with ledger.write() as connection:
            kind = IncidentKind.COMMITMENT_UNANSWERED
            incidents.note(connection, kind, claimed.calling_ae_title, reason, now)


def _end(
    ledger: Ledger, claimed: ClaimedRequest, state: CommitmentRequestState, reason: str | None, now: float
) -> bool:
    values = {"state": state.value, "reason": reason, "ended_at": now, "lease_until": None}
    with ledger.write() as connection:
        return connection.execute(_claimed(claimed).values(**values)).rowcount == 1


def _claimed(claimed: ClaimedRequest) -> Any:
    return update(commitment_request).where(
        commitment_request.c.id == claimed.id,
        commitment_request.c.state == CommitmentRequestState.WAITING.value,
        commitment_request.c.owner == claimed.owner,
        commitment_request.c.attempt == claimed.attempt,
    )


def forget_ended(ledger: Ledger, before: float) -> int:
    """Delete requests that ended before then: their lists of instances would outgrow everything else."""
    old = select(commitment_request.c.id).where(commitment_request.c.ended_at < before)
    with ledger.read() as connection:  # mostly there is nothing to write
        if connection.execute(old.limit(1)).first() is None:
            return 0
    with ledger.write() as connection:
        depending = commitment_transaction.c.request_id.in_(old)
        connection.execute(delete(commitment_transaction).where(depending))
        ended = commitment_request.c.ended_at < before
        return connection.execute(delete(commitment_request).where(ended)).rowcount


def release_owners(ledger: Ledger, prefix: str, now: float) -> int:
    """Let the leases of all owners of that name end at once: their process is dead."""
    with ledger.write() as connection:
        return connection.execute(
            update(commitment_request)
            .where(
                commitment_request.c.state == CommitmentRequestState.WAITING.value,
                commitment_request.c.lease_until.is_not(None),
                commitment_request.c.owner.startswith(prefix, autoescape=True),
            )
            .values(lease_until=None, due_at=now)
        ).rowcount


def summary(connection: Connection, since: float) -> list[dict[str, Any]]:
    """Count by caller and state the requests that wait, and those that ended since then."""
    waiting = commitment_request.c.state == CommitmentRequestState.WAITING.value
    columns = (
        commitment_request.c.calling_ae_title,
        commitment_request.c.state,
        func.count().label("requests"),
        func.max(commitment_request.c.reason).label("reason"),
        func.min(commitment_request.c.due_at).label("next_due_at"),
        func.max(commitment_request.c.ended_at).label("last_ended_at"),
    )
    return [
        dict(row)
        for chosen in (waiting, commitment_request.c.ended_at >= since)
        for row in connection.execute(
            select(*columns)
            .where(chosen)
            .group_by(commitment_request.c.calling_ae_title, commitment_request.c.state)
            .order_by(commitment_request.c.calling_ae_title, commitment_request.c.state)
        ).mappings()
    ]
