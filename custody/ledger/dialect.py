"""The few statements that SQLite and PostgreSQL say differently."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from custody.ledger.tables import series


def insert_new(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row, or leave the one that is there already; return whether it is new."""
    statement = _insert(connection, table).values(dict(values)).on_conflict_do_nothing()
    return connection.execute(statement).rowcount == 1


def upsert(
    connection: Connection,
    table: Table,
    values: Mapping[str, Any],
    *,
    key: Sequence[str],
    changes: Mapping[str, Any],
) -> None:
    """Insert a row, or change the one that has the same key."""
    statement = _insert(connection, table).values(dict(values))
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(changes)))


def lock_series(connection: Connection, series_ids: Collection[str]) -> None:
    """Keep other transactions from recording, sealing or settling these series until this one ends.

    On SQLite a writing transaction is alone anyway.
    """
    if connection.dialect.name == "sqlite":
        return
    found = select(series.c.id).where(series.c.id.in_(list(series_ids))).order_by(series.c.id)
    connection.execute(found.with_for_update()).all()


def _insert(connection: Connection, table: Table) -> Any:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
