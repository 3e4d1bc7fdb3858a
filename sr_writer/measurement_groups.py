"""Measurement groups of the report: TID 1411, each about one segment of a SEG.

A kind of group is a function from `ReportInput` to a list; a further kind is one more function in
`GROUP_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable

from highdicom import sr

from core import codes
from core.domain import Region, Side, ZoneMeasurement
from sr_writer.change_items import ChangeItems, lesion_items, region_items, zone_changes
from sr_writer.concepts import ABSENT, PRESENT, SIDE_CODE, ZONE_CODE, concept
from sr_writer.group_parts import (
    MeasurementGroup,
    ReportInput,
    Subject,
    evaluation,
    group_about,
    number,
    volume_and_attenuation,
)
from sr_writer.prior_groups import prior_lesion_groups, prior_region_groups
from sr_writer.segments import lesion_segment_number, lesions_of_their_own


def lung_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return each lung in view: volume, attenuation, how much of it and of its zones is lesion."""
    groups = []
    measurements = material.analysis.measurements
    for region in (Region.LUNG_RIGHT, Region.LUNG_LEFT):
        measured = measurements.of(region)
        if measured.volume_ml > 0:
            presence = evaluation(codes.LESION, PRESENT if measured.percent_of_lung > 0 else ABSENT)
            numbers = [
                *volume_and_attenuation(measured),
                number(codes.PERCENT_LESION, measured.percent_of_lung, codes.PERCENT),
                *_zones(material, region.side),
            ]
            change = region_items(material, region)
            change = ChangeItems([*change.numbers, *zone_changes(material, region.side)], change.evaluations)
            groups.append(_group(material, region.value, numbers, change, [presence]))
    return groups


def finding_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return each finding in each lung, where there is any."""
    groups = []
    for region in Region:
        measured = material.analysis.measurements.of(region)
        if region.finding is not None and measured.volume_ml > 0:
            numbers = [
                *volume_and_attenuation(measured),
                number(codes.PERCENT_OF_LUNG, measured.percent_of_lung, codes.PERCENT),
            ]
            groups.append(_group(material, region.value, numbers, region_items(material, region)))
    return groups


def all_lesions_group(material: ReportInput) -> list[MeasurementGroup]:
    """Return all lesions together, where there is any: also their number and the severity of all."""
    measurements = material.analysis.measurements
    measured = measurements.of(Region.LESIONS)
    if measured.volume_ml <= 0:
        return []
    numbers = [
        *volume_and_attenuation(measured),
        number(codes.PERCENT_OF_LUNG, measured.percent_of_lung, codes.PERCENT),
        number(codes.LESION_COUNT, len(measurements.lesions), codes.NO_UNITS),
        number(codes.SEVERITY_SCORE, measurements.severity_score, codes.NO_UNITS),
    ]
    return [_group(material, Region.LESIONS.value, numbers, region_items(material, Region.LESIONS))]


def single_lesion_groups(material: ReportInput) -> list[MeasurementGroup]:
    """Return the larger lesions one by one: how large, how dense, and where."""
    groups = []
    for lesion in lesions_of_their_own(material.analysis, material.context):
        if lesion_segment_number(lesion) not in material.references:
            continue  # a group of TID 1411 without a segment has nothing to stand on
        x_mm, y_mm, z_mm = lesion.centroid_lps_mm
        numbers = [
            number(codes.VOLUME, lesion.volume_ml, codes.CUBIC_CENTIMETER),
            number(codes.ATTENUATION_MEAN, lesion.mean_hu, codes.HOUNSFIELD_UNIT),
            number(codes.LONG_AXIS, lesion.long_axis_mm, codes.MILLIMETER),
            number(codes.SHORT_AXIS, lesion.short_axis_mm, codes.MILLIMETER),
            number(codes.PERCENT_CONSOLIDATION, 100.0 * lesion.consolidation_share, codes.PERCENT),
            number(codes.CENTROID_X, x_mm, codes.MILLIMETER),
            number(codes.CENTROID_Y, y_mm, codes.MILLIMETER),
            number(codes.CENTROID_Z, z_mm, codes.MILLIMETER),
        ]
        change = lesion_items(material, lesion)
        groups.append(_group(material, lesion_segment_number(lesion), numbers, change))
    return groups


def _zones(material: ReportInput, side: Side | None) -> list[sr.Measurement]:
    """Return the numbers of a lung's zones."""
    zones = material.analysis.measurements.zones
    return [one for zone in zones if zone.zone.side is side for one in _zone(zone)]


def _zone(measured: ZoneMeasurement) -> list[sr.Measurement]:
    """Return a zone's numbers, each with its own Finding Site (TID 1419 rows 9 and 10); none of no lung."""
    if measured.lung_ml <= 0:
        return []
    where, side = ZONE_CODE[measured.zone], SIDE_CODE[measured.zone.side]
    return [
        number(name, value, unit, [sr.FindingSite(concept(where), laterality=concept(side))])
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
    change: ChangeItems,
    evaluations: list[sr.QualitativeEvaluation] | None = None,
) -> MeasurementGroup:
    return group_about(
        Subject.of_segment(material, segment_number),
        [*numbers, *change.numbers],
        [*(evaluations or ()), *change.evaluations],
    )


#: Every kind of group, in the order of the report.
GROUP_KINDS: tuple[Callable[[ReportInput], list[MeasurementGroup]], ...] = (
    lung_groups,
    finding_groups,
    all_lesions_group,
    single_lesion_groups,
    prior_region_groups,
    prior_lesion_groups,
)
