"""Observations of what changed since an earlier scan: the course, each region, each lesion."""

from __future__ import annotations

from core import codes
from core.comparison import Change, Comparison, LesionChange
from core.domain import Region
from sr_writer.change_items import FATE_CODE, direction_code, share_codes
from sr_writer.change_texts import change_facts, change_warnings
from sr_writer.concepts import COURSE_CODE, RegionConcept
from sr_writer.context import plain_text
from sr_writer.fhir.elements import (
    MILLILITRE,
    MILLILITRE_PER_DAY,
    PERCENT,
    Element,
    Resource,
    change_component,
    component,
    concept,
)
from sr_writer.fhir.material import Material, lung_site, observation


def course(material: Material) -> list[Resource]:
    """Return what became of the disease, why that is said, and what a reader has to know about it."""
    comparison = material.analysis.comparison
    if comparison is None:
        return []
    remarks = (comparison.because, *change_warnings(comparison), *change_facts(comparison))
    return [
        observation(
            material,
            "course",
            codes.COURSE,
            value=concept(COURSE_CODE[comparison.course]),
            site=lung_site(None),
            notes=[plain_text(remark) for remark in remarks],
            prior_study_uid=_study(comparison),
        )
    ]


def region_changes(material: Material) -> list[Resource]:
    """Return how the size of each region differs that was there then or is there now."""
    comparison = material.analysis.comparison
    if comparison is None:
        return []
    return [
        _region(material, comparison, region)
        for region in Region
        if comparison.of(region).volume_ml.prior > 0 or comparison.of(region).volume_ml.current > 0
    ]


def lesion_changes(material: Material) -> list[Resource]:
    """Return what became of each lesion of either scan."""
    comparison = material.analysis.comparison
    if comparison is None:
        return []
    return [_lesion(material, comparison, change) for change in comparison.lesions]


def _region(material: Material, comparison: Comparison, region: Region) -> Resource:
    change, (prior_share, share_change) = comparison.of(region), share_codes(region)
    return observation(
        material,
        f"change {region.name}",
        codes.DIFFERENCE_IN_SIZE,
        text=f"Change: {RegionConcept.of(region).label}",
        value=concept(direction_code(change.volume_ml)),
        site=lung_site(region.side),
        components=[
            *_volume(change.volume_ml),
            component(prior_share, change.percent_of_lung.prior, PERCENT),
            change_component(share_change, change.percent_of_lung, PERCENT),
        ],
        region=region,
        prior_study_uid=_study(comparison),
    )


def _lesion(material: Material, comparison: Comparison, change: LesionChange) -> Resource:
    now = " and ".join(str(one.number) for one in change.current)
    then = " and ".join(str(one.number) for one in change.prior)
    text = f"Course: lesion {now}" if now else f"Course: prior lesion {then}"
    return observation(
        material,
        f"change of lesion {now} from {then}",
        codes.LESION_FATE,
        text=text,
        value=concept(FATE_CODE[change.fate]),
        site=lung_site(change.side),
        components=_volume(change.volume_ml) if change.prior else [],
        prior_study_uid=_study(comparison),
    )


def _volume(change: Change) -> list[Element]:
    numbers = [
        component(codes.PRIOR_VOLUME, change.prior, MILLILITRE),
        change_component(codes.VOLUME_CHANGE, change, MILLILITRE),
    ]
    for code, value, unit in (
        (codes.VOLUME_CHANGE_PERCENT, change.percent, PERCENT),
        (codes.VOLUME_CHANGE_PER_DAY, change.per_day, MILLILITRE_PER_DAY),
    ):
        if value is not None:
            numbers.append(component(code, value, unit))
    return numbers


def _study(comparison: Comparison) -> str:
    return comparison.prior.facts.study_instance_uid
