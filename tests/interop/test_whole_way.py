"""The whole way with independent programs: DCMTK as the scanner, Orthanc as the PACS, dcmqi as the reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import dcmread

from core.domain import Finding, Region, Side
from lesionnode.demo.story import volumes_in_report
from lesionnode.phantom.spec import Phantom
from tests.helpers.dcmtk import echoscu, storescu
from tests.helpers.judges import dciodvfy_complaints, read_segments, tid1500_groups
from tests.helpers.orthanc import Orthanc
from tests.helpers.real_data import CT_SERIES, ct_series_folder
from tests.helpers.running_node import RunningNode, running_node

pytestmark = pytest.mark.interop

#: Modality of each result.
RESULTS = ("SEG", "SR", "OT")


def wait_for_results(node: RunningNode, orthanc: Orthanc, count: int, timeout_s: float = 150) -> None:
    """Wait until so many SEG, SR and films are in the PACS."""
    node.wait(lambda: all(len(orthanc.instances(kind)) >= count for kind in RESULTS), timeout_s)


def check_objects(segmentation: Path, report: Path, film: Path, folder: Path) -> None:
    """All objects pass their judges, and the SEG's voxels give the SR's volumes again."""
    for path in (segmentation, report, film):
        # Warnings may come from values of the source that are carried over as they are.
        assert [line for line in dciodvfy_complaints(path) if line.startswith("Error")] == []
    assert tid1500_groups(report, folder), "dcmqi reads measurement groups"
    volumes = volumes_in_report(dcmread(report))
    segments = read_segments(segmentation, folder)
    assert {Region.LUNG_RIGHT.value, Region.LUNG_LEFT.value} <= volumes.keys()
    for segment_number, volume_ml in volumes.items():
        assert segments[segment_number].volume_ml == pytest.approx(volume_ml, abs=0.006, rel=1e-4)


def test_echo_from_dcmtk(tmp_path: Path) -> None:
    """An admitted caller gets an answer to C-ECHO, an unknown one and a wrong called AE title do not."""
    with running_node(tmp_path / "node", [("pacs", "PACS", 104)]) as node:
        assert echoscu(node.port).returncode == 0
        stranger = echoscu(node.port, calling="STRANGER")
        assert stranger.returncode != 0
        assert "Calling AE Title Not Recognized" in stranger.stderr + stranger.stdout
        assert echoscu(node.port, called="SOMEONE").returncode != 0
        assert echoscu(node.port).returncode == 0
        (refusal,) = [one for one in node.log if one.get("calling_ae_title") == "STRANGER"]
        assert "[[sources]]" in refusal["to_admit"]
        assert 'ae_titles = ["STRANGER"]' in refusal["to_admit"]
        reasons = [one["reason"] for one in node.status()["incidents"]]
        assert any("STRANGER" in reason for reason in reasons)


WITH_NOTES = 'objects = ["segmentation", "measurement_report", "film", "rejection_note"]'


def test_a_series_that_cannot_be_analysed_is_answered_in_the_pacs(
    tmp_path: Path, orthanc: Orthanc, small_phantom_files: list[Path]
) -> None:
    """Slices are missing: a page and a report say so. A series of a few slices at one place stays silent.

    The missing slices come later: the result cites the report that said so, and withdraws it.
    """
    gap, tracking = tmp_path / "gap", tmp_path / "tracking"
    _copies(gap, [path for at, path in enumerate(small_phantom_files) if at not in (20, 21)], {})
    _copies(tracking, small_phantom_files[:5], {"SeriesInstanceUID": "1.2.3.4", "AcquisitionNumber": 9})
    with running_node(tmp_path / "node", [orthanc.peer], peer_options=WITH_NOTES) as node:
        storescu(node.port, tracking)
        storescu(node.port, gap)
        node.wait(lambda: orthanc.instances("OT") and orthanc.instances("SR"), 150)
        node.wait(lambda: len([one for one in node.status()["series"] if one["state"] == "refused"]) == 2, 60)
        status = node.status()
        reasons = [one["reason"] for one in status["series"]]
        assert any("2 slices missing" in reason for reason in reasons)
        assert {one["state"]: one["objects"] for one in status["deliveries"]} == {"delivered": 2}
        (report,) = orthanc.fetch("SR", tmp_path)
        (page,) = orthanc.fetch("OT", tmp_path)
        assert orthanc.instances("SEG") == []
        storescu(node.port, *small_phantom_files[20:22])
        node.wait(lambda: orthanc.instances("KO"), 150)
    _check_withdrawal(orthanc, report, page, tmp_path / "later")
    for path in (report, page):
        assert [line for line in dciodvfy_complaints(path) if line.startswith("Error")] == []
        assert dcmread(path).SeriesDescription.startswith("NOT ANALYSED")
        assert dcmread(path).PatientID == dcmread(small_phantom_files[0]).PatientID
    assert b"2 slices missing" in report.read_bytes()


def _check_withdrawal(orthanc: Orthanc, report: Path, page: Path, folder: Path) -> None:
    """The later result is one of measurements, and its note names what it replaces."""
    withdrawn = {str(dcmread(one).SOPInstanceUID) for one in (report, page)}
    (note,) = (dcmread(one) for one in orthanc.fetch("KO", folder))
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    named = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in note.ContentSequence
        if item.ValueType in ("IMAGE", "COMPOSITE")
    }
    assert named == withdrawn
    reports = [dcmread(one) for one in orthanc.fetch("SR", folder)]
    (later,) = (one for one in reports if str(one.SOPInstanceUID) not in withdrawn)
    (study,) = later.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (earlier,) = series.ReferencedSOPSequence
    assert str(earlier.ReferencedSOPInstanceUID) == str(dcmread(report).SOPInstanceUID)
    assert len(orthanc.instances("SEG")) == 1


def _copies(folder: Path, files: list[Path], changes: dict[str, object]) -> None:
    """Write copies of images, some attributes changed; their UIDs differ where attributes do."""
    folder.mkdir()
    for at, path in enumerate(files):
        image = dcmread(path)
        for keyword, value in changes.items():
            setattr(image, keyword, value)
        if changes:
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{at + 1}"
        image.save_as(folder / path.name)


def test_phantom_from_scanner_to_pacs(
    tmp_path: Path, orthanc: Orthanc, small_phantom: Phantom, small_phantom_files: list[Path]
) -> None:
    """A phantom series sent by storescu yields SEG, SR and film in the same study, true and well-formed."""
    with running_node(tmp_path / "node", [orthanc.peer]) as node:
        storescu(node.port, small_phantom_files[0].parent)
        wait_for_results(node, orthanc, 1)
        status = node.status()
    (segmentation,) = orthanc.fetch("SEG", tmp_path)
    (report,) = orthanc.fetch("SR", tmp_path)
    (film,) = orthanc.fetch("OT", tmp_path)
    check_objects(segmentation, report, film, tmp_path)
    source = dcmread(small_phantom_files[0])
    for path in (segmentation, report, film):
        result = dcmread(path)
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
            assert result[keyword].value == source[keyword].value
    volumes = volumes_in_report(dcmread(report))
    truth = small_phantom.truth
    assert volumes[Region.LESIONS.value] == pytest.approx(sum(truth.finding_ml.values()), rel=0.15)
    assert volumes[Region.LUNG_RIGHT.value] == pytest.approx(truth.lung_ml[Side.RIGHT], rel=0.08)
    assert volumes[Region.LUNG_LEFT.value] == pytest.approx(truth.lung_ml[Side.LEFT], rel=0.08)
    assert status["counts"]["jobs"] == {"analysed": 1}
    assert {one["state"] for one in status["deliveries"]} == {"delivered"}
    (job,) = status["series"]
    assert job["result"]["burden"]["total_ml"] == pytest.approx(volumes[Region.LESIONS.value], abs=0.01)
    right = truth.finding_ml[Finding.GROUND_GLASS, Side.RIGHT]
    assert job["result"]["burden"]["right"]["ground_glass_ml"] == pytest.approx(right, rel=0.25)


def test_a_peer_that_asks_for_the_document_gets_it_alone(
    tmp_path: Path, orthanc: Orthanc, small_phantom_files: list[Path]
) -> None:
    """The PACS hands out the very PDF that was written; the FHIR bundle lies beside it under the job's id."""
    options = 'objects = ["document"]'
    with running_node(tmp_path / "node", [orthanc.peer], peer_options=options) as node:
        storescu(node.port, small_phantom_files[0].parent)
        node.wait(lambda: orthanc.instances("DOC"), 150)
        (job,) = node.status()["series"]
        results = node.data / "results" / job["id"]
        written = dcmread(results / "document.dcm").EncapsulatedDocument
        bundle = json.loads((results / "fhir.json").read_text(encoding="utf-8"))
    (instance,) = orthanc.instances("DOC")
    assert orthanc.download(f"/instances/{instance}/pdf") == written
    assert [orthanc.instances(kind) for kind in RESULTS] == [[], [], []]
    assert bundle["resourceType"] == "Bundle"


