"""The comparison with an earlier scan in the report, read back item by item, and by dcmqi."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from core import codes
from core.comparison import Change, Comparison, CompositionShift, Course, Fate, RegionChange
from core.domain import Analysis, Finding, Region, ResultKind, Side
from core.forms import ReportClass, ResultForm, SegmentationEncoding
from core.time_point import TimePoint
from sr_writer.change_texts import change_facts
from sr_writer.identity import SourceIdentity
from sr_writer.measurement_report import measurement_report
from sr_writer.segmentation import segmentation
from sr_writer.uids import ResultUids
from tests.helpers.analyses import Phantom, context_of, encoded, results_of
from tests.helpers.comparisons import (
    BECAUSE,
    EARLIER_SERIES_UID,
    EARLIER_STUDY_UID,
    EVERY_LESION,
    WARNINGS,
    Pair,
)
from tests.helpers.dcmtk import dsrdump
from tests.helpers.judges import dciodvfy_complaints, tid1500_groups
from tests.helpers.report_groups import Group, groups_of
from tests.helpers.reports import content_items, name_of, texts_named

NOW, THEN = "2026-03-01", "2026-01-02"
CASES = {
    "all that there is": Pair(),
    "places not compared": Pair(registered=False),
    "no earlier segmentation": Pair(segmentation=False),
    "nothing of the earlier results": Pair(segmentation=False, report=False),
    "repeatability unknown": Pair(repeatability=False),
    "no dates": Pair(dated=False),
    "nothing left": Pair(later=Phantom(lesion_sides=()), earlier=Phantom()),
    "all new": Pair(earlier=Phantom(lesion_sides=())),
    "one lung": Pair(later=Phantom(lungs=(Side.LEFT,))),
    "enhanced": Pair(later=Phantom(enhanced=True)),
}
USUAL, BINARY = CASES["all that there is"], ResultForm()
LABEL_MAP = ResultForm(SegmentationEncoding.LABELMAP)


@cache
def written(pair: Pair = USUAL, form: ResultForm = BINARY, from_ml: float = EVERY_LESION) -> Dataset:
    """Write a compared analysis; return its report as read back."""
    return report_of(pair.analysis(), form, from_ml)


def report_of(analysis: Analysis, form: ResultForm = BINARY, from_ml: float = EVERY_LESION) -> Dataset:
    """Return the report of an analysis in a form, read back from its bytes."""
    context, identity = context_of(analysis, lesions_from_ml=from_ml), SourceIdentity.of(analysis.volume)
    sources = [frame.sop_instance_uid for frame in analysis.volume.frames]
    uids = ResultUids.of(sources, identity, context, analysis.lesions.model, analysis.comparison)
    seg = segmentation(analysis, form, identity, context, uids)
    return dcmread(BytesIO(encoded(measurement_report(analysis, seg, form, identity, context, uids))))


def now(report: Dataset) -> dict[str, Group]:
    """Return the groups of the current scan by Tracking Identifier."""
    return {one.label: one for one in groups_of(report) if one.series != EARLIER_SERIES_UID}


def then(report: Dataset) -> dict[str, Group]:
    """Return the groups of the prior scan by Tracking Identifier."""
    return {one.label: one for one in groups_of(report) if one.series == EARLIER_SERIES_UID}


def compared(pair: Pair = USUAL) -> Comparison:
    """Return the comparison that a report is about."""
    comparison = pair.analysis().comparison
    assert comparison is not None
    return comparison


def earlier_segmentation(pair: Pair = USUAL) -> Dataset:
    """Return the SEG that was really written of the earlier scan."""
    found = pair.earlier_results().objects
    return next(one.dataset for one in found if one.kind is ResultKind.SEGMENTATION)


# --- prior values -----------------------------------------------------------------------------------------


def test_prior_values_stand_beside_the_current_ones_under_one_tracking_uid() -> None:
    """A region has two groups of one Tracking UID and identifier, told apart by date, SEG and source."""
    report = written()
    earlier = earlier_segmentation()
    prior = compared().prior.measurements
    labels = [one.label for one in groups_of(report) if one.tracking_uid]
    for region in Region:
        number = region.value
        label = str(earlier.SegmentSequence[number - 1].SegmentLabel)
        current, before = now(report)[label], then(report)[label]
        assert labels.count(label) == 2
        assert current.tracking_uid == before.tracking_uid == earlier.SegmentSequence[number - 1].TrackingUID
        assert (current.time_point, before.time_point) == (NOW, THEN)
        assert (before.segmentation, before.segments) == (earlier.SOPInstanceUID, (number,))
        measured = prior.of(region)
        assert before.value(codes.VOLUME) == pytest.approx(measured.volume_ml)
        assert before.value(codes.ATTENUATION_MEAN) == pytest.approx(measured.mean_hu)
        share = codes.PERCENT_LESION if number <= 2 else codes.PERCENT_OF_LUNG
        assert before.value(share) == pytest.approx(measured.percent_of_lung)


def test_prior_lesions_are_the_segments_of_that_time() -> None:
    """Each prior lesion names the segment that has its Tracking UID in the earlier SEG, with its volume."""
    report, earlier = written(), earlier_segmentation()
    prior = compared().prior
    lesions = [one for one in then(report).values() if "esion " in one.label]
    assert len(lesions) == len(prior.measurements.lesions) == 7
    by_number = {one.number: one for one in prior.measurements.lesions}
    for group in lesions:
        (number,) = group.segments
        segment = earlier.SegmentSequence[number - 1]
        assert segment.TrackingUID == group.tracking_uid
        lesion = by_number[int(segment.SegmentLabel.removeprefix("Lesion "))]
        assert group.value(codes.VOLUME) == pytest.approx(lesion.volume_ml)
        assert group.value(codes.LONG_AXIS) == pytest.approx(lesion.long_axis_mm)


def test_a_lesion_keeps_its_tracking_uid_and_name() -> None:
    """What goes on has one identifier then and now; what ended, or was merged into another, its own."""
    report = written()
    both = now(report).keys() & then(report).keys()
    assert {label for label in both if label.startswith("Lesion ")} == {
        f"Lesion {n}" for n in (1, 2, 3, 5, 6)
    }
    for label in both:
        assert now(report)[label].tracking_uid == then(report)[label].tracking_uid
    assert {label for label in then(report) if label.startswith("Prior")} == {
        "Prior lesion 5",
        "Prior lesion 7",
    }
    ended = {then(report)[label].tracking_uid for label in ("Prior lesion 5", "Prior lesion 7")}
    assert not ended & {one.tracking_uid for one in now(report).values()}


def test_a_prior_lesion_without_a_segment_has_no_group() -> None:
    """Which lesions had a segment is a matter of the settings of that time, not of now."""
    pair = Pair(lesions_from_ml=0.5)
    segments = len(earlier_segmentation(pair).SegmentSequence)
    groups = then(written(pair))
    assert segments == 9
    assert max(max(one.segments) for one in groups.values()) == segments
    assert [label for label in groups if "esion " in label] == ["Lesion 1", "Lesion 2"]


def test_a_count_of_segments_that_is_not_known_is_not_guessed() -> None:
    """Where nobody knows how many segments the earlier SEG has, those are named that are in every one."""
    analysis = USUAL.analysis()
    assert analysis.comparison is not None
    prior = analysis.comparison.prior
    results = tuple(replace(one, segments=0) for one in prior.results)
    report = report_of(_with_prior(analysis, replace(prior, results=results)))
    assert {one.segments for one in then(report).values()} == {(region.value,) for region in Region}


def test_a_label_map_is_referred_to_by_its_labels() -> None:
    """Where the earlier SEG is a label map, a region is the labels that it consists of; no single lesions."""
    pair = Pair(forms=(LABEL_MAP,))
    for form in (LABEL_MAP, ResultForm()):
        groups = then(written(pair, form))
        assert groups["Right lung"].segments == (1, 3, 5)
        assert groups["All lesions"].segments == (3, 4, 5, 6)
        assert not [label for label in groups if "esion " in label]


def test_of_several_encodings_the_same_one_is_cited() -> None:
    """A report about a label map cites the earlier label map and the report about it."""
    pair = Pair(forms=(ResultForm(), LABEL_MAP))
    objects = pair.earlier_results().objects
    for form in pair.forms:
        cited = {one.segmentation for one in then(written(pair, form)).values()}
        variant = form.variant(ResultKind.SEGMENTATION)
        assert cited == {one.sop_instance_uid for one in objects if one.variant == variant}
        variant = form.variant(ResultKind.MEASUREMENT_REPORT)
        assert _cited_reports(written(pair, form)) == {
            one.sop_instance_uid for one in objects if one.variant == variant
        }


def test_without_an_earlier_segmentation_there_are_changes_but_no_prior_groups() -> None:
    """A group of TID 1411 needs a segment; the change does not."""
    report = written(Pair(segmentation=False))
    assert then(report) == {}
    volume = compared().of(Region.LESIONS).volume_ml
    assert now(report)["All lesions"].value(codes.PRIOR_VOLUME) == pytest.approx(volume.prior)
    assert now(report)["All lesions"].value(codes.VOLUME_CHANGE) == pytest.approx(volume.absolute)


# --- change -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", Region)
def test_each_region_has_its_change(region: Region) -> None:
    """Absolute, relative, per day; what it was computed from, and up to where it would be called none."""
    report, change = written(), compared().of(region)
    group = next(one for one in now(report).values() if one.segments == (region.value,))
    volume, share = change.volume_ml, change.percent_of_lung
    lung = region.value <= 2
    share_change = codes.PERCENT_LESION_CHANGE if lung else codes.PERCENT_OF_LUNG_CHANGE
    expected = {
        codes.PRIOR_VOLUME: volume.prior,
        codes.VOLUME_CHANGE: volume.absolute,
        codes.VOLUME_CHANGE_PERCENT: volume.percent,
        codes.VOLUME_CHANGE_PER_DAY: volume.per_day,
        codes.PRIOR_PERCENT_LESION if lung else codes.PRIOR_PERCENT_OF_LUNG: share.prior,
        share_change: share.absolute,
    }
    for code, value in expected.items():
        assert group.value(code) == pytest.approx(value, rel=1e-6), code.meaning
        (cited,) = [item for item in group.below(code) if item.ValueType == "COMPOSITE"]
        assert (name_of(cited), cited.RelationshipType) == ("122075", "INFERRED FROM")
    for code, limit in ((codes.VOLUME_CHANGE, volume.limit), (share_change, share.limit)):
        (item,) = [item for item in group.below(code) if item.ValueType == "NUM"]
        assert name_of(item) == codes.CHANGE_LIMIT.value
        assert float(item.MeasuredValueSequence[0].NumericValue) == pytest.approx(limit, rel=1e-6)
        unit = group.items[code.value, ""].MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
        assert item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0] == unit


@pytest.mark.parametrize(
    ("prior", "current", "limit", "code"),
    [
        (1.0, 1.5, 0.4, "15454001"),
        (1.5, 1.0, 0.4, "19776001"),
        (1.0, 1.4, 0.5, "129723006"),
        (1.0, 9.0, math.inf, "373068000"),
    ],
)
def test_the_size_differs_only_beyond_the_limit(
    prior: float, current: float, limit: float, code: str
) -> None:
    """Increase, decrease, no significant change; undetermined where repeatability is not known."""
    analysis = USUAL.analysis()
    assert analysis.comparison is not None
    regions = tuple(
        RegionChange(one.region, Change(prior, current, limit, 10.0), one.percent_of_lung)
        for one in analysis.comparison.regions
    )
    report = report_of(replace(analysis, comparison=replace(analysis.comparison, regions=regions)))
    for label in ("Right lung", "Ground glass opacity, left", "All lesions"):
        assert now(report)[label].statements["442714003"] == code
        assert now(report)[label].value(codes.VOLUME_CHANGE_PER_DAY) == pytest.approx((current - prior) / 10)


def test_the_share_of_lung_has_a_direction_of_its_own() -> None:
    """The lung is as large as before, and more of it is lesion: two statements."""
    report, change = written(), compared().of(Region.LUNG_RIGHT)
    assert change.percent_of_lung.is_significant
    assert not change.volume_ml.is_significant
    statements = now(report)["Right lung"].statements
    assert statements["442714003"] == codes.NO_SIGNIFICANT_CHANGE.value
    assert statements[codes.PERCENT_LESION_CHANGE.value] == codes.INCREASE.value


def test_nothing_is_inferred_from_a_report_that_is_not_known() -> None:
    """Without the earlier report the changes stand alone."""
    report = written(Pair(report=False))
    assert now(report)["All lesions"].value(codes.VOLUME_CHANGE) is not None
    assert _cited_reports(report) == set()


def test_without_dates_nothing_changes_per_day() -> None:
    """The two are still told apart."""
    report = written(Pair(dated=False))
    assert all(one.value(codes.VOLUME_CHANGE_PER_DAY) is None for one in groups_of(report))
    assert {one.time_point for one in then(report).values()} == {"prior scan"}
    assert {one.time_point for one in now(report).values()} == {"current scan"}


def test_two_scans_of_one_day_are_told_apart_by_the_time() -> None:
    """A date alone would make them one time point."""
    analysis = USUAL.analysis()
    comparison = analysis.comparison
    assert comparison is not None
    assert comparison.scanned_at is not None
    facts = replace(comparison.prior.facts, scanned_at=comparison.scanned_at.replace(hour=8, minute=5))
    report = report_of(_with_prior(analysis, replace(comparison.prior, facts=facts)))
    assert {one.time_point for one in now(report).values()} == {"2026-03-01 11:15"}
    assert {one.time_point for one in then(report).values()} == {"2026-03-01 08:05"}


def test_each_zone_has_its_change_in_its_lung() -> None:
    """Of all lesion and of each finding, with the zone as finding site; a finding that never was has none."""
    report, names = (
        written(),
        {
            None: codes.ZONE_LESION_CHANGE,
            Finding.GROUND_GLASS: codes.ZONE_GROUND_GLASS_CHANGE,
            Finding.CONSOLIDATION: codes.ZONE_CONSOLIDATION_CHANGE,
        },
    )
    sites = {"upper": "281392002", "middle": "281393007", "lower": "281394001"}
    for change in compared().zones:
        group = now(report)[f"{change.zone.side.capitalize()} lung"]
        site, volume = sites[change.zone.value.split("_")[0]], change.volume_ml
        never = change.finding is not None and volume.prior == volume.current == 0
        value = group.value(names[change.finding], site)
        assert value is None if never else value == pytest.approx(volume.absolute)
        if change.finding is None:
            assert group.value(codes.ZONE_PERCENT_CHANGE, site) == pytest.approx(change.percent.absolute)


def test_each_lesion_says_what_became_of_it() -> None:
    """New, persistent with its difference in size, merged, split; what resolved says so as a prior one."""
    report = written()
    fates = {label: one.statements.get("lesion-fate") for label, one in now(report).items()}
    sizes = {label: one.statements.get("442714003") for label, one in now(report).items()}
    persistent, new = codes.PERSISTENT.value, codes.NEW.value
    assert [fates[f"Lesion {n}"] for n in range(1, 8)] == [*[persistent] * 3, new, "merged", "split", "split"]
    directions = [codes.INCREASE, codes.DECREASE, codes.NO_SIGNIFICANT_CHANGE, codes.NEW]
    assert [sizes[f"Lesion {n}"] for n in range(1, 5)] == [one.value for one in directions]
    gone = [one.label for one in then(report).values() if one.statements.get("lesion-fate") == "723506003"]
    (resolved,) = [one for one in compared().lesions if one.fate is Fate.RESOLVED]
    assert gone == [f"Prior lesion {resolved.prior[0].number}"]


def test_the_change_of_several_parts_stands_with_the_largest() -> None:
    """Lesion 6 and 7 were one: only the larger has numbers, of both together; a new one has none."""
    report = written()
    (split,) = [one for one in compared().lesions if one.fate is Fate.SPLIT]
    assert [one.number for one in split.current] == [6, 7]
    first, second, new = (now(report)[f"Lesion {n}"] for n in (6, 7, 4))
    assert first.value(codes.PRIOR_VOLUME) == pytest.approx(split.volume_ml.prior)
    assert first.value(codes.VOLUME_CHANGE) == pytest.approx(split.volume_ml.absolute)
    for one in (second, new):
        assert one.value(codes.VOLUME_CHANGE) is None
        assert one.value(codes.PRIOR_VOLUME) is None
    comments = texts_named(report, codes.COMMENT)
    assert "Prior lesion 3 is lesions 6 and 7 now; changes are those of all together." in comments


def test_a_finding_that_is_gone_says_so_where_it_was() -> None:
    """Without voxels there is no current group, so the prior one says that it resolved."""
    report = written(CASES["nothing left"])
    assert set(now(report)) == {"Right lung", "Left lung"}
    for label in ("Ground glass opacity, right", "Consolidation, left", "All lesions"):
        assert then(report)[label].statements["442714003"] == codes.RESOLVED.value
    assert "442714003" not in then(report)["Right lung"].statements
    assert now(report)["Right lung"].statements["442714003"] == codes.NO_SIGNIFICANT_CHANGE.value


def test_a_lung_that_is_not_found_any_more_did_not_resolve() -> None:
    """That is said of lesions; of a lung it would be nonsense."""
    report = written(Pair(later=Phantom(lungs=(Side.LEFT,)), earlier=Phantom(), registered=False))
    statements = then(report)["Right lung"].statements
    assert statements["442714003"] == codes.DECREASE.value


def test_what_was_not_there_has_no_relative_change() -> None:
    """Nothing is divided by zero."""
    report = written(CASES["all new"])
    group = now(report)["All lesions"]
    assert group.value(codes.PRIOR_VOLUME) == 0
    assert group.value(codes.VOLUME_CHANGE_PERCENT) is None
    assert set(then(report)) == {"Right lung", "Left lung"}


# --- the examination as a whole ---------------------------------------------------------------------------


@pytest.mark.parametrize("course", Course)
def test_the_course_is_coded_and_has_its_reason(course: Course) -> None:
    """One code for the disease as a whole, and the rule that told it."""
    report = written(Pair(course=course))
    (item,) = [one for one in content_items(report) if name_of(one) == codes.COURSE.value]
    expected = {Course.UNDETERMINED: "373068000", Course.MIXED: "mixed-course"}.get(course, course.value)
    assert item.ConceptCodeSequence[0].CodeValue == expected
    assert texts_named(report, codes.COURSE_REASON) == [BECAUSE]


def test_the_summary_says_how_much_there_was_and_when() -> None:
    """Burden now and then, the difference in percentage points, the course."""
    (summary,) = texts_named(written(), codes.SUMMARY)
    assert summary.endswith(
        "Lesion burden 9.2 % of lung, was 9.5 % on 2026-01-02 (-0.3 percentage points in 58 days; 3.0 ml, "
        "was 3.1 ml, -3 %): mixed, more in one place and less in another."
    )
    (undated,) = texts_named(written(Pair(dated=False)), codes.SUMMARY)
    assert "was 9.5 % in the prior scan (-0.3 percentage points; 3.0 ml" in undated


def test_every_caution_is_a_comment() -> None:
    """Differences of the scans, places that were not compared and why, unknown repeatability; plain text."""
    assert [text for text in texts_named(written(), codes.COMMENT) if text in WARNINGS] == list(WARNINGS)
    pair = Pair(registered=False, repeatability=False, warnings=("Kernel \u2018B30f\u2019, then B60f.",))
    comments = texts_named(written(pair), codes.COMMENT)
    assert "Kernel ?B30f?, then B60f." in comments
    assert any(text.startswith("Places were not compared") and "overlap is 0.41" in text for text in comments)
    assert any("no difference is called a change" in text for text in comments)
    assert not any(
        "no difference is called a change" in text for text in texts_named(written(), codes.COMMENT)
    )


def test_how_well_the_scans_lie_on_each_other_is_said() -> None:
    """The quality of the registration and the worst of all scans are comments too."""
    comments = "\n".join(texts_named(written(), codes.COMMENT))
    assert "overlap of the lungs 0.97" in comments
    assert "Highest burden of 3 scans: 19 % of lung on 2025-11-20." in comments


def test_what_another_model_found_is_not_the_highest_burden() -> None:
    """Its numbers are not compared; that they are in the trend is said."""
    comparison = compared()
    first, *others = comparison.history
    mixed = replace(comparison, history=(replace(first, model="other 1.0"), *others))
    sentences = "\n".join(change_facts(mixed))
    assert "Highest burden" not in sentences
    assert "Another model looked at 1 earlier scan of the trend" in sentences
    assert mixed.peak is not None
    assert mixed.peak.model == others[-1].model
    other_file = replace(comparison, history=(replace(first, model_sha256="ef" * 32), *others))
    assert "Another model looked at 1 earlier scan" in "\n".join(change_facts(other_file))


@pytest.mark.parametrize(
    ("towards", "back", "words"),
    [
        (9.0, 1.0, "On balance 8.0 ml that was ground glass is consolidation now (limit 5.0 ml)."),
        (1.0, 9.0, "On balance 8.0 ml that was consolidation is ground glass now (limit 5.0 ml)."),
        (
            9.0,
            6.0,
            "Nothing beyond what measuring alone may show went from one finding to the other (limit 5.0 ml).",
        ),
    ],
)
def test_what_went_over_between_the_findings_has_a_limit_too(towards: float, back: float, words: str) -> None:
    """Only the balance counts: what lies next to its place goes over in both directions."""
    kinds = Finding.GROUND_GLASS, Finding.CONSOLIDATION
    shift = CompositionShift({kinds: towards, kinds[::-1]: back}, 5.0)
    comparison = replace(compared(), shift=shift)
    assert words in "\n".join(change_facts(comparison))
    unknown = replace(comparison, shift=replace(shift, limit_ml=math.inf))
    assert "ground glass" not in "\n".join(change_facts(unknown))


def test_places_that_were_not_compared_give_no_lesions() -> None:
    """Regions have their change; single lesions have neither change nor prior groups."""
    report = written(Pair(registered=False))
    assert not [label for label in then(report) if "esion " in label]
    assert now(report)["Lesion 1"].value(codes.VOLUME) is not None
    assert now(report)["Lesion 1"].statements.keys().isdisjoint({"lesion-fate", "442714003"})
    assert now(report)["All lesions"].value(codes.VOLUME_CHANGE) is not None


# --- evidence ---------------------------------------------------------------------------------------------


def test_the_earlier_study_is_other_evidence() -> None:
    """What is cited of another study stands in Pertinent Other Evidence; the current evidence is as ever."""
    report = written()
    cited = {one.segmentation for one in then(report).values()} | _cited_reports(report)
    (study,) = report.PertinentOtherEvidenceSequence
    assert study.StudyInstanceUID == EARLIER_STUDY_UID
    assert {uid for _, uid in _listed(study)} == cited
    assert len(cited) == 2
    objects = {str(one.sop_instance_uid): one.dataset for one in USUAL.earlier_results().objects}
    for series_uid, uid in _listed(study):
        assert objects[uid].SeriesInstanceUID == series_uid
    (current,) = report.CurrentRequestedProcedureEvidenceSequence
    assert current.StudyInstanceUID == report.StudyInstanceUID
    own = {one.segmentation for one in now(report).values()}
    sources = {header.SOPInstanceUID for header in USUAL.analysis().volume.headers}
    assert {uid for _, uid in _listed(current)} == own | sources


def test_what_is_not_cited_is_no_evidence() -> None:
    """Film, document and an unknown report of the earlier scan are not listed; nothing cited, no item."""
    (study,) = written(Pair(report=False)).PertinentOtherEvidenceSequence
    assert [uid for _, uid in _listed(study)] == [earlier_segmentation().SOPInstanceUID]
    assert "PertinentOtherEvidenceSequence" not in written(CASES["nothing of the earlier results"])


def test_an_earlier_scan_of_the_same_study_is_current_evidence() -> None:
    """A study stands in the evidence once."""
    analysis = USUAL.analysis()
    assert analysis.comparison is not None
    prior = analysis.comparison.prior
    study_uid = str(analysis.volume.headers[0].StudyInstanceUID)
    same = replace(prior, facts=replace(prior.facts, study_instance_uid=study_uid))
    report = report_of(_with_prior(analysis, same))
    assert "PertinentOtherEvidenceSequence" not in report
    (current,) = report.CurrentRequestedProcedureEvidenceSequence
    assert earlier_segmentation().SOPInstanceUID in {uid for _, uid in _listed(current)}


def _listed(study: Dataset) -> Iterator[tuple[str, str]]:
    for series in study.ReferencedSeriesSequence:
        for item in series.ReferencedSOPSequence:
            yield str(series.SeriesInstanceUID), str(item.ReferencedSOPInstanceUID)


def _cited_reports(report: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in content_items(report)
        if item.ValueType == "COMPOSITE"
    }


def _with_prior(analysis: Analysis, prior: TimePoint) -> Analysis:
    assert analysis.comparison is not None
    return replace(analysis, comparison=replace(analysis.comparison, prior=prior))


# --- what others read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", CASES.values(), ids=CASES.keys())
def test_the_validator_finds_no_fault(pair: Pair, tmp_path: Path) -> None:
    """The SR of every kind of comparison conforms to its IOD, in either class."""
    for report_class in ReportClass:
        path = tmp_path / f"{report_class}.dcm"
        path.write_bytes(encoded(written(pair, ResultForm(report=report_class))))
        assert dciodvfy_complaints(path) == []


@pytest.mark.interop
@pytest.mark.parametrize("pair", CASES.values(), ids=CASES.keys())
def test_dcmtk_reads_the_document(pair: Pair, tmp_path: Path) -> None:
    """DCMTK accepts the content tree without warnings."""
    path = tmp_path / "report.dcm"
    path.write_bytes(encoded(written(pair)))
    assert "Course of the disease" in dsrdump(path)


def test_dcmqi_reads_both_scans_under_one_tracking_uid(tmp_path: Path) -> None:
    """Sorted by Tracking UID and time point, dcmqi has the volumes of then and of now."""
    path = tmp_path / "report.dcm"
    path.write_bytes(encoded(written()))
    read: dict[str, dict[str, float]] = {}
    for group in tid1500_groups(path, tmp_path):
        volumes = [
            float(item["value"])
            for item in group["measurementItems"]
            if item["quantity"]["CodeValue"] == "118565006"
        ]
        read.setdefault(group["TrackingUniqueIdentifier"], {})[group["timePoint"]] = volumes[0]
    comparison = compared()
    tracked = {one.label: one.tracking_uid for one in now(written()).values()}
    total = comparison.total.volume_ml
    assert read[tracked["All lesions"]] == pytest.approx({THEN: total.prior, NOW: total.current})
    grown = next(one for one in comparison.lesions if one.fate is Fate.GROWN)
    assert read[grown.tracking_uid] == pytest.approx(
        {THEN: grown.volume_ml.prior, NOW: grown.volume_ml.current}
    )


def test_a_segment_that_goes_on_has_its_old_tracking_uid() -> None:
    """The SEG tracks a lesion as the earlier SEG did; a new lesion has a UID that no other has."""
    analysis = USUAL.analysis()
    seg = results_of(analysis, lesions_from_ml=EVERY_LESION)[ResultKind.SEGMENTATION]
    now_uids = {one.SegmentLabel: one.TrackingUID for one in seg.SegmentSequence}
    before = {one.TrackingUID for one in earlier_segmentation().SegmentSequence}
    kept = {label for label, uid in now_uids.items() if uid in before and label.startswith("Lesion ")}
    assert kept == {f"Lesion {n}" for n in (1, 2, 3, 5, 6)}
    assert len(set(now_uids.values())) == len(now_uids)


def test_what_was_not_compared_is_as_before() -> None:
    """Without an earlier scan no group has a time point, no item is about a change."""
    report = report_of(replace(USUAL.analysis(), comparison=None))
    assert {one.time_point for one in groups_of(report)} == {""}
    used = {name_of(item) for item in content_items(report)}
    assert used.isdisjoint({codes.VOLUME_CHANGE.value, codes.COURSE.value, "442714003", "122075"})
    assert "PertinentOtherEvidenceSequence" not in report
