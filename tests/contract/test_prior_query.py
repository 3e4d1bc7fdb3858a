"""Asking a PACS for earlier scans: what is asked, what is believed, and that it always ends in time."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from core.patient import Person
from core.uid import derived_uid
from scp import limited
from scp.prior_choice import SeriesLike
from scp.prior_patient import CurrentScan
from scp.prior_query import PriorCandidates, find_priors
from tests.helpers.archive import PATIENT, Answer, ListingPacs, listing, series, study
from tests.helpers.dicom_peers import LEAVES_SOCKETS
from tests.helpers.instances import peer, settings_for

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network", "as_in_the_node")]

NOW = datetime(2024, 1, 1, 12, 0, 0)


def scan(*, like: SeriesLike | None = None, scanned_at: datetime | None = NOW, **person: str) -> CurrentScan:
    """Return the current scan of the patient, or of one that differs."""
    values = {"patient_id": "P-1", "issuer": "", "birth_date": "19600517", "sex": "F", **person}
    return CurrentScan(Person(**values), derived_uid("current"), scanned_at, like or SeriesLike())


def ask(
    tmp_path: Path,
    port: int,
    current: CurrentScan | None = None,
    *,
    at_most: int = 5,
    within_s: float = 10.0,
) -> PriorCandidates:
    """Ask the PACS on a port."""
    asked = peer("pacs", port)
    return find_priors(settings_for(tmp_path), asked, current or scan(), at_most=at_most, within_s=within_s)


def found_in(tmp_path: Path, find: Any, current: CurrentScan | None = None, **limits: Any) -> PriorCandidates:
    """Ask a PACS with that script."""
    with ListingPacs(find) as pacs:
        return ask(tmp_path, pacs.port, current, **limits)


def names(found: PriorCandidates, *known: str) -> list[str]:
    """Return the studies that were found by the names that the test gave them."""
    by_uid = {derived_uid("archive", name): name for name in known}
    return [by_uid[one.study_instance_uid] for one in found.candidates]


def test_the_newest_studies_come_first_and_only_as_many_as_wanted(tmp_path: Path) -> None:
    """Fifty earlier studies in any order: the five newest are looked into, and no other."""
    known = [f"s{year}" for year in range(1970, 2020)]
    studies = [study(name, f"{name[1:]}0101") for name in known]
    with ListingPacs(listing(studies[::2] + studies[1::2], [series(name) for name in known])) as pacs:
        found = ask(tmp_path, pacs.port)
    assert names(found, *known) == ["s2019", "s2018", "s2017", "s2016", "s2015"]
    assert (found.notes, found.complete) == ((), True)
    assert len(pacs.queries) == 6
    assert pacs.ended == ["released"]


def test_it_asks_by_patient_id_and_never_by_name(tmp_path: Path) -> None:
    """The query holds Patient ID, CT and dates up to the scan's; no name goes out or has to come back."""
    with ListingPacs(listing([study("a", PatientName="")], [series("a")])) as pacs:
        found = ask(tmp_path, pacs.port)
    query = pacs.queries[0]
    assert (query.PatientID, query.ModalitiesInStudy, query.StudyDate) == ("P-1", "CT", "-20240101")
    assert "PatientName" not in query
    assert names(found, "a") == ["a"]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"PatientBirthDate": "19600518"}, "another birth date"),
        ({"PatientBirthDate": ""}, "without a birth date"),
        ({"PatientBirthDate": None}, "without a birth date"),
        ({"PatientSex": "M"}, "another sex"),
        ({"IssuerOfPatientID": "NORTH"}, "another issuer"),
        ({"PatientID": "P-12"}, "another Patient ID"),
        ({"PatientID": "p-1"}, "another Patient ID"),
        ({"PatientID": ["P-1", "P-2"]}, "another Patient ID"),
        ({"StudyDate": "20240102"}, "later than this scan"),
        ({"StudyDate": "20240101", "StudyTime": "130000"}, "later than this scan"),
        ({"StudyDate": ""}, "without a valid date"),
        ({"StudyInstanceUID": "../../etc"}, "without a valid Study Instance UID"),
        ({"StudyInstanceUID": ""}, "without a valid Study Instance UID"),
    ],
)
def test_what_is_not_an_earlier_study_of_the_patient_is_left_out_with_a_note(
    tmp_path: Path, changes: dict[str, Any], note: str
) -> None:
    """One word on why, no identifier in it, and the good study beside it is found."""
    odd, good = study("odd", **changes), study("good", "20220101")
    found = found_in(tmp_path, listing([odd, good], [series("odd"), series("good")]))
    assert names(found, "odd", "good") == ["good"]
    (said,) = found.notes
    assert note in said
    for identifier in ("P-1", "1960", "NORTH"):
        assert identifier not in said
    assert found.complete


