"""What measurement groups of the report are made of: TID 1411 around a segment, numbers of TID 1419."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from highdicom import sr
from pydicom.dataset import Dataset

from core import codes
from core.codes import Code
from core.comparison import Comparison
from core.domain import Analysis, RegionMeasurement
from core.forms import ResultForm, SegmentationEncoding
from sr_writer.change_texts import time_points
from sr_writer.concepts import Algorithm, concept
from sr_writer.context import ResultContext
from sr_writer.label_map import LABELS_OF
from sr_writer.segments import Segment, segments_of
from sr_writer.uids import ResultUids

#: Stands for the Series Instance UID of the source until the report is built: the library judges UIDs, and a
#: source's has to be repeated as it is.
SOURCE_SERIES_PLACEHOLDER = "2.25.1"
#: The same for the source of the scan that is compared with.
PRIOR_SERIES_PLACEHOLDER = "2.25.2"
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
    form
        Encoding of SEG and report.
    context
        Circumstances.
    segments
        What may be measured, by Segment Number of a binary segmentation.
    references
        For each that is in the SEG, the Segment Numbers there that it consists of.
    """

    analysis: Analysis
    segmentation: Dataset
    form: ResultForm
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
        return cls(analysis, segmentation, form, context, segments, references)

    @property
    def comparison(self) -> Comparison | None:
        """What changed since an earlier scan."""
        return self.analysis.comparison


@dataclass(frozen=True, slots=True)
class Subject:
    """What a measurement group is about.

    Parameters
    ----------
    tracking_uid, label
        Tracking Unique Identifier, and the Tracking Identifier for people.
    category, property_type
        Finding category and finding.
    anatomy, laterality
        Finding site.
    algorithm
        What drew it; None where that is not known.
    sop_class_uid, sop_instance_uid, segment_numbers
        Where its voxels are.
    source_series
        The placeholder of the series that was segmented.
    time_point
        Which scan, where there are several (TID 1502); empty where there is one.
    """

    tracking_uid: str
    label: str
    category: Code
    property_type: Code
    anatomy: Code
    laterality: Code
    algorithm: Algorithm | None
    sop_class_uid: str
    sop_instance_uid: str
    segment_numbers: tuple[int, ...]
    source_series: str = SOURCE_SERIES_PLACEHOLDER
    time_point: str = ""

    @classmethod
    def of_segment(cls, material: ReportInput, segment_number: int) -> Subject:
        """Return a segment of the report's own SEG, by its number in a binary one."""
        segment = material.segments[segment_number]
        return cls(
            tracking_uid=segment.tracking_uid,
            label=segment.label,
            category=segment.category,
            property_type=segment.property_type,
            anatomy=segment.anatomy,
            laterality=segment.laterality,
            algorithm=segment.algorithm,
            sop_class_uid=str(material.segmentation.SOPClassUID),
            sop_instance_uid=str(material.segmentation.SOPInstanceUID),
            segment_numbers=material.references[segment_number],
            time_point="" if material.comparison is None else time_points(material.comparison)[1],
        )


def group_about(
    subject: Subject,
    numbers: Sequence[sr.Measurement],
    evaluations: Sequence[sr.QualitativeEvaluation] = (),
) -> MeasurementGroup:
    """Return the group of a segment."""
    algorithm, when = subject.algorithm, subject.time_point
    group = MeasurementGroup(
        tracking_identifier=sr.TrackingIdentifier(subject.tracking_uid, subject.label),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=subject.sop_class_uid,
            sop_instance_uid=subject.sop_instance_uid,
            segment_number=subject.segment_numbers[0],
            source_series=sr.SourceSeriesForSegmentation(subject.source_series),
        ),
        time_point_context=sr.TimePointContext(when) if when else None,
        finding_category=concept(subject.category),
        finding_type=concept(subject.property_type),
        finding_sites=[sr.FindingSite(concept(subject.anatomy), laterality=concept(subject.laterality))],
        # Algorithm Manufacturer is left out: readers do not know it yet, and the SEG names it.
        algorithm_id=None
        if algorithm is None
        else sr.AlgorithmIdentification(
            algorithm.name, algorithm.version, [algorithm.parameters], concept(algorithm.family)
        ),
        measurements=list(numbers),
        qualitative_evaluations=list(evaluations) or None,
    )
    _refer_to(group, subject.segment_numbers)
    return group


def number(
    name: Code, value: float, unit: Code, sites: Sequence[sr.FindingSite] | None = None
) -> sr.Measurement:
    """Return a number of a group; counts are written without decimals."""
    measurement = sr.Measurement(concept(name), rounded(value), concept(unit), finding_sites=sites)
    if isinstance(value, int):
        # The library writes a count as "17.0", and viewers show it like that.
        measurement[0].MeasuredValueSequence[0].NumericValue = str(value)
    return measurement


def rounded(value: float) -> float:
    """Return a value with more digits than any scan has, and few enough for viewers, which show all."""
    return float(f"{value:.{_DIGITS}g}")


def volume_and_attenuation(measured: RegionMeasurement) -> list[sr.Measurement]:
    """Return the numbers that every region has."""
    numbers = [number(codes.VOLUME, measured.volume_ml, codes.CUBIC_CENTIMETER)]
    if measured.mean_hu is not None:
        numbers.append(number(codes.ATTENUATION_MEAN, measured.mean_hu, codes.HOUNSFIELD_UNIT))
    if measured.sd_hu is not None:
        numbers.append(number(codes.ATTENUATION_SD, measured.sd_hu, codes.HOUNSFIELD_UNIT))
    return numbers


def evaluation(name: Code, value: Code) -> sr.QualitativeEvaluation:
    """Return a coded statement of a group."""
    return sr.QualitativeEvaluation(concept(name), concept(value))


def _refer_to(group: MeasurementGroup, segment_numbers: Sequence[int]) -> None:
    """Name every segment that a group is about; the library knows groups of one (PS3.3 10.8.1: 1-n)."""
    for item in group[0].ContentSequence:
        for instance in item.get("ReferencedSOPSequence", ()):
            if "ReferencedSegmentNumber" in instance:
                instance.ReferencedSegmentNumber = list(segment_numbers)
