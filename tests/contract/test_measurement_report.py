"""The written measurement report, judged by its bytes and by programs that are not ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from core import codes
from core.codes import Code
from core.comparison import Course
from core.domain import LesionMask, Region, ResultKind, Side
from tests.helpers.analyses import MODEL, Phantom, analysis_of, results_of
from tests.helpers.comparisons import Pair
from tests.helpers.dcmtk import dsrdump
from tests.helpers.judges import dciodvfy_complaints, read_segments, tid1500_groups
from tests.helpers.reports import (
    BOTH_LESIONS,
    content_items,
    evaluations,
    name_of,
    numbers_of,
    report_of,
    texts_named,
    written,
)

CASES = {
    "both lungs": Phantom(),
    "no lesion": Phantom(lesion_sides=()),
    "one lung": Phantom(lungs=(Side.LEFT,)),
    "no region": Phantom(lungs=()),
    "enhanced": Phantom(enhanced=True),
    "mixed lesions": Phantom(dense_radii_mm=(5.0, 5.0, 7.5)),
    "minimal header": Phantom(
        attributes={
            "PatientBirthDate": None,
            "StudyTime": None,
            "StudyID": None,
            "AccessionNumber": None,
            "ReferringPhysicianName": None,
            "Manufacturer": None,
            "SpecificCharacterSet": None,
        }
    ),
}
PARTS = {
    "volume": codes.VOLUME.value,
    "mean": codes.ATTENUATION_MEAN.value,
    "sd": codes.ATTENUATION_SD.value,
    "percent of lung": codes.PERCENT_OF_LUNG.value,
    "percent lesion": codes.PERCENT_LESION.value,
    "count": codes.LESION_COUNT.value,
    "severity": codes.SEVERITY_SCORE.value,
}


@pytest.mark.parametrize("phantom", CASES.values(), ids=CASES.keys())
def test_validator_finds_no_fault(phantom: Phantom, tmp_path: Path) -> None:
    """The SR of every kind of case conforms to its IOD."""
    path = written(analysis_of(phantom), tmp_path)[ResultKind.MEASUREMENT_REPORT]
    complaints = dciodvfy_complaints(path)
    if "StudyTime" in phantom.attributes:  # what the source does not say cannot be made up
        complaints = [line for line in complaints if "needed to build DICOMDIR" not in line]
    assert complaints == []


@pytest.mark.interop
@pytest.mark.parametrize("phantom", CASES.values(), ids=CASES.keys())
def test_dcmtk_reads_the_document(phantom: Phantom, tmp_path: Path) -> None:
    """DCMTK accepts the content tree without warnings."""
    path = written(analysis_of(phantom), tmp_path)[ResultKind.MEASUREMENT_REPORT]
    assert "Imaging Measurement Report" in dsrdump(path)


def test_numbers_are_those_of_the_segments(tmp_path: Path) -> None:
    """Every group names a segment whose voxels, counted by another program, give the reported volume."""
    analysis = analysis_of()
    paths = written(analysis, tmp_path)
    segments = read_segments(paths[ResultKind.SEGMENTATION], tmp_path)
    groups = tid1500_groups(paths[ResultKind.MEASUREMENT_REPORT], tmp_path)
    assert [group["ReferencedSegment"] for group in groups] == [*(region.value for region in Region), 8, 9]
    for group in groups[: len(Region)]:
        region = Region(group["ReferencedSegment"])
        measured = analysis.measurements.of(region)
        numbers = numbers_of(group)
        assert numbers[PARTS["volume"]] == pytest.approx(segments[region.value].volume_ml, rel=1e-6)
        assert numbers[PARTS["mean"]] == pytest.approx(measured.mean_hu)
        assert numbers[PARTS["sd"]] == pytest.approx(measured.sd_hu)
        share = PARTS["percent lesion" if region.value <= 2 else "percent of lung"]
        assert numbers[share] == pytest.approx(measured.percent_of_lung)


def test_units_are_ucum(tmp_path: Path) -> None:
    """Volumes are in cm3, lengths in mm, attenuation in Hounsfield units, shares in percent."""
    path = written(analysis_of(), tmp_path)[ResultKind.MEASUREMENT_REPORT]
    for group in tid1500_groups(path, tmp_path):
        units = {
            item["quantity"]["CodeValue"]: item["units"]["CodeValue"] for item in group["measurementItems"]
        }
        assert units[PARTS["volume"]] == "cm3"
        assert {units[PARTS["mean"]], units.get(PARTS["sd"], "[hnsf'U]")} == {"[hnsf'U]"}
        assert {"%"} == {unit for code, unit in units.items() if "percent" in code}
        lengths = {codes.LONG_AXIS.value, codes.SHORT_AXIS.value, codes.CENTROID_X.value}
        assert {unit for code, unit in units.items() if code in lengths} <= {"mm"}
        assert units.get(codes.ZONE_LESION_VOLUME.value, "cm3") == "cm3"


def test_finding_site_and_side(tmp_path: Path) -> None:
    """Each group says what was found, in the lung, on which side."""
    path = written(analysis_of(), tmp_path)[ResultKind.MEASUREMENT_REPORT]
    groups = {group["ReferencedSegment"]: group for group in tid1500_groups(path, tmp_path)}
    assert groups[4]["Finding"]["CodeValue"] == "112120"
    assert groups[6]["Finding"]["CodeValue"] == "95436008"
    assert {group["FindingSite"]["CodeValue"] for group in groups.values()} == {"39607008"}
    sides = [groups[number]["Laterality"]["CodeMeaning"] for number in sorted(groups)]
    assert sides[:6] == ["Right", "Left"] * 3
    assert groups[3]["measurementAlgorithmIdentification"]["AlgorithmName"] == "densitometry"
    assert "CPUExecutionProvider" in groups[3]["measurementAlgorithmIdentification"]["AlgorithmParameters"][0]


def test_count_and_severity_stand_with_all_lesions(tmp_path: Path) -> None:
    """The group of all lesions has their number and the total severity score."""
    analysis = analysis_of()
    path = written(analysis, tmp_path)[ResultKind.MEASUREMENT_REPORT]
    numbers = numbers_of(tid1500_groups(path, tmp_path)[len(Region) - 1])
    assert numbers[PARTS["count"]] == len(analysis.measurements.lesions)
    assert numbers[PARTS["severity"]] == analysis.measurements.severity_score


def test_no_lesion_is_said_explicitly(tmp_path: Path) -> None:
    """Without lesions there are two lung groups with 0 %, and the absence is a coded statement."""
    analysis = analysis_of(Phantom(lesion_sides=()))
    path = written(analysis, tmp_path)[ResultKind.MEASUREMENT_REPORT]
    groups = tid1500_groups(path, tmp_path)
    assert [group["ReferencedSegment"] for group in groups] == [1, 2]
    assert {numbers_of(group)[PARTS["percent lesion"]] for group in groups} == {0.0}
    assert _statements(report_of(analysis)) == {("52988006", "272519000")}


def test_one_lung_without_lesions_is_said_to_have_none() -> None:
    """Where one lung is in view and has no lesion, the report says so and gives the score."""
    report = report_of(analysis_of(Phantom(lungs=(Side.RIGHT,), lesion_sides=())))
    assert _statements(report) == {("52988006", "272519000")}
    assert {value for _, value, _ in evaluations(report)} == {"Absent"}
    assert texts_named(report, codes.SEVERITY_SCORE) == ["0 of 24"]


def test_without_lungs_nothing_is_claimed_about_lesions() -> None:
    """Where no lung was found, lesions are undetermined, not absent, and there is no score."""
    report = report_of(analysis_of(Phantom(lungs=())))
    assert _statements(report) == {("52988006", "373068000")}
    assert {value for _, value, _ in evaluations(report)} == {"Undetermined"}
    assert texts_named(report, codes.SEVERITY_SCORE) == []


def test_remarks_are_comments_in_plain_text() -> None:
    """What was noticed about the images stands in the report as Comment, and so does the research mark."""
    analysis = analysis_of()
    remarks = ("Slices are 12 mm apart: small lesions can be missed.", "512 \u00d7 512\\n")
    analysis = replace(analysis, volume=replace(analysis.volume, remarks=remarks))
    comments = ["Research use only.", remarks[0], "512 ? 512?n"]
    assert texts_named(report_of(analysis), codes.COMMENT) == comments
    model = replace(MODEL, research_only=False)
    lesions = LesionMask(analysis.lesions.labels_zyx, model)
    assert texts_named(report_of(replace(analysis, lesions=lesions)), codes.COMMENT) == comments[1:]


def test_counts_are_whole_numbers() -> None:
    """A count and a score are written without decimals, as viewers will show them."""
    values = {
        name_of(item): str(item.MeasuredValueSequence[0].NumericValue)
        for item in content_items(report_of(analysis_of()))
        if item.ValueType == "NUM"
    }
    assert (values[PARTS["count"]], values[PARTS["severity"]]) == ("2", "4")
    assert {values[codes.ZONE_SCORE.value]} <= {"0", "1", "2", "3", "4"}


def test_numbers_have_no_more_digits_than_people_can_read() -> None:
    """Viewers show a number as it is written."""
    for item in content_items(report_of(analysis_of())):
        if item.ValueType == "NUM":
            text = str(item.MeasuredValueSequence[0].NumericValue)
            assert len(text.lstrip("-0.").replace(".", "")) <= 7, text


@pytest.mark.parametrize(
    ("sides", "laterality"),
    [((Side.RIGHT,), "Right"), ((Side.LEFT,), "Left"), ((Side.RIGHT, Side.LEFT), "Bilateral")],
)
def test_all_lesions_are_on_the_sides_that_have_any(sides: tuple[Side, ...], laterality: str) -> None:
    """One-sided disease is not reported as bilateral, neither in the SR nor in the SEG."""
    analysis = analysis_of(Phantom(lesion_sides=sides))
    results = results_of(analysis)
    seg, report = results[ResultKind.SEGMENTATION], results[ResultKind.MEASUREMENT_REPORT]
    modifier = seg.SegmentSequence[6].AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]
    assert modifier.CodeMeaning == laterality
    named = [item for item in content_items(report) if name_of(item) == "272741003"]
    assert named[-1].ConceptCodeSequence[0].CodeMeaning == laterality
    assert evaluations(report) == [
        ("Lesion", "Present", laterality),
        ("Ground glass opacity", "Present", laterality),
        ("Lung consolidation", "Present", laterality),
    ]


def test_provider_is_named_once() -> None:
    """Algorithm Parameters do not repeat a provider that the model's own line names."""
    analysis = analysis_of()
    model = replace(MODEL, parameters="overlap 0.25; CPUExecutionProvider")
    lesions = LesionMask(analysis.lesions.labels_zyx, model)
    report = report_of(replace(analysis, lesions=lesions))
    lines = {item.TextValue for item in content_items(report) if name_of(item) == "111002"}
    assert {line.count("CPUExecutionProvider") for line in lines if "sha256" in line} == {1}


