"""Measurement groups of the report: TID 1411, each about one segment of the SEG.

A kind of group is a function from `ReportInput` to a list; a further kind (single lesions, zones, priors) is
one more function in `GROUP_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from highdicom import sr
from pydicom.dataset import Dataset

from core import codes
from core.codes import Code
from core.domain import Analysis, Region, RegionMeasurement
from sr_writer.concepts import ABSENT, PERCENT_LESION, PRESENT, Algorithm, RegionConcept, concept, side_found
from sr_writer.context import ResultContext
from sr_writer.uids import ResultUids

#: Stands for the Series Instance UID of the source until the report is built: the library judges UIDs, and a
#: source's has to be repeated as it is.
SOURCE_SERIES_PLACEHOLDER = "2.25.1"

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
    context, uids
        Circumstances and UIDs.
    """

    analysis: Analysis
    segmentation: Dataset
    context: ResultContext
    uids: ResultUids


def lung_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return each lung in view: volume, attenuation, how much of it is lesion, and whether any is."""
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
                _number(PERCENT_LESION, measured.percent_of_lung, codes.PERCENT),
            ]
            groups.append(_group(material, region, numbers, [evaluation]))
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
            groups.append(_group(material, region, numbers))
    return groups


def lesion_group(material: ReportInput) -> list[MeasurementGroup]:
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
    return [_group(material, Region.LESIONS, numbers)]


def _group(
    material: ReportInput,
    region: Region,
    numbers: list[sr.Measurement],
    evaluations: list[sr.QualitativeEvaluation] | None = None,
) -> MeasurementGroup:
    names = RegionConcept.of(region)
    algorithm = Algorithm.of(region, material.analysis.lesions.model, material.context)
    side = side_found(region, material.analysis.measurements)
    segmentation = material.segmentation
    return MeasurementGroup(
        tracking_identifier=sr.TrackingIdentifier(material.uids.tracking(region), names.label),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=str(segmentation.SOPClassUID),
            sop_instance_uid=str(segmentation.SOPInstanceUID),
            segment_number=region.value,
            source_series=sr.SourceSeriesForSegmentation(SOURCE_SERIES_PLACEHOLDER),
        ),
        finding_category=concept(names.category),
        finding_type=concept(names.property_type),
        finding_sites=[sr.FindingSite(concept(names.anatomy), laterality=concept(side))],
        # Algorithm Manufacturer is left out: readers do not know it yet, and the SEG names it.
        algorithm_id=sr.AlgorithmIdentification(
            algorithm.name, algorithm.version, [algorithm.parameters], concept(algorithm.family)
        ),
        measurements=numbers,
        qualitative_evaluations=evaluations,
    )


def _volume_and_attenuation(measured: RegionMeasurement) -> list[sr.Measurement]:
    numbers = [_number(codes.VOLUME, measured.volume_ml, codes.CUBIC_CENTIMETER)]
    if measured.mean_hu is not None:
        numbers.append(_number(codes.ATTENUATION_MEAN, measured.mean_hu, codes.HOUNSFIELD_UNIT))
    if measured.sd_hu is not None:
        numbers.append(_number(codes.ATTENUATION_SD, measured.sd_hu, codes.HOUNSFIELD_UNIT))
    return numbers


def _number(name: Code, value: float, unit: Code) -> sr.Measurement:
    measurement = sr.Measurement(concept(name), value, concept(unit))
    if isinstance(value, int):
        # The library writes a count as "17.0", and viewers show it like that.
        measurement[0].MeasuredValueSequence[0].NumericValue = str(value)
    return measurement


#: Every kind of group, in the order of the report.
GROUP_KINDS: tuple[Callable[[ReportInput], list[MeasurementGroup]], ...] = (
    lung_groups,
    finding_groups,
    lesion_group,
)
