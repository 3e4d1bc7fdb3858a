"""The way of an earlier scan through the node: asked for, brought by the PACS, analysed, compared with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from config import ComparisonSettings, DimsePeerSettings, Settings
from core.ct_header import CT_IMAGE_STORAGE
from core.uid import derived_uid
from custody.holdings import Holdings
from custody.ledger import Ledger, forgetting, jobs, prior_arrivals
from custody.ledger.jobs import ClaimedJob, JobEnd
from custody.ledger.prior_waits import PRIORS_SOURCE, priors_of
from custody.ledger.report import status
from custody.ledger.states import JobPurpose, JobState
from custody.ledger.tables import (
    association,
    delivery,
    job,
    prior_search,
    prior_series,
    result_object,
    series,
    series_source,
)
from custody.spool import Spool
from scp import prior_visit
from scp.completion import Completion, destinations
from scp.prior_seeker import PriorSeeker
from scp.prior_settling import PriorSettling
from scp.reception import Reception
from tests.helpers.archive import ListingPacs, filed, listing
from tests.helpers.archive import series as listed_series
from tests.helpers.archive import study as listed_study
from tests.helpers.commitment import receiving, until
from tests.helpers.dicom_peers import LEAVES_SOCKETS, Scanner, Store, contexts_for
from tests.helpers.instances import (
    SEGMENTATION_STORAGE,
    Clock,
    ct_series,
    peer,
    settings_for,
    source,
)

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

WHO = {"PatientBirthDate": "19600517", "PatientSex": "F", "StudyDate": "20240101"}
COUNT = 4
QUIET_S = 3.0
WAIT_S = 60.0


def scan(study: str, **changes: Any) -> list[Dataset]:
    """Return the images of a scan of the patient."""
    return ct_series(COUNT, study=study, **{**WHO, **changes})


def earlier(study: str = "earlier", year: int = 2023, **changes: Any) -> list[Dataset]:
    """Return the images of an earlier scan."""
    return scan(study, **{"StudyDate": f"{year}0101", "AcquisitionDate": f"{year}0101", **changes})


@dataclass
class Bench:
    """A node without worker, and a PACS that holds scans."""

    settings: Settings
    ledger: Ledger
    clock: Clock
    pacs: ListingPacs
    port: int = 0
    held: list[list[Dataset]] = field(default_factory=list)

    @property
    def asked(self) -> DimsePeerSettings:
        """The PACS in the settings."""
        return self.settings.prior_peers[0]

    def hold(self, *scans: list[Dataset], **listed: Any) -> None:
        """Let the PACS hold scans, and list them so."""
        self.held = list(scans)
        studies, rows = [], []
        for images in scans:
            one = images[0]
            studies.append(
                listed_study("", one.StudyDate, **{"StudyInstanceUID": one.StudyInstanceUID, **listed})
            )
            uids = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": one.SeriesInstanceUID}
            rows.append(listed_series("", "axial", **uids))
        self.pacs.find = listing(studies, rows)

    def send(self, images: list[Dataset], calling: str = "CT1", **command: Any) -> set[int]:
        """Send as a scanner, or as whoever; return the statuses."""
        return set(Scanner(self.port, calling).send(*(Store.of(one, **command) for one in images)))

    def seal(self) -> None:
        """Let the quiet time pass and seal what is complete."""
        until(lambda: all(row.closed_at for row in self.rows(association)))
        self.clock.advance(QUIET_S + 0.1)
        self.complete()

    def complete(self) -> int:
        """Seal what is complete now; return how many series."""
        return Completion(self.settings, self.ledger, self._holdings, self.clock).step()

    def seek(self, times: int = 20) -> int:
        """Let the services work until there is nothing more to do; return how many turns did something."""
        seeker = self.seeker()
        return next((number for number in range(times) if not self.settle() + seeker.step()), times)

    def seeker(self) -> PriorSeeker:
        """Return the service that asks the PACS."""
        taking = Reception(self._spool, self.ledger, now=self.clock)
        return PriorSeeker(
            self.settings, self.asked, self.ledger, self._holdings, taking, "seeker", self.clock
        )

    def settle(self) -> int:
        """End the searches of which all that came is analysed; return how many there were."""
        return PriorSettling(self.settings, self.ledger, self.clock).step()

    def claim(self) -> ClaimedJob | None:
        """Claim the next job as a worker."""
        return jobs.claim(self.ledger, "w", lease_s=600, max_attempts=3, now=self.clock.now)

    def finish(self, claimed: ClaimedJob, state: JobState = JobState.ANALYSED) -> None:
        """End a job with segmentation and report, or with the report that there is none."""
        kinds = (
            ("segmentation", "measurement_report") if state is JobState.ANALYSED else ("measurement_report",)
        )
        stored = [jobs.StoredResult(kind, SEGMENTATION_STORAGE, "2.25.1", Path("/x"), "0") for kind in kinds]
        end = JobEnd(state, None if state is JobState.ANALYSED else "it has a gap", None, stored)
        assert jobs.finish(self.ledger, claimed, end, destinations(self.settings), self.clock.now)

    def sent(self) -> list[tuple[str, str]]:
        """Return job and kind of everything that is to be delivered."""
        found = select(delivery.c.job_id, result_object.c.kind).join_from(delivery, result_object)
        with self.ledger.read() as connection:
            return [tuple(row) for row in connection.execute(found.order_by(delivery.c.created_at))]

    def rows(self, table: Any) -> list[Any]:
        """Return every row of a table."""
        with self.ledger.read() as connection:
            return list(connection.execute(select(table)).all())

    def search(self) -> Any:
        """Return the one search."""
        (row,) = self.rows(prior_search)
        return row

    def bring(self, event: Any) -> Iterator[Any]:
        """Send as C-MOVE wants it."""
        uid = event.identifier.SeriesInstanceUID
        images = next((one for one in self.held if one[0].SeriesInstanceUID == uid), [])
        yield "127.0.0.1", self.port, {"contexts": contexts_for(CT_IMAGE_STORAGE)}
        yield len(images)
        for image in images:
            yield 0xFF00, filed(image)

    def forward(self, event: Any) -> Iterator[Any]:
        """Answer C-MOVE without counting anything: send the images as if nobody had asked for them."""
        uid = event.identifier.SeriesInstanceUID
        self.send(next(one for one in self.held if one[0].SeriesInstanceUID == uid), calling="PACS")
        yield "127.0.0.1", self.port, {"contexts": contexts_for(CT_IMAGE_STORAGE)}
        yield 0

    @property
    def _spool(self) -> Spool:
        return Spool(self.settings.node.data_folder)

    @property
    def _holdings(self) -> Holdings:
        return Holdings(self._spool, self.ledger)


@contextmanager
def bench_on(folder: Path, ledger: Ledger, **options: Any) -> Iterator[Bench]:
    """Run a receiver and a PACS that is no source, and is asked for earlier scans."""
    by = options.pop("priors_by", "move")
    sources = (source("scanner", "CT1", priors="pacs", priors_from="pacs", **options),)
    clock = Clock()
    with ListingPacs(offers_get=True) as pacs:
        base = settings_for(
            folder, sources=sources, peers=(peer("pacs", pacs.port, priors_by=by),), quiet_s=QUIET_S
        )
        limits = ComparisonSettings(wait_s=WAIT_S, query_within_s=5, retrieve_within_s=5)
        settings = base.model_copy(update={"comparison": limits})
        at = Bench(settings, ledger, clock, pacs)
        pacs.move = at.bring
        pacs.get = lambda: at.held[0]
        with receiving(settings, ledger, clock) as at.port:
            yield at


@pytest.fixture
def bench(tmp_path: Path, ledger: Ledger) -> Callable[..., Any]:
    """Return a function that runs a bench."""
    return lambda **options: bench_on(tmp_path, ledger, **options)


@pytest.mark.parametrize("way", ["move", "get"])
def test_an_earlier_scan_is_fetched_and_analysed_first(bench: Any, way: str) -> None:
    """The current scan waits; of the earlier one peers get the segmentation that the report refers to."""
    with bench(priors_by=way) as at:
        at.hold(earlier())
        at.send(scan("now"))
        at.seal()
        assert at.claim() is None
        assert at.seek() == 3  # listed, fetched, nothing more wanted
        at.seal()
        prior = at.claim()
        assert (prior.purpose, prior.key.study_instance_uid) == (JobPurpose.PRIOR, derived_uid("earlier"))
        assert at.claim() is None
        at.finish(prior)
        assert at.seek() == 1
        assert at.search().state == "done"
        current = at.claim()
        assert (current.purpose, current.generation) == (JobPurpose.REPORT, 1)
        at.finish(current)
        report = {(current.id, "segmentation"), (current.id, "measurement_report")}
        assert set(at.sent()) == {(prior.id, "segmentation"), *report}, (
            "what the report refers to, and no more"
        )
        sources = {row.source for row in at.rows(series_source)}
        assert sources == {"scanner", PRIORS_SOURCE, priors_of("scanner")}
        assert status(at.ledger)["incidents"] == []
        assert at.seek() == 0
        assert prior_arrivals.notes_for(at.ledger, current.id) == ()


def test_a_scan_waits_no_longer_than_configured_and_is_analysed_again(bench: Any) -> None:
    """The PACS is slow: the result goes out without; what comes later makes a second one, once."""
    with bench() as at:
        at.hold(earlier())
        at.send(scan("now"))
        at.seal()
        at.clock.advance(WAIT_S - 1)
        assert at.claim() is None
        at.clock.advance(1.1)
        current = at.claim()
        assert "still being fetched" in prior_arrivals.notes_for(at.ledger, current.id)[-1]
        at.seek()
        at.seal()
        prior = at.claim()
        at.finish(prior)
        assert at.seek() == 0  # the current one still runs, without it
        at.finish(current)
        assert at.seek() == 1
        again = at.claim()
        assert (again.series_id, again.generation) == (current.series_id, 2)
        assert "earlier scans came from pacs" in again.evidence
        assert prior_arrivals.notes_for(at.ledger, again.id) == ()
        at.finish(again)
        assert at.seek() == 0
        assert at.claim() is None


def test_a_slow_retrieval_holds_up_no_other_scan(bench: Any) -> None:
    """While the PACS takes its time over one patient's scan, that of another one is analysed and compared."""
    with bench() as at:
        at.hold(earlier())
        at.send(scan("now"))
        at.seal()
        at.seek()
        at.seal()
        prior = at.claim()
        asked, goes_on = threading.Event(), threading.Event()

        def slowly(event: Any) -> Iterator[Any]:
            asked.set()
            goes_on.wait(30)
            yield from at.bring(event)

        at.pacs.move = slowly
        at.hold(earlier("other", PatientID="P-2"), PatientID="P-2")
        at.send(scan("other now", PatientID="P-2"))
        at.seal()
        seeker = at.seeker()
        assert seeker.step() == 1  # listed
        fetching = threading.Thread(target=seeker.step)
        fetching.start()
        try:
            assert asked.wait(10)
            at.finish(prior)
            assert at.settle() == 1
            assert at.claim().key.study_instance_uid == derived_uid("now")
            assert fetching.is_alive()
        finally:
            goes_on.set()
            fetching.join(30)
        assert [row.state for row in at.rows(prior_series)] == ["came", "came"]


