"""Rules of sources against floods: what waits for the others, and what is kept without analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import SourceSettings
from custody.ledger import Ledger, jobs
from custody.ledger.states import JobState, Lane
from custody.ledger.tables import delivery, job
from tests.helpers.instances import ct_series, fresh_ledger, source
from tests.unit.test_completion import QUIET_S, Bench, set_up

DAY_S = 86_400.0


@pytest.fixture
def at(tmp_path: Path) -> Any:
    """Return a function that sets up a node with these sources."""
    with fresh_ledger(tmp_path) as ledger:
        yield lambda *sources: set_up(tmp_path, ledger, *sources)


def scanner(**rules: Any) -> SourceSettings:
    """Return the source ``scanner`` with these rules."""
    return source("scanner", "CT1", **rules)


def newest(bench: Bench) -> dict[str, Any]:
    """Seal what is complete and return the newest job."""
    bench.after(QUIET_S)
    return bench.rows(job)[-1]


def studies(bench: Bench, *names: str, calling: str = "CT1", source: str = "scanner", **changes: Any) -> None:
    """Receive a series of each of these studies, and seal it."""
    for name in names:
        bench.receive(ct_series(2, study=name, **changes), calling, source)
        bench.after(QUIET_S)


@pytest.mark.parametrize(("priority", "lane"), [("urgent", 0), ("routine", 1), ("low", 2)])
def test_the_priority_of_a_source_is_the_lane_of_its_series(at: Any, priority: str, lane: int) -> None:
    """Analyses and deliveries of urgent sources go first, those of low ones last."""
    bench = at(scanner(priority=priority))
    bench.receive(ct_series())
    assert newest(bench)["lane"] == lane


def test_what_two_sources_send_is_as_urgent_as_the_more_urgent_one_says(at: Any) -> None:
    """An archive that sends the emergency's scan too does not delay it."""
    bench = at(scanner(priority="low"), source("er", "ER", priority="urgent"))
    bench.receive(ct_series())
    bench.receive(ct_series(), "ER", "er")
    assert newest(bench)["lane"] == Lane.URGENT


@pytest.mark.parametrize(
    ("age_days", "dates"),
    [
        (100, {}),
        (99.5, {"AcquisitionDate": None, "AcquisitionTime": None, "StudyDate": "20240101"}),
    ],
    ids=["by its acquisition", "by its study"],
)
def test_an_old_scan_is_kept_and_not_analysed(at: Any, age_days: float, dates: dict[str, Any]) -> None:
    """A migration of the archive: everything is stored, the reason says why nothing else happened."""
    bench = at(scanner(max_age_days=90))
    bench.receive(ct_series(**dates))
    assert newest(bench)["state"] == "queued"
    bench.clock.advance(age_days * DAY_S)
    bench.receive(ct_series(study="another", **dates))
    found = newest(bench)
    assert found["state"] == "not_selected"
    assert found["reason"] == (
        'the scan is 100 days old; scans of source "scanner" are analysed up to an age of 90 days '
        "(max_age_days)"
    )


def test_a_scan_without_a_date_is_analysed(at: Any) -> None:
    """Nobody can say that it is too old."""
    bench = at(scanner(max_age_days=1))
    bench.clock.advance(100 * DAY_S)
    bench.receive(ct_series(AcquisitionDate=None, AcquisitionTime=None))
    assert newest(bench)["state"] == "queued"


def test_a_source_may_be_received_without_analysis(at: Any) -> None:
    """Everything is kept; another source that sends the same has it analysed."""
    bench = at(scanner(analyse="none"), source("er", "ER"))
    bench.receive(ct_series())
    found = newest(bench)
    assert (found["state"], found["reason"]) == (
        "not_selected",
        'source "scanner" is received without analysis (analyse = "none")',
    )
    bench.receive(ct_series(study="another"))
    bench.receive(ct_series(study="another"), "ER", "er")
    assert newest(bench)["state"] == "queued"


