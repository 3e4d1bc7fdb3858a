"""Deliveries that were given up and that nobody wants any more."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from custody.ledger import audit
from custody.ledger.again import Order
from custody.ledger.dialect import lock_series
from custody.ledger.states import DeliveryState
from custody.ledger.tables import delivery, job

#: Why they are left out from then on.
DISCARDED = "given up, and not wanted any more"


def given_up(connection: Connection, peer: str | None) -> list[str]:
    """Return the series of which deliveries were given up: for one peer, or for any."""
    chosen = (
        select(job.c.series_id)
        .join_from(delivery, job)
        .where(delivery.c.state == DeliveryState.FAILED.value)
        .distinct()
    )
    if peer is not None:
        chosen = chosen.where(delivery.c.peer == peer)
    return list(connection.execute(chosen).scalars())


def discard(connection: Connection, series_id: str, peer: str | None, order: Order) -> int:
    """Leave out what was given up of a series; return how many objects.

    Until somebody says so they hold up retention: silence would turn "not delivered" into "lost".
    """
    lock_series(connection, [series_id])
    of_series = select(job.c.id).where(job.c.series_id == series_id)
    chosen = update(delivery).where(
        delivery.c.job_id.in_(of_series), delivery.c.state == DeliveryState.FAILED.value
    )
    if peer is not None:
        chosen = chosen.where(delivery.c.peer == peer)
    number = connection.execute(
        chosen.values(state=DeliveryState.LEFT_OUT.value, reason=DISCARDED, due_at=order.at)
    ).rowcount
    if number:
        detail = {"objects": number, "peer": peer or ""}
        audit.record(connection, order.by, "discard", series_id, detail, order.at)
    return number
