"""What was deleted, changed or ordered by hand, by whom and when. Rows are only ever added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from custody.ledger.engine import new_id
from custody.ledger.tables import audit


def record(
    connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float
) -> None:
    """Record an action in the transaction that does it, so that neither is there without the other.

    Parameters
    ----------
    connection
        A writing transaction.
    actor
        Which part of the node, or which person.
    action
        For example ``purge``.
    subject
        Of what; our own ids, no patient identifiers. At most 160 characters are kept.
    detail
        Plain values.
    now
        Seconds since 1970 UTC.
    """
    connection.execute(
        audit.insert().values(
            id=new_id(),
            at=now,
            actor=actor[:64],
            action=action[:32],
            subject=subject[:160],
            detail=dict(detail),
        )
    )
