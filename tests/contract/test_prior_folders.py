"""`analyse --prior`: earlier scans in folders, compared without a network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from config import load_settings
from lesionnode.folder import analyse_folder
from lesionnode.phantom.random_pairs import COARSE_GRID, PairKind, random_pair
from lesionnode.phantom.time_points import PhantomPair, generate_pair, write_pair
from tests.helpers.judges import dciodvfy_complaints


@dataclass(frozen=True, slots=True)
class Compared:
    """What came out.

    Parameters
    ----------
    pair
        The truth.
    result
        What ``result.json`` says.
    output
        Its folder.
    """

    pair: PhantomPair
    result: dict[str, Any]
    output: Path

    def dataset(self, *parts: str) -> Dataset:
        """Read one of the objects."""
        return dcmread(self.output.joinpath(*parts))


def changed(files: list[Path], folder: Path, **values: str) -> Path:
    """Write a copy of a series with another header."""
    folder.mkdir()
    for number, path in enumerate(files):
        image = dcmread(path)
        for keyword, value in values.items():
            setattr(image, keyword, value)
        image.save_as(folder / f"{number}.dcm")
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """A progression, analysed with the true earlier scan and three that must not be compared."""
    folder = tmp_path_factory.mktemp("prior")
    pair = generate_pair(random_pair(3, PairKind.PROGRESSION, COARSE_GRID))
    first, second = write_pair(folder, pair)
    stranger = changed(first, folder / "stranger", PatientBirthDate="19011231")
    same_study = changed(
        first, folder / "same study", StudyInstanceUID=str(dcmread(second[0]).StudyInstanceUID)
    )
    future = changed(first, folder / "future", AcquisitionDate="20991231", StudyInstanceUID="1.2.3.4.5")
    (folder / "nothing").mkdir()
    output = folder / "out"
    left = output / "earlier-9" / "report.dcm"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of an earlier run")
    broken = changed(first, folder / "broken", AcquisitionDate="19981231", StudyInstanceUID="1.2.3.4.7")
    for path in sorted(broken.iterdir(), key=lambda one: int(one.stem))[20:30]:
        path.unlink()
    sibling = changed(first, folder / "sibling", AcquisitionDate="19991231", SeriesInstanceUID="1.2.3.4.8")
    priors = [stranger, first[0].parent, same_study, folder / "nothing", future, broken, sibling]
    settings = load_settings(None, {})
    result = analyse_folder(second[0].parent, output, "densitometry", settings, priors=priors)
    return Compared(pair, result, output)


def test_the_earlier_scan_of_the_patient_is_compared(compared: Compared) -> None:
    """Course, days and the study that it is compared with; the same in the file."""
    comparison = compared.result["comparison"]
    assert comparison["course"] == "progression"
    assert comparison["days"] == 90
    earlier = compared.dataset("earlier-3", "segmentation.dcm")
    assert comparison["prior"]["study_instance_uid"] == earlier.StudyInstanceUID
    assert json.loads((compared.output / "result.json").read_text())["comparison"] == comparison


@pytest.mark.parametrize(
    "reason",
    [
        "Earlier scan 1 was not compared: the birth dates differ.",
        "Earlier scan 3 was not compared: it is of the same study.",
        "Earlier scan 4 was not compared: no CT images to analyse",
        "Earlier scan 5 was not compared: it is dated later.",
        "An earlier scan was not compared, because it cannot be analysed: ",
    ],
)
def test_another_one_is_not_and_the_result_says_why(compared: Compared, reason: str) -> None:
    """It is analysed all the same; nothing of the other person is in it."""
    assert any(remark.startswith(reason) for remark in compared.result["remarks"])
    assert len(compared.result["comparison"]["history"]) == 3


def test_earlier_scans_are_compared_with_each_other_by_the_same_rules(compared: Compared) -> None:
    """One of the same study is not; it is in the history of the current scan all the same."""
    then = json.loads((compared.output / "earlier-3" / "result.json").read_text())
    assert then["comparison"] is None
    assert then["status"] == "analysed"


def test_what_is_cited_of_the_earlier_scan_is_there(compared: Compared) -> None:
    """Every reference out of the study leads to an object in the folder of the earlier scan."""
    report = compared.dataset("report.dcm")
    cited = {
        str(one.ReferencedSOPInstanceUID)
        for study in report.PertinentOtherEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    written = {
        str(compared.dataset("earlier-3", name).SOPInstanceUID) for name in ("segmentation.dcm", "report.dcm")
    }
    assert cited == written


def test_a_lesion_has_one_tracking_uid_in_both_segmentations(compared: Compared) -> None:
    """Those that were there before bear it on; each segmentation has no UID twice."""
    before, now = (
        [str(one.TrackingUID) for one in compared.dataset(*parts).SegmentSequence if "TrackingUID" in one]
        for parts in (("earlier-3", "segmentation.dcm"), ("segmentation.dcm",))
    )
    tracked = {one["tracking_uid"] for one in compared.result["comparison"]["lesions"] if one["tracking_uid"]}
    assert len(set(before)) == len(before)
    assert len(set(now)) == len(now)
    assert tracked & set(before) & set(now)


def test_the_validator_accepts_report_and_segmentation(compared: Compared) -> None:
    """The real writers, fed by the real comparison."""
    for name in ("report.dcm", "segmentation.dcm"):
        assert dciodvfy_complaints(compared.output / name) == []


def test_nothing_of_an_earlier_run_is_left(compared: Compared) -> None:
    """A folder of another earlier scan would be taken for one of this run."""
    assert not (compared.output / "earlier-9").exists()
