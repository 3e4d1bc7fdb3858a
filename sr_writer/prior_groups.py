"""The values of an earlier scan, as groups of their own: TID 1411 with its date, about the SEG of that time.

A group has the Tracking Unique Identifier of the current group of the same region or lesion, so that a
reader who sorts by it finds both; the Time Point (TID 1502) tells them apart. Without a SEG of the prior scan
there are none, as a group of TID 1411 has to have a segment.
"""

from __future__ import annotations

from dataclasses import dataclass

from core import codes
from core.codes import Code
from core.comparison import Comparison, LesionChange
from core.domain import Lesion, ModelIdentity, Region, ResultKind
from core.forms import LABEL_MAP_SEGMENTATION_STORAGE
from core.time_point import ResultReference
from sr_writer.change_items import FATE_CODE, direction_code
from sr_writer.change_texts import time_points
from sr_writer.concepts import LESION_CLASS_CODE, SIDE_CODE, Algorithm, RegionConcept, side_found
from sr_writer.group_parts import (
    PRIOR_SERIES_PLACEHOLDER,
    MeasurementGroup,
    ReportInput,
    Subject,
    evaluation,
    group_about,
    number,
    volume_and_attenuation,
)
from sr_writer.label_map import LABELS_OF
from sr_writer.segments import lesion_segment_number


@dataclass(frozen=True, slots=True, eq=False)
class _Prior:
    """The scan that is compared with, and its SEG."""

    comparison: Comparison
    segmentation: ResultReference

    @classmethod
    def of(cls, material: ReportInput) -> _Prior | None:
        """Return it where both are known."""
        kind = ResultKind.SEGMENTATION
        if material.comparison is None:
            return None
        found = material.comparison.prior.result(kind, material.form.variant(kind))
        return None if found is None else cls(material.comparison, found)

    def segments_of(self, region: Region) -> tuple[int, ...]:
        """Return the Segment Numbers that a region consists of there."""
        is_label_map = self.segmentation.sop_class_uid == LABEL_MAP_SEGMENTATION_STORAGE
        return LABELS_OF[region.value] if is_label_map else (region.value,)

    def has_segment(self, lesion: Lesion) -> bool:
        """Tell whether a lesion had a segment of its own, by the settings of that time."""
        return lesion_segment_number(lesion) <= self.segmentation.segments

    def subject(
        self,
        tracked: tuple[str, str],
        what: tuple[Code, Code],
        where: Code,
        algorithm: Algorithm | None,
        segment_numbers: tuple[int, ...],
    ) -> Subject:
        """Describe a group of the prior scan: Tracking UID and label, category and type, laterality."""
        return Subject(
            *tracked,
            *what,
            codes.LUNG,
            where,
            algorithm,
            self.segmentation.sop_class_uid,
            self.segmentation.sop_instance_uid,
            segment_numbers,
            PRIOR_SERIES_PLACEHOLDER,
            time_points(self.comparison)[0],
        )


def prior_region_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return each region that had voxels in the prior scan: volume, attenuation, share of its lung."""
    prior = _Prior.of(material)
    if prior is None:
        return []
    point = prior.comparison.prior
    groups = []
    for region in Region:
        measured = point.measurements.of(region)
        if measured.volume_ml <= 0:
            continue
        names, segment = RegionConcept.of(region), material.segments[region.value]
        is_lung = names.property_type == codes.LUNG
        share = codes.PERCENT_LESION if is_lung else codes.PERCENT_OF_LUNG
        subject = prior.subject(
            (segment.tracking_uid, segment.label),
            (names.category, names.property_type),
            side_found(region, point.measurements),
            # The lungs are the node's own work, and its version of that time is not known.
            None if is_lung else _algorithm(point.model),
            prior.segments_of(region),
        )
        numbers = [
            *volume_and_attenuation(measured),
            number(share, measured.percent_of_lung, codes.PERCENT),
        ]
        change = prior.comparison.of(region).volume_ml
        # What is gone has no current group that could say so. A lung that is not found is not resolved.
        resolved = change.is_significant and not is_lung
        gone = codes.RESOLVED if resolved else direction_code(change)
        gone_now = change.current <= 0
        evaluations = [evaluation(codes.DIFFERENCE_IN_SIZE, gone)] if gone_now else []
        groups.append(group_about(subject, numbers, evaluations))
    return groups


def prior_lesion_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return each single lesion that had a segment in the prior scan, and what became of it."""
    prior = _Prior.of(material)
    if prior is None:
        return []
    return [
        group
        for change in prior.comparison.lesions
        for lesion in change.prior
        if prior.has_segment(lesion)
        for group in _lesion(prior, change, lesion)
    ]


def _lesion(prior: _Prior, change: LesionChange, lesion: Lesion) -> list[MeasurementGroup]:
    uid = prior.comparison.prior.tracking_uids.get(lesion.number)
    if uid is None:
        return []
    subject = prior.subject(
        (uid, prior_label(change, lesion)),
        (codes.MORPHOLOGICALLY_ALTERED_STRUCTURE, LESION_CLASS_CODE[lesion.lesion_class]),
        SIDE_CODE[lesion.side],
        _algorithm(prior.comparison.prior.model),
        (lesion_segment_number(lesion),),
    )
    numbers = [
        number(codes.VOLUME, lesion.volume_ml, codes.CUBIC_CENTIMETER),
        number(codes.ATTENUATION_MEAN, lesion.mean_hu, codes.HOUNSFIELD_UNIT),
        number(codes.LONG_AXIS, lesion.long_axis_mm, codes.MILLIMETER),
        number(codes.SHORT_AXIS, lesion.short_axis_mm, codes.MILLIMETER),
    ]
    return [group_about(subject, numbers, [evaluation(codes.LESION_FATE, FATE_CODE[change.fate])])]


def prior_label(change: LesionChange, lesion: Lesion) -> str:
    """Return the name of a prior lesion: that of what it is now, where that carries its Tracking UID on."""
    now = dict(change.carried_on).get(lesion.number)
    return f"Prior lesion {lesion.number}" if now is None else f"Lesion {now}"


def _algorithm(model: ModelIdentity) -> Algorithm:
    parameters = f"{model.parameters}; model sha256={model.sha256}"
    return Algorithm(model.name, model.version, model.manufacturer, Code(*model.family_code), parameters)
