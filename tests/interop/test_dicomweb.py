"""STOW-RS and QIDO-RS with a real PACS: Orthanc and its DICOMweb plugin."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from config import DicomwebPeerSettings
from custody.spool import Spool
from lesionnode.demo.pacs import send
from scp.echo import echo
from scp.probe import probe
from tests.helpers.dicom_peers import LEAVES_SOCKETS
from tests.helpers.instances import Clock, fresh_ledger, web_peer
from tests.helpers.office import Office
from tests.helpers.orthanc import Orthanc, running_orthanc
from tests.helpers.running_node import AE_TITLE, running_node

pytestmark = [pytest.mark.interop, LEAVES_SOCKETS]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One Orthanc with DICOMweb for all of these tests; each leaves it empty."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), dicomweb=True) as running:
        yield running


@pytest.fixture
def empty_pacs(pacs: Orthanc) -> Iterator[Orthanc]:
    """That Orthanc, emptied afterwards."""
    yield pacs
    for one in pacs.get("/patients"):
        pacs.delete(f"/patients/{one}")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office with one job to deliver."""
    with fresh_ledger(tmp_path) as ledger:
        office = Office(tmp_path, ledger, Spool(tmp_path), Clock())
        office.finish_job()
        yield office


def to(pacs: Orthanc, **changes: str) -> DicomwebPeerSettings:
    """Return Orthanc as a DICOMweb destination."""
    return web_peer("pacs", pacs.http_port, **changes)


def test_a_whole_node_delivers_the_same_by_both_ways(
    tmp_path: Path, empty_pacs: Orthanc, small_phantom_files: list[Path]
) -> None:
    """SEG, SR and film reach one PACS by C-STORE and another by STOW-RS, pixels byte for byte as stored."""
    with (
        running_orthanc(tmp_path / "orthanc") as other,
        running_node(tmp_path / "node", [other.peer], web_peers=(("web", empty_pacs.dicomweb),)) as node,
    ):
        send(small_phantom_files, node.port, calling="SCANNER", called=AE_TITLE)
        node.wait(lambda: len(other.get("/instances")) == len(empty_pacs.get("/instances")) == 3, 150)
        delivered = {(one["peer"], one["state"], one["objects"]) for one in node.status()["deliveries"]}
        assert delivered == {("orthanc", "delivered", 3), ("web", "delivered", 3)}
        by_dimse, by_web = other.every_instance(), empty_pacs.every_instance()
        kept = {dcmread(path).SOPInstanceUID: dcmread(path) for path in node.data.glob("results/*/*.dcm")}
    assert by_dimse.keys() == by_web.keys() < kept.keys()
    for uid in by_web:
        first, second = dcmread(BytesIO(by_dimse[uid])), dcmread(BytesIO(by_web[uid]))
        assert first == second == kept[uid]
        assert first.get("PixelData") == second.get("PixelData") == kept[uid].get("PixelData")


def test_orthanc_says_what_it_stored_also_when_it_has_it_already(office: Office, empty_pacs: Orthanc) -> None:
    """Its answer names each object; a second delivery of the same objects ends as delivered, too."""
    assert office.courier(to(empty_pacs)).step() == 2
    assert office.states() == ["delivered", "delivered"]
    with office.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE delivery SET state = 'due'")
    assert office.courier(to(empty_pacs)).step() == 2
    assert office.states() == ["delivered", "delivered"]
    assert len(empty_pacs.get("/instances")) == 2


def test_the_patient_is_asked_for(office: Office, empty_pacs: Orthanc) -> None:
    """Filed under the same Patient ID the results go out; under another one they are held, or rewritten."""
    office.courier(to(empty_pacs)).step()  # files the study
    office.clock.advance(1)
    office.finish_job(name="2")
    assert office.courier(to(empty_pacs, check_patient="hold")).step() == 2
    assert {row["state"] for row in office.deliveries().values()} == {"delivered"}
    (patient,) = empty_pacs.get("/patients")
    empty_pacs.delete(f"/patients/{patient}")
    filed = dcmread(next((office.folder / "results").glob("*/*report*.dcm")))
    filed.PatientID, filed.PatientName = "P-CORRECTED", "Corrected^Name"
    filed.save_as(office.folder / "filed.dcm")
    empty_pacs.store(office.folder / "filed.dcm")
    office.clock.advance(1)
    office.finish_job(name="3")
    assert office.courier(to(empty_pacs, check_patient="hold")).step() == 2
    assert "due" in {row["state"] for row in office.deliveries().values()}
    office.clock.advance(60)
    assert office.courier(to(empty_pacs, check_patient="rewrite")).step() == 2
    assert "due" not in {row["state"] for row in office.deliveries().values()}
    (patient,) = empty_pacs.get("/patients")
    assert empty_pacs.get(f"/patients/{patient}")["MainDicomTags"]["PatientID"] == "P-CORRECTED"


def test_echo_and_probe_say_what_can_be_known(office: Office, pacs: Orthanc) -> None:
    """Orthanc answers QIDO-RS; a negotiation there is none; a wrong path is named."""
    settings = office.settings(to(pacs))
    assert echo(settings, to(pacs)).ok
    found = probe(settings, to(pacs))
    assert (found.unreachable, found.negotiates, found.answers_queries) == ("", False, True)
    wrong = to(pacs, url=f"http://127.0.0.1:{pacs.http_port}/nothing")
    assert "correct url" in echo(settings, wrong).verdict
