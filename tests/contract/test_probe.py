"""Asking a peer what it takes: scripted peers, and Orthanc and DCMTK as they are."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from rich.console import Console

from core.domain import ResultKind
from lesionnode.probe_page import print_probe
from scp.probe import SOP_CLASSES, TRANSFER_SYNTAXES, probe
from tests.helpers.dicom_peers import LEAVES_SOCKETS, ScriptedPacs, contexts_for
from tests.helpers.instances import peer, settings_for, web_peer
from tests.helpers.orthanc import Orthanc
from tests.helpers.web_peers import Reply, ScriptedWebPacs

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

EVERY_CLASS = [one for classes in SOP_CLASSES.values() for one in classes]
UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


PDF_TOO = ["measurement_report", "film", "document"]
#: Accepted SOP classes and transfer syntaxes, the peer's settings, and what should change in them.
CASES: dict[str, tuple[list[str], Sequence[str], dict[str, Any], dict[str, Any]]] = {
    "all": (EVERY_CLASS, UNCOMPRESSED, {}, {}),
    "all, deflated too": (EVERY_CLASS, TRANSFER_SYNTAXES, {}, {}),
    "older reports": (
        [SegmentationStorage, ComprehensiveSRStorage, SecondaryCaptureImageStorage],
        UNCOMPRESSED,
        {},
        {"report": "comprehensive"},
    ),
    "newer reports only": (
        [SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage],
        UNCOMPRESSED,
        {"report": "comprehensive"},
        {"report": "comprehensive-3d"},
    ),
    "no label maps": (
        [SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage],
        UNCOMPRESSED,
        {"segmentation": "labelmap"},
        {"segmentation": "binary"},
    ),
    "pictures only": ([SecondaryCaptureImageStorage], [ImplicitVRLittleEndian], {}, {"objects": ["film"]}),
    "a document is not forgotten": (
        [EncapsulatedPDFStorage, ComprehensiveSRStorage],
        UNCOMPRESSED,
        {"objects": PDF_TOO},
        {"objects": ["measurement_report", "document"], "report": "comprehensive"},
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_proposal_fits_what_the_peer_accepts(tmp_path: Path, case: str) -> None:
    """Every proposed key is one that the settings understand, and asks for nothing that was refused."""
    classes, syntaxes, wishes, expected = CASES[case]
    with ScriptedPacs(contexts=contexts_for(*classes, syntaxes=syntaxes)) as pacs:
        to = peer("pacs", pacs.port, **wishes)
        found = probe(settings_for(tmp_path, peers=(to,)), to)
        assert pacs.arrived == []
    assert found.unreachable == ""
    assert found.proposal(to) == expected
    assert set(found.accepted) == set(classes)
    proposed = peer("pacs", 104, **{**wishes, **found.proposal(to)})
    assert all(any(found.takes(one) for one in SOP_CLASSES[kind]) for kind in proposed.objects)
    assert found.proposal(proposed) == {}


def test_a_peer_that_is_away_is_named_with_the_reason(tmp_path: Path) -> None:
    """Nobody listens: the page says so instead of showing a table of refusals."""
    to = peer("pacs", 9)
    found = probe(settings_for(tmp_path, peers=(to,)), to)
    assert "nothing listens there" in found.unreachable
    assert "FAILED" in _page(to, found)
    assert "SOP Class" not in _page(to, found)


def _page(to: object, found: object, width: int = 120) -> str:
    out = StringIO()
    print_probe(to, found, Console(file=out, width=width))  # type: ignore[arg-type]
    return out.getvalue()


def test_the_page_shows_every_class_and_what_to_set(tmp_path: Path) -> None:
    """One row for each SOP class; the proposal as lines that can be copied into the configuration."""
    classes, syntaxes, _, _ = CASES["older reports"]
    with ScriptedPacs(contexts=contexts_for(*classes, syntaxes=syntaxes)) as pacs:
        to = peer("pacs", pacs.port)
        page = _page(to, probe(settings_for(tmp_path, peers=(to,)), to))
        set_already = peer("pacs", pacs.port, report="comprehensive")
        again = _page(set_already, probe(settings_for(tmp_path, peers=(set_already,)), set_already))
    assert page.count("│") > 5 * len(EVERY_CLASS)
    assert '  report = "comprehensive"' in page
    assert "Its settings fit." in again
    assert page.count("yes") == 2 * len(classes)


def test_a_peer_that_takes_nothing_of_it_is_told_as_such(tmp_path: Path) -> None:
    """It takes PDF alone and is to get other objects: no empty list is proposed; queries are missed too."""
    with ScriptedPacs(contexts=contexts_for(EncapsulatedPDFStorage)) as pacs:
        to = peer("pacs", pacs.port, check_patient="hold")
        found = probe(settings_for(tmp_path, peers=(to,)), to)
        page = _page(to, found)
    assert found.proposal(to) == {}
    assert "takes none of the objects" in page
    assert 'check_patient = "hold" holds every result back' in page


def test_the_page_can_be_read_on_a_narrow_terminal(tmp_path: Path) -> None:
    """Eighty columns: no answer is cut off."""
    with ScriptedPacs(contexts=contexts_for(*EVERY_CLASS, syntaxes=UNCOMPRESSED)) as pacs:
        to = peer("pacs", pacs.port)
        page = _page(to, probe(settings_for(tmp_path, peers=(to,)), to), width=80)
    assert "…" not in page
    assert page.count("yes") == 2 * len(EVERY_CLASS)
    assert max(len(line) for line in page.splitlines()) <= 80


def test_a_dicomweb_destination_has_no_negotiation(tmp_path: Path) -> None:
    """The page says so, and whether queries are answered; a service that is away is named with the reason."""
    with ScriptedWebPacs(lambda *_: Reply(200, b"[]")) as pacs:
        to = web_peer("web", pacs.port)
        page = _page(to, probe(settings_for(tmp_path, peers=(to,)), to))
        assert [one.method for one in pacs.requests] == ["GET"]
    assert "STOW-RS has no negotiation" in page
    assert "It answers queries" in page
    with ScriptedWebPacs(lambda *_: Reply(400)) as pacs:
        to = web_peer("web", pacs.port, check_patient="hold")
        page = _page(to, probe(settings_for(tmp_path, peers=(to,)), to))
    assert 'check_patient = "hold" holds every result back' in page
    away = _page(to, probe(settings_for(tmp_path, peers=(to,)), to))
    assert "FAILED" in away
    assert "nothing listens there" in away


@pytest.mark.interop
def test_orthanc_is_asked_without_storing_anything(tmp_path: Path, orthanc: Orthanc) -> None:
    """A real PACS: it takes binary segmentations, both reports and films."""
    to = peer("orthanc", orthanc.dicom_port)
    found = probe(settings_for(tmp_path, peers=(to,)), to)
    assert found.unreachable == ""
    for kind in (ResultKind.SEGMENTATION, ResultKind.MEASUREMENT_REPORT, ResultKind.FILM):
        assert found.takes(SOP_CLASSES[kind][0])
    assert orthanc.get("/instances") == []
    assert "Its settings fit." in _page(to, found)
    assert found.answers_queries
