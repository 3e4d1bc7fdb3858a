"""A ledger that several machines share."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext

#: Of `pg_advisory_xact_lock`: machines that start together migrate one after the other.
_SCHEMA_LOCK = 5_402_177
#: Of `pg_advisory_xact_lock`: one machine decides at a time which series are complete.
_SEALING_LOCK = 5_402_178

_DETAIL = re.compile(r"^(DETAIL|CONTEXT):.*\n?", re.MULTILINE)

#: A commit is on the disk when it returns, whatever the server's default. Nothing waits for ever: neither for
#: a lock, nor for a machine that was switched off in the middle of a transaction.
_SESSION = (
    "SET synchronous_commit = on",
    "SET lock_timeout = '30s'",
    "SET statement_timeout = '120s'",
    "SET idle_in_transaction_session_timeout = '120s'",
)

#: Of a reading transaction: every statement of it sees the same moment, as on SQLite.
SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def open_engine(url: URL) -> Engine:
    """Return connections to the database of a URL."""
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=4,
        max_overflow=28,
        # After a restart of the server the first use of an old connection would fail.
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 10,
            "application_name": "lesion-node",
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            for statement in _SESSION:
                cursor.execute(statement)
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def strip_values(context: ExceptionContext) -> None:
        """Errors end in the log; the server's detail quotes the row that was to be written."""
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None and error.args:
                error.args = (_DETAIL.sub("", str(error.args[0])), *error.args[1:])

    return engine


def lock_schema(connection: Connection) -> None:
    """Wait until no other machine migrates, and keep others waiting until the end of the transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})


def lock_sealing(connection: Connection) -> None:
    """Wait until no other machine decides about sealing, and keep others waiting likewise."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SEALING_LOCK})
