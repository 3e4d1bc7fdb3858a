"""Asking a peer what it takes: scripted peers, and Orthanc and DCMTK as they are."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from rich.console import Console

from core.domain import ResultKind
from lesionnode.probe_page import print_probe
from scp.probe import SOP_CLASSES, TRANSFER_SYNTAXES, probe
from tests.helpers.dicom_peers import LEAVES_SOCKETS, ScriptedPacs, contexts_for, network_defaults
from tests.helpers.instances import peer, settings_for
from tests.helpers.orthanc import Orthanc

pytestmark = LEAVES_SOCKETS

EVERY_CLASS = [one for classes in SOP_CLASSES.values() for one in classes]
UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


@pytest.fixture(autouse=True, scope="module")
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    network_defaults(monkeypatch)


CASES = {
    "all": (EVERY_CLASS, UNCOMPRESSED, {}),
    "all, deflated too": (EVERY_CLASS, TRANSFER_SYNTAXES, {}),
    "older reports": (
        [SegmentationStorage, ComprehensiveSRStorage, SecondaryCaptureImageStorage],
        UNCOMPRESSED,
        {"report": "comprehensive"},
    ),
    "pictures only": ([SecondaryCaptureImageStorage], [ImplicitVRLittleEndian], {"objects": ["film"]}),
    "no segmentations": (
        [Comprehensive3DSRStorage, SecondaryCaptureImageStorage],
        UNCOMPRESSED,
        {"objects": ["measurement_report", "film"]},
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_proposal_fits_what_the_peer_accepts(tmp_path: Path, case: str) -> None:
    """Every proposed key is one that the settings understand, and asks for nothing that was refused."""
    classes, syntaxes, expected = CASES[case]
    with ScriptedPacs(contexts=contexts_for(*classes, syntaxes=syntaxes)) as pacs:
        to = peer("pacs", pacs.port)
        found = probe(settings_for(tmp_path, peers=(to,)), to)
        assert pacs.arrived == []
    assert found.unreachable == ""
    assert found.proposal() == expected
    assert set(found.accepted) == set(classes)
    proposed = peer("pacs", 104, **found.proposal())
    assert all(any(found.takes(one) for one in SOP_CLASSES[kind]) for kind in proposed.objects)


def test_a_peer_that_is_away_is_named_with_the_reason(tmp_path: Path) -> None:
    """Nobody listens: the page says so instead of showing a table of refusals."""
    to = peer("pacs", 9)
    found = probe(settings_for(tmp_path, peers=(to,)), to)
    assert "nothing listens there" in found.unreachable
    assert "FAILED" in _page(to, found)
    assert "SOP Class" not in _page(to, found)


def _page(to: object, found: object) -> str:
    out = StringIO()
    print_probe(to, found, Console(file=out, width=120))  # type: ignore[arg-type]
    return out.getvalue()


def test_the_page_shows_every_class_and_what_to_set(tmp_path: Path) -> None:
    """One row for each SOP class; the proposal as lines that can be copied into the configuration."""
    classes, syntaxes, _ = CASES["older reports"]
    with ScriptedPacs(contexts=contexts_for(*classes, syntaxes=syntaxes)) as pacs:
        to = peer("pacs", pacs.port)
        page = _page(to, probe(settings_for(tmp_path, peers=(to,)), to))
        set_already = peer("pacs", pacs.port, report="comprehensive")
        again = _page(set_already, probe(settings_for(tmp_path, peers=(set_already,)), set_already))
    assert page.count("Storage") == len(EVERY_CLASS)
    assert '  report = "comprehensive"' in page
    assert "Its settings fit." in again
    assert page.count("yes") == 2 * len(classes)


@pytest.mark.interop
def test_orthanc_is_asked_without_storing_anything(tmp_path: Path, orthanc: Orthanc) -> None:
    """A real PACS: it takes binary segmentations, both reports and films."""
    to = peer("orthanc", orthanc.dicom_port)
    found = probe(settings_for(tmp_path, peers=(to,)), to)
    assert found.unreachable == ""
    for kind in (ResultKind.SEGMENTATION, ResultKind.MEASUREMENT_REPORT, ResultKind.FILM):
        assert found.takes(SOP_CLASSES[kind][0])
    assert orthanc.get("/instances") == []
    assert "The defaults fit" in _page(to, found)
