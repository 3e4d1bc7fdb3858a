"""What every observation of the bundle is made from, and how one is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core import codes
from core.codes import Code
from core.domain import Analysis, ModelIdentity, Region, Side
from sr_writer.concepts import Algorithm, RegionConcept
from sr_writer.context import ResultContext
from sr_writer.fhir.circumstances import Circumstances
from sr_writer.fhir.elements import (
    LUNG_OF_SIDE,
    Element,
    Resource,
    concept,
    dicom_identifier,
    hl7_concept,
    reference,
    resource_id,
)

#: As the SR has it among its comments; an observation may be shown alone.
_RESEARCH_ONLY = "Research use only."


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What the functions that make observations work from.

    Parameters
    ----------
    analysis
        Source and numbers.
    context, circumstances
        Node, patient, time.
    run_id
        Id of the bundle; ids of observations are derived from it.
    """

    analysis: Analysis
    context: ResultContext
    circumstances: Circumstances
    run_id: str


def observation(
    material: Material,
    key: str,
    code: Code,
    *,
    text: str = "",
    value: Element | None = None,
    site: Element | None = None,
    components: Sequence[Element] = (),
    region: Region = Region.LESIONS,
    notes: Sequence[str] = (),
    prior_study_uid: str = "",
) -> Resource:
    """Return an observation.

    Parameters
    ----------
    material
        Of the bundle.
    key
        Tells it from the others of the bundle.
    code, text
        What was observed.
    value, site, components, notes
        The rest of it, where there is any.
    region
        What was drawn, which tells by whom.
    prior_study_uid
        The study that it compares with.
    """
    around, model = material.circumstances, material.analysis.lesions.model
    algorithm = Algorithm.of(region, model, material.context)
    by_node = RegionConcept.of(region).property_type == codes.LUNG
    value_name = "valueQuantity" if value is not None and "value" in value else "valueCodeableConcept"
    optional = {
        "effectiveDateTime": around.effective,
        value_name: value,
        "note": [{"text": note} for note in (*_research_only(model), *notes)],
        "bodySite": site,
        "component": list(components),
    }
    return {
        "resourceType": "Observation",
        "id": resource_id(material.run_id, key),
        "status": "preliminary",
        "category": [hl7_concept("observation-category", "imaging", "Imaging")],
        "code": concept(code, text=text),
        "subject": around.subject,
        "issued": around.issued,
        "method": {"text": algorithm.parameters},
        "device": reference(around.node if by_node else around.model),
        "derivedFrom": [reference(around.study), *_prior(prior_study_uid)],
        **{name: element for name, element in optional.items() if element},
    }


def lung_site(side: Side | None) -> Element:
    """Return a lung, or the lungs, as a body site."""
    if side is None:
        return concept(codes.LUNG)
    return concept(LUNG_OF_SIDE[side], codes.LUNG, text=f"{side.capitalize()} lung")


def _research_only(model: ModelIdentity) -> tuple[str, ...]:
    return (_RESEARCH_ONLY,) if model.research_only else ()


def _prior(study_instance_uid: str) -> list[Element]:
    """Return a logical reference to the earlier study, which is no resource of this bundle."""
    if not study_instance_uid:
        return []
    return [{"type": "ImagingStudy", "identifier": dicom_identifier(study_instance_uid)}]
