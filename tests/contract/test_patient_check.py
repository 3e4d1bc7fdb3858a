"""Asking the PACS whose study it is before results are sent: Orthanc, and a peer that cannot say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from sqlalchemy import select

from config import PeerSettings
from custody.ledger.report import status
from custody.ledger.tables import result_object
from custody.spool import Spool
from scp import courier
from tests.helpers.dicom_peers import LEAVES_SOCKETS, ScriptedPacs, contexts_for
from tests.helpers.instances import COMPREHENSIVE_3D_SR_STORAGE, Clock, fresh_ledger, peer
from tests.helpers.office import PLAIN, Office
from tests.helpers.orthanc import Orthanc, running_orthanc

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

#: As in the objects of `tests.helpers.office`.
OUR_ID, STUDY = "P-1", "1.2"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office with one job to deliver."""
    with fresh_ledger(tmp_path) as ledger:
        office = Office(tmp_path, ledger, Spool(tmp_path), Clock())
        office.finish_job()
        yield office


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """An Orthanc that answers our queries."""
    with running_orthanc(tmp_path / "orthanc", DicomAlwaysAllowFind=True) as running:
        yield running


def checking(port: int, rule: str = "hold") -> PeerSettings:
    """Return a peer that is asked for the patient."""
    return peer("orthanc", port, check_patient=rule)


def file_study(office: Office, orthanc: Orthanc, **changes: str) -> None:
    """Have the PACS file the study, under another identity where told."""
    image = dcmread(next((office.folder / "results").glob("*/*report*.dcm")))
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    image.SeriesInstanceUID = "1.2.3.4"
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    _store(orthanc, image)


def _store(orthanc: Orthanc, image: Dataset) -> None:
    entity = AE("LESIONNODE")
    entity.add_requested_context(image.SOPClassUID)
    association = entity.associate("127.0.0.1", orthanc.dicom_port)
    assert association.send_c_store(image).Status == 0
    association.release()


def deliver(office: Office, to: PeerSettings) -> None:
    """Make one attempt; jobs go to the peer named "pacs" in the ledger."""
    office.courier(to.model_copy(update={"name": "pacs"})).step()


@pytest.mark.interop
@pytest.mark.parametrize(
    "filed",
    [None, {}, {"IssuerOfPatientID": "HOSPITAL"}, {"PatientName": "Corrected^Name"}],
    ids=["study unknown", "same", "issuer on one side only", "name corrected"],
)
def test_results_go_out_where_the_patient_is_the_same(
    office: Office, orthanc: Orthanc, filed: dict[str, str] | None
) -> None:
    """The same Patient ID, or a study that the PACS does not know yet: the results are delivered."""
    if filed is not None:
        file_study(office, orthanc, **filed)
    deliver(office, checking(orthanc.dicom_port))
    assert office.states() == ["delivered", "delivered"]


@pytest.mark.interop
def test_results_are_held_while_the_pacs_knows_another_patient(office: Office, orthanc: Orthanc) -> None:
    """Not one object arrives, the reason names no patient, and the next attempt asks again."""
    file_study(office, orthanc, PatientID="P-CORRECTED")
    deliver(office, checking(orthanc.dicom_port))
    assert office.states() == ["due", "due"]
    assert len(orthanc.get("/instances")) == 1
    row = office.deliveries()["segmentation"]
    assert "another Patient ID" in row["reason"]
    assert row["due_at"] > office.clock.now
    (told,) = [one for one in status(office.ledger)["incidents"] if one["kind"] == "patient_differs"]
    for identifier in (OUR_ID, "P-CORRECTED"):
        assert identifier not in row["reason"] + told["reason"] + told["subject"]
    # Corrected there: the study stands under the patient of the results again.
    (wrong,) = orthanc.get("/patients")
    orthanc.delete(f"/patients/{wrong}")
    file_study(office, orthanc)
    office.clock.advance(3600)
    deliver(office, checking(orthanc.dicom_port))
    assert office.states() == ["delivered", "delivered"]


@pytest.mark.interop
def test_results_follow_a_corrected_patient_where_the_site_wants_that(
    office: Office, orthanc: Orthanc
) -> None:
    """All objects arrive under the identity of the PACS; they are stored once, and a retry sends the same."""
    file_study(office, orthanc, PatientID="P-CORRECTED", PatientName="Corrected^Name")
    deliver(office, checking(orthanc.dicom_port, rule="rewrite"))
    assert office.states() == ["delivered", "delivered"]
    (patient,) = orthanc.get("/patients")
    assert orthanc.get(f"/patients/{patient}")["MainDicomTags"]["PatientID"] == "P-CORRECTED"
    sent = [dcmread(path) for path in orthanc.fetch("SEG", office.folder / "there")]
    assert [str(one.PatientName) for one in sent] == ["Corrected^Name"]
    kept = sorted((office.folder / "results").glob("*/*.dcm"))
    assert len(kept) == 4
    before = [path.read_bytes() for path in kept]
    job_id = str(office.deliveries()["segmentation"]["job_id"])
    again = office.corrections(job_id, corrected_identity())
    assert office.corrections(job_id, corrected_identity(SpecificCharacterSet="ISO_IR 192")) == again
    assert [path.read_bytes() for path in kept] == before


