"""Signs of life of the node's own processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from custody.ledger.dialect import upsert
from custody.ledger.engine import Ledger
from custody.ledger.tables import service


def sign_of_life(ledger: Ledger, name: str, process: str, detail: Mapping[str, Any], now: float) -> None:
    """Record that a service runs, and what it says of itself (the worker: model and provider)."""
    values = {
        "name": name,
        "process": process,
        "started_at": now,
        "heartbeat_at": now,
        "detail": dict(detail),
    }
    changes = {"process": process, "heartbeat_at": now, "detail": dict(detail)}
    with ledger.write() as connection:
        upsert(connection, service, values, key=("name",), changes=changes)
