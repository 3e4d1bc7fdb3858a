"""A new ledger from the spool: the old one is moved aside, what no file holds is taken over from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from config import Settings
from core.errors import NodeError, SpoolError
from core.log import get_logger
from custody.ledger import Ledger, audit
from custody.ledger.tables import association, commitment_request, job, metadata, patient_merge, switch
from custody.ledger.tables import audit as audit_table
from custody.ledger.tables import series as series_table
from custody.rebuilding import Rebuilding, Rebuilt
from custody.spool import Spool
from lesionnode.locks import take_lock
from lesionnode.paths import ledger_location, node_name, open_ledger
from lesionnode.roles import Role
from scp.rereading import reread

#: What no file in the spool holds.
_TAKEN_OVER = (audit_table, patient_merge, switch, commitment_request)
#: The database file and what SQLite keeps beside it.
_ENDINGS = ("", "-wal", "-shm")
#: On a shared ledger somebody is at work who gave a sign of life so recently.
_ALIVE_S = 60.0


@dataclass(slots=True)
class _TakenOver:
    """What no file holds: rows by their table, and which series senders rely on, since when."""

    rows: list[tuple[Any, list[dict[str, Any]]]] = field(default_factory=list)
    promised: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was taken in, and where the old ledger is, None where there was none."""

    rebuilt: Rebuilt
    aside: str | None


def rebuild_ledger(
    settings: Settings, by: str, *, add: bool, progress: Callable[[float], None] = lambda _share: None
) -> Outcome:
    """Make the ledger anew from the spool, or add to it what only the spool knows.

    Parameters
    ----------
    settings
        Of the node, which must not run.
    by
        Who orders it.
    add
        Leave the ledger where it is and enter what it lacks.
    progress
        Called with the share done.

    Raises
    ------
    SpoolError
        The node runs, or the ledger cannot be used.
    """
    location = ledger_location(settings)
    if not settings.node.data_folder.is_dir():
        raise NodeError(f"{settings.node.data_folder}: there is no such data folder to make a ledger from")
    if settings.storage.shared:
        raise NodeError(
            "with shared storage (storage.shared) one machine does not have what a ledger is made anew "
            "from: restore the backup of the database"
        )
    with _nobody_else(settings):
        aside, kept = (None, _TakenOver()) if add else _moved_aside(location)
        ledger = open_ledger(settings)
        try:
            ledger.migrate()
            with ledger.write() as connection:
                _require_quiet(ledger, connection)
                for table, rows in kept.rows:
                    connection.execute(table.insert(), rows)
            rebuilding = Rebuilding(
                ledger,
                Spool(settings.node.data_folder),
                node_name(settings),
                reread,
                _source_of(settings),
                committing=[peer.name for peer in settings.committing_peers],
            )
            rebuilt = rebuilding.run(progress)
            with ledger.write() as connection:
                for series_id, promised_at in kept.promised.items():
                    mine = series_table.c.id == series_id
                    connection.execute(update(series_table).where(mine).values(promised_at=promised_at))
                detail = {
                    "series": rebuilt.series,
                    "results": rebuilt.results,
                    "before": aside or "",
                    "add": add,
                }
                audit.record(connection, by, "ledger_rebuild", node_name(settings), detail, time.time())
        finally:
            ledger.close()
        # The next start looks at every folder again.
        (settings.node.data_folder / "swept").unlink(missing_ok=True)
    return Outcome(rebuilt, aside)


@contextmanager
def _nobody_else(settings: Settings) -> Iterator[None]:
    with ExitStack() as held:
        for role in Role:
            held.callback(take_lock(settings, role).close)
        yield


def _source_of(settings: Settings) -> Callable[[str], str]:
    names = {str(title): source.name for source in reversed(settings.sources) for title in source.ae_titles}
    return lambda calling: names.get(calling, "unknown")


def _moved_aside(location: Path | str) -> tuple[str | None, _TakenOver]:
    """Move the ledger that is there aside; return its new name, and the rows to be taken over."""
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    if isinstance(location, Path):
        return _moved_file(location, stamp)
    return _moved_schema(Ledger(location), f"before_rebuild_{stamp}")


def _moved_file(path: Path, stamp: str) -> tuple[str | None, _TakenOver]:
    if not path.exists():
        return None, _TakenOver()
    ledger = Ledger(path)
    kept = _rows_to_take_over(ledger)
    ledger.close()
    new = path.with_name(f"{path.stem}-{stamp}{path.suffix}")
    for ending in _ENDINGS:
        part = Path(f"{path}{ending}")
        if part.exists():
            part.rename(f"{new}{ending}")
    return str(new), kept


def _moved_schema(ledger: Ledger, name: str) -> tuple[str | None, _TakenOver]:
    """Move the tables into a schema of their own, all in one transaction."""
    try:
        with ledger.read() as connection:
            there = set(inspect(connection).get_table_names())
        if "series" not in there:
            return None, _TakenOver()
        kept = _rows_to_take_over(ledger)
        with ledger.write() as connection:
            _require_quiet(ledger, connection)
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
            for table in sorted({*metadata.tables, "alembic_version"} & there):
                connection.exec_driver_sql(f'ALTER TABLE "{table}" SET SCHEMA {name}')
        return f"schema {name}", kept
    finally:
        ledger.close()


def _rows_to_take_over(ledger: Ledger) -> _TakenOver:
    """Return the rows that no file holds; none where the old ledger cannot be read."""
    kept = _TakenOver()
    for table in _TAKEN_OVER:
        rows = _read(ledger, table.name, select(table))
        if rows:
            kept.rows.append((table, [dict(row) for row in rows]))
    promised = select(series_table.c.id, series_table.c.promised_at).where(
        series_table.c.promised_at.is_not(None)
    )
    for row in _read(ledger, "series", promised):
        kept.promised[row["id"]] = row["promised_at"]
    return kept


def _read(ledger: Ledger, name: str, statement: Any) -> Sequence[Any]:
    try:
        with ledger.read() as connection:
            rows: Sequence[Any] = connection.execute(statement).mappings().all()
    except (SQLAlchemyError, SpoolError) as error:
        get_logger().warning("not_taken_over", table=name, reason=type(error).__name__)
        return ()
    return rows


def _require_quiet(ledger: Ledger, connection: Connection) -> None:
    """On a ledger that others share, nobody may be at work: what they record would be lost."""
    if not ledger.shared:
        return
    now = time.time()
    alive = (
        select(func.count())
        .select_from(association)
        .where(association.c.closed_at.is_(None), association.c.heartbeat_at > now - _ALIVE_S)
    )
    working = select(func.count()).select_from(job).where(job.c.lease_until > now)
    if connection.execute(alive).scalar_one() or connection.execute(working).scalar_one():
        raise SpoolError("another node is at work on this ledger: stop every node, wait a minute, try again")
