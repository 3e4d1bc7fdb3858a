"""Searches for earlier scans in the ledger: who waits, who works on them, and what is expected of a PACS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.uid import derived_uid, patient_digest
from custody.ledger import Ledger, clock, jobs, prior_arrivals, prior_claims, prior_searches
from custody.ledger.prior_arrivals import Arriving
from custody.ledger.prior_claims import ClaimedSearch
from custody.ledger.prior_searches import WantedSeries
from custody.ledger.states import Lane
from custody.ledger.tables import job, prior_search, prior_series
from tests.helpers.instances import ct_series, source
from tests.unit.test_completion import QUIET_S, Bench, set_up

LEASE_S = 100.0
EARLIER = ("1.2.3", "1.2.3.4")


@pytest.fixture
def bench(tmp_path: Path, ledger: Ledger) -> Bench:
    """One scanner whose scans are compared with those of a PACS."""
    return set_up(tmp_path, ledger, source("scanner", "CT1", priors="pacs", priors_from="pacs"))


def claim(bench: Bench, owner: str = "a") -> ClaimedSearch | None:
    """Claim the next search in the PACS."""
    return prior_claims.claim(bench.ledger, "pacs", owner, lease_s=LEASE_S, now=bench.clock.now)


def listed(bench: Bench, *found: tuple[str, str]) -> ClaimedSearch:
    """Let the PACS have these, and claim the search again."""
    first = claim(bench)
    assert first is not None
    assert prior_searches.listed(bench.ledger, first, found, ["a note", "a note"], bench.clock.now)
    again = claim(bench)
    assert again is not None
    return again


def wanted(bench: Bench, claimed: ClaimedSearch) -> WantedSeries:
    """Return the next series to be fetched."""
    found = prior_searches.next_wanted(bench.ledger, claimed, bench.clock.now)
    assert found is not None
    return found


def expected(bench: Bench, uids: tuple[str, str], message_id: int | None = None, **changes: Any) -> bool:
    """Tell whether images of a series are expected."""
    values = {"patient_digest": patient_digest("P-1", ""), "message_id": message_id, **changes}
    return prior_arrivals.is_expected(bench.ledger, Arriving(*uids, **values), bench.clock.now)


def test_only_scans_of_sources_that_want_it_are_searched_for(tmp_path: Path, ledger: Ledger) -> None:
    """By default a source's scans are compared with what is here; nothing waits."""
    bench = set_up(tmp_path, ledger)
    bench.receive(ct_series(3))
    bench.after(QUIET_S)
    assert bench.rows(prior_search) == []
    bench.analyse()


def test_a_series_that_is_not_selected_searches_for_nothing(bench: Bench) -> None:
    """Of two reconstructions of one scan one is analysed, and one search is entered."""
    bench.receive(ct_series(3))
    bench.receive(ct_series(3, series="lung", ConvolutionKernel="B70f", SeriesNumber=3))
    assert sorted(bench.after(QUIET_S)) == ["not_selected", "queued"]
    assert len(bench.rows(prior_search)) == 1


def test_a_claim_that_was_taken_over_records_nothing(bench: Bench) -> None:
    """Two processes: the second takes over when the lease ran out, and the first has no say any more."""
    bench.receive(ct_series(3))
    bench.after(QUIET_S)
    first = claim(bench)
    assert first is not None
    assert claim(bench, "b") is None
    bench.clock.advance(LEASE_S + 1)
    second = claim(bench, "b")
    assert second is not None
    assert not prior_searches.listed(bench.ledger, first, [EARLIER], ["late"], bench.clock.now)
    assert prior_searches.next_wanted(bench.ledger, first, bench.clock.now) is None
    prior_searches.give_up(bench.ledger, first, ["late"], bench.clock.now)
    (row,) = bench.rows(prior_search)
    assert (row["state"], row["owner"], row["notes"]) == ("asked", "b", [])


def test_a_restart_takes_a_search_up_at_once(bench: Bench) -> None:
    """What a dead process had claimed is due, and a series that it had asked for is asked for again."""
    bench.receive(ct_series(3))
    bench.after(QUIET_S)
    begun = listed(bench, EARLIER)
    before = wanted(bench, begun)
    assert prior_claims.release_owners(bench.ledger, "a", bench.clock.now) == 1
    again = claim(bench, "b")
    assert again is not None
    assert again.is_listed
    after = wanted(bench, again)
    assert (after.id, after.series_instance_uid) == (before.id, before.series_instance_uid)
    assert after.message_id != before.message_id


