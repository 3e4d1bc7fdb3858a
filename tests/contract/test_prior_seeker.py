"""The way of an earlier scan through the node: asked for, brought by the PACS, analysed, compared with."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import update

from core.uid import derived_uid
from custody.ledger import destinations, forgetting, prior_arrivals
from custody.ledger.completion import add_source
from custody.ledger.prior_waits import PRIORS_SOURCE, priors_of
from custody.ledger.report import status
from custody.ledger.states import JobPurpose, JobState
from custody.ledger.tables import (
    association,
    job,
    manifest,
    prior_search,
    prior_series,
    series,
    series_source,
)
from scp import prior_visit
from tests.helpers.commitment import receiving, until
from tests.helpers.dicom_peers import LEAVES_SOCKETS
from tests.helpers.instances import source
from tests.helpers.prior_bench import WAIT_S, Bench, earlier, scan

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]


@pytest.mark.parametrize("way", ["move", "get"])
def test_an_earlier_scan_is_fetched_and_analysed_first(bench: Any, way: str) -> None:
    """The current scan waits; of the earlier one peers get the segmentation that the report refers to."""
    with bench(priors_by=way) as at:
        at.begin()
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
        at.begin()
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


@pytest.mark.parametrize("person", ["somebody else", None])
def test_what_cannot_be_compared_leads_to_no_second_result(bench: Any, person: str | None) -> None:
    """It came late, and is another person's or has no lungs: the same result would go out once more."""
    with bench() as at:
        at.begin()
        at.clock.advance(WAIT_S + 1)
        current = at.claim()
        at.seek()
        at.seal()
        at.finish(at.claim(), person=person)
        at.finish(current)
        assert at.seek() == 1
        assert at.search().state == "done"
        assert at.claim() is None


def test_an_earlier_scan_that_lies_here_unanalysed_is_compared_with_and_not_reported(bench: Any) -> None:
    """It was sent and is too old for a report of its own: nobody fetches it, and nobody gets its report."""
    with bench(max_age_days=30) as at:
        at.send(earlier(), calling="CT1")
        at.seal()
        assert [one.state for _row, one in at.jobs()] == ["not_selected"]
        at.begin()
        at.seek()
        assert [row.state for row in at.rows(prior_series)] == ["known"]
        prior = at.claim()
        assert (prior.purpose, prior.generation) == (JobPurpose.PRIOR, 2)
        assert prior.key.study_instance_uid == derived_uid("earlier")
        at.finish(prior)
        at.seek()
        current = at.claim()
        assert current.key.study_instance_uid == derived_uid("now")
        at.finish(current)
        assert set(at.sent()) == {
            (prior.id, "segmentation"),
            (current.id, "segmentation"),
            (current.id, "measurement_report"),
        }
        assert status(at.ledger)["incidents"] == []


def test_an_earlier_scan_that_was_deleted_here_is_fetched_and_not_reported(bench: Any) -> None:
    """The PACS has what this node kept unanalysed and deleted since; its sender still wants no report."""
    with bench(max_age_days=30) as at:
        at.send(earlier(), calling="CT1")
        at.seal()
        at.shelve()
        with at.ledger.write() as connection:
            connection.execute(update(manifest).values(purged_at=at.clock.now, purged_because="its days"))
        at.begin()
        at.seek()
        assert [row.state for row in at.rows(prior_series)] == ["came"]
        at.seal()
        prior = at.claim()
        assert (prior.purpose, prior.key.study_instance_uid) == (JobPurpose.PRIOR, derived_uid("earlier"))
        at.finish(prior)
        assert at.sent() == [(prior.id, "segmentation")]


def test_an_earlier_scan_that_arrives_beside_the_current_one_is_compared_with(bench: Any) -> None:
    """Both are pushed at once: the old one is fetched as well, analysed once, and reported to nobody."""
    with bench(max_age_days=30) as at:
        at.begin()
        at.send(earlier(), calling="CT1")
        at.seek()
        at.seal()
        prior = at.claim()
        assert prior.purpose is JobPurpose.PRIOR
        at.finish(prior)
        assert at.sent() == [(prior.id, "segmentation")]
        at.seek()
        current = at.claim()
        assert current.key.study_instance_uid == derived_uid("now")
        assert prior_arrivals.notes_for(at.ledger, current.id) == ()


def test_who_sends_an_earlier_scan_later_is_told_and_who_wanted_no_report_is_not(bench: Any) -> None:
    """The first sender's rule left it out; the second one is owed its results like any second sender."""
    with bench(max_age_days=30) as at:
        at.send(earlier(), calling="CT1")
        at.seal()
        at.begin()
        at.seek()
        prior = at.claim()
        at.finish(prior)
        assert at.sent() == [(prior.id, "segmentation")]
        series_id = prior.series_id
        with at.ledger.write() as connection:
            assert destinations.audience(connection, series_id) == [priors_of("scanner")]
            add_source(connection, series_id, "second", "CT2")
            assert sorted(destinations.audience(connection, series_id)) == [priors_of("scanner"), "second"]


def test_a_slow_retrieval_holds_up_no_other_scan(bench: Any) -> None:
    """While the PACS takes its time over one patient's scan, that of another one is analysed and compared."""
    with bench() as at:
        at.begin()
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

        at.begin()
        at.pacs.get = slowly
        at.seek()
        at.seal()
        assert sealed_in_between == [0]
        (prior,) = [one for _row, one in at.jobs() if one.purpose == "prior"]
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
        at.begin()
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
        at.begin()
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
        purposes = {row.study_instance_uid: job_.purpose for row, job_ in at.jobs()}
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
        purposes = sorted(job_.purpose for _row, job_ in at.jobs())
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
        (late,) = [one for _row, one in at.jobs() if one.state == "queued" and one.calling_ae_title == "CT1"][
            -1:
        ]
        assert (late.state, late.purpose) == ("queued", "report")
        assert "not_selected" not in {one.state for _row, one in at.jobs()}


def test_a_site_may_want_results_of_earlier_scans(bench: Any) -> None:
    """With report_priors the source's peers get them; it looks for no earlier ones of its own."""
    with bench(report_priors=True) as at:
        at.begin()
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
        at.begin()
        at.seek()
        with at.ledger.write() as connection:
            for row in at.rows(series):
                forgetting.delete_series(connection, row.id)
        assert at.rows(prior_search) == at.rows(prior_series) == at.rows(job) == []


def _heard_of(at: Bench, calling: str) -> float:
    """Return when an open association of a caller gave a sign of life last; 0 where there is none."""
    of_caller = [one for one in at.rows(association) if one.calling_ae_title == calling]
    return max((one.heartbeat_at for one in of_caller if one.closed_at is None), default=0.0)
