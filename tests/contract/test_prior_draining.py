"""While the node drains no earlier scan is fetched: the search goes on afterwards, nothing waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from custody.ledger import prior_arrivals, switches
from custody.ledger.remaining import remaining
from custody.ledger.tables import delivery, prior_series
from tests.helpers.dicom_peers import LEAVES_SOCKETS
from tests.helpers.prior_bench import WAIT_S, Bench, scan

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]


def drain(at: Bench, *, end: bool = False) -> None:
    """Let the node drain, or accept again."""
    with at.ledger.write() as connection:
        if end:
            switches.set_off(connection, switches.DRAINING)
        else:
            switches.set_on(connection, switches.DRAINING, {"by": "test"}, at.clock.now)


def states(at: Bench) -> list[str]:
    """Return the states of the series that were listed."""
    return [row.state for row in at.rows(prior_series)]


def goes_on(at: Bench) -> None:
    """Check that the search goes on and that its result replaces the first one, without a remark."""
    drain(at, end=True)
    at.clock.advance(600)
    at.seek()
    at.seal()
    at.finish(at.claim())
    at.seek()
    again = at.claim()
    assert again.generation == 2
    assert prior_arrivals.notes_for(at.ledger, again.id) == ()


@pytest.mark.parametrize("way", ["move", "get"])
def test_nothing_is_fetched_while_the_node_drains(bench: Any, way: str) -> None:
    """It is listed what there is; the scan waits no longer than configured, then nothing is left to do."""
    asked: list[str] = []
    with bench(priors_by=way) as at:
        at.before_answering(asked.append)
        at.begin()
        drain(at)
        assert at.seek() == 1  # listed
        assert (asked, states(at), at.search().state, at.search().notes) == ([], ["wanted"], "due", [])
        at.clock.advance(WAIT_S + 1)
        current = at.claim()
        at.finish(current)
        with at.ledger.write() as connection:
            connection.execute(delivery.delete())
        assert at.seek() == 0
        with at.ledger.read() as connection:
            assert not remaining(connection)
        goes_on(at)
        assert asked == [way]


def test_what_is_not_in_the_pacs_is_not_waited_for_while_the_node_drains(bench: Any) -> None:
    """A query brings nothing new: a scan without an earlier one goes on at once."""
    with bench() as at:
        at.hold()
        at.send(scan("now"))
        at.seal()
        drain(at)
        at.seek()
        assert at.search().state == "done"
        assert at.claim() is not None


@pytest.mark.parametrize("way", ["move", "get"])
def test_a_node_that_begins_to_drain_in_the_middle_asks_again_afterwards(bench: Any, way: str) -> None:
    """The PACS has been asked already and its images are refused: no remark tells the reader of a fault."""
    with bench(priors_by=way) as at:
        as_before = at.pacs.move, at.pacs.get
        at.before_answering(lambda _way: drain(at))
        at.begin()
        at.seek()
        assert (states(at), at.search().state, at.search().notes) == (["asked"], "due", [])
        at.pacs.move, at.pacs.get = as_before
        at.clock.advance(WAIT_S + 1)
        at.finish(at.claim())
        goes_on(at)


@pytest.mark.parametrize("way", ["move", "get"])
def test_a_disk_under_its_floor_is_not_filled_further(bench: Any, tmp_path: Path, way: str) -> None:
    """Every image would be refused, by whichever way it comes: the PACS is asked when there is room."""
    with bench(priors_by=way) as at:
        at.spool._floor_bytes = 2**62
        at.begin()
        at.seek()
        assert (states(at), at.search().state, at.search().notes) == (["wanted"], "due", [])
        at.spool._floor_bytes = 0
        at.clock.advance(10)
        at.seek()
        assert states(at) == ["came"]
