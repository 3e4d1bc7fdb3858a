"""Observations of the bundle: one for each measured thing, its numbers as components.

A kind of observation is a function from `Material` to a list; a further kind is one more function in
`OBSERVATION_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable

from core import codes
from core.codes import Code
from core.domain import Region, RegionMeasurement, Zone
from sr_writer.concepts import (
    ABSENT,
    LESION_CLASS_CODE,
    PRESENT,
    UNDETERMINED,
    ZONE_CODE,
    RegionConcept,
)
from sr_writer.fhir.changes import course, lesion_changes, region_changes
from sr_writer.fhir.elements import (
    HOUNSFIELD,
    LUNG_OF_SIDE,
    MILLILITRE,
    MILLIMETRE,
    NO_UNIT,
    PERCENT,
    Element,
    Resource,
    component,
    concept,
    quantity,
)
from sr_writer.fhir.material import Material, lung_site, observation
from sr_writer.totals import lung_volume_ml

_CENTROID = (codes.CENTROID_X, codes.CENTROID_Y, codes.CENTROID_Z)


def burden(material: Material) -> list[Resource]:
    """Return all lesions together: whether there are any, and how much; without a lung nobody looked."""
    numbers = material.analysis.measurements
    measured = numbers.of(Region.LESIONS)
    if lung_volume_ml(numbers) <= 0:
        return [observation(material, "burden", codes.LESION, value=concept(UNDETERMINED))]
    return [
        observation(
            material,
            "burden",
            codes.LESION,
            value=concept(PRESENT if measured.volume_ml > 0 else ABSENT),
            site=lung_site(None),
            components=[
                *_volume_and_attenuation(measured),
                component(codes.PERCENT_OF_LUNG, measured.percent_of_lung, PERCENT),
                component(codes.LESION_COUNT, len(numbers.lesions), NO_UNIT),
                component(codes.SEVERITY_SCORE, numbers.severity_score, NO_UNIT),
            ],
        )
    ]


def lungs(material: Material) -> list[Resource]:
    """Return each lung in view."""
    return [
        _region(material, region, codes.PERCENT_LESION)
        for region in (Region.LUNG_RIGHT, Region.LUNG_LEFT)
        if material.analysis.measurements.of(region).volume_ml > 0
    ]


def findings(material: Material) -> list[Resource]:
    """Return each finding in each lung, where there is any."""
    return [
        _region(material, region, codes.PERCENT_OF_LUNG)
        for region in Region
        if region.finding is not None and material.analysis.measurements.of(region).volume_ml > 0
    ]


def zones(material: Material) -> list[Resource]:
    """Return the severity of each zone in view."""
    return [
        observation(
            material,
            zone.zone.value,
            codes.ZONE_SCORE,
            value=quantity(zone.score, NO_UNIT),
            site=concept(ZONE_CODE[zone.zone], LUNG_OF_SIDE[zone.zone.side], text=_zone_name(zone.zone)),
            components=[
                component(codes.VOLUME, zone.lung_ml, MILLILITRE),
                component(codes.ZONE_LESION_VOLUME, zone.lesion_ml, MILLILITRE),
                component(codes.ZONE_PERCENT_LESION, zone.percent, PERCENT),
            ],
        )
        for zone in material.analysis.measurements.zones
        if zone.lung_ml > 0
    ]


def single_lesions(material: Material) -> list[Resource]:
    """Return each single lesion, largest first."""
    return [
        observation(
            material,
            f"lesion {lesion.number}",
            codes.LESION,
            text=f"Lesion {lesion.number}",
            value=concept(LESION_CLASS_CODE[lesion.lesion_class]),
            site=lung_site(lesion.side),
            components=[
                component(codes.VOLUME, lesion.volume_ml, MILLILITRE),
                component(codes.ATTENUATION_MEAN, lesion.mean_hu, HOUNSFIELD),
                component(codes.LONG_AXIS, lesion.long_axis_mm, MILLIMETRE),
                component(codes.SHORT_AXIS, lesion.short_axis_mm, MILLIMETRE),
                component(codes.PERCENT_CONSOLIDATION, 100.0 * lesion.consolidation_share, PERCENT),
                *(
                    component(code, value_mm, MILLIMETRE)
                    for code, value_mm in zip(_CENTROID, lesion.centroid_lps_mm, strict=True)
                ),
            ],
        )
        for lesion in material.analysis.measurements.lesions
    ]


def _zone_name(zone: Zone) -> str:
    """Return "Upper zone of right lung" and the like: the code of a zone does not say of which lung."""
    height, side = zone.value.split("_")
    return f"{height.capitalize()} zone of {side} lung"


def _region(material: Material, region: Region, share: Code) -> Resource:
    names, measured = RegionConcept.of(region), material.analysis.measurements.of(region)
    return observation(
        material,
        region.name,
        names.property_type,
        text=names.label,
        site=lung_site(region.side),
        components=[
            *_volume_and_attenuation(measured),
            component(share, measured.percent_of_lung, PERCENT),
        ],
        region=region,
    )


def _volume_and_attenuation(measured: RegionMeasurement) -> list[Element]:
    numbers = [component(codes.VOLUME, measured.volume_ml, MILLILITRE)]
    if measured.mean_hu is not None:
        numbers.append(component(codes.ATTENUATION_MEAN, measured.mean_hu, HOUNSFIELD))
    if measured.sd_hu is not None:
        numbers.append(component(codes.ATTENUATION_SD, measured.sd_hu, HOUNSFIELD))
    return numbers


#: Every kind of observation, in the order of the report.
OBSERVATION_KINDS: tuple[Callable[[Material], list[Resource]], ...] = (
    burden,
    lungs,
    findings,
    zones,
    single_lesions,
    course,
    region_changes,
    lesion_changes,
)
