"""The history of a job: one row for each attempt, written in the transactions of `jobs`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, update

from custody.ledger.engine import new_id
from custody.ledger.tables import attempt

#: It will be tried again.
AGAIN = "again"
#: The process died, or its lease ran out.
BROKE_OFF = "broke_off"
#: Stopped on purpose; does not count.
STOPPED = "stopped"


def begin(connection: Connection, job: Any, now: float) -> None:
    """Note that the owner of a job's row starts on it; whoever had it before broke off."""
    end(connection, attempt.c.job_id == job.id, BROKE_OFF, None, now)
    values = {"job_id": job.id, "attempt": job.attempt, "owner": job.owner}
    connection.execute(attempt.insert().values(id=new_id(), started_at=now, **values))


def end(
    connection: Connection, of: ColumnElement[bool], outcome: str, reason: str | None, now: float
) -> None:
    """Note how the chosen attempts ended that are still going on."""
    connection.execute(
        update(attempt)
        .where(of, attempt.c.ended_at.is_(None))
        .values(ended_at=now, outcome=outcome, reason=reason)
    )
