"""What a clock that was set back leaves behind: times in the future, which would hold up everything."""

from __future__ import annotations

from sqlalchemy import update

from custody.ledger.engine import Ledger
from custody.ledger.tables import (
    association,
    commitment,
    commitment_request,
    delivery,
    instance,
    job,
    prior_search,
    series,
)

_TIMES = (
    association.c.opened_at,
    association.c.heartbeat_at,
    instance.c.received_at,
    series.c.last_received_at,
    job.c.due_at,
    delivery.c.due_at,
    delivery.c.created_at,
    commitment.c.due_at,
    commitment_request.c.due_at,
    prior_search.c.created_at,
    prior_search.c.due_at,
)


def pull_back(ledger: Ledger, now: float) -> int:
    """Set every time that lies in the future to now; return how many there were.

    Without this a series received at 10:00 by a clock that is then set back to 09:00 is not complete, and
    its analysis and delivery are not due, before 10:00. A delivery that waits for its next attempt becomes
    due at once, which does no harm.
    """
    with ledger.write() as connection:
        return sum(
            connection.execute(update(column.table).where(column > now).values({column: now})).rowcount
            for column in _TIMES
        )