def test_results_that_come_back_make_no_loop(
    tmp_path: Path, orthanc: Orthanc, small_phantom_files: list[Path]
) -> None:
    """A PACS that forwards our own results to us gets success, and nothing new comes of it."""
    with running_node(tmp_path / "node", [orthanc.peer]) as node:
        storescu(node.port, small_phantom_files[0].parent)
        wait_for_results(node, orthanc, 1)
        before = node.status()["counts"]
        storescu(node.port, *(path for kind in RESULTS for path in orthanc.fetch(kind, tmp_path)))
        after = node.status()
    assert after["counts"] == before
    returned = [one for one in after["incidents"] if one["kind"] == "own_result_returned"]
    assert sum(one["count"] for one in returned) == len(RESULTS)


def test_identical_resend_yields_nothing_new(
    tmp_path: Path, orthanc: Orthanc, small_phantom_files: list[Path]
) -> None:
    """A scanner that sends the same series again gets success and the PACS no second result."""
    with running_node(tmp_path / "node", [orthanc.peer]) as node:
        storescu(node.port, small_phantom_files[0].parent)
        wait_for_results(node, orthanc, 1)
        storescu(node.port, small_phantom_files[0].parent)
        node.wait(lambda: node.status()["counts"]["open_associations"] == 0, 20)
        status = node.status()
    assert status["counts"]["instances"] == len(small_phantom_files)
    assert status["counts"]["jobs"] == {"analysed": 1}
    assert [len(orthanc.instances(kind)) for kind in RESULTS] == [1, 1, 1]