def corrected_identity(**changes: str) -> Dataset:
    """Return an answer to C-FIND with the corrected identity."""
    answer = Dataset()
    answer.PatientID, answer.PatientName = "P-CORRECTED", "Corrected^Name"
    for keyword, value in changes.items():
        setattr(answer, keyword, value)
    return answer


def test_every_object_has_one_content_whoever_asks_first(office: Office) -> None:
    """All objects of a job are corrected together: what one says of another does not depend on the peer."""
    job_id = str(office.deliveries()["segmentation"]["job_id"])
    objects = office.corrections(job_id, corrected_identity()).objects
    assert {one.kind for one in objects} == {"segmentation", "measurement_report"}
    with office.ledger.read() as connection:
        rows = connection.execute(select(result_object).where(result_object.c.corrected != "")).all()
    for row in rows:
        assert hashlib.sha256((office.folder / row.path).read_bytes()).hexdigest() == row.sha256


def test_lanes_of_several_peers_may_correct_at_the_same_moment(office: Office) -> None:
    """One of them writes, the others find what it wrote."""
    job_id = str(office.deliveries()["segmentation"]["job_id"])
    corrections, answer = office.corrections, corrected_identity()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: corrections(job_id, answer), range(16)))
    assert all(one == found[0] for one in found)
    assert len(list((office.folder / "results").glob("*/*.dcm"))) == 4


@pytest.mark.interop
def test_what_was_delivered_under_the_old_identity_is_sent_again(office: Office, orthanc: Orthanc) -> None:
    """The patient was corrected between two attempts: the peer gets the whole set under one identity."""
    to = checking(orthanc.dicom_port, rule="rewrite")
    (report,) = (office.folder / "results").glob("*/measurement_report*.dcm")
    content = report.read_bytes()
    report.write_bytes(b"x" * 500)  # cannot be sent the first time
    deliver(office, to)
    assert office.states() == ["delivered", "due"]
    report.write_bytes(content)
    for one in orthanc.get("/patients"):
        orthanc.delete(f"/patients/{one}")
    file_study(office, orthanc, PatientID="P-CORRECTED", PatientName="Corrected^Name")
    for _ in range(3):
        office.clock.advance(3600)
        deliver(office, to)
    assert office.states() == ["delivered", "delivered"]
    (patient,) = orthanc.get("/patients")
    assert orthanc.get(f"/patients/{patient}")["MainDicomTags"]["PatientID"] == "P-CORRECTED"
    assert len(orthanc.instances("SEG")) == 1
    assert len(orthanc.instances("SR")) == 2  # the report, and what the study was filed by


def test_a_fault_in_a_correction_is_no_dead_end(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks is a failed attempt with a reason and a time for the next one, not a claim for ever."""
    monkeypatch.setattr(courier, "filed_otherwise", lambda *_: 1 / 0)
    deliver(office, checking(9))
    assert office.states() == ["due", "due"]
    row = office.deliveries()["segmentation"]
    assert row["reason"] == "internal error: ZeroDivisionError"
    assert row["due_at"] > office.clock.now


@pytest.mark.interop
def test_two_patients_under_one_study_hold_the_results(office: Office, orthanc: Orthanc) -> None:
    """One of the answers is another patient: that is enough."""
    file_study(office, orthanc)
    file_study(office, orthanc, PatientID="P-OTHER")
    deliver(office, checking(orthanc.dicom_port))
    assert office.states() == ["due", "due"]


def test_a_peer_that_answers_no_queries_gets_nothing_unchecked(office: Office) -> None:
    """The site wanted to be sure, and nobody can be: the results wait, with that reason."""
    with ScriptedPacs(contexts=contexts_for(*(one[2] for one in PLAIN))) as pacs:
        deliver(office, checking(pacs.port))
        assert pacs.arrived == []
        assert office.states() == ["due", "due"]
        assert "accepted none" in office.deliveries()["segmentation"]["reason"]
        office.clock.advance(3600)
        deliver(office, peer("orthanc", pacs.port))
    assert office.states() == ["delivered", "delivered"]
    assert {one.sop_class_uid for one in pacs.arrived} >= {COMPREHENSIVE_3D_SR_STORAGE}
