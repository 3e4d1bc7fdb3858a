"""Queries that need every answer: all of them or an error, and that in time, whatever a PACS does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from config import DimsePeerSettings, Settings
from core.errors import PeerRefused, PeerUnreachable, TransferBroken
from core.uid import derived_uid
from scp import archive_query, limited
from scp.archive_query import listed
from scp.patient_check import filed_otherwise
from scp.transports import dimse
from scp.transports.dimse import DimseTransport
from tests.helpers.archive import Answer, ListingPacs, filed, listing, study
from tests.helpers.dicom_peers import LEAVES_SOCKETS
from tests.helpers.instances import ct_image, peer, settings_for

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network", "as_in_the_node")]

STUDY, SERIES = derived_uid("archive", "a"), "1.2.3"
MANY = 50
Ask = Callable[[Settings, DimsePeerSettings], int]


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a PACS that goes on after the cancel at once."""
    monkeypatch.setattr(limited, "GRACE_S", 0.3)


def studies(settings: Settings, asked: DimsePeerSettings) -> int:
    """Ask under which patient a study is filed; return how many answers there were."""
    return len(DimseTransport(settings, asked).find_study(STUDY))


def images(settings: Settings, asked: DimsePeerSettings) -> int:
    """Ask for the images of a series; return how many are listed."""
    return sum(len(there) for _, there in listed(settings, asked, [(STUDY, SERIES)]))


def image(number: int) -> Dataset:
    """Return an answer at the IMAGE level that is good for a study as well."""
    return study("a", SeriesInstanceUID=SERIES, SOPInstanceUID=f"1.2.3.{number}", SOPClassUID="1.2.4")


def ask(tmp_path: Path, pacs: ListingPacs, what: Ask, *, within_s: float = 5.0) -> int:
    """Ask a PACS with that much time for the answer to a query."""
    settings = settings_for(tmp_path)
    waits = {"timeout_s": min(within_s, 5.0), "answer_timeout_s": within_s}
    settings = settings.model_copy(update={"delivery": settings.delivery.model_copy(update=waits)})
    return what(settings, peer("pacs", pacs.port))


BOTH = pytest.mark.parametrize("what", [studies, images])


@BOTH
def test_every_answer_is_returned(tmp_path: Path, what: Ask) -> None:
    """Also where there are many, and the association is released."""
    with ListingPacs(lambda _query, _cancelled: ((0xFF00, image(one)) for one in range(700))) as pacs:
        assert ask(tmp_path, pacs, what, within_s=60.0) == 700
    assert pacs.ended == ["released"]


@BOTH
def test_more_answers_than_can_be_meant_are_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Ask
) -> None:
    """They are not cut: what is missing would be taken for absent."""
    monkeypatch.setattr(dimse, "_MOST_STUDIES", MANY)
    monkeypatch.setattr(archive_query, "_MOST_IMAGES", MANY)
    with ListingPacs(lambda _query, _cancelled: ((0xFF00, image(one)) for one in range(MANY + 1))) as pacs:
        with pytest.raises(PeerRefused, match=f"more than {MANY} answers to C-FIND for the "):
            ask(tmp_path, pacs, what)
        pacs.find = lambda _query, _cancelled: ((0xFF00, image(one)) for one in range(MANY))
        assert ask(tmp_path, pacs, what) == MANY


@BOTH
@pytest.mark.parametrize("dribbles", [False, True])
def test_a_pacs_that_does_not_end_costs_the_configured_seconds(
    tmp_path: Path, what: Ask, dribbles: bool
) -> None:
    """It is silent after the first answer, or would send one after the other for ever."""
    with ListingPacs() as pacs:

        def find(_query: Dataset, cancelled: Callable[[], bool]) -> Iterator[Answer]:
            yield 0xFF00, image(0)
            while not pacs.stopping.wait(0.02) and not pacs.ended:
                if cancelled() and dribbles:
                    yield 0xFE00, None
                    return
                if dribbles:
                    yield 0xFF00, image(1)

        pacs.find = find
        began = time.monotonic()
        with pytest.raises(TransferBroken, match="within the time"):
            ask(tmp_path, pacs, what, within_s=0.5)
        assert 0.5 <= time.monotonic() - began < 30, "it would go on for ever"
        assert pacs.cancelled.is_set()


@BOTH
@pytest.mark.parametrize(
    ("answers", "error", "status", "said"),
    [
        ([(0xFF00, image(1)), (0xA700, None)], PeerRefused, 0xA700, "with 0xA700"),
        ([(0xFF00, b"\x00" * 33)], PeerRefused, None, "cannot be read"),
        ([(0xFF00, b"\x00" * 33), (0xFF00, image(1))], PeerRefused, None, "cannot be read"),
    ],
    ids=["failure", "garbage", "garbage and more"],
)
def test_a_part_of_the_answers_is_an_error(
    tmp_path: Path, what: Ask, answers: list[Answer], error: type[PeerRefused], status: int, said: str
) -> None:
    """The status, where there is one, goes with it; the words name the question."""
    with (
        ListingPacs(lambda _query, _cancelled: iter(answers)) as pacs,
        pytest.raises(error, match="C-FIND for the ") as caught,
    ):
        ask(tmp_path, pacs, what)
    assert caught.value.status == status
    assert said in str(caught.value)


@BOTH
def test_an_association_that_breaks_is_no_refusal(tmp_path: Path, what: Ask) -> None:
    """The PACS is there and breaks off in the middle: what is sent may be the cause."""
    with ListingPacs() as pacs:

        def find(_query: Dataset, _cancelled: Callable[[], bool]) -> Iterator[Answer]:
            yield 0xFF00, image(1)
            for association in pacs.associations():
                association.abort()
            yield 0xFF00, image(2)

        pacs.find = find
        with pytest.raises(TransferBroken):
            ask(tmp_path, pacs, what)


def test_all_series_of_a_request_have_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that takes just long enough over each of very many holds nobody up for hours."""
    monkeypatch.setattr(archive_query, "_WITHIN_S", 1.0)
    wanted = [(STUDY, f"1.2.{number}") for number in range(1000)]

    def slowly(_query: Dataset, _cancelled: Callable[[], bool]) -> Iterator[Answer]:
        time.sleep(0.2)
        yield 0xFF00, image(1)

    with ListingPacs(slowly) as pacs:
        began = time.monotonic()
        with pytest.raises(PeerUnreachable):
            ask(tmp_path, pacs, lambda settings, asked: len(list(listed(settings, asked, wanted))))
        assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("named", "same"),
    [("P-1", True), (" P-1 ", True), ("P-2", False), (["P-1", "P-2"], False), (["P-2", "P-3"], False)],
)
def test_several_patient_ids_in_one_are_another_patient(tmp_path: Path, named: Any, same: bool) -> None:
    """An ID with a backslash reads as several values: never as none, which two such would share."""
    result = tmp_path / "result.dcm"
    filed(ct_image(study="a", StudyInstanceUID=STUDY)).save_as(result, enforce_file_format=True)
    with ListingPacs(listing([study("a", PatientID=named)])) as pacs:
        transport = DimseTransport(settings_for(tmp_path), peer("pacs", pacs.port))
        assert (filed_otherwise(transport, "pacs", [result]) is None) is same
