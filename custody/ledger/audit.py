"""What was deleted, changed or ordered by hand: by whom, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from custody.ledger.engine import new_id
from custody.ledger.tables import audit


def record(
    connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float
) -> None:
    """Record an act in the transaction that does it.

    Parameters
    ----------
    connection
        A writing transaction.
    actor
        The operating-system user, or the part of the node.
    action, subject
        What was done, to which series, job or patient: our own ids and digests, no patient identifiers.
    detail
        Plain values.
    now
        Seconds since 1970 UTC.
    """
    values = {"actor": actor[:64], "action": action, "subject": subject[:160], "detail": dict(detail)}
    connection.execute(audit.insert().values(id=new_id(), at=now, **values))