def test_only_claims_that_broke_off_count_as_attempts(bench: Bench) -> None:
    """Each step, and each time a search is put off, begins at one; a process that dies does not."""
    bench.receive(ct_series(3))
    bench.after(QUIET_S)
    claimed = listed(bench, EARLIER, ("1.2.9", "1.2.9.1"))
    assert claimed.attempt == 1
    one = wanted(bench, claimed)
    prior_searches.fetched(bench.ledger, claimed, one, came=True, reason=None, now=bench.clock.now)
    for attempt in (1, 2, 3):
        broken = claim(bench, f"process {attempt}")
        assert broken is not None
        assert broken.attempt == attempt
        prior_claims.release_owners(bench.ledger, broken.owner, bench.clock.now)
    last = claim(bench)
    assert last is not None
    assert last.attempt == 4
    prior_claims.put_off(bench.ledger, last, bench.clock.now, bench.clock.now)
    again = claim(bench)
    assert again is not None
    assert again.attempt == 1


def test_what_came_before_a_search_is_given_up_is_waited_for(bench: Bench) -> None:
    """One of two scans is here: the search goes on arriving, and the other one is missing."""
    bench.receive(ct_series(3))
    bench.after(QUIET_S)
    claimed = listed(bench, EARLIER, ("1.2.9", "1.2.9.1"))
    one = wanted(bench, claimed)
    prior_searches.fetched(bench.ledger, claimed, one, came=True, reason=None, now=bench.clock.now)
    again = claim(bench)
    assert again is not None
    wanted(bench, again)
    prior_searches.give_up(bench.ledger, again, ["why"], bench.clock.now)
    (row,) = bench.rows(prior_search)
    assert (row["state"], row["ended_at"], row["notes"]) == ("arriving", None, ["a note", "why"])
    rows = sorted(bench.rows(prior_series), key=lambda one: one["position"])
    assert [one["state"] for one in rows] == ["came", "failed"]


def test_images_are_expected_from_the_request_on_and_by_its_number(bench: Bench) -> None:
    """Not before it, not under another Message ID, not of another series, and not for ever."""
    bench.receive(ct_series(3))
    bench.after(QUIET_S)
    claimed = listed(bench, EARLIER, ("1.2.9", "1.2.9.1"))
    assert not expected(bench, EARLIER)
    one = wanted(bench, claimed)
    assert expected(bench, EARLIER)
    assert expected(bench, EARLIER, one.message_id)
    assert not expected(bench, EARLIER, one.message_id + 1)
    assert not expected(bench, ("1.2.9", "1.2.9.1"))
    assert not expected(bench, EARLIER, patient_digest=patient_digest("P-2", "")), "another patient's"
    assert expected(bench, EARLIER, only_now=True)
    prior_searches.fetched(bench.ledger, claimed, one, came=True, reason=None, now=bench.clock.now)
    assert not expected(bench, EARLIER, only_now=True)
    bench.clock.advance(500)
    assert expected(bench, EARLIER, one.message_id), "what straggles"
    bench.clock.advance(200)
    assert not expected(bench, EARLIER, one.message_id)


def test_message_ids_stay_within_16_bit_and_apart(bench: Bench) -> None:
    """After 65535 comes 1; a number of a request that may still bring images is not given again."""
    bench.receive(ct_series(3))
    bench.after(QUIET_S)
    claimed = listed(bench, *((f"1.2.{at}", f"1.2.{at}.1") for at in range(4)))
    numbers = []
    for last in (65534, None, None):
        one = wanted(bench, claimed)
        prior_searches.fetched(bench.ledger, claimed, one, came=True, reason=None, now=bench.clock.now)
        if last is not None:
            with bench.ledger.write() as connection:
                connection.execute(
                    update(prior_series).where(prior_series.c.id == one.id).values(message_id=last)
                )
        numbers.append(one.message_id)
        bench.clock.advance(1)
        again = claim(bench)
        assert again is not None
        claimed = again
    assert numbers == [1, 65535, 1]


def test_the_search_of_an_urgent_scan_goes_first(bench: Bench) -> None:
    """Lanes count among searches, too."""
    bench.receive(ct_series(3, study="first"))
    bench.after(QUIET_S)
    bench.receive(ct_series(3, study="second"))
    bench.after(QUIET_S)
    with bench.ledger.write() as connection:
        newest = bench.rows(job)[-1]["id"]
        connection.execute(update(job).where(job.c.id == newest).values(lane=Lane.URGENT.value))
    claimed = claim(bench)
    assert claimed is not None
    assert claimed.study_instance_uid == derived_uid("second")


def test_a_clock_that_is_set_back_makes_nobody_wait_longer(bench: Bench) -> None:
    """An hour back: the wait begins anew, and is not an hour longer."""
    bench.receive(ct_series(3))
    bench.after(QUIET_S)
    bench.clock.advance(-3600)
    clock.pull_back(bench.ledger, bench.clock.now)
    wait_s = bench.settings.comparison.wait_s
    assert _claimable(bench) is None
    bench.clock.advance(wait_s + 1)
    assert _claimable(bench) is not None


def _claimable(bench: Bench) -> Any:
    return jobs.claim(bench.ledger, "w", lease_s=60, max_attempts=3, now=bench.clock.now)
