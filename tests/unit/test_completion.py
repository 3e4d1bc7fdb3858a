"""When a series is complete and which one becomes a job, with a real ledger and a clock that we move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select

from config import Settings, SourceSettings
from core.uid import derived_uid
from custody.holdings import Holdings
from custody.ledger import Ledger, jobs, reception
from custody.ledger.destinations import Destinations
from custody.ledger.instances import sealed_series
from custody.ledger.jobs import JobEnd
from custody.ledger.reception import Caller
from custody.ledger.states import JobState
from custody.ledger.tables import acquisition, delivery, job, series
from custody.shelving import Shelving
from custody.spool import Spool
from scp.completion import Completion
from scp.reception import Reception, StoreRequest
from tests.helpers.instances import (
    SEGMENTATION_STORAGE,
    Clock,
    ct_image,
    ct_series,
    encoded,
    open_caller,
    peer,
    settings_for,
    source,
)

QUIET_S = 3.0
CUT_OFF_S = 60.0
NOBODY = Destinations({})
LUNG_KERNEL = {"series": "lung", "ConvolutionKernel": "B70f", "SeriesNumber": 3}


@dataclass(slots=True)
class Bench:
    """Reception and completion on one ledger."""

    settings: Settings
    ledger: Ledger
    clock: Clock
    taking: Reception
    completion: Completion
    shelving: Shelving
    open: list[Caller] = field(default_factory=list)

    def associate(self, calling: str = "CT1", source: str = "scanner") -> Caller:
        """Open an association."""
        return open_caller(self.ledger, self.clock.now, calling=calling, source=source)

    def release(self, caller: Caller, ended: str = "released") -> None:
        """End an association."""
        reception.close_association(self.ledger, caller.association_id, ended, self.clock.now)

    def take(self, caller: Caller, datasets: Sequence[Dataset]) -> None:
        """Receive data sets on an open association."""
        for ds in datasets:
            request = StoreRequest(
                encoded(ds, ExplicitVRLittleEndian),
                ExplicitVRLittleEndian,
                str(ds.SOPClassUID),
                str(ds.SOPInstanceUID),
            )
            self.taking.take(request, caller)

    def receive(self, datasets: Sequence[Dataset], calling: str = "CT1", source: str = "scanner") -> None:
        """Receive data sets on an association of their own."""
        caller = self.associate(calling, source)
        self.take(caller, datasets)
        self.release(caller)

    def after(self, seconds: float) -> list[str]:
        """Let time pass, look once, and return the states of all jobs in the order of their sealing."""
        self.clock.advance(seconds)
        self.completion.step()
        self.shelving.step()
        return [row["state"] for row in self.rows(job)]

    def rows(self, table: Any) -> list[dict[str, Any]]:
        """Return every row of a table in order of entry."""
        with self.ledger.read() as connection:
            # PostgreSQL moves a row that is changed to the end.
            order = [table.c[name] for name in ("sealed_at", "created_at", "id") if name in table.c]
            return [dict(row) for row in connection.execute(select(table).order_by(*order)).mappings()]

    def state_of(self, name: str) -> list[str]:
        """Return the states of the jobs of one series, by the name given to `ct_series`."""
        ids = {row["series_instance_uid"]: row["id"] for row in self.rows(series)}
        wanted = ids[derived_uid("study", name)]
        return [row["state"] for row in self.rows(job) if row["series_id"] == wanted]

    def images(self, claimed: jobs.ClaimedJob) -> int:
        """Return how many images a job is to analyse."""
        return len(sealed_series(self.ledger, claimed).instances)

    def analyse(self) -> jobs.ClaimedJob:
        """Claim the next job and bring it to a good end with one object."""
        claimed = jobs.claim(self.ledger, "w", lease_s=60, max_attempts=3, now=self.clock.now)
        assert claimed is not None
        stored = jobs.StoredResult("segmentation", SEGMENTATION_STORAGE, "2.25.1", Path("/x"), "0")
        end = JobEnd(JobState.ANALYSED, None, None, [stored])
        assert jobs.finish(self.ledger, claimed, end, Destinations({"scanner": ["pacs"]}), self.clock.now)
        return claimed


def set_up(folder: Path, ledger: Ledger, *sources: SourceSettings) -> Bench:
    """Return a bench with these sources."""
    settings = settings_for(
        folder,
        sources=sources,
        peers=(peer("pacs", 11112), peer("research", 11113)),
        quiet_s=QUIET_S,
        cut_off_quiet_s=CUT_OFF_S,
    )
    clock = Clock()
    taking = Reception(Spool(folder), ledger, now=clock)
    holdings = Holdings(Spool(folder), ledger)
    shelving = Shelving(ledger, Spool(folder), holdings, now=clock)
    return Bench(settings, ledger, clock, taking, Completion(settings, ledger, holdings, clock), shelving)


@pytest.fixture
def bench(tmp_path: Path, ledger: Ledger) -> Bench:
    """One scanner, best reconstruction per scan."""
    return set_up(tmp_path, ledger)


# --- when -------------------------------------------------------------------------------------------------


def test_a_series_is_sealed_after_the_quiet_time_and_not_before(bench: Bench) -> None:
    """Not a moment before the quiet time is over, then at once, with the evidence in words."""
    bench.receive(ct_series(5))
    assert bench.after(QUIET_S - 0.1) == []
    assert bench.after(0.1) == ["queued"]
    (row,) = bench.rows(job)
    assert row["evidence"] == "5 images; 3.0 s without another one; no open association of CT1"
    assert (row["generation"], row["model"], row["calling_ae_title"]) == (1, "densitometry", "CT1")
    assert bench.after(100) == ["queued"]


def test_every_new_image_starts_the_quiet_time_anew(bench: Bench) -> None:
    """A slow scanner that sends one slice every two seconds is not cut in pieces."""
    with_association = bench.associate()
    for ds in ct_series(5):
        bench.take(with_association, [ds])
        assert bench.after(QUIET_S - 1) == []
    bench.release(with_association)
    assert bench.after(1) == ["queued"]


def test_an_open_association_of_the_sender_holds_the_series_open(bench: Bench) -> None:
    """However quiet it is, the sender may still have something to send; its end is enough, no new wait."""
    caller = bench.associate()
    bench.take(caller, ct_series(5))
    assert bench.after(20) == []
    bench.release(caller)
    assert bench.after(0) == ["queued"]


def test_another_open_association_of_the_same_sender_holds_it_open_too(bench: Bench) -> None:
    """A scanner that sends on two associations in parallel: the series waits for the second one."""
    second = bench.associate()
    bench.receive(ct_series(5))
    assert bench.after(20) == []
    bench.release(second)
    assert bench.after(0) == ["queued"]


def test_another_sender_does_not_matter(bench: Bench) -> None:
    """An open association of a caller that sent nothing of the series is about something else."""
    bench.associate("CT2", "other")
    bench.receive(ct_series(5))
    assert bench.after(QUIET_S) == ["queued"]


def test_a_sender_that_is_never_idle_does_not_hold_up_everything(bench: Bench) -> None:
    """A PACS that always has some association open: one opened after the quiet time holds nothing up."""
    first = bench.associate()
    bench.receive(ct_series(5))
    assert bench.after(QUIET_S) == []
    bench.associate()
    bench.release(first)
    assert bench.after(0) == ["queued"]


def test_one_association_per_slice_is_one_series(bench: Bench) -> None:
    """Senders that open an association for each slice are not sealed between two of them."""
    for ds in ct_series(8):
        bench.receive([ds])
        assert bench.after(QUIET_S / 2) == []
    assert bench.after(QUIET_S / 2) == ["queued"]
    claimed = bench.analyse()
    assert bench.images(claimed) == 8


@pytest.mark.parametrize("ended", ["aborted", "lost"])
def test_a_cut_off_sender_gets_time_to_come_back(bench: Bench, ended: str) -> None:
    """After an abort or a broken connection the series waits longer; the evidence says so."""
    caller = bench.associate()
    bench.take(caller, ct_series(3))
    bench.release(caller, ended)
    assert bench.after(CUT_OFF_S - 1) == []
    assert bench.after(1) == ["queued"]
    assert bench.rows(job)[0]["evidence"].endswith("the last one was cut off")


def test_the_time_to_come_back_begins_when_the_node_is_back(bench: Bench) -> None:
    """A sender that was cut off by a node that died cannot come back before there is a node again."""
    caller = bench.associate()
    bench.take(caller, ct_series(3))
    bench.clock.advance(1000)
    bench.release(caller, "lost")
    holdings = Holdings(Spool(bench.settings.node.data_folder), bench.ledger)
    bench.completion = Completion(bench.settings, bench.ledger, holdings, bench.clock)
    assert bench.after(CUT_OFF_S - 1) == []
    assert bench.after(1) == ["queued"]


def test_a_clock_that_was_set_back_holds_nothing_up(bench: Bench) -> None:
    """A start that lies in the future of the new clock counts as now."""
    bench.clock.advance(-1000)
    caller = bench.associate()
    bench.take(caller, ct_series(3))
    bench.release(caller, "lost")
    assert bench.after(0) == []
    assert bench.after(CUT_OFF_S) == ["queued"]


def test_a_cut_off_sender_that_repeats_everything_gives_one_generation(bench: Bench) -> None:
    """It comes back, sends the identical images again and then the rest: one job with every image."""
    caller = bench.associate()
    bench.take(caller, ct_series(3))
    bench.release(caller, "lost")
    assert bench.after(CUT_OFF_S - 1) == []
    again = bench.associate()
    assert bench.after(2) == []
    bench.take(again, ct_series(3))
    assert bench.after(20) == []
    bench.take(again, ct_series(6)[3:])
    bench.release(again)
    assert bench.after(QUIET_S) == ["queued"]
    assert bench.images(bench.analyse()) == 6


def test_a_dead_process_does_not_hold_a_series_open_for_ever(bench: Bench) -> None:
    """An association without a heartbeat is closed as lost, and then the series is sealed."""
    caller = bench.associate()
    bench.take(caller, ct_series(3))
    assert bench.after(29) == []
    reception.heartbeat_associations(bench.ledger, [caller.association_id], bench.clock.now)
    assert bench.after(30) == []
    assert bench.after(2) == ["queued"]


def test_stragglers_become_a_second_generation_with_everything(bench: Bench) -> None:
    """Images that come after the sealing are analysed again together with the earlier ones."""
    bench.receive(ct_series(5))
    assert bench.after(QUIET_S) == ["queued"]
    assert bench.images(bench.analyse()) == 5
    bench.receive(ct_series(7)[5:])
    assert bench.after(QUIET_S) == ["analysed", "queued"]
    second = bench.analyse()
    assert second.generation == 2
    assert bench.images(second) == 7


def test_an_identical_resend_after_sealing_makes_no_job(bench: Bench) -> None:
    """The whole series once more changes nothing."""
    bench.receive(ct_series(5))
    bench.after(QUIET_S)
    bench.analyse()
    bench.receive(ct_series(5))
    assert bench.after(QUIET_S) == ["analysed"]


def test_a_second_sender_after_the_analysis_gets_the_results(tmp_path: Path, ledger: Ledger) -> None:
    """The PACS forwards what the scanner sent before: no second analysis, but its destination is served."""
    bench = set_up(
        tmp_path, ledger, source("scanner", "CT1"), source("archive", "PACS", send_to=["pacs", "research"])
    )
    bench.receive(ct_series(5))
    bench.after(QUIET_S)
    bench.analyse()
    bench.receive(ct_series(5), "PACS", "archive")
    assert bench.after(QUIET_S) == ["analysed"]
    assert [row["peer"] for row in bench.rows(delivery)] == ["pacs", "research"]


def test_images_set_aside_do_not_make_a_job(bench: Bench) -> None:
    """A localizer alone is never sealed; with slices it is not among what is analysed."""
    scout = ct_image(99, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    bench.receive([scout])
    assert bench.after(100) == []
    bench.receive(ct_series(3))
    assert bench.after(QUIET_S) == ["queued"]
    assert bench.images(bench.analyse()) == 3


def test_the_next_look_is_when_something_may_be_complete(bench: Bench) -> None:
    """Idle: once a second. Something arriving: when its quiet time ends. Held open: no busy loop."""
    assert bench.completion.next_look_s() == 1.0
    caller = bench.associate()
    bench.take(caller, ct_series(3))
    assert bench.completion.next_look_s() == 1.0
    bench.clock.advance(QUIET_S - 0.25)
    assert bench.completion.next_look_s() == pytest.approx(0.25, abs=1e-3)
    bench.clock.advance(0.25)
    assert bench.completion.next_look_s() == 1.0


# --- which ------------------------------------------------------------------------------------------------


def test_of_two_reconstructions_only_the_better_is_queued(bench: Bench) -> None:
    """One scan, soft and lung kernel: one job is queued, the other is not selected, with its reason."""
    bench.receive([*ct_series(5, **LUNG_KERNEL), *ct_series(5, series="soft")])
    assert sorted(bench.after(QUIET_S)) == ["not_selected", "queued"]
    assert bench.state_of("soft") == ["queued"]
    (loser,) = [row for row in bench.rows(job) if row["state"] == "not_selected"]
    assert loser["reason"] == "series 2 of the same scan is analysed instead: its kernel is sharper"
    assert loser["finished_at"] == bench.clock.now
    assert len(bench.rows(acquisition)) == 1


def test_a_complete_series_waits_for_the_other_one_of_its_scan(bench: Bench) -> None:
    """The lung kernel is complete first, the soft one is still coming: both wait, and the soft one wins."""
    bench.receive(ct_series(5, **LUNG_KERNEL))
    bench.clock.advance(QUIET_S - 1)
    caller = bench.associate()
    bench.take(caller, ct_series(2, series="soft"))
    assert bench.after(10) == []
    bench.take(caller, ct_series(5, series="soft")[2:])
    bench.release(caller)
    assert sorted(bench.after(QUIET_S)) == ["not_selected", "queued"]
    assert bench.state_of("soft") == ["queued"]


def test_a_later_better_reconstruction_is_analysed_too(bench: Bench) -> None:
    """The radiographer reconstructs anew an hour later: the better one is analysed too."""
    bench.receive(ct_series(5, **LUNG_KERNEL))
    bench.after(QUIET_S)
    bench.analyse()
    bench.clock.advance(3600)
    bench.receive(ct_series(5, series="soft"))
    assert bench.after(QUIET_S) == ["analysed", "queued"]


def test_a_later_poorer_reconstruction_is_not(bench: Bench) -> None:
    """The other way round the later series is not selected, and names the one that was analysed."""
    bench.receive(ct_series(5, series="soft"))
    bench.after(QUIET_S)
    bench.analyse()
    bench.receive(ct_series(5, **LUNG_KERNEL))
    assert bench.after(QUIET_S) == ["analysed", "not_selected"]
    assert "series 2 of the same scan" in bench.rows(job)[1]["reason"]


def test_a_refused_series_does_not_stand_in_the_way(bench: Bench) -> None:
    """If what was chosen could not be analysed, later ones are not measured against it."""
    bench.receive(ct_series(5, series="soft"))
    bench.after(QUIET_S)
    claimed = jobs.claim(bench.ledger, "w", lease_s=60, max_attempts=3, now=bench.clock.now)
    assert claimed is not None
    jobs.finish(bench.ledger, claimed, JobEnd(JobState.REFUSED, "no lungs", None), NOBODY, bench.clock.now)
    bench.receive(ct_series(5, **LUNG_KERNEL))
    assert bench.after(QUIET_S) == ["refused", "queued"]


def test_a_refused_series_is_looked_at_again_when_more_of_it_comes(bench: Bench) -> None:
    """Missing slices that arrive late are a new generation, not a loser."""
    bench.receive(ct_series(5))
    bench.after(QUIET_S)
    claimed = jobs.claim(bench.ledger, "w", lease_s=60, max_attempts=3, now=bench.clock.now)
    assert claimed is not None
    jobs.finish(bench.ledger, claimed, JobEnd(JobState.REFUSED, "gap", None), NOBODY, bench.clock.now)
    bench.receive([ct_image(6)])
    assert bench.after(QUIET_S) == ["refused", "queued"]


def test_two_phases_are_both_analysed(bench: Bench) -> None:
    """Before and after contrast are two scans, even in one study and frame of reference."""
    later = {"series": "post", "AcquisitionNumber": 2, "AcquisitionTime": "120300"}
    bench.receive([*ct_series(5, series="pre"), *ct_series(5, **later)])
    assert bench.after(QUIET_S) == ["queued", "queued"]
    assert len(bench.rows(acquisition)) == 2


def test_a_source_may_have_every_series_analysed(tmp_path: Path, ledger: Ledger) -> None:
    """`analyse = every` queues all reconstructions, and none waits for another."""
    bench = set_up(tmp_path, ledger, source("scanner", "CT1", analyse="every"))
    bench.receive(ct_series(5, **LUNG_KERNEL))
    bench.clock.advance(QUIET_S - 1)
    bench.receive(ct_series(5, series="soft"))
    assert bench.after(1) == ["queued"]
    assert bench.after(QUIET_S - 1) == ["queued", "queued"]


def test_two_patients_with_the_same_uids_are_two_scans(bench: Bench) -> None:
    """An anonymised copy in the same study is analysed on its own; neither loses to the other."""
    bench.receive([*ct_series(3), *ct_series(3, PatientID="ANON")])
    assert bench.after(QUIET_S) == ["queued", "queued"]


def test_a_series_of_a_source_that_was_removed_is_still_analysed(tmp_path: Path, ledger: Ledger) -> None:
    """The configuration changed between reception and restart: nothing is lost, the default model runs."""
    bench = set_up(tmp_path, ledger, source("new", "CT9"))
    bench.receive(ct_series(3))
    assert bench.after(QUIET_S) == ["queued"]
