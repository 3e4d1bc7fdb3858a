"""What passes by itself only delays the search for earlier scans; what does not ends it with a remark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from core.errors import SpoolFull
from core.uid import derived_uid
from custody.ledger import prior_arrivals, prior_claims, prior_searches
from custody.ledger.tables import association, prior_series
from custody.shared_storage import SharedStorage
from tests.helpers.archive import Answer
from tests.helpers.dicom_peers import LEAVES_SOCKETS
from tests.helpers.instances import fresh_ledger
from tests.helpers.prior_bench import WAIT_S, Bench, bench_on, earlier, scan
from tests.helpers.small_disk import FullLedger, FullSpool

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

DAY_S = 86_400.0


def states(at: Bench) -> tuple[str, list[str]]:
    """Return the state of the one search, and those of its series."""
    return at.search().state, [
        row.state for row in sorted(at.rows(prior_series), key=lambda row: row.position)
    ]


def break_off(at: Bench, *, times: int) -> None:
    """Let a process claim the search, ask for what is next, and die; so many times."""
    for number in range(times):
        owner = f"process {number}"
        claimed = prior_claims.claim(at.ledger, "pacs", owner, lease_s=600, now=at.clock.now)
        assert claimed is not None
        if claimed.is_listed:
            assert prior_searches.next_wanted(at.ledger, claimed, at.clock.now) is not None
        prior_claims.release_owners(at.ledger, owner, at.clock.now)


def test_a_disk_that_fills_in_the_middle_costs_a_pause(bench: Any, tmp_path: Path) -> None:
    """Two of four images are kept: the scan is asked for again, comes whole, and is analysed once."""
    with bench(priors_by="get") as at:
        at.spool = disk = FullSpool(tmp_path)

        def get() -> Iterator[Dataset]:
            for number, image in enumerate(at.held[0]):
                disk.full = number >= 2
                yield image

        at.begin()
        at.pacs.get = get
        at.seek()
        assert states(at) == ("due", ["asked"])
        assert at.search().notes == []
        assert {row.ended for row in at.rows(association) if row.calling_ae_title == "PACS"} == {"aborted"}
        at.seal()
        assert at.claim() is None, "neither the current scan nor half of the earlier one"
        disk.full = False
        at.pacs.get = lambda: at.held[0]
        at.clock.advance(10)
        at.seek()
        at.seal()
        prior = at.claim()
        assert (prior.key.study_instance_uid, prior.generation) == (derived_uid("earlier"), 1)
        assert prior.evidence.startswith("4 images")
        at.finish(prior)
        at.seek()
        assert prior_arrivals.notes_for(at.ledger, at.claim().id) == ()


def test_what_passes_after_hours_leads_to_a_second_result(bench: Any, tmp_path: Path) -> None:
    """The first one waits no longer than configured; growing pauses follow until space comes."""
    with bench(priors_by="get") as at:
        at.spool = disk = FullSpool(tmp_path)
        disk.full = True
        at.begin()
        at.seek()
        at.clock.advance(WAIT_S + 1)
        current = at.claim()
        assert "still being fetched" in prior_arrivals.notes_for(at.ledger, current.id)[-1]
        at.finish(current)
        waits = []
        for _ in range(10):
            at.seek()
            waits.append(at.search().due_at - at.clock.now)
            at.clock.advance(waits[-1])
        assert waits[0] == 10
        assert waits == sorted(waits)
        assert waits[-1] == 600
        disk.full = False
        at.seek()
        at.seal()
        at.finish(at.claim())
        at.seek()
        again = at.claim()
        assert (again.series_id, again.generation) == (current.series_id, 2)


def test_what_does_not_pass_within_a_day_ends_with_the_reason(bench: Any, tmp_path: Path) -> None:
    """Then nobody would look at a second result any more."""
    with bench(priors_by="get") as at:
        at.spool = disk = FullSpool(tmp_path)
        disk.full = True
        at.begin()
        at.seek()
        at.clock.advance(DAY_S - 60)
        at.seek()
        assert states(at) == ("failed", ["failed"])
        (note,) = at.search().notes
        assert note.startswith("Earlier scans could not be fetched from pacs: ")
        assert "disk" in note


def test_a_node_that_was_down_for_days_asks_for_nothing(bench: Any) -> None:
    """The search that it finds is of no use to anybody."""
    with bench() as at:
        at.begin()
        at.clock.advance(2 * DAY_S)
        at.seek()
        assert (states(at), at.pacs.queries) == (("failed", []), [])
        assert "did not get to it in time" in at.search().notes[0]


def test_storage_that_is_away_puts_the_question_off(tmp_path: Path) -> None:
    """The images of the current scan are on another machine, and have to be brought to know whose it is."""
    (tmp_path / "mount" / "shared").mkdir(parents=True)
    with fresh_ledger(tmp_path) as ledger, bench_on(tmp_path, ledger) as at:
        at.storage = SharedStorage.open(str(tmp_path / "mount" / "shared"))
        at.begin()
        for folder in ("received", "mount"):
            (tmp_path / folder).rename(tmp_path / f"{folder} elsewhere")
        at.seek()
        assert (states(at), at.pacs.queries) == (("due", []), [])
        (tmp_path / "mount elsewhere").rename(tmp_path / "mount")
        at.clock.advance(10)
        at.seek()
        assert states(at) == ("arriving", ["came"])


def test_a_ledger_that_takes_nothing_is_tried_until_it_does(tmp_path: Path) -> None:
    """Neither the list nor that the search has to wait can be recorded: it is not held for its lease."""
    ledger = FullLedger(tmp_path / "ledger.sqlite")
    ledger.migrate()
    with bench_on(tmp_path, ledger) as at:
        at.begin()
        find = at.pacs.find

        def fill(query: Dataset, cancelled: Callable[[], bool]) -> Iterator[Answer]:
            ledger.full = True
            return find(query, cancelled)

        at.pacs.find = fill
        seeker = at.seeker()
        for _ in range(3):
            with pytest.raises(SpoolFull):
                seeker.step()
        assert at.search().state == "asked"
        ledger.full, at.pacs.find = False, find
        assert seeker.step() == 0
        assert at.search().state == "due"
        at.clock.advance(10)
        at.seek()
        assert states(at) == ("arriving", ["came"])
    ledger.close()


def test_a_scan_that_kills_the_process_is_left_out_after_three_attempts(bench: Any) -> None:
    """The next one is fetched all the same, and a remark says what is missing."""
    with bench() as at:
        at.hold(earlier("deadly"), earlier("harmless", 2022))
        at.send(scan("now"))
        at.seal()
        assert at.seeker().step() == 1  # listed
        break_off(at, times=3)
        at.seek()
        assert states(at) == ("arriving", ["failed", "came"])
        (note,) = at.search().notes
        assert note == ("An earlier scan is missing or incomplete: it broke off 3 times without an answer.")


def test_a_list_that_kills_the_process_is_not_asked_for_for_ever(bench: Any) -> None:
    """After three attempts the scan is analysed without."""
    with bench() as at:
        at.begin()
        break_off(at, times=3)
        at.seek()
        assert (states(at), at.pacs.queries) == (("failed", []), [])
        assert "broke off 3 times" in prior_arrivals.notes_for(at.ledger, at.claim().id)[0]
