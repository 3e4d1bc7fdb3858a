"""The connection to the ledger: one database, short transactions, migrated at start."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from core.errors import SpoolError

_BUSY_TIMEOUT_MS = 30_000


class Ledger:
    """Transactions on the ledger.

    SQLite runs in WAL mode with ``synchronous = FULL``, so a committed transaction survives a power cut.
    Writers begin with ``BEGIN IMMEDIATE``: a transaction that upgraded from reading to writing could fail
    half-way, one that waits at its start cannot.

    Parameters
    ----------
    path
        The database file; its folder has to exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = _open_sqlite(path)
        # SQLite admits one writer. Waiting on a lock inside the process is fair and instant; SQLite's own
        # busy handler sleeps in growing steps.
        self._writing = threading.Lock()

    def migrate(self) -> None:
        """Bring the schema to the newest version; creates it in a new file.

        Raises
        ------
        SpoolError
            The file cannot be used, or a newer version wrote it.
        """
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        self.require_readable()
        try:
            with self.write() as connection:
                config.attributes["connection"] = connection
                alembic.command.upgrade(config, "head")
        except CommandError:
            raise SpoolError(
                f"the ledger {self.path} was written by a newer version: install that version, or restore "
                "the ledger that was kept before the upgrade"
            ) from None
        except DatabaseError as error:
            raise self._unusable(error) from None

    def require_readable(self) -> None:
        """Raise `SpoolError` where the file cannot be opened or is no ledger."""
        try:
            with self.read() as connection:
                connection.exec_driver_sql("PRAGMA schema_version")
        except DatabaseError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: DatabaseError) -> SpoolError:
        return SpoolError(
            f"the ledger {self.path} cannot be used ({error.orig}): look at the disk and the file's owner; a "
            "damaged file has to be replaced by a backup (docs/operations.md)"
        )

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may write; commits at the end, rolls back on an exception."""
        with self._writing, self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a short read-only snapshot; never waits for writers."""
        with self._engine.connect().execution_options(ledger_read=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()


def new_id() -> str:
    """Return a fresh id of our own."""
    return uuid.uuid4().hex


def _open_sqlite(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
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
