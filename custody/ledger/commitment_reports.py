"""What peers report on requests for commitment, and what follows (PS3.4 J.3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, exists, select, update

from custody.ledger import commitments, incidents
from custody.ledger.engine import Ledger
from custody.ledger.incidents import IncidentKind
from custody.ledger.states import CommitmentRequestState, CommitmentState, DeliveryState
from custody.ledger.tables import (
    commitment,
    commitment_request,
    commitment_transaction,
    delivery,
    job,
    result_object,
)

#: Failure Reasons (0008,1197), PS3.4 J.3.3.1.1 and PS3.3 C.14.1.1.
PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
REFERENCED_CLASS_NOT_SUPPORTED = 0x0122
DUPLICATE_TRANSACTION_UID = 0x0131
RESOURCE_LIMITATION = 0x0213
COMMITTED = 0x0000

_WORDS: Mapping[int, str] = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_OBJECT: "it has no such object",
    CLASS_INSTANCE_CONFLICT: "it has the object under another SOP Class",
    REFERENCED_CLASS_NOT_SUPPORTED: "it does not store this SOP Class",
    DUPLICATE_TRANSACTION_UID: "it takes the Transaction UID for one in use",
    RESOURCE_LIMITATION: "resource limitation",
}
#: An object that is not committed to is sent again so many times.
MOST_RESENDS = 3


@dataclass(frozen=True, slots=True)
class Report:
    """An N-EVENT-REPORT of the Storage Commitment Push Model.

    Parameters
    ----------
    transaction_uid
        Of the request that it is about.
    committed
        SOP Class UID by SOP Instance UID of what is safe; nothing that failed is among it.
    failed
        Failure Reason by SOP Instance UID.
    """

    transaction_uid: str
    committed: Mapping[str, str]
    failed: Mapping[str, int]


@dataclass(slots=True)
class Followed:
    """What followed from a report.

    Parameters
    ----------
    known
        Whether this node made the request of this peer.
    request_id
        The sender's request that depends on it, where it was made for one.
    committed
        How many objects are safe now.
    resent
        SOP Instance UIDs that are sent again, each with the reason.
    given_up
        The same for those that are not.
    """

    known: bool
    request_id: str | None = None
    committed: int = 0
    resent: dict[str, str] = field(default_factory=dict)
    given_up: dict[str, str] = field(default_factory=dict)


def words_for(failure_reason: int) -> str:
    """Return a Failure Reason for people."""
    words = _WORDS.get(failure_reason, "it gives no known reason")
    return f"0x{failure_reason:04X} ({words})"


def follow(ledger: Ledger, peer: str, report: Report, *, resend_at: float, now: float) -> Followed:
    """Record a report with all that follows from it, in one transaction.

    What is committed counts whichever request it is about: a peer may report after it was asked again. What
    failed counts only for the newest request, because that one will be reported on too. Nothing follows for
    objects that a report does not name.

    Parameters
    ----------
    ledger, peer, report
        Who says what.
    resend_at
        When objects that the peer does not have are due again.
    now
        Seconds since 1970 UTC.
    """
    with ledger.write() as connection:
        asked = connection.execute(
            select(commitment_transaction).where(
                commitment_transaction.c.transaction_uid == report.transaction_uid,
                commitment_transaction.c.peer == peer,
            )
        ).one_or_none()
        if asked is None:
            return Followed(known=False)
        if asked.request_id is not None:
            _pass_on(connection, asked, report, now)
            return Followed(known=True, request_id=asked.request_id)
        connection.execute(_transaction(report).values(reported_at=now))
        followed = Followed(known=True)
        for row in _objects(connection, peer, asked.job_id):
            if report.committed.get(row.sop_instance_uid) == row.sop_class_uid:
                followed.committed += _commit(connection, row, now)
            elif row.sop_instance_uid in report.failed and row.transaction_uid == report.transaction_uid:
                _fail(connection, row, report.failed[row.sop_instance_uid], resend_at, now, followed)
        _tell(connection, peer, followed, now)
        return followed


def _transaction(report: Report) -> Any:
    return update(commitment_transaction).where(
        commitment_transaction.c.transaction_uid == report.transaction_uid
    )


def _pass_on(connection: Connection, asked: Any, report: Report, now: float) -> None:
    """Keep what the archive said for the sender's request, which is decided with it."""
    wanted = {
        uid: sop_class
        for sop_class, uid in connection.execute(
            select(commitment_request.c["items"]).where(commitment_request.c.id == asked.request_id)
        ).scalar_one()
    }
    outcome = {
        uid: COMMITTED if wanted.get(uid) == sop_class else CLASS_INSTANCE_CONFLICT
        for uid, sop_class in report.committed.items()
    } | dict(report.failed)
    connection.execute(_transaction(report).values(reported_at=now, outcome=outcome))
    connection.execute(
        update(commitment_request)
        .where(
            commitment_request.c.id == asked.request_id,
            commitment_request.c.state == CommitmentRequestState.WAITING.value,
            commitment_request.c.decided_at.is_(None),
            commitment_request.c.lease_until.is_(None),
        )
        .values(due_at=now)
    )


