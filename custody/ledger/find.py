"""Finds the series that a person means."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from core.errors import NodeError
from custody.ledger.engine import Ledger
from custody.ledger.tables import job, series

_MOST = 20
_FEWEST_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Found:
    """A series; the parameters are columns of its row."""

    id: str
    study_instance_uid: str
    series_instance_uid: str
    generation: int


def find_series(connection: Connection, text: str) -> list[Found]:
    """Return the series that a text may mean, at most a few.

    Parameters
    ----------
    connection
        A transaction.
    text
        A Series Instance UID or its last characters as ``status`` shows them, a Study Instance UID, or our
        own id of a series or a job.
    """
    wanted = text.strip().lstrip(".")
    if len(wanted) < _FEWEST_CHARACTERS:
        return []
    of_job = select(job.c.series_id).where(job.c.id == wanted)
    uid, study = series.c.series_instance_uid, series.c.study_instance_uid
    exact = or_(series.c.id == wanted, series.c.id.in_(of_job), uid == wanted, study == wanted)
    for condition in (exact, uid.endswith(wanted, autoescape=True)):
        rows = connection.execute(
            select(series.c.id, study, uid, series.c.generation)
            .where(condition)
            .order_by(series.c.first_received_at)
            .limit(_MOST)
        ).all()
        if rows:
            return [Found(*row) for row in rows]
    return []


def the_series(ledger: Ledger, text: str) -> Found:
    """Return the one series that a text means.

    Raises
    ------
    NodeError
        None, or several.
    """
    with ledger.read() as connection:
        found = find_series(connection, text)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NodeError(
            f'no series "{text}" is known: give a Series Instance UID, its last characters as `lesion-node '
            "status` shows them, or the id of a job from the log"
        )
    listed = "".join(
        f"\n  {one.id}  series ...{one.series_instance_uid[-12:]} of study ...{one.study_instance_uid[-12:]}"
        for one in found
    )
    raise NodeError(f'"{text}" means several series; name one by its id:{listed}')
