"""Measurement groups of the report: TID 1411, each about one segment of the SEG.

A kind of group is a function from `ReportInput` to a list; a further kind (priors) is one more function in
`GROUP_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from highdicom import sr
from pydicom.dataset import Dataset

from core import codes
from core.codes import Code
from core.domain import Analysis, Region, RegionMeasurement, Side, ZoneMeasurement
from core.forms import ResultForm, SegmentationEncoding
from sr_writer.concepts import ABSENT, PRESENT, SIDE_CODE, ZONE_CODE, concept
from sr_writer.context import ResultContext
from sr_writer.label_map import LABELS_OF
from sr_writer.segments import Segment, lesion_segment_number, lesions_of_their_own, segments_of
from sr_writer.uids import ResultUids

#: Stands for the Series Instance UID of the source until the report is built: the library judges UIDs, and a
#: source's has to be repeated as it is.
SOURCE_SERIES_PLACEHOLDER = "2.25.1"
_DIGITS = 7

MeasurementGroup = sr.VolumetricROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True, slots=True, eq=False)
class ReportInput:
    """What the functions that make measurement groups work from.

    Parameters
    ----------
    analysis
        Source and numbers.
    segmentation
        The SEG that the groups refer to.
    context
        Circumstances.
    segments
        What may be measured, by Segment Number of a binary segmentation.
    references
        For each that is in the SEG, the Segment Numbers there that it consists of.
    """

    analysis: Analysis
    segmentation: Dataset
    context: ResultContext
    segments: Mapping[int, Segment]
    references: Mapping[int, tuple[int, ...]]

    @classmethod
    def of(
        cls,
        analysis: Analysis,
        segmentation: Dataset,
        form: ResultForm,
        context: ResultContext,
        uids: ResultUids,
    ) -> ReportInput:
        """Describe the segments of an analysis once more, and where its SEG has them."""
        segments = {one.number: one for one in segments_of(analysis, context, uids)}
        label_map = form.segmentation is SegmentationEncoding.LABELMAP
        references = LABELS_OF if label_map else {number: (number,) for number in segments}
        return cls(analysis, segmentation, context, segments, references)


def lung_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return each lung in view: volume, attenuation, how much of it and of its zones is lesion."""
    groups = []
    measurements = material.analysis.measurements
    for region in (Region.LUNG_RIGHT, Region.LUNG_LEFT):
        measured = measurements.of(region)
        if measured.volume_ml > 0:
            diseased = measured.percent_of_lung > 0
            evaluation = sr.QualitativeEvaluation(
                concept(codes.LESION), concept(PRESENT if diseased else ABSENT)
            )
            numbers = [
                *_volume_and_attenuation(measured),
                _number(codes.PERCENT_LESION, measured.percent_of_lung, codes.PERCENT),
                *_zones(material, region.side),
            ]
            groups.append(_group(material, region.value, numbers, [evaluation]))
    return groups


def finding_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return each finding in each lung, where there is any."""
    groups = []
    for region in Region:
        measured = material.analysis.measurements.of(region)
        if region.finding is not None and measured.volume_ml > 0:
            numbers = [
                *_volume_and_attenuation(measured),
                _number(codes.PERCENT_OF_LUNG, measured.percent_of_lung, codes.PERCENT),
            ]
            groups.append(_group(material, region.value, numbers))
    return groups


def all_lesions_group(material: ReportInput) -> list[MeasurementGroup]:
    """Return all lesions together, where there is any: also their number and the severity of all."""
    measurements = material.analysis.measurements
    measured = measurements.of(Region.LESIONS)
    if measured.volume_ml <= 0:
        return []
    numbers = [
        *_volume_and_attenuation(measured),
        _number(codes.PERCENT_OF_LUNG, measured.percent_of_lung, codes.PERCENT),
        _number(codes.LESION_COUNT, len(measurements.lesions), codes.NO_UNITS),
        _number(codes.SEVERITY_SCORE, measurements.severity_score, codes.NO_UNITS),
    ]
    return [_group(material, Region.LESIONS.value, numbers)]


def single_lesion_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return the larger lesions one by one: how large, how dense, and where."""
    groups = []
    for lesion in lesions_of_their_own(material.analysis, material.context):
        if lesion_segment_number(lesion) not in material.references:
            continue  # a group of TID 1411 without a segment has nothing to stand on
        x_mm, y_mm, z_mm = lesion.centroid_lps_mm
        numbers = [
            _number(codes.VOLUME, lesion.volume_ml, codes.CUBIC_CENTIMETER),
            _number(codes.ATTENUATION_MEAN, lesion.mean_hu, codes.HOUNSFIELD_UNIT),
            _number(codes.LONG_AXIS, lesion.long_axis_mm, codes.MILLIMETER),
            _number(codes.SHORT_AXIS, lesion.short_axis_mm, codes.MILLIMETER),
            _number(codes.PERCENT_CONSOLIDATION, 100.0 * lesion.consolidation_share, codes.PERCENT),
            _number(codes.CENTROID_X, x_mm, codes.MILLIMETER),
            _number(codes.CENTROID_Y, y_mm, codes.MILLIMETER),
            _number(codes.CENTROID_Z, z_mm, codes.MILLIMETER),
        ]
        groups.append(_group(material, lesion_segment_number(lesion), numbers))
    return groups


