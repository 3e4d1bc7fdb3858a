"""Elements of FHIR R4 (4.0.1) resources, and the codes that only the bundle needs."""

from __future__ import annotations

from typing import Any, TypeAlias
from uuid import UUID

from core import codes
from core.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_UID, Code
from core.comparison import Change, is_known
from core.domain import Side
from core.uid import derived_uid

Resource: TypeAlias = dict[str, Any]
Element: TypeAlias = dict[str, Any]

#: Canonical names of the coding schemes (http://terminology.hl7.org); ours is derived from its designator.
SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    PRIVATE_SCHEME: f"urn:oid:{PRIVATE_SCHEME_UID}",
}
UCUM_SYSTEM = "http://unitsofmeasure.org"
DICOM_UID_SYSTEM = "urn:dicom:uid"
_HL7 = "http://terminology.hl7.org/CodeSystem"

# UCUM; the SR has cm3, because CID 7461 has no ml: the same size.
MILLILITRE = Code("mL", "UCUM", "mL")
PERCENT = Code("%", "UCUM", "%")
MILLILITRE_PER_DAY = Code("mL/d", "UCUM", "mL/d")
MILLIMETRE = Code("mm", "UCUM", "mm")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "HU")
NO_UNIT = Code("1", "UCUM", "")

# SNOMED CT has a code for either lung; the SR says the same by a modifier.
LUNG_OF_SIDE = {
    Side.RIGHT: Code("3341006", "SCT", "Right lung structure"),
    Side.LEFT: Code("44029006", "SCT", "Left lung structure"),
}

_DECIMALS = 3


def concept(*names: Code, text: str = "") -> Element:
    """Return a CodeableConcept; several codes say the same, the most exact one first."""
    coding = [{"system": SYSTEMS[code.scheme], "code": code.value, "display": code.meaning} for code in names]
    return {"coding": coding, "text": text or names[0].meaning}


def hl7_concept(table: str, code: str, display: str) -> Element:
    """Return a CodeableConcept of a table that HL7 keeps."""
    return {"coding": [{"system": f"{_HL7}/{table}", "code": code, "display": display}]}


def quantity(value: float, unit: Code) -> Element:
    """Return a Quantity in UCUM; values have three decimals, as in ``result.json``."""
    number = value if isinstance(value, int) else round(float(value), _DECIMALS) + 0.0
    shown = {"unit": unit.meaning} if unit.meaning else {}
    return {"value": number, **shown, "system": UCUM_SYSTEM, "code": unit.value}


def component(code: Code, value: float, unit: Code) -> Element:
    """Return an Observation.component."""
    return {"code": concept(code), "valueQuantity": quantity(value, unit)}


def change_component(code: Code, change: Change, unit: Code) -> Element:
    """Return a change as a component; its reference range is what is called none, where that is known."""
    item = component(code, change.absolute, unit)
    if is_known(change.limit):
        low, high = (quantity(limit, unit) for limit in (-change.limit, change.limit))
        item["referenceRange"] = [{"low": low, "high": high, "text": codes.NO_SIGNIFICANT_CHANGE.meaning}]
    return item


def dicom_identifier(uid: str) -> Element:
    """Return the identifier of a study or an instance."""
    return {"system": DICOM_UID_SYSTEM, "value": f"urn:oid:{uid}"}


def resource_id(*parts: str) -> str:
    """Return the id that always belongs to these parts: the UUID behind a derived UID (PS3.5 B.2)."""
    return str(UUID(int=int(derived_uid("fhir", *parts).removeprefix("2.25."))))


def reference(resource: Resource) -> Element:
    """Return a reference to a resource of the same bundle."""
    return {"reference": f"urn:uuid:{resource['id']}", "type": resource["resourceType"]}