def test_the_issuer_of_this_scan_is_wanted_where_the_pacs_names_one(tmp_path: Path) -> None:
    """Of two patients with one Patient ID the one of our issuer is taken; who names none may be either."""
    studies = [
        study("north", "20230101", IssuerOfPatientID="NORTH"),
        study("south", "20230201", IssuerOfPatientID="SOUTH"),
        study("silent", "20230301", IssuerOfPatientID=None),
    ]
    every = [series(name) for name in ("north", "south", "silent")]
    found = found_in(tmp_path, listing(studies, every), scan(issuer="NORTH"))
    assert names(found, "north", "south", "silent") == ["silent", "north"]
    assert "another issuer" in found.notes[0]


def test_a_study_that_is_filed_under_two_patients_is_not_taken(tmp_path: Path) -> None:
    """The PACS lists it once with our birth date and once with another one: neither counts."""
    studies = [study("a"), study("a", PatientBirthDate="19700101")]
    found = found_in(tmp_path, listing(studies, [series("a")]))
    assert found.candidates == ()
    assert "several patients" in found.notes[0]


@pytest.mark.parametrize(
    ("current", "why"),
    [
        (scan(patient_id="P*"), "characters"),
        (scan(patient_id="P-?"), "characters"),
        (scan(patient_id="P\\Q"), "characters"),
        (scan(patient_id=""), "no Patient ID"),
        (scan(birth_date=""), "no birth date"),
        (scan(scanned_at=None), "no date"),
    ],
)
def test_who_cannot_be_asked_for_is_not_asked_for(tmp_path: Path, current: CurrentScan, why: str) -> None:
    """No query leaves where it could match somebody else; the note says why."""
    with ListingPacs(listing([study("a")], [series("a")])) as pacs:
        found = ask(tmp_path, pacs.port, current)
    assert pacs.queries == []
    assert found.candidates == ()
    assert why in found.notes[0]


def test_ten_thousand_answers_are_cancelled(tmp_path: Path) -> None:
    """After 500 it sends C-CANCEL, works with what it has, says so, and releases the association."""
    sent = 0

    def find(query: Dataset, cancelled: Callable[[], bool]) -> Iterator[Answer]:
        nonlocal sent
        if query.QueryRetrieveLevel == "SERIES":
            yield 0xFF00, series("s3")
            return
        for number in range(10_000):
            if cancelled():
                yield 0xFE00, None
                return
            sent += 1
            yield 0xFF00, study(f"s{number}", "20230101" if number == 3 else "20220101")

    with ListingPacs(find) as pacs:
        began = time.monotonic()
        found = ask(tmp_path, pacs.port, at_most=1)
        took = time.monotonic() - began
    assert pacs.cancelled.is_set()
    assert sent < 10_000
    assert took < 60
    assert names(found, "s3") == ["s3"]
    assert not found.complete
    assert "more than 500 studies" in found.notes[0]
    assert pacs.ended == ["released"]