def _objects(connection: Connection, peer: str, job_id: str) -> list[Any]:
    """Return what a report on a job may change. A late yes also ends what was given up."""
    later = job.alias("later")
    outdated = exists().where(
        later.c.series_id == job.c.series_id,
        later.c.generation > job.c.generation,
        later.c.finished_at.is_not(None),
    )
    rows = connection.execute(
        select(
            commitment,
            result_object.c.sop_class_uid,
            result_object.c.sop_instance_uid,
            outdated.label("outdated"),
        )
        .join_from(commitment, delivery)
        .join(result_object, result_object.c.id == delivery.c.result_object_id)
        .join(job, job.c.id == delivery.c.job_id)
        .where(
            delivery.c.job_id == job_id,
            delivery.c.state == DeliveryState.DELIVERED.value,
            commitment.c.peer == peer,
            commitment.c.state != CommitmentState.COMMITTED.value,
        )
        .with_for_update(of=commitment)
    )
    return list(rows)


def _commit(connection: Connection, row: Any, now: float) -> int:
    values = {"state": CommitmentState.COMMITTED.value, "ended_at": now, "lease_until": None, "reason": None}
    return connection.execute(update(commitment).where(commitment.c.id == row.id).values(**values)).rowcount


def _fail(
    connection: Connection, row: Any, failure: int, resend_at: float, now: float, followed: Followed
) -> None:
    """Have an object sent and asked for again, up to a limit."""
    reason = f"not committed: {words_for(failure)}"
    if row.state != CommitmentState.ASKED.value:
        return  # it was decided on already; peers repeat reports that were not answered in time
    if row.resent >= MOST_RESENDS or row.outdated:
        why = (
            "a later result of the series took its place" if row.outdated else f"sent {row.resent + 1} times"
        )
        followed.given_up[row.sop_instance_uid] = f"{reason}; {why}"
        commitments.end_as_failed(connection, row.id, f"{reason}; {why}", now)
        return
    again = {"state": CommitmentState.DUE.value, "due_at": resend_at, "lease_until": None, "reason": reason}
    changed = update(commitment).where(commitment.c.id == row.id)
    if failure == DUPLICATE_TRANSACTION_UID:  # says nothing about the object
        connection.execute(changed.values(**again))
        return
    followed.resent[row.sop_instance_uid] = reason
    connection.execute(changed.values(**again, resent=commitment.c.resent + 1))
    connection.execute(
        update(delivery)
        .where(delivery.c.id == row.delivery_id)
        .values(state=DeliveryState.DUE.value, due_at=resend_at, reason=reason, created_at=now)
    )


def _tell(connection: Connection, peer: str, followed: Followed, now: float) -> None:
    """Tell loudly that a peer said it has what it does not keep."""
    for kind, objects in (
        (IncidentKind.COMMITMENT_DENIED, followed.resent),
        (IncidentKind.COMMITMENT_GIVEN_UP, followed.given_up),
    ):
        for sop_instance_uid, reason in objects.items():
            incidents.note(connection, kind, f"{peer}: {sop_instance_uid}", reason, now)
