"""The FHIR bundle: whether it is FHIR R4, says what the SR says, and of whom."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import fhirkit
import pytest
from fhirclient.models.bundle import Bundle
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from core.codes import PRIVATE_SCHEME
from core.domain import Analysis, Language, LesionClass, ResultKind, Side, Zone
from sr_writer.fhir.circumstances import Circumstances
from sr_writer.fhir.elements import SYSTEMS, UCUM_SYSTEM
from sr_writer.identity import SourceIdentity
from sr_writer.results import write_results
from tests.contract.test_identity import READABLE
from tests.helpers.analyses import Phantom, analysis_of, context_of

#: Required value sets of R4 (4.0.1) for the codes that the bundle uses; the validators do not look at them.
VALUE_SETS = {
    ("Bundle", "type"): {"document", "message", "transaction", "batch", "history", "searchset", "collection"},
    ("Observation", "status"): {"registered", "preliminary", "final", "amended"},
    ("DiagnosticReport", "status"): {"registered", "partial", "preliminary", "final"},
    ("ImagingStudy", "status"): {"registered", "available", "cancelled", "entered-in-error", "unknown"},
}
SR_UNITS = {"cm3": "mL"}


def written(analysis: Analysis, **changes: object) -> tuple[dict[str, Any], Dataset]:
    """Write SR and bundle of an analysis; return the bundle as parsed from its file, and the SR."""
    results = write_results(analysis, context_of(analysis, **changes))
    (bundle,) = results.files
    (report,) = (one.dataset for one in results.objects if one.kind is ResultKind.MEASUREMENT_REPORT)
    return json.loads(bundle.content), report


def bundle_of(analysis: Analysis, **changes: object) -> dict[str, Any]:
    """Return the bundle alone."""
    return written(analysis, **changes)[0]


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the resources of a type."""
    found = [entry["resource"] for entry in bundle["entry"]]
    return [one for one in found if one["resourceType"] == kind]