def test_a_pacs_that_goes_on_after_the_cancel_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ignores C-CANCEL: the association is aborted after the grace, without an error."""
    monkeypatch.setattr(limited, "GRACE_S", 0.3)
    monkeypatch.setattr("scp.prior_query.MOST_STUDIES", 20)
    with ListingPacs() as pacs:

        def find(_query: Dataset, _cancelled: Callable[[], bool]) -> Iterator[Answer]:
            while not pacs.stopping.is_set() and not pacs.ended:
                yield 0xFF00, study("a")
                time.sleep(0.005)

        pacs.find = find
        began = time.monotonic()
        found = ask(tmp_path, pacs.port)
        assert time.monotonic() - began < 30, "it would go on for ever"
        assert "more than 20 studies" in found.notes[0]
        assert pacs.ended == ["aborted"]


@pytest.mark.parametrize("hangs_after", [0, 1])
def test_a_pacs_that_hangs_costs_the_configured_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs_after: int
) -> None:
    """It gives no answer, or one and then none: cancelled, aborted, a note."""
    monkeypatch.setattr(limited, "GRACE_S", 0.2)
    with ListingPacs() as pacs:

        def find(_query: Dataset, cancelled: Callable[[], bool]) -> Iterator[Answer]:
            for _ in range(hangs_after):
                yield 0xFF00, study("a")
            while not pacs.stopping.wait(0.02) and not pacs.ended:
                cancelled()

        pacs.find = find
        began = time.monotonic()
        found = ask(tmp_path, pacs.port, within_s=0.5)
        assert 0.5 <= time.monotonic() - began < 30, "it would hang for ever"
        assert pacs.cancelled.is_set()
    assert not found.complete
    assert "within the time" in found.notes[0]


def test_studies_of_a_pacs_that_hangs_at_their_series_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found out before the time was over is used."""
    monkeypatch.setattr(limited, "GRACE_S", 0.2)
    with ListingPacs() as pacs:

        def find(query: Dataset, _cancelled: Callable[[], bool]) -> Iterator[Answer]:
            if query.QueryRetrieveLevel == "STUDY":
                yield from [(0xFF00, study("new", "20230101")), (0xFF00, study("old", "20220101"))]
            elif query.StudyInstanceUID == derived_uid("archive", "new"):
                yield 0xFF00, series("new")
            else:
                pacs.stopping.wait(5)

        pacs.find = find
        found = ask(tmp_path, pacs.port, within_s=0.6)
    assert names(found, "new") == ["new"]
    assert not found.complete


def test_garbage_is_no_error(tmp_path: Path) -> None:
    """Bytes that are no data set, values that break their rules: left out, and the good study is found."""
    broken = study("odd", "yesterday", StudyTime="noon", StudyInstanceUID="not.a.uid")
    noon = study("noon", StudyTime="noon")
    empty = Dataset()
    empty.QueryRetrieveLevel = "STUDY"
    noise = series("noon", "noise", NumberOfSeriesRelatedInstances="99999999999999999999", SeriesNumber="")

    def find(query: Dataset, _cancelled: Callable[[], bool]) -> Iterator[Answer]:
        if query.QueryRetrieveLevel == "STUDY":
            yield 0xFF00, b"\x08\x00\x52\x00CS\xff\xffGARBAGE" + bytes(range(256))
            yield 0xFF01, broken
            yield 0xFF00, empty
            yield 0xFF00, noon
            yield 0xFF00, study("good", "20220101")
        else:
            yield 0xFF00, empty
            yield 0xFF00, b"\x00" * 33
            yield 0xFF00, noise if query.StudyInstanceUID == noon.StudyInstanceUID else series("good")

    found = found_in(tmp_path, find)
    assert names(found, "noon", "good") == ["noon", "good"]
    assert any("could not be read" in note for note in found.notes)


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC123, 0x0122])
def test_a_refusal_is_a_note(tmp_path: Path, status: int) -> None:
    """The PACS answers the query with a failure: its status is told."""

    def find(_query: Dataset, _cancelled: Callable[[], bool]) -> Iterator[Answer]:
        yield status, None

    found = found_in(tmp_path, find)
    assert (found.candidates, found.complete) == ((), False)
    assert f"0x{status:04X}" in found.notes[0]


