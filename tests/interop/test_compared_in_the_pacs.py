"""The PACS alone holds an earlier study: the report of the current one arrives with a comparison."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from core import codes
from lesionnode.demo.pacs import free_port
from lesionnode.phantom.random_pairs import COARSE_GRID, PairKind, random_pair
from lesionnode.phantom.time_points import generate_pair, write_pair
from tests.helpers.dcmtk import storescu
from tests.helpers.judges import dciodvfy, pixelmed, tid1500_groups
from tests.helpers.judges.complaints import Severity
from tests.helpers.judges.panel import JUDGES, judged
from tests.helpers.orthanc import Orthanc, running_orthanc
from tests.helpers.running_node import AE_TITLE, RunningNode, running_node

pytestmark = pytest.mark.interop

PRIORS = 'priors = "pacs"\npriors_from = "orthanc"'


@dataclass(frozen=True, slots=True)
class Visits:
    """Files of two studies of one patient."""

    first: list[Path]
    second: list[Path]

    @property
    def studies(self) -> list[str]:
        """Their Study Instance UIDs."""
        return [str(dcmread(one[0]).StudyInstanceUID) for one in (self.first, self.second)]


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Visits:
    """A progression."""
    pair = generate_pair(random_pair(3, PairKind.PROGRESSION, COARSE_GRID))
    return Visits(*write_pair(tmp_path_factory.mktemp("visits"), pair))


@contextmanager
def hospital(folder: Path, visits: Visits, **options: Any) -> Iterator[tuple[Orthanc, RunningNode]]:
    """Run a PACS that holds the first study and knows the node, and the node."""
    port = free_port()
    modalities = {
        "node": [AE_TITLE, "127.0.0.1", port],
        "scanner": ["LESIONNODE", "127.0.0.1", port],
    }
    with running_orthanc(folder / "orthanc", DicomModalities=modalities) as orthanc:
        orthanc.store(*visits.first)
        with running_node(folder / "node", [orthanc.peer], wanted_port=port, **options) as node:
            yield orthanc, node


def results_in(orthanc: Orthanc, study: str, modality: str, folder: Path) -> list[Path]:
    """Return the objects of a modality that the PACS has in a study."""
    return [path for path in orthanc.fetch(modality, folder) if dcmread(path).StudyInstanceUID == study]


def trace(node: RunningNode, study: str) -> str:
    """Return what ``lesion-node trace`` tells of a study."""
    command = [sys.executable, "-m", "lesionnode", "trace", study, "--config", str(node.config)]
    environment = {**os.environ, "COLUMNS": "400"}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    return ran.stdout


def course_in(report: Path) -> str | None:
    """Return the course that a report tells; None where it was not compared."""
    for item in _items(dcmread(report)):
        if item.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeValue") == codes.COURSE.value:
            return str(item.ConceptCodeSequence[0].CodeMeaning)
    return None


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _items(child)


@pytest.mark.parametrize("way", ["move", "get"])
def test_the_current_report_arrives_with_the_comparison(tmp_path: Path, visits: Visits, way: str) -> None:
    """In the end the PACS has the earlier segmentation, the current results, and what they refer to."""
    earlier, current = visits.studies
    peer_options = f'priors_by = "{way}"'
    with hospital(tmp_path, visits, source_options=PRIORS, peer_options=peer_options) as (orthanc, node):
        storescu(node.port, visits.second[0].parent)
        node.wait(lambda: results_in(orthanc, current, "OT", tmp_path / "look"), 200)
        (report,) = results_in(orthanc, current, "SR", tmp_path / "report")
        (then,) = results_in(orthanc, earlier, "SEG", tmp_path / "seg")
        (now,) = results_in(orthanc, current, "SEG", tmp_path / "seg")
        assert results_in(orthanc, earlier, "SR", tmp_path / "none") == [], "it was not asked to report it"
        assert results_in(orthanc, earlier, "OT", tmp_path / "none") == []
        told = " ".join(trace(node, current).split())
    assert "rogress" in str(course_in(report))
    assert "orthanc listed earlier scans: 1 to compare with" in told
    assert "earlier scan from orthanc: came" in told
    assert "search for earlier scans done" in told
    cited = {
        str(one.ReferencedSOPInstanceUID)
        for study in dcmread(report).PertinentOtherEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert cited == {str(dcmread(then).SOPInstanceUID)}
    _check_tracking(report, then, now, tmp_path)
    validators = [one for one in JUDGES if one.name in (dciodvfy.NAME, pixelmed.NAME)]
    for judge, found in judged([report], validators)[report].items():
        assert [one for one in found if one.severity is Severity.ERROR and not one.tolerated] == [], judge


def _check_tracking(report: Path, then: Path, now: Path, folder: Path) -> None:
    """An independent reader finds values of both scans under one Tracking UID, which both segments bear."""
    segments = [
        {str(one.TrackingUID) for one in dcmread(path).SegmentSequence if "TrackingUID" in one}
        for path in (then, now)
    ]
    groups = tid1500_groups(report, folder)
    by_uid: dict[str, set[str]] = {}
    for group in groups:
        uid = group["TrackingUniqueIdentifier"]
        by_uid.setdefault(uid, set()).add(group["segmentationSOPInstanceUID"])
    both = {str(dcmread(path).SOPInstanceUID) for path in (then, now)}
    followed = {uid for uid, cited in by_uid.items() if cited == both}
    assert len(followed) > 3, "regions and lesions with values of both scans"
    assert followed <= segments[0] & segments[1]


def test_a_pacs_that_cannot_send_delays_the_report_no_longer_than_configured(
    tmp_path: Path, visits: Visits
) -> None:
    """It does not know the node as a destination: the report comes without, and says what to register."""
    current = visits.studies[1]
    options = "[comparison]\nwait_s = 5\n"
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.store(*visits.first)
        with running_node(tmp_path / "node", [orthanc.peer], source_options=PRIORS, options=options) as node:
            storescu(node.port, visits.second[0].parent)
            node.wait(lambda: results_in(orthanc, current, "OT", tmp_path / "look"), 200)
            (report,) = results_in(orthanc, current, "SR", tmp_path / "report")
            sealed, started = (
                next(one["timestamp"] for one in node.log if one["event"] == event)
                for event in ("series_sealed", "analysis_started")
            )
    assert course_in(report) is None
    assert _seconds(started) - _seconds(sealed) < 20.0, "60 s would be the default"
    texts = [str(item.TextValue) for item in _items(dcmread(report)) if "TextValue" in item]
    assert any("registered" in text or "destination" in text for text in texts), texts


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
