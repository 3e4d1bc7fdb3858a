"""What an archive is asked to commit to on behalf of a sender, and what it has reported."""

from __future__ import annotations

from sqlalchemy import select, update

from custody.ledger import commitments
from custody.ledger.commitment_requests import ClaimedRequest
from custody.ledger.engine import Ledger
from custody.ledger.tables import commitment_transaction


def enter(ledger: Ledger, claimed: ClaimedRequest, peer: str, transaction_uid: str, now: float) -> None:
    """Note that an archive is about to be asked on behalf of a sender."""
    with ledger.write() as connection:
        commitments.enter_transaction(connection, transaction_uid, peer, now, request_id=claimed.id)


def refused(ledger: Ledger, transaction_uid: str, now: float) -> None:
    """Note that an archive did not take a request, so that no report is to be expected."""
    with ledger.write() as connection:
        connection.execute(
            update(commitment_transaction)
            .where(
                commitment_transaction.c.transaction_uid == transaction_uid,
                commitment_transaction.c.reported_at.is_(None),
            )
            .values(reported_at=now)
        )


def said(ledger: Ledger, claimed: ClaimedRequest) -> tuple[dict[str, int], float | None]:
    """Return what the archive reported for a request so far, and when it was last asked in vain.

    Returns
    -------
    tuple
        0 or the Failure Reason by SOP Instance UID; and when the newest request was made that it has not
        reported on, None where it reported on that.
    """
    with ledger.read() as connection:
        rows = connection.execute(
            select(commitment_transaction)
            .where(
                commitment_transaction.c.request_id == claimed.id,
                # A request that was made once more is not answered by what was true the first time.
                commitment_transaction.c.asked_at >= claimed.requested_at,
            )
            .order_by(commitment_transaction.c.asked_at)
        ).all()
    newest: dict[str, int] = {}
    for row in rows:
        for uid, reason in (row.outcome or {}).items():
            if newest.get(uid) != 0:
                newest[uid] = int(reason)
    return newest, rows[-1].asked_at if rows and rows[-1].reported_at is None else None
