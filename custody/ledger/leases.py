"""Leases of claims that are fenced on owner and attempt."""

from __future__ import annotations

from sqlalchemy import Table, update

from custody.ledger.engine import Ledger


def end_leases(ledger: Ledger, table: Table, state: str, prefix: str, now: float) -> int:
    """Let the leases of all owners of a name end at once, their process is dead; return how many.

    Parameters
    ----------
    ledger, table, state
        Where the claims are, and in which state a row is claimed.
    prefix
        How the names of the owners begin.
    now
        Seconds since 1970 UTC.
    """
    theirs = table.c.owner.startswith(prefix, autoescape=True)
    with ledger.write() as connection:
        return connection.execute(
            update(table).where(table.c.state == state, theirs).values(lease_until=now - 1)
        ).rowcount
