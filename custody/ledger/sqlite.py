"""A ledger in one file: WAL, flushed commits, writers that begin as writers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

_BUSY_TIMEOUT_MS = 30_000


def open_engine(url: URL) -> Engine:
    """Return connections to the file of a URL.

    Writers begin with ``BEGIN IMMEDIATE``: a transaction that upgraded from reading to writing could fail
    half-way, one that waits at its start cannot.
    """
    engine = create_engine(
        url,
        poolclass=QueuePool,
        hide_parameters=True,  # they would stand in the log with every traceback
        pool_size=4,
        max_overflow=64,
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("ledger_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
