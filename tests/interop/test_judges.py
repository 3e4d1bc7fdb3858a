"""Every object of every case before every independent judge."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.helpers.cases import CASES, write_files
from tests.helpers.judges import pixelmed
from tests.helpers.judges.complaints import Complaint, counting, tolerated
from tests.helpers.judges.dcmjs import differences, read_with_dcmjs
from tests.helpers.judges.panel import JUDGES, REPORTS, judged
from tests.helpers.judges.volumes import COUNTERS, deviations_percent, reported_volumes_ml

pytestmark = pytest.mark.interop

#: Cases whose documents PixelMed judges here, at seconds each; in `benchmarks.conformance` it judges all.
PIXELMED_CASES = ("lesions", "refusal", "later result", "comparison")

#: A report with this in its name was damaged before it went to the judges.
DAMAGED = "damaged"

#: Code values of scheme DCM: Measurement Group, Tracking Unique Identifier.
_MEASUREMENT_GROUP, _TRACKING_UID = "125007", "112040"

Verdicts = dict[Path, dict[str, list[Complaint]]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every object of every case, as it would be sent."""
    folder = tmp_path_factory.mktemp("objects")
    return [path for name, case in CASES.items() for path in write_files(case(), folder, name)]


@pytest.fixture(scope="module")
def verdicts(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """What all judges have against all files and a damaged report; asked once, as Java starts slowly."""
    damaged = tmp_path_factory.mktemp("damaged") / f"{DAMAGED}.dcm"
    report = dcmread(next(path for path in files if dcmread(path).SOPClassUID in REPORTS))
    _damage(report)
    report.save_as(damaged, enforce_file_format=True)
    slow = [judge for judge in JUDGES if judge.name == pixelmed.NAME]
    quick = [judge for judge in JUDGES if judge not in slow]
    verdicts = judged([*files, damaged], quick)
    for path, found in judged([damaged, *filter(_for_pixelmed, files)], slow).items():
        verdicts[path] |= found
    return verdicts


def _for_pixelmed(path: Path) -> bool:
    return path.stem.startswith(PIXELMED_CASES)


def _damage(report: Dataset) -> None:
    """Make a fault for each judge: no Completion Flag, an untracked group, a false relationship."""
    del report.CompletionFlag
    group = next(item for item in _items(report) if _name(item) == _MEASUREMENT_GROUP)
    group.ContentSequence = [item for item in group.ContentSequence if _name(item) != _TRACKING_UID]
    group.ContentSequence[0].RelationshipType = "RESEMBLES"


def _name(item: Dataset) -> str:
    return str(item.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeValue"))


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _items(child)


def test_no_judge_has_anything_against_any_object(files: list[Path], verdicts: Verdicts) -> None:
    """No error and no warning, save those of the list of tolerated complaints; no object is left unjudged."""
    found = {path.stem: counting(chain(*verdicts[path].values())) for path in files}
    assert {stem: texts for stem, texts in found.items() if texts} == {}
    assert all(len(verdicts[path]) >= 2 for path in files)
    documents = [path for path in files if "ContentSequence" in dcmread(path)]
    assert documents
    assert all("dsrdump" in verdicts[path] for path in documents)
    assert all("PixelMed" in verdicts[path] for path in filter(_for_pixelmed, documents))


def test_a_complaint_that_is_not_listed_counts(verdicts: Verdicts) -> None:
    """Each judge of reports finds the faults of a damaged one, and the list hides none of them."""
    (damaged,) = [path for path in verdicts if path.stem == DAMAGED]
    found = {name: counting(complaints) for name, complaints in verdicts[damaged].items()}
    assert any("CompletionFlag" in text for text in found["dciodvfy"])
    assert any("error" in text.lower() for text in found["PixelMed"])
    assert found["dsrdump"]


def test_dcmjs_would_notice_another_object(files: list[Path]) -> None:
    """What dcmjs reads in one object is told apart from another's: name, numbers, segments."""
    first, *others = [path for path in files if path.stem.startswith("lesions")]
    (read,) = read_with_dcmjs([first])
    assert differences(read, dcmread(first)) == []
    for other in others:
        assert any("sopInstanceUID" in text for text in differences(read, dcmread(other)))
    changed = dcmread(first)
    changed.PatientName = "Doe^John"
    (text,) = differences(read, changed)
    assert text.startswith("patientName")


def test_every_tolerated_complaint_is_still_uttered(files: list[Path], verdicts: Verdicts) -> None:
    """An entry that no judge needs any more is deleted from the list."""
    uttered = {one.tolerated for path in files for said in verdicts[path].values() for one in said}
    assert [entry for entry in tolerated() if entry not in uttered] == []
    assert all(len(entry.reason) > 20 for entry in tolerated())


def test_reported_volumes_are_those_of_the_segments(files: list[Path]) -> None:
    """Every volume of every report is that of its segment to 0.1 %, counted by dcmqi and by dcmjs."""
    datasets = {path: dcmread(path) for path in files}
    reports = [path for path, one in datasets.items() if one.SOPClassUID in REPORTS]
    segmentations = [path for path, one in datasets.items() if "SegmentSequence" in one]
    found = deviations_percent(reports, segmentations)
    reported = sum(len(reported_volumes_ml(datasets[path])) for path in reports)
    assert reported >= 12
    assert len(found["dcmjs"]) == reported
    for counter in COUNTERS:
        assert len(found[counter]) >= 12
        assert {key: value for key, value in found[counter].items() if abs(value) > 0.1} == {}