@pytest.mark.real_data
@pytest.mark.parametrize("name", CT_SERIES)
def test_real_series_from_scanner_to_pacs(tmp_path: Path, orthanc: Orthanc, name: str) -> None:
    """Each real series yields SEG, SR and film in its own study, and the judges agree with all."""
    folder = ct_series_folder(name)
    with running_node(tmp_path / "node", [orthanc.peer], source_options='analyse = "every"') as node:
        storescu(node.port, folder)
        wait_for_results(node, orthanc, 1)
    (segmentation,) = orthanc.fetch("SEG", tmp_path)
    (report,) = orthanc.fetch("SR", tmp_path)
    (film,) = orthanc.fetch("OT", tmp_path)
    check_objects(segmentation, report, film, tmp_path)
    study = {str(dcmread(next(folder.iterdir()), stop_before_pixels=True).StudyInstanceUID)}
    assert [orthanc.study_uid_of(kind) for kind in RESULTS] == [study] * 3


@pytest.mark.real_data
def test_the_better_of_two_reconstructions_is_analysed(tmp_path: Path, orthanc: Orthanc) -> None:
    """Of two kernels of one scan the smooth one is analysed; why the other lost is recorded."""
    folders = [ct_series_folder(f"siemens-sensation10-{kernel}-8mm") for kernel in ("b70f", "b40f")]
    with running_node(tmp_path / "node", [orthanc.peer]) as node:
        storescu(node.port, *folders)
        wait_for_results(node, orthanc, 1)
        jobs = {one["state"]: one for one in node.status()["series"]}
    assert jobs.keys() == {"analysed", "not_selected"}
    assert "kernel is sharper" in jobs["not_selected"]["reason"]
    kernels = {
        str(dcmread(next(folder.iterdir()), stop_before_pixels=True).SeriesInstanceUID): folder.name
        for folder in folders
    }
    assert "b40f" in kernels[jobs["analysed"]["series_instance_uid"]]
    assert len(orthanc.instances("SEG")) == 1
