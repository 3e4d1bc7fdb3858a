"""Whose turn it is when the others never let it be."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select

from custody.ledger.states import JobState, Lane
from custody.ledger.tables import job

#: The low lane starves where something has waited in it for so long ...
_PATIENCE_S = 86_400.0
#: ... and nothing of it was analysed within this time.
_TURN_S = 600.0


def low_lane_starves(connection: Connection, now: float) -> bool:
    """Tell whether the low lane is to have a turn before the others.

    Under a load that never ends, it gets one analysis every ten minutes or so. That what has waited for a day
    simply moved up would be worse: the backlog of a migration would then stand before today's patients.
    """
    low = job.c.lane == Lane.LOW.value
    waits = select(job.c.id).where(
        job.c.state == JobState.QUEUED.value, low, job.c.due_at <= now - _PATIENCE_S
    )
    if connection.execute(waits.limit(1)).first() is None:
        return False
    had_a_turn = or_(
        job.c.finished_at >= now - _TURN_S,  # what was not selected never had one
        job.c.state == JobState.RUNNING.value,
    )
    recent = select(job.c.id).where(low, had_a_turn, job.c.state != JobState.NOT_SELECTED.value)
    return connection.execute(recent.limit(1)).first() is None