def observation(bundle: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the observation of that name."""
    (found,) = [one for one in resources(bundle, "Observation") if one["code"]["text"] == text]
    return found


def numbers(resource: dict[str, Any]) -> dict[tuple[str, str], tuple[float, str]]:
    """Return value and unit of each component, by system and code."""
    found = {}
    for one in resource.get("component", []):
        (coding,) = one["code"]["coding"]
        amount = one["valueQuantity"]
        assert amount["system"] == UCUM_SYSTEM
        found[coding["system"], coding["code"]] = (amount["value"], amount["code"])
    return found


def report_groups(report: Dataset) -> dict[str, dict[tuple[str, str], tuple[float, str]]]:
    """Return the numbers of each measurement group of the SR, by its Tracking Identifier.

    Those with a finding site of their own are about a zone; the bundle has an observation for each zone.
    """
    groups = {}
    (measurements,) = [one for one in report.ContentSequence if _name(one) == "126010"]
    for group in measurements.ContentSequence:
        (label,) = [one.TextValue for one in group.ContentSequence if _name(one) == "112039"]
        groups[label] = {
            (SYSTEMS[code.CodingSchemeDesignator], code.CodeValue): (
                float(one.MeasuredValueSequence[0].NumericValue),
                one.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
            )
            for one in group.ContentSequence
            if one.ValueType == "NUM"
            and "363698007" not in [_name(child) for child in one.get("ContentSequence", ())]
            for code in one.ConceptNameCodeSequence
        }
    return groups


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in item else ""


# --- whether it is FHIR -----------------------------------------------------------------------------------

CASES = {
    "usual": Phantom(),
    "clean": Phantom(lesion_sides=()),
    "one side": Phantom(lesion_sides=(Side.LEFT,)),
    "no lungs": Phantom(lungs=()),
    "enhanced": Phantom(enhanced=True),
    "nothing known": Phantom(
        attributes=dict.fromkeys(
            ("PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate", "StudyTime")
        )
    ),
}


@pytest.mark.parametrize("phantom", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("language", list(Language))
def test_validators_have_nothing_against_it(phantom: Phantom, language: Language) -> None:
    """Two independent R4 implementations read it without a complaint and without losing anything."""
    bundle = bundle_of(analysis_of(phantom), language=language)
    assert [str(issue) for issue in fhirkit.validate(bundle)] == []
    assert Bundle(bundle).as_json() == bundle


@pytest.mark.parametrize("phantom", CASES.values(), ids=CASES.keys())
def test_it_keeps_the_rules_that_validators_do_not_check(phantom: Phantom) -> None:
    """Codes are of their value sets; entries have unique names and requests; references stay inside."""
    bundle = bundle_of(analysis_of(phantom))
    for entry in [{"resource": bundle}, *bundle["entry"]]:
        resource = entry["resource"]
        for (kind, element), allowed in VALUE_SETS.items():
            if resource["resourceType"] == kind:
                assert resource[element] in allowed
    names = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(names)) == len(names)
    for entry in bundle["entry"]:
        resource = entry["resource"]
        assert entry["fullUrl"] == f"urn:uuid:{resource['id']}"
        if entry["request"]["method"] == "PUT":
            assert entry["request"]["url"] == f"{resource['resourceType']}/{resource['id']}"
    inside = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    for reference in _references(bundle):
        assert inside[reference["reference"]] == reference["type"]


def _references(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for one in value for found in _references(one)]
    if not isinstance(value, dict):
        return []
    own = [value] if "reference" in value else []
    return own + [found for one in value.values() for found in _references(one)]


def test_it_can_be_posted_again_and_again() -> None:
    """The same analysis gives the same bytes; another patient, language or generation other ids."""
    analysis = analysis_of()
    first, again = (write_results(analysis, context_of(analysis)).files for _ in range(2))
    assert [file.name for file in first] == ["fhir.json"]
    assert first[0].content == again[0].content
    assert json.loads(first[0].content) == bundle_of(analysis)
    others = (
        bundle_of(analysis_of(Phantom(attributes={"PatientID": "P-0002"}))),
        bundle_of(analysis, language=Language.CHINESE),
        bundle_of(analysis, generation=2),
    )
    ids = [
        {one["id"] for kind in ("Observation", "DiagnosticReport") for one in resources(bundle, kind)}
        for bundle in (bundle_of(analysis), *others)
    ]
    assert len(set.union(*ids)) == sum(len(one) for one in ids)


def test_a_study_that_the_server_has_is_left_alone() -> None:
    """The study is created only where no other has its Study Instance UID; no patient is created."""
    analysis = analysis_of()
    bundle = bundle_of(analysis)
    (entry,) = [one for one in bundle["entry"] if one["resource"]["resourceType"] == "ImagingStudy"]
    header = analysis.volume.headers[0]
    uid = f"urn:oid:{header.StudyInstanceUID}"
    assert entry["resource"]["identifier"][0] == {"system": "urn:dicom:uid", "value": uid}
    assert entry["request"]["ifNoneExist"] == f"identifier=urn:dicom:uid|{uid}"
    assert entry["resource"]["series"][0]["uid"] == header.SeriesInstanceUID
    assert resources(bundle, "Patient") == []


# --- whether it says what the SR says ---------------------------------------------------------------------


@pytest.mark.parametrize("phantom", [CASES["usual"], CASES["clean"], CASES["one side"]])
def test_every_number_is_that_of_the_report(phantom: Phantom) -> None:
    """Each group of the SR has an observation with the same codes, values and units, and no other number."""
    bundle, report = written(analysis_of(phantom), lesions_from_ml=0.5)
    groups = report_groups(report)
    assert groups
    for label, group in groups.items():
        found = numbers(observation(bundle, {"All lesions": "Lesion"}.get(label, label)))
        assert found.keys() == group.keys()
        for code, (value, unit) in group.items():
            assert found[code][0] == pytest.approx(value, abs=0.00051)  # three decimals
            assert found[code][1] == SR_UNITS.get(unit, unit)


def test_presence_is_that_of_the_report() -> None:
    """Present, absent, or, where nobody could look, undetermined; a clean lung has a burden of zero."""
    private = SYSTEMS[PRIVATE_SCHEME]
    for phantom, code, count in ((CASES["usual"], "52101004", 2), (CASES["clean"], "272519000", 0)):
        bundle = bundle_of(analysis_of(phantom))
        burden = observation(bundle, "Lesion")
        assert burden["valueCodeableConcept"]["coding"][0]["code"] == code
        assert numbers(burden)[private, "lesion-count"] == (count, "1")
    assert numbers(burden)[SYSTEMS["SCT"], "118565006"] == (0.0, "mL")
    nobody_looked = bundle_of(analysis_of(CASES["no lungs"]))
    (burden,) = resources(nobody_looked, "Observation")
    assert burden["valueCodeableConcept"]["coding"][0]["code"] == "373068000"
    assert "component" not in burden


def test_zones_and_single_lesions_are_those_of_the_analysis() -> None:
    """Each zone has its score and share; each lesion its class, side, volume and attenuation."""
    analysis = analysis_of()
    zones = tuple(
        replace(zone, percent=10.0 * at, score=at % 5, lung_ml=100.0 + at)
        for at, zone in enumerate(analysis.measurements.zones)
    )
    lesions = tuple(
        replace(analysis.measurements.lesions[0], number=at, lesion_class=kind, side=side, volume_ml=9.0 / at)
        for at, (kind, side) in enumerate(zip(LesionClass, [*Side, Side.RIGHT], strict=True), start=1)
    )
    bundle = bundle_of(
        replace(analysis, measurements=replace(analysis.measurements, zones=zones, lesions=lesions))
    )
    private = SYSTEMS[PRIVATE_SCHEME]
    heights = {"upper": "281392002", "middle": "281393007", "lower": "281394001"}
    sides = {Side.RIGHT: "3341006", Side.LEFT: "44029006"}
    found = {
        tuple(code["code"] for code in one["bodySite"]["coding"]): one
        for one in resources(bundle, "Observation")
        if one["code"]["coding"][0]["code"] == "zone-score"
    }
    assert len(found) == len(Zone)
    for zone in zones:
        one = found[heights[zone.zone.value.split("_")[0]], sides[zone.zone.side]]
        assert zone.zone.side.value in one["bodySite"]["text"]
        assert one["valueQuantity"]["value"] == zone.score
        assert numbers(one) == {
            (SYSTEMS["SCT"], "118565006"): (zone.lung_ml, "mL"),
            (private, "zone-lesion-vol"): (round(zone.lesion_ml, 3), "mL"),
            (private, "zone-percent"): (zone.percent, "%"),
        }
    classes = {"ground_glass": "112120", "consolidation": "95436008", "mixed": "mixed-opacity"}
    for lesion in lesions:
        one = observation(bundle, f"Lesion {lesion.number}")
        assert one["valueCodeableConcept"]["coding"][0]["code"] == classes[lesion.lesion_class.value]
        assert one["bodySite"]["coding"][0]["code"] == sides[lesion.side]
        found_of_it = numbers(one)
        assert found_of_it[SYSTEMS["SCT"], "118565006"] == (round(lesion.volume_ml, 3), "mL")
        assert found_of_it[SYSTEMS["SCT"], "103339001"] == (round(lesion.long_axis_mm, 3), "mm")
        assert found_of_it[private, "centroid-z"] == (round(lesion.centroid_lps_mm[2], 3), "mm")


def test_the_report_is_preliminary_and_for_research() -> None:
    """Nobody has verified it, it names the SR, and the conclusion holds result, warning and remarks."""
    analysis = analysis_of()
    analysis = replace(analysis, volume=replace(analysis.volume, remarks=("Slices are far apart.",)))
    bundle, sr = written(analysis)
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{sr.SOPInstanceUID}"}]
    assert len(report["result"]) == len(resources(bundle, "Observation"))
    every = [report, *resources(bundle, "Observation")]
    assert {one["status"] for one in every} == {"preliminary"}
    for part in (
        f"CT severity score {analysis.measurements.severity_score} of 24",
        "RESEARCH USE ONLY",
        "Slices are far apart.",
    ):
        assert part in report["conclusion"]
    assert all(one["note"][0]["text"] == "Research use only." for one in resources(bundle, "Observation"))
    chinese, _ = written(analysis, language=Language.CHINESE)
    assert "仅供科研使用" in resources(chinese, "DiagnosticReport")[0]["conclusion"]


def test_released_software_is_not_marked() -> None:
    """Where the model does not ask for it, nothing says that it is for research."""
    analysis = analysis_of()
    model = replace(analysis.lesions.model, research_only=False)
    bundle = bundle_of(replace(analysis, lesions=replace(analysis.lesions, model=model)))
    assert "research" not in json.dumps(bundle).lower()


def test_lungs_are_measured_by_the_node_and_lesions_by_the_model() -> None:
    """Each observation names the device that drew its region, as the SR names the algorithm."""
    bundle = bundle_of(analysis_of())
    devices = {f"urn:uuid:{one['id']}": one for one in resources(bundle, "Device")}
    names = {
        one["code"]["text"]: devices[one["device"]["reference"]]["deviceName"][0]["name"]
        for one in resources(bundle, "Observation")
    }
    assert names["Right lung"] == "lesion-node"
    assert names["Ground glass opacity, right"] == names["Lesion"] == "densitometry"


# --- of whom, and when ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("character_set", "raw", "name", "_written"), READABLE.values(), ids=READABLE.keys())
def test_names_are_text(character_set: object, raw: bytes, name: str, _written: str | None) -> None:
    """A name in any character set is decoded; of several groups the one in ideographs is shown."""
    phantom = Phantom(attributes={"SpecificCharacterSet": character_set}, raw={"PatientName": raw})
    (report,) = resources(bundle_of(analysis_of(phantom)), "DiagnosticReport")
    groups = name.rstrip("=").split("=")
    assert report["subject"]["display"] == groups[min(1, len(groups) - 1)].replace("^", " ")
    assert report["subject"]["identifier"] == {"value": "P-0001", "assigner": {"display": "HOSPITAL"}}


def test_a_name_that_cannot_be_read_is_left_out() -> None:
    """Bytes that are not of their character set never become text, and the ID still stands."""
    phantom = Phantom(
        attributes={"SpecificCharacterSet": "ISO_IR 192"}, raw={"PatientName": "王^小东".encode("gbk")}
    )
    subject = resources(bundle_of(analysis_of(phantom)), "DiagnosticReport")[0]["subject"]
    assert subject == {
        "type": "Patient",
        "identifier": {"value": "P-0001", "assigner": {"display": "HOSPITAL"}},
    }


def test_an_issuer_with_an_oid_is_a_system() -> None:
    """Where the header names the issuer by an OID, the identifier has a system that others understand."""
    qualifiers = Dataset()
    qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = "1.2.3.4", "ISO"
    phantom = Phantom(attributes={"IssuerOfPatientIDQualifiersSequence": [qualifiers]})
    subject = resources(bundle_of(analysis_of(phantom)), "DiagnosticReport")[0]["subject"]
    assert subject["identifier"]["system"] == "urn:oid:1.2.3.4"


def test_no_more_of_the_patient_is_said_than_needed() -> None:
    """Name, ID and Accession Number are all; birth date, sex, age and other people's names stay out."""
    text = json.dumps(bundle_of(analysis_of()))
    assert [value for value in ("1960", "066Y", "Ref", "Hospital", '"F"') if value in text] == []
    nobody = json.dumps(bundle_of(analysis_of(CASES["nothing known"])))
    assert [value for value in ("Doe", "Jane", "P-0001", "HOSPITAL", "A-77") if value in nobody] == []
    assert "not stated in the images" in nobody


WHEN = {
    "acquisition, offset of the study": (
        {"AcquisitionDate": "20260228", "AcquisitionTime": "101112.5"},
        "2026-02-28T10:11:12+01:00",
    ),
    "date and time in one, offset of its own": (
        {"AcquisitionDateTime": "20260228101112.250-0330"},
        "2026-02-28T10:11:12-03:30",
    ),
    "minutes only": ({"AcquisitionDate": "20260228", "AcquisitionTime": "1011"}, "2026-02-28T10:11:00+01:00"),
    "no time": ({"AcquisitionDate": "20260228"}, "2026-02-28"),
    "no offset": (
        {"TimezoneOffsetFromUTC": None, "AcquisitionDate": "20260228", "AcquisitionTime": "101112"},
        "2026-02-28",
    ),
    "no acquisition": ({}, "2026-03-01T11:15:00+01:00"),
    "no such day": ({"AcquisitionDateTime": "20260230101112"}, "2026-03-01T11:15:00+01:00"),
}


@pytest.mark.parametrize(("attributes", "expected"), WHEN.values(), ids=WHEN.keys())
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_when_the_images_were_taken(attributes: dict[str, Any], expected: str) -> None:
    """The most exact statement counts; a time without a time zone would be a guess and is left out."""
    bundle = bundle_of(analysis_of(Phantom(attributes=attributes)))
    every = [*resources(bundle, "Observation"), *resources(bundle, "DiagnosticReport")]
    assert {one["effectiveDateTime"] for one in every} == {expected}


def test_when_it_was_computed() -> None:
    """The moment of the analysis is told in the offset of the study."""
    bundle = bundle_of(analysis_of())
    assert bundle["timestamp"] == "2026-03-01T11:30:15+01:00"
    assert resources(bundle, "DiagnosticReport")[0]["issued"] == bundle["timestamp"]


@given(
    date=st.text("0123456789.-: ", max_size=10).map(str.encode),
    time=st.text("0123456789.:+- ", max_size=14).map(str.encode),
)
def test_any_date_gives_a_valid_bundle_or_none(date: bytes, time: bytes) -> None:
    """Whatever scanners write into dates, what comes out is a FHIR dateTime."""
    raw = {"AcquisitionDate": date, "AcquisitionTime": time, "StudyDate": date, "StudyTime": time}
    analysis = analysis_of(Phantom(shape_zyx=(4, 16, 16), raw=raw))
    around = Circumstances.of(
        SourceIdentity.of(analysis.volume), 4, context_of(analysis), analysis.lesions.model
    )
    probe = {"resourceType": "ImagingStudy", "status": "available", "subject": {"display": "x"}}
    started = {"started": around.study["started"]} if "started" in around.study else {}
    assert fhirkit.validate({**probe, **started}) == []
    if around.effective:
        assert fhirkit.validate({**probe, "started": around.effective}) == []
