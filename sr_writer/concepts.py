"""What regions, lesions and zones are called, coded and drawn as; one table for the SEG and the SR."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

from core import codes
from core.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_NAME, PRIVATE_SCHEME_UID, Code
from core.comparison import Course
from core.domain import Finding, LesionClass, LesionMeasurements, ModelIdentity, Region, Side, Zone
from sr_writer.context import ResultContext

# CID 240
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
UNDETERMINED = Code("373068000", "SCT", "Undetermined")
# TID 1419 row 10, values CID 244
LATERALITY = Code("272741003", "SCT", "Laterality")
# TID 1500 row 12
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
# CID 7162
_MORPHOLOGICAL_OPERATIONS = Code("123104", "DCM", "Morphological Operations")

SIDE_CODE = {Side.RIGHT: codes.RIGHT, Side.LEFT: codes.LEFT}
LESION_CLASS_CODE = {
    LesionClass.GROUND_GLASS: codes.GROUND_GLASS_OPACITY,
    LesionClass.CONSOLIDATION: codes.CONSOLIDATION,
    LesionClass.MIXED: codes.MIXED_OPACITY,
}
ZONE_CODE = {
    Zone.UPPER_RIGHT: codes.UPPER_ZONE,
    Zone.MIDDLE_RIGHT: codes.MIDDLE_ZONE,
    Zone.LOWER_RIGHT: codes.LOWER_ZONE,
    Zone.UPPER_LEFT: codes.UPPER_ZONE,
    Zone.MIDDLE_LEFT: codes.MIDDLE_ZONE,
    Zone.LOWER_LEFT: codes.LOWER_ZONE,
}
FINDING_CODE = {
    Finding.GROUND_GLASS: codes.GROUND_GLASS_OPACITY,
    Finding.CONSOLIDATION: codes.CONSOLIDATION,
}
COURSE_CODE = {
    Course.PROGRESSION: codes.PROGRESSION,
    Course.REGRESSION: codes.REGRESSION,
    Course.STABLE: codes.STABLE,
    Course.MIXED: codes.MIXED_COURSE,
    Course.UNDETERMINED: UNDETERMINED,
}
_LABEL = {
    Region.LUNG_RIGHT: "Right lung",
    Region.LUNG_LEFT: "Left lung",
    Region.GROUND_GLASS_RIGHT: "Ground glass opacity, right",
    Region.GROUND_GLASS_LEFT: "Ground glass opacity, left",
    Region.CONSOLIDATION_RIGHT: "Consolidation, right",
    Region.CONSOLIDATION_LEFT: "Consolidation, left",
    Region.LESIONS: "All lesions",
}
#: Recommended Display CIELab Value (0062,000D); told apart by lightness as well, for readers with colour
#: vision deficiency.
COLOR_LAB = {
    Region.LUNG_RIGHT: (75.0, -15.0, -25.0),
    Region.LUNG_LEFT: (65.0, -10.0, -35.0),
    Region.GROUND_GLASS_RIGHT: (90.0, -5.0, 70.0),
    Region.GROUND_GLASS_LEFT: (85.0, 5.0, 60.0),
    Region.CONSOLIDATION_RIGHT: (50.0, 65.0, 45.0),
    Region.CONSOLIDATION_LEFT: (45.0, 60.0, 35.0),
    Region.LESIONS: (65.0, 40.0, 60.0),
}


@dataclass(frozen=True, slots=True)
class RegionConcept:
    """How one region is named in results.

    Parameters
    ----------
    label
        Segment Label (0062,0005) and Tracking ID.
    category, property_type
        What the voxels are: CID 7150; CID 7151 and following.
    anatomy, laterality
        Where they can be: CID 4030, CID 244. Where those of a case are, `side_found` tells.
    """

    label: str
    category: Code
    property_type: Code
    anatomy: Code
    laterality: Code

    @classmethod
    def of(cls, region: Region) -> RegionConcept:
        """Return the concept of a region."""
        laterality = codes.BILATERAL if region.side is None else SIDE_CODE[region.side]
        if region.finding is not None:
            property_type = FINDING_CODE[region.finding]
        else:
            property_type = codes.LESION if region is Region.LESIONS else codes.LUNG
        category = (
            codes.ANATOMICAL_STRUCTURE
            if property_type == codes.LUNG
            else codes.MORPHOLOGICALLY_ALTERED_STRUCTURE
        )
        return cls(_LABEL[region], category, property_type, codes.LUNG, laterality)


def side_found(region: Region, measurements: LesionMeasurements) -> Code:
    """Return the laterality of a region in one case; of all lesions, the side or sides that have any."""
    possible = RegionConcept.of(region).laterality
    if possible != codes.BILATERAL:
        return possible
    return laterality(sides_with(measurements)) or possible


def sides_with(
    measurements: LesionMeasurements, findings: Collection[Finding] = tuple(Finding)
) -> tuple[Side, ...]:
    """Return the lungs that have any of some findings."""
    return tuple(
        side
        for side in Side
        if any(
            one.volume_ml > 0
            for one in measurements.regions
            if one.region.side is side and one.region.finding in findings
        )
    )


def laterality(sides: Sequence[Side]) -> Code | None:
    """Return the Laterality (CID 244) of one lung or both, None of no lung."""
    if len(sides) > 1:
        return codes.BILATERAL
    return SIDE_CODE[sides[0]] if sides else None


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What drew a region.

    Parameters
    ----------
    name, version, manufacturer
        Of the algorithm.
    family
        CID 7162.
    parameters
        What it was run with.
    """

    name: str
    version: str
    manufacturer: str
    family: Code
    parameters: str

    @classmethod
    def of(cls, region: Region, model: ModelIdentity, context: ResultContext) -> Algorithm:
        """Return the algorithm of a region: lungs are drawn by the node itself, lesions by the model."""
        if RegionConcept.of(region).property_type == codes.LUNG:
            return cls(
                "lesion-node lungs",
                context.software_version,
                context.manufacturer,
                _MORPHOLOGICAL_OPERATIONS,
                f"settings={context.settings_digest[:16]}",
            )
        # A model's own line may name the provider already.
        provider = () if context.provider in model.parameters else (f"provider={context.provider}",)
        parameters = "; ".join((model.parameters, *provider, f"model sha256={model.sha256}"))
        return cls(model.name, model.version, model.manufacturer, Code(*model.family_code), parameters)


def private_scheme() -> CodingSchemeIdentificationItem:
    """Return the declaration of the private scheme, for Coding Scheme Identification Sequence (0008,0110)."""
    return CodingSchemeIdentificationItem(PRIVATE_SCHEME, name=PRIVATE_SCHEME_NAME, uid=PRIVATE_SCHEME_UID)


def concept(code: Code) -> CodedConcept:
    """Return a code as highdicom wants it."""
    return CodedConcept(code.value, code.scheme, code.meaning)