def _zones(material: ReportInput, side: Side | None) -> list[sr.Measurement]:
    """Return the numbers of a lung's zones."""
    zones = material.analysis.measurements.zones
    return [number for zone in zones if zone.zone.side is side for number in _zone(zone)]


def _zone(measured: ZoneMeasurement) -> list[sr.Measurement]:
    """Return a zone's numbers, each with its own Finding Site (TID 1419 rows 9 and 10); none of no lung."""
    if measured.lung_ml <= 0:
        return []
    where, side = ZONE_CODE[measured.zone], SIDE_CODE[measured.zone.side]
    return [
        _number(name, value, unit, [sr.FindingSite(concept(where), laterality=concept(side))])
        for name, value, unit in (
            (codes.ZONE_PERCENT_LESION, measured.percent, codes.PERCENT),
            (codes.ZONE_LESION_VOLUME, measured.lesion_ml, codes.CUBIC_CENTIMETER),
            (codes.ZONE_SCORE, measured.score, codes.NO_UNITS),
        )
    ]


def _group(
    material: ReportInput,
    segment_number: int,
    numbers: list[sr.Measurement],
    evaluations: list[sr.QualitativeEvaluation] | None = None,
) -> MeasurementGroup:
    segment, segmentation = material.segments[segment_number], material.segmentation
    algorithm = segment.algorithm
    group = MeasurementGroup(
        tracking_identifier=sr.TrackingIdentifier(segment.tracking_uid, segment.label),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=str(segmentation.SOPClassUID),
            sop_instance_uid=str(segmentation.SOPInstanceUID),
            segment_number=segment.number,
            source_series=sr.SourceSeriesForSegmentation(SOURCE_SERIES_PLACEHOLDER),
        ),
        finding_category=concept(segment.category),
        finding_type=concept(segment.property_type),
        finding_sites=[sr.FindingSite(concept(segment.anatomy), laterality=concept(segment.laterality))],
        # Algorithm Manufacturer is left out: readers do not know it yet, and the SEG names it.
        algorithm_id=sr.AlgorithmIdentification(
            algorithm.name, algorithm.version, [algorithm.parameters], concept(algorithm.family)
        ),
        measurements=numbers,
        qualitative_evaluations=evaluations,
    )
    _refer_to(group, material.references[segment_number])
    return group


def _refer_to(group: MeasurementGroup, segment_numbers: Sequence[int]) -> None:
    """Name every segment that a group is about; the library knows groups of one (PS3.3 10.8.1: 1-n)."""
    for item in group[0].ContentSequence:
        for instance in item.get("ReferencedSOPSequence", ()):
            if "ReferencedSegmentNumber" in instance:
                instance.ReferencedSegmentNumber = list(segment_numbers)


def _volume_and_attenuation(measured: RegionMeasurement) -> list[sr.Measurement]:
    numbers = [_number(codes.VOLUME, measured.volume_ml, codes.CUBIC_CENTIMETER)]
    if measured.mean_hu is not None:
        numbers.append(_number(codes.ATTENUATION_MEAN, measured.mean_hu, codes.HOUNSFIELD_UNIT))
    if measured.sd_hu is not None:
        numbers.append(_number(codes.ATTENUATION_SD, measured.sd_hu, codes.HOUNSFIELD_UNIT))
    return numbers


def _number(
    name: Code, value: float, unit: Code, sites: Sequence[sr.FindingSite] | None = None
) -> sr.Measurement:
    # More digits than any scan has, and few enough for viewers, which show all of them.
    rounded = float(f"{value:.{_DIGITS}g}")
    measurement = sr.Measurement(concept(name), rounded, concept(unit), finding_sites=sites)
    if isinstance(value, int):
        # The library writes a count as "17.0", and viewers show it like that.
        measurement[0].MeasuredValueSequence[0].NumericValue = str(value)
    return measurement


#: Every kind of group, in the order of the report.
GROUP_KINDS: tuple[Callable[[ReportInput], list[MeasurementGroup]], ...] = (
    lung_groups,
    finding_groups,
    all_lesions_group,
    single_lesion_groups,
)