def test_a_pause_between_two_images_is_not_the_end_of_a_series(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By C-GET from a tape, minutes apart: the association counts as open, and the scan is sealed whole."""
    monkeypatch.setattr(prior_visit, "HEARTBEAT_S", 0.02)
    sealed_in_between: list[int] = []
    with bench(priors_by="get") as at:

        def slowly() -> Iterator[Dataset]:
            for number, image in enumerate(at.held[0]):
                if number == 2:
                    at.clock.advance(300)
                    until(lambda: _heard_of(at, "PACS") == at.clock.now)
                    sealed_in_between.append(at.complete())
                yield image

        at.hold(earlier())
        at.send(scan("now"))
        at.seal()
        at.pacs.get = slowly
        at.seek()
        at.seal()
        assert sealed_in_between == [0]
        (prior,) = [one for _row, one in _jobs(at) if one.purpose == "prior"]
        assert (prior.generation, prior.evidence.split(";")[0]) == (1, "4 images")
        assert {row.ended for row in at.rows(association)} == {"released"}


def test_what_is_here_already_is_not_fetched_again(bench: Any) -> None:
    """A scan that was analysed here before needs no PACS; the current one does not wait for it."""
    with bench() as at:
        at.send(earlier(), calling="CT1")
        at.seal()
        at.clock.advance(WAIT_S + 1)
        at.finish(at.claim())
        at.seek()
        at.hold(earlier())
        at.send(scan("now"))
        at.seal()
        at.seek()
        assert [row.state for row in at.rows(prior_series)] == ["known"]
        assert at.claim().key.study_instance_uid == derived_uid("now")


def test_notes_say_why_nothing_is_compared(bench: Any) -> None:
    """Another birth date in the PACS: nothing is fetched, the scan goes on at once with a note."""
    with bench() as at:
        at.hold(earlier(), PatientBirthDate="19700101")
        at.send(scan("now"))
        at.seal()
        assert at.seek() == 3
        current = at.claim()
        (note,) = prior_arrivals.notes_for(at.ledger, current.id)
        assert "another birth date" in note


def test_an_earlier_scan_that_cannot_be_analysed_is_told_of(bench: Any) -> None:
    """It has a gap: its refusal goes nowhere, and the note says why there is no comparison."""
    with bench() as at:
        at.hold(earlier())
        at.send(scan("now"))
        at.seal()
        at.seek()
        at.seal()
        at.finish(at.claim(), JobState.REFUSED)
        at.seek()
        current = at.claim()
        assert prior_arrivals.notes_for(at.ledger, current.id) == (
            "An earlier scan could not be analysed: it has a gap.",
        )
        assert at.sent() == []


def test_images_of_another_patient_than_listed_are_told_of(bench: Any) -> None:
    """The PACS lists our patient and sends another one's images: never compared, and the wait ends."""
    with bench() as at:
        at.hold(earlier(PatientID="SOMEBODY-ELSE"))
        at.send(scan("now"))
        at.seal()
        at.seek()
        at.clock.advance(WAIT_S)
        assert at.claim().key.study_instance_uid == derived_uid("now")
        at.clock.advance(120)
        at.seek()
        assert at.search().state == "done"
        assert "another Patient ID" in at.search().notes[0]


def test_a_pacs_that_is_no_source_may_send_only_what_was_asked_for(bench: Any) -> None:
    """Its association is accepted, an image of another series refused; who has not even its name is out."""
    with bench() as at:
        assert at.send(scan("stray"), calling="PACS") == {0x0124}
        with pytest.raises(ConnectionError):
            at.send(scan("stray"), calling="STRANGER")
        assert at.rows(series) == []


def test_a_sender_that_is_a_source_is_told_apart_by_the_move_originator(bench: Any) -> None:
    """What the PACS forwards by itself is a scan like any other, also of a series that was asked for."""
    with bench() as at:
        both = (*at.settings.sources, source("routing", "PACS"))
        at.settings = at.settings.model_copy(update={"sources": both})
        with receiving(at.settings, at.ledger, at.clock) as at.port:
            at.hold(earlier("fetched"), earlier("sent", 2022))
            at.send(scan("now"))
            at.seal()
            at.seek()
            at.send(earlier("sent", 2022), calling="PACS")
            at.send(earlier("other", 2021), calling="PACS", originator=("LESIONNODE", 4711))
            at.seal()
        purposes = {row.study_instance_uid: job_.purpose for row, job_ in _jobs(at)}
        assert purposes == {
            derived_uid("now"): "report",
            derived_uid("fetched"): "prior",
            derived_uid("sent"): "report",
            derived_uid("other"): "report",
        }


def test_a_source_that_names_no_originator_is_asked_once_and_not_in_a_chain(bench: Any) -> None:
    """What comes while it is asked for is an earlier scan; nothing is fetched for that in turn."""
    with bench(priors_by="move") as at:
        routing = source("routing", "PACS", priors="pacs", priors_from="pacs")
        at.settings = at.settings.model_copy(update={"sources": (*at.settings.sources, routing)})
        at.pacs.move = at.forward
        with receiving(at.settings, at.ledger, at.clock) as at.port:
            at.hold(earlier("first", 2021), earlier("second", 2022))
            at.send(scan("now"))
            at.seal()
            at.seek()
            at.seal()
        purposes = sorted(job_.purpose for _row, job_ in _jobs(at))
        assert purposes == ["prior", "prior", "report"]
        assert [row.state for row in at.rows(prior_series)] == ["came", "came"]
        assert len(at.rows(prior_search)) == 1


def test_an_earlier_scan_takes_no_report_from_a_series_that_is_sent(bench: Any) -> None:
    """Another reconstruction of it comes from a scanner: that one is reported, sharper or not."""
    with bench() as at:
        at.hold(earlier(ConvolutionKernel="B60f"))
        at.send(scan("now"))
        at.seal()
        at.seek()
        at.seal()
        at.finish(at.claim())
        at.send(earlier(series="late", SeriesNumber=3, ConvolutionKernel="B30f"))
        at.seal()
        (late,) = [one for _row, one in _jobs(at) if one.state == "queued" and one.calling_ae_title == "CT1"][
            -1:
        ]
        assert (late.state, late.purpose) == ("queued", "report")
        assert "not_selected" not in {one.state for _row, one in _jobs(at)}


def test_a_site_may_want_results_of_earlier_scans(bench: Any) -> None:
    """With report_priors the source's peers get them; it looks for no earlier ones of its own."""
    with bench(report_priors=True) as at:
        at.hold(earlier())
        at.send(scan("now"))
        at.seal()
        at.seek()
        at.seal()
        prior = at.claim()
        assert prior.purpose is JobPurpose.PRIOR
        at.finish(prior)
        assert set(at.sent()) == {(prior.id, "segmentation"), (prior.id, "measurement_report")}
        assert len(at.rows(prior_search)) == 1


def test_a_pacs_that_is_away_is_asked_again_while_the_scan_waits(bench: Any) -> None:
    """Then the search ends with a note; a search whose process died is taken up by the next."""
    with bench() as at:
        at.send(scan("now"))
        at.seal()
        at.pacs.find = lambda _query, _cancelled: iter([(0xA700, None)])
        for _ in range(8):
            at.seek(1)
            at.clock.advance(11)
        assert at.search().state == "failed"
        assert "0xA700" in prior_arrivals.notes_for(at.ledger, at.claim().id)[0]


def test_forgetting_a_patient_forgets_the_searches(bench: Any) -> None:
    """Nothing of the patient's searches stays, and nothing refers to what is gone."""
    with bench() as at:
        at.hold(earlier())
        at.send(scan("now"))
        at.seal()
        at.seek()
        with at.ledger.write() as connection:
            for row in at.rows(series):
                forgetting.delete_series(connection, row.id)
        assert at.rows(prior_search) == at.rows(prior_series) == at.rows(job) == []


def _heard_of(at: Bench, calling: str) -> float:
    """Return when an open association of a caller gave a sign of life last; 0 where there is none."""
    of_caller = [one for one in at.rows(association) if one.calling_ae_title == calling]
    return max((one.heartbeat_at for one in of_caller if one.closed_at is None), default=0.0)


def _jobs(at: Bench) -> list[tuple[Any, Any]]:
    with at.ledger.read() as connection:
        rows = connection.execute(select(series.c.id, series.c.study_instance_uid)).all()
        every = connection.execute(select(job)).all()
    return [(row, one) for row in rows for one in every if one.series_id == row.id]