def test_what_is_not_to_be_analysed_is_not_chosen_before_what_is(at: Any) -> None:
    """The better reconstruction of a scan comes from a source without analysis: the other one is analysed."""
    bench = at(scanner(analyse="none"), source("er", "ER"))
    bench.receive(ct_series())
    bench.receive(ct_series(series="lung", ConvolutionKernel="B70f", SeriesNumber=3), "ER", "er")
    bench.after(QUIET_S)
    assert [(row["state"]) for row in bench.rows(job)].count("queued") == 1
    assert bench.state_of("lung") == ["queued"]


def test_beyond_its_rate_a_source_goes_to_the_low_lane_until_the_hour_is_over(at: Any) -> None:
    """Two an hour are routine, the third waits for the others; what was not selected does not count."""
    bench = at(scanner(series_per_hour=2), source("er", "ER"))
    studies(bench, "a")
    bench.receive(ct_series(2, study="a", series="lung", ConvolutionKernel="B70f", SeriesNumber=3))
    studies(bench, "b", "c")
    studies(bench, "d", calling="ER", source="er")
    lanes = [row["lane"] for row in bench.rows(job) if row["state"] == "queued"]
    assert lanes == [Lane.ROUTINE, Lane.ROUTINE, Lane.LOW, Lane.ROUTINE]
    bench.clock.advance(3600)
    studies(bench, "e")
    assert bench.rows(job)[-1]["lane"] == Lane.ROUTINE


def test_a_flood_that_is_complete_at_one_moment_is_counted_one_by_one(at: Any) -> None:
    """Sealed in one look, they keep the rate all the same."""
    bench = at(scanner(series_per_hour=1))
    for name in "abc":
        bench.receive(ct_series(2, study=name))
    bench.after(QUIET_S)
    assert sorted(row["lane"] for row in bench.rows(job)) == [Lane.ROUTINE, Lane.LOW, Lane.LOW]


def claimed_lanes(bench: Bench, ledger: Ledger, number: int) -> list[int]:
    """Work off so many jobs, a minute each; return their lanes in order."""
    lanes = {row["id"]: row["lane"] for row in bench.rows(job)}
    found = []
    for _ in range(number):
        one = jobs.claim(ledger, "w", lease_s=600, max_attempts=3, now=bench.clock.now)
        assert one is not None
        bench.clock.advance(60)
        end = jobs.JobEnd(JobState.REFUSED, "why", None)
        assert jobs.finish(ledger, one, end, jobs.Destinations({}), bench.clock.now)
        found.append(lanes[one.id])
    return found


def test_the_low_lane_waits_but_does_not_starve(at: Any) -> None:
    """Urgent first, then routine; after a day of waiting the low lane gets one turn in ten minutes."""
    bench = at(
        scanner(),
        source("archive", "OLD", priority="low"),
        source("er", "ER", priority="urgent"),
    )
    studies(bench, "l1", "l2", calling="OLD", source="archive")
    studies(bench, "r1", "r2", "r3")
    studies(bench, "u1", calling="ER", source="er")
    assert claimed_lanes(bench, bench.ledger, 2) == [0, 1]
    bench.clock.advance(DAY_S)
    studies(bench, *(f"x{number}" for number in range(20)))
    assert claimed_lanes(bench, bench.ledger, 13) == [2, *[1] * 11, 2]


def test_one_series_of_two_senders_is_analysed_once_and_goes_to_the_peers_of_both(at: Any) -> None:
    """The second one sends while the first is being analysed, or afterwards: it gets the same results."""
    bench = at(scanner(), source("second", "CT2", send_to=["research"]))
    bench.receive(ct_series())
    bench.after(QUIET_S)
    bench.analyse()
    bench.receive(ct_series(), "CT2", "second")
    assert bench.after(QUIET_S) == ["analysed"]
    assert sorted(row["peer"] for row in bench.rows(delivery)) == ["pacs", "research"]
