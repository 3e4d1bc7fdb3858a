"""What waits for a peer that is away, put off together and brought forward together."""

from __future__ import annotations

from sqlalchemy import update

from custody.ledger.engine import Ledger
from custody.ledger.states import DeliveryState
from custody.ledger.tables import delivery


def postpone(ledger: Ledger, peer: str, reason: str, until: float) -> int:
    """Let everything that waits for a peer wait until a time, because the peer is away; return how much.

    What has to wait longer for a reason of its own is left alone.
    """
    with ledger.write() as connection:
        return connection.execute(
            update(delivery)
            .where(
                delivery.c.peer == peer,
                delivery.c.state == DeliveryState.DUE.value,
                delivery.c.due_at < until,
            )
            .values(due_at=until, reason=reason, status=None)
        ).rowcount


def bring_forward(ledger: Ledger, peer: str, now: float) -> int:
    """Make due what waits for a peer without an answer of the peer; return how much."""
    with ledger.write() as connection:
        return connection.execute(
            update(delivery)
            .where(
                delivery.c.peer == peer,
                delivery.c.state == DeliveryState.DUE.value,
                delivery.c.status.is_(None),
                delivery.c.due_at > now,
            )
            .values(due_at=now)
        ).rowcount