def _statements(report: Dataset) -> set[tuple[str, str]]:
    """Return the coded evaluations of lesions as (name, value)."""
    return {
        (name_of(item), item.ConceptCodeSequence[0].CodeValue)
        for item in content_items(report)
        if item.ValueType == "CODE" and name_of(item) == "52988006"
    }


def test_every_group_is_volumetric() -> None:
    """All groups follow TID 1411; a mixture makes validators judge all of them wrongly."""
    report = report_of(analysis_of())
    templates = [
        item.ContentTemplateSequence[0].TemplateIdentifier
        for item in content_items(report)
        if name_of(item) == "125007"
    ]
    assert templates == ["1411"] * 9
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_report_is_preliminary() -> None:
    """A result nobody has looked at is complete, unverified and preliminary."""
    report = report_of(analysis_of())
    flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    observers = [item for item in content_items(report) if name_of(item) == "121005"]
    assert [item.ConceptCodeSequence[0].CodeMeaning for item in observers] == ["Device"]


def test_evidence_is_the_source_and_the_segmentation() -> None:
    """The evidence lists every source image and the SEG, and nothing else."""
    analysis = analysis_of()
    results = results_of(analysis)
    seg, report = results[ResultKind.SEGMENTATION], results[ResultKind.MEASUREMENT_REPORT]
    study = report.CurrentRequestedProcedureEvidenceSequence[0]
    listed = {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    expected = {(header.SeriesInstanceUID, header.SOPInstanceUID) for header in analysis.volume.headers}
    assert listed == expected | {(seg.SeriesInstanceUID, seg.SOPInstanceUID)}
    assert study.StudyInstanceUID == report.StudyInstanceUID == seg.StudyInstanceUID


def test_groups_and_segments_share_tracking() -> None:
    """A region or a lesion has one Tracking UID and identifier in both objects, and no other has it."""
    analysis = analysis_of()
    results = results_of(analysis, lesions_from_ml=BOTH_LESIONS)
    seg, report = results[ResultKind.SEGMENTATION], results[ResultKind.MEASUREMENT_REPORT]
    in_report = [item.UID for item in content_items(report) if name_of(item) == "112040"]
    names = [item.TextValue for item in content_items(report) if name_of(item) == "112039"]
    assert in_report == [item.TrackingUID for item in seg.SegmentSequence]
    assert names == [item.TrackingID for item in seg.SegmentSequence]
    assert len(set(in_report)) == len(set(names)) == len(in_report) == 9


def test_tracking_is_stable_within_a_run_and_of_regions_over_time() -> None:
    """The same run tracks the same; another run tracks the same regions, but lesions of its own."""

    def tracked(**changes: Any) -> list[str]:
        results = results_of(analysis_of(), lesions_from_ml=BOTH_LESIONS, **changes)
        return [item.TrackingUID for item in results[ResultKind.SEGMENTATION].SegmentSequence]

    first, later = tracked(), tracked(generation=2)
    assert tracked() == first
    assert later[: len(Region)] == first[: len(Region)]
    assert not set(later[len(Region) :]) & set(first)


def test_private_codes_are_declared() -> None:
    """The private coding scheme is identified in the object that uses it, and every code of it is used."""
    courses = [Pair(course=course).analysis() for course in Course]
    reports = [report_of(one) for one in (analysis_of(CASES["mixed lesions"]), *courses)]
    for report in reports:
        schemes = {item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence}
        assert schemes == {codes.PRIVATE_SCHEME}
    declared = {codes.PRIVATE_SCHEME}
    used = {
        Code(code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning)
        for report in reports
        for item in content_items(report)
        for sequence in ("ConceptNameCodeSequence", "ConceptCodeSequence")
        for code in item.get(sequence, ())
        if code.CodingSchemeDesignator.startswith("99")
    }
    private = {code for code in vars(codes).values() if isinstance(code, Code) and code.scheme in declared}
    assert used == private


def test_performed_procedure_is_the_source_s() -> None:
    """The exact procedure of the study goes into Performed Procedure Code Sequence."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CT.THX", "99LOCAL", "Thorax nativ"
    report = report_of(analysis_of(Phantom(attributes={"ProcedureCodeSequence": [code]})))
    assert report.PerformedProcedureCodeSequence[0].CodeMeaning == "Thorax nativ"
    assert report_of(analysis_of()).PerformedProcedureCodeSequence[0].CodeValue == "24627-2"
