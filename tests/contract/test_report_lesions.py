"""Single lesions and zones in the written report, judged by its bytes and by programs that are not ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from core import codes
from core.codes import Code
from core.domain import LesionClass, Region, ResultKind, Side
from tests.helpers.analyses import Phantom, analysis_of, results_of
from tests.helpers.judges import read_segments, tid1500_groups
from tests.helpers.reports import content_items, name_of, numbers_of, report_of, texts_named, written

TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
MIXED = Phantom(dense_radii_mm=(5.0, 5.0, 7.5))


@pytest.mark.parametrize("phantom", [Phantom(), MIXED, Phantom(enhanced=True)])
def test_single_lesions_are_measured_one_by_one(phantom: Phantom, tmp_path: Path) -> None:
    """The group of each lesion has its numbers, and its segment, read by another program, is that lesion."""
    analysis = analysis_of(phantom)
    paths = written(analysis, tmp_path)
    segments = read_segments(paths[ResultKind.SEGMENTATION], tmp_path)
    groups = tid1500_groups(paths[ResultKind.MEASUREMENT_REPORT], tmp_path)[len(Region) :]
    assert [group["TrackingIdentifier"] for group in groups] == ["Lesion 1", "Lesion 2"]
    for lesion, group in zip(analysis.measurements.lesions, groups, strict=True):
        segment, numbers = segments[group["ReferencedSegment"]], numbers_of(group)
        assert numbers[codes.VOLUME.value] == pytest.approx(segment.volume_ml, rel=1e-6)
        assert numbers[codes.ATTENUATION_MEAN.value] == pytest.approx(lesion.mean_hu)
        long, short = (numbers[code.value] for code in (codes.LONG_AXIS, codes.SHORT_AXIS))
        assert (long, short) == pytest.approx((lesion.long_axis_mm, lesion.short_axis_mm))
        assert long >= short > 0
        assert numbers[codes.PERCENT_CONSOLIDATION.value] == pytest.approx(100 * lesion.consolidation_share)
        centroid = [numbers[code.value] for code in (codes.CENTROID_X, codes.CENTROID_Y, codes.CENTROID_Z)]
        assert centroid == pytest.approx(segment.points_lps_mm().mean(axis=0), abs=1e-3)
        assert group["Laterality"]["CodeMeaning"].lower() == lesion.side
        assert group["FindingSite"]["CodeValue"] == codes.LUNG.value


@pytest.mark.parametrize(
    ("dense_radii_mm", "lesion_class", "finding"),
    [
        ((1.0, 1.0, 1.0), LesionClass.GROUND_GLASS, codes.GROUND_GLASS_OPACITY),
        ((5.0, 5.0, 7.5), LesionClass.MIXED, codes.MIXED_OPACITY),
        ((9.0, 9.0, 12.0), LesionClass.CONSOLIDATION, codes.CONSOLIDATION),
    ],
)
def test_the_finding_of_a_lesion_is_its_class(
    dense_radii_mm: tuple[float, float, float], lesion_class: LesionClass, finding: Code, tmp_path: Path
) -> None:
    """Ground glass, consolidation, and what is both are told apart by code, the same in SEG and SR."""
    analysis = analysis_of(Phantom(dense_radii_mm=dense_radii_mm))
    assert analysis.measurements.lesions[0].lesion_class is lesion_class
    paths = written(analysis, tmp_path)
    found = tid1500_groups(paths[ResultKind.MEASUREMENT_REPORT], tmp_path)
    groups = {group["ReferencedSegment"]: group for group in found}
    assert groups[8]["Finding"]["CodeValue"] == finding.value
    seg = dcmread(paths[ResultKind.SEGMENTATION])
    assert seg.SegmentSequence[7].SegmentedPropertyTypeCodeSequence[0].CodeValue == finding.value


def test_the_sites_limit_decides_which_lesions_are_listed() -> None:
    """A lesion below the limit has no group, and no lesion is lost from the group of all of them."""
    report = results_of(analysis_of(), lesions_from_ml=1.0)[ResultKind.MEASUREMENT_REPORT]
    assert texts_named(report, TRACKING_IDENTIFIER)[-2:] == ["All lesions", "Lesion 1"]
    counts = [item for item in content_items(report) if name_of(item) == codes.LESION_COUNT.value]
    assert [item.MeasuredValueSequence[0].NumericValue for item in counts] == [2]


@pytest.mark.parametrize("phantom", [Phantom(), Phantom(lesion_sides=())], ids=["lesions", "no lesion"])
def test_zones_stand_in_the_group_of_their_lung(phantom: Phantom) -> None:
    """Each lung has a table of three zones; each number says of which zone, on which side, it is."""
    analysis = analysis_of(phantom)
    groups = [item for item in content_items(report_of(analysis)) if name_of(item) == "125007"]
    place = {"upper": codes.UPPER_ZONE, "middle": codes.MIDDLE_ZONE, "lower": codes.LOWER_ZONE}
    for group, side in zip(groups, Side, strict=False):
        found = {
            (name_of(item), *_site(item)): float(item.MeasuredValueSequence[0].NumericValue)
            for item in group.ContentSequence
            if item.ValueType == "NUM" and "ContentSequence" in item
        }
        expected = {}
        for zone in analysis.measurements.zones:
            if zone.zone.side is side:
                where = (place[zone.zone.partition("_")[0]].value, side.value)
                expected[(codes.ZONE_PERCENT_LESION.value, *where)] = pytest.approx(zone.percent)
                expected[(codes.ZONE_LESION_VOLUME.value, *where)] = pytest.approx(zone.lesion_ml)
                expected[(codes.ZONE_SCORE.value, *where)] = zone.score
        assert len(expected) == 9
        assert found == expected


def _site(item: Dataset) -> tuple[str, str]:
    """Return the code value of an item's Finding Site, and its laterality in lower case."""
    (site,) = (child for child in item.ContentSequence if name_of(child) == "363698007")
    (side,) = site.ContentSequence
    return site.ConceptCodeSequence[0].CodeValue, side.ConceptCodeSequence[0].CodeMeaning.lower()


def test_a_lungs_own_numbers_are_found_by_name() -> None:
    """In no group two numbers without a site of their own share a name, nor is a zone's name one of those."""
    for group in (one for one in content_items(report_of(analysis_of())) if name_of(one) == "125007"):
        numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
        own = [name_of(item) for item in numbers if "ContentSequence" not in item]
        zonal = {name_of(item) for item in numbers if "ContentSequence" in item}
        assert len(own) == len(set(own))
        assert not zonal & set(own)
