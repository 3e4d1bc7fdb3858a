"""The connection to the ledger: one database, short transactions, migrated at start."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.errors import LedgerUnavailable, SpoolError, SpoolFull
from custody.ledger import files, postgresql, sqlite
from custody.ledger.group_commit import GroupCommit
from custody.reserve import Reserve

_T = TypeVar("_T")
#: A disk with less is full.
_NO_SPACE_BYTES = 2**20
#: The database is away, busy for too long, or not what it was a moment ago (a standby after a switch).
_UNAVAILABLE = (OperationalError, InternalError, PoolTimeout)
_MIGRATIONS = Path(__file__).with_name("migrations")


class Ledger:
    """Transactions on the ledger, in SQLite or in PostgreSQL.

    A committed transaction survives a power cut on both: SQLite runs in WAL mode with ``synchronous = FULL``,
    PostgreSQL with ``synchronous_commit = on``. SQLite admits one writer, so every writing transaction sees
    all that was written before it; on PostgreSQL the statements that read and then write take row locks
    (`custody.ledger.dialect.lock_series`, ``SKIP LOCKED``).

    Parameters
    ----------
    location
        The database file, whose folder has to exist; or the URL of a PostgreSQL database,
        ``postgresql+psycopg://user:password@host/database``.
    files_below
        The data folder: files are recorded by their names below it.

    Raises
    ------
    SpoolError
        The URL cannot be understood.
    """

    def __init__(self, location: Path | str, files_below: Path | None = None) -> None:
        self.location = location
        self.url = _url(location)
        self._on_sqlite = self.url.get_backend_name() == "sqlite"
        opened = sqlite.open_engine(self.url) if self._on_sqlite else postgresql.open_engine(self.url)
        self._engine = opened.execution_options(**{files.OPTION: str(files_below or "")})
        # Waiting on a lock inside the process is fair and instant; SQLite's own busy handler sleeps in
        # growing steps. PostgreSQL needs none.
        self._writing = threading.Lock()
        self._group = GroupCommit(self.write)
        # For a full disk. PostgreSQL has a disk of its own.
        self._reserve = Reserve.beside(Path(self.name)) if self._on_sqlite else None

    @property
    def shared(self) -> bool:
        """Whether other machines may use this ledger too."""
        return not self._on_sqlite

    @property
    def name(self) -> str:
        """What people know the ledger by; no password."""
        return str(self.url.database) if self._on_sqlite else self.url.render_as_string(hide_password=True)

    def migrate(self) -> None:
        """Bring the schema to the newest version; creates it where there is none.

        Raises
        ------
        SpoolError
            The ledger cannot be used, or a newer version wrote it.
        """
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        self.require_readable()
        try:
            with self.write() as connection:
                if not self._on_sqlite:
                    postgresql.lock_schema(connection)
                config.attributes["connection"] = connection
                alembic.command.upgrade(config, "head")
        except CommandError:
            raise SpoolError(
                f"the ledger {self.name} was written by a newer version: install that version, or restore "
                "the ledger that was kept before the upgrade"
            ) from None
        except DatabaseError as error:
            raise self._unusable(error) from None

    def require_readable(self) -> None:
        """Raise `SpoolError` where the ledger cannot be opened or is none."""
        try:
            with self.read() as connection:
                probe = "PRAGMA schema_version" if self._on_sqlite else "SELECT 1"
                connection.exec_driver_sql(probe)
        except DatabaseError as error:
            raise self._unusable(error) from None

    def require_current(self) -> None:
        """Raise `SpoolError` where it cannot be opened, or another version's schema is in it."""
        self.require_readable()
        script = ScriptDirectory(str(_MIGRATIONS))
        with self.read() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found != script.get_current_head():
            raise SpoolError(
                f"the ledger {self.name} is of another version of lesion-node: start the node of this "
                "version once, or use the command of the version that runs"
            )

    def _unusable(self, error: SQLAlchemyError) -> SpoolError:
        what = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        advice = (
            "look at the disk and the file's owner; a damaged file has to be replaced by a backup"
            if self._on_sqlite
            else "see that PostgreSQL runs, and check ledger.url, the user and its rights"
        )
        return LedgerUnavailable(
            f"the ledger {self.name} cannot be used ({what}): {advice} (docs/operations.md)"
        )

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may write; commits at the end, rolls back on an exception.

        Raises
        ------
        SpoolFull
            The disk of the ledger is full; nothing of the transaction is recorded.
        LedgerUnavailable
            The database cannot be reached or is busy for too long; the same.
        """
        try:
            if self._on_sqlite:
                with self._writing, self._engine.begin() as connection:
                    yield connection
            else:
                with self._engine.begin() as connection:
                    yield connection
        except _UNAVAILABLE as error:
            raise self._as_ours(error) from error

    def _as_ours(self, error: SQLAlchemyError) -> SpoolError:
        """Say what a failed transaction means, and free the reserve where the disk is full."""
        if not self._is_disk_full(error):
            return self._unusable(error)
        if self._reserve is not None:
            self._reserve.free()
        return SpoolFull(f"the disk of the ledger {self.name} is full: free some space")

    def _is_disk_full(self, error: SQLAlchemyError) -> bool:
        said = str(getattr(error, "orig", None))
        if self._on_sqlite and "disk I/O error" in said:  # its word where the shared memory cannot grow
            return shutil.disk_usage(Path(self.name).parent).free < _NO_SPACE_BYTES
        return "disk is full" in said or getattr(getattr(error, "orig", None), "sqlstate", None) == "53100"

    def write_together(self, work: Callable[[Connection], _T], order: str = "") -> _T:
        """Do a piece of work in a transaction that others in this process may share.

        Many threads that record one instance each would flush the disk one after the other. Here those that
        wait while one transaction is being flushed all go into the next one.

        Parameters
        ----------
        work
            Reads and writes on the connection; undone alone if it raises.
        order
            Rows of what it locks first; work is done in this order, so that two machines never wait for each
            other.

        Returns
        -------
        object
            What `work` returned; it is committed then.

        Raises
        ------
        SpoolFull, LedgerUnavailable
            As for `write`.
        """
        try:
            return self._group.run(work, order)
        except _UNAVAILABLE as error:  # of this piece of work alone
            raise self._as_ours(error) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a short read-only snapshot; never waits for writers.

        Raises
        ------
        LedgerUnavailable
            The database cannot be reached.
        """
        options: dict[str, Any] = {"ledger_read": True} if self._on_sqlite else postgresql.SNAPSHOT
        try:
            with self._engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except _UNAVAILABLE as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()


def new_id() -> str:
    """Return a fresh id of our own."""
    return uuid.uuid4().hex


def _url(location: Path | str) -> URL:
    if isinstance(location, Path):
        return URL.create("sqlite", database=str(location))
    try:
        url = make_url(location)
    except ArgumentError:
        raise SpoolError("ledger.url cannot be understood (docs/configuration.md shows its form)") from None
    if url.get_backend_name() != "postgresql":
        raise SpoolError(
            f'ledger.url begins with "{url.drivername}": only PostgreSQL is supported, '
            "postgresql+psycopg://user:password@host/database; leave it empty for SQLite"
        )
    return url.set(drivername="postgresql+psycopg")