def test_a_pacs_that_is_away_or_no_pacs_is_a_note(tmp_path: Path) -> None:
    """Nobody listens; somebody listens and says nothing: a note each, in time."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        began = time.monotonic()
        silent = ask(tmp_path, port, within_s=0.6)
        assert time.monotonic() - began < 30, "it would go on for ever"
    away = ask(tmp_path, port, within_s=0.6)
    assert "is it a DICOM node?" in silent.notes[0]
    assert "does not answer" in away.notes[0]


def listed(*changes: dict[str, Any]) -> list[Dataset]:
    """Return the series of the one study."""
    return [series("a", **change) for change in changes]


@pytest.mark.parametrize(
    ("offered", "like", "chosen"),
    [
        (
            [{"name": "Topogram", "NumberOfSeriesRelatedInstances": 2}, {"name": "Thorax 1.5 B31f"}],
            SeriesLike(),
            "Thorax 1.5 B31f",
        ),
        ([{"name": "Thorax 1.0 B70f"}, {"name": "Thorax 1.5 B31f"}], SeriesLike(), "Thorax 1.5 B31f"),
        (
            [{"name": "Thorax 1.0 B70f"}, {"name": "Thorax 1.5 B31f"}],
            SeriesLike("Thorax 1.0 B70f", "B70f"),
            "Thorax 1.0 B70f",
        ),
        (
            [{"name": "Lung MPR cor"}, {"name": "Chest LUNG"}, {"name": "Chest STANDARD"}],
            SeriesLike("", "STANDARD"),
            "Chest STANDARD",
        ),
        (
            [{"name": "Abdomen 3.0"}, {"name": "x", "BodyPartExamined": "CHEST"}],
            SeriesLike(),
            "x",
        ),
        (
            [{"name": "one", "NumberOfSeriesRelatedInstances": 1}, {"name": "two"}],
            SeriesLike(),
            "two",
        ),
        ([{"name": "one", "NumberOfSeriesRelatedInstances": 1}], SeriesLike(), "one"),
        ([{"name": "胸部平扫"}, {"name": "定位像"}], SeriesLike(), "胸部平扫"),
    ],
)
def test_the_most_plausible_series_of_a_study_is_chosen(
    tmp_path: Path, offered: list[dict[str, Any]], like: SeriesLike, chosen: str
) -> None:
    """Axial chest, enough images, the same description or kernel as the current scan."""
    answers = listed(*offered)
    for answer in answers:
        answer.SpecificCharacterSet = "ISO_IR 192"
    found = found_in(tmp_path, listing([study("a")], answers), scan(like=like))
    assert [one.description for one in found.candidates] == [chosen]


@pytest.mark.parametrize(
    "change",
    [
        {"Modality": "MR"},
        {"NumberOfSeriesRelatedInstances": 2},
        {"SeriesDescription": "Head 4.0 H31s"},
        {"SeriesDescription": "Dose Report"},
        {"BodyPartExamined": "HEAD"},
    ],
)
def test_studies_without_a_chest_are_passed_over(tmp_path: Path, change: dict[str, Any]) -> None:
    """A head, a scout, a dose page: nothing to retrieve, and no word to the reader."""
    odd = series("a", "series", **change)
    head = study("a", StudyDescription="")
    found = found_in(tmp_path, listing([head, study("b", "20220101")], [odd, series("b")]))
    assert names(found, "a", "b") == ["b"]
    assert found.notes == ()


def test_results_of_this_product_are_noted_with_the_study(tmp_path: Path) -> None:
    """Segmentations and reports are told by maker or description; those of others are not ours."""
    offered = [
        series("a"),
        series("a", "Lesion segmentation, series 2", Modality="SEG"),
        series("a", "x", Modality="SR", ManufacturerModelName="lesion-node"),
        series("a", "Lesion measurements", Modality="SR", ManufacturerModelName="other"),
        series("a", "Radiation Dose", Modality="SR"),
    ]
    found = found_in(tmp_path, listing([study("a", ModalitiesInStudy=["CT", "SR"])], offered))
    (one,) = found.candidates
    assert [(result.modality, result.description) for result in one.own_results] == [
        ("SEG", "Lesion segmentation, series 2"),
        ("SR", "x"),
    ]


def test_this_study_itself_and_other_modalities_are_not_asked_about(tmp_path: Path) -> None:
    """Neither is a prior, nor worth a note."""
    studies = [study("x", StudyInstanceUID=derived_uid("current")), study("mr", ModalitiesInStudy=["MR"])]
    with ListingPacs(listing(studies)) as pacs:
        found = ask(tmp_path, pacs.port)
    assert found == PriorCandidates()
    assert len(pacs.queries) == 1
    assert set(PATIENT) <= {element.keyword for element in pacs.queries[0]}
