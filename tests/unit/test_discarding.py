"""What was given up and is not wanted any more holds up retention no longer."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from custody.ledger import Ledger, discarding
from custody.ledger.again import Order
from custody.ledger.states import DeliveryState
from custody.ledger.tables import audit, delivery, series
from tests.helpers.station import Station


@pytest.fixture
def given_up(tmp_path_factory: pytest.TempPathFactory, ledger: Ledger) -> Station:
    """A series whose deliveries to one of two peers were given up."""
    station = Station(tmp_path_factory.mktemp("station"), ledger)
    station.bring("delivered", "study")
    with ledger.write() as connection:
        connection.execute(
            update(delivery).where(delivery.c.peer == "pacs").values(state=DeliveryState.FAILED.value)
        )
    return station


def test_only_what_was_given_up_is_discarded(given_up: Station) -> None:
    """It is left out from then on, with the reason; the other peer's deliveries are untouched; audited."""
    ledger = given_up.ledger
    with ledger.write() as connection:
        (series_id,) = connection.execute(select(series.c.id)).scalars()
        assert discarding.given_up(connection, "research") == []
        assert discarding.given_up(connection, "pacs") == [series_id]
        assert discarding.discard(connection, series_id, "research", Order("alice", 1.0)) == 0
        chosen = select(delivery.c.peer, delivery.c.state).where(delivery.c.peer != "pacs").distinct()
        others = sorted(map(tuple, connection.execute(chosen)))
        number = discarding.discard(connection, series_id, "pacs", Order("alice", 1.0))
        assert number > 0
        assert discarding.given_up(connection, None) == []
        states = connection.execute(select(delivery.c.peer, delivery.c.state).distinct()).all()
        assert sorted(map(tuple, states)) == [("pacs", "left_out"), *others]
        (row,) = connection.execute(select(audit).where(audit.c.action == "discard")).all()
    assert (row.actor, row.detail) == ("alice", {"objects": number, "peer": "pacs"})
