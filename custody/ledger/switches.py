"""What is switched on for every node of a ledger, until it is switched off; survives restarts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from custody.ledger.dialect import upsert
from custody.ledger.engine import Ledger
from custody.ledger.tables import switch

#: Nothing new is accepted; what is here is finished.
DRAINING = "draining"


def set_on(connection: Connection, name: str, value: Mapping[str, Any], now: float) -> None:
    """Switch something on; what is on stays as it is."""
    values = {"name": name, "value": dict(value), "set_at": now}
    upsert(connection, switch, values, key=("name",), changes={"name": name})


def set_off(connection: Connection, name: str) -> bool:
    """Switch something off; return whether it was on."""
    return connection.execute(delete(switch).where(switch.c.name == name)).rowcount == 1


def is_on(ledger: Ledger, name: str) -> bool:
    """Tell whether something is switched on."""
    with ledger.read() as connection:
        return connection.execute(select(switch.c.name).where(switch.c.name == name)).first() is not None


def all_on(connection: Connection) -> dict[str, Any]:
    """Return everything that is switched on: since when, and what was said then."""
    return {row.name: {"since": row.set_at, **row.value} for row in connection.execute(select(switch))}
