"""The comparison with an earlier scan in the FHIR bundle and in ``result.json``."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import fhirkit
import pytest
from fhirclient.models.bundle import Bundle

from core import codes
from core.comparison import Comparison, Course, Fate
from core.domain import Analysis, Language, Region, Side
from lesionnode.comparison_json import comparison_json
from lesionnode.pipeline import Analysed
from lesionnode.result_json import refused_json, result_json
from sr_writer.fhir.elements import SYSTEMS
from sr_writer.results import write_results
from tests.helpers.analyses import Phantom, context_of
from tests.helpers.comparisons import BECAUSE, EARLIER_STUDY_UID, WARNINGS, Pair

CASES = {
    "all that there is": Pair(),
    "places not compared": Pair(registered=False),
    "repeatability unknown": Pair(repeatability=False),
    "no dates": Pair(dated=False),
    "nothing left": Pair(later=Phantom(lesion_sides=()), earlier=Phantom()),
    "all new": Pair(earlier=Phantom(lesion_sides=())),
    "one lung": Pair(later=Phantom(lungs=(Side.LEFT,))),
}
USUAL = CASES["all that there is"]
PRIVATE = SYSTEMS[codes.PRIVATE_SCHEME]
IDENTIFIERS = ("Doe", "P-0001", "HOSPITAL", "A-77", "A-51", "19600102")


def compared(pair: Pair = USUAL) -> tuple[Analysis, Comparison]:
    """Return an analysis and what changed since the earlier one."""
    analysis = pair.analysis()
    assert analysis.comparison is not None
    return analysis, analysis.comparison


def bundle_of(analysis: Analysis, language: Language = Language.ENGLISH) -> dict[str, Any]:
    """Return the bundle of an analysis as parsed from its file."""
    (file,) = write_results(analysis, context_of(analysis, language=language)).files
    bundle: dict[str, Any] = json.loads(file.content)
    return bundle


def observations(bundle: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the observations of a bundle by their names."""
    found = [entry["resource"] for entry in bundle["entry"]]
    return {one["code"]["text"]: one for one in found if one["resourceType"] == "Observation"}


def components(observation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the components of an observation by code."""
    return {one["code"]["coding"][0]["code"]: one for one in observation.get("component", ())}


def value_code(observation: dict[str, Any]) -> str:
    """Return the code of an observation's value."""
    return str(observation["valueCodeableConcept"]["coding"][0]["code"])


# --- FHIR -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", CASES.values(), ids=CASES.keys())
def test_validators_have_nothing_against_it(pair: Pair) -> None:
    """Two independent R4 implementations read it without a complaint and without losing anything."""
    bundle = bundle_of(pair.analysis())
    assert [str(issue) for issue in fhirkit.validate(bundle)] == []
    assert Bundle(bundle).as_json() == bundle
    names = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(names)) == len(names)


def test_each_region_has_an_observation_of_its_change() -> None:
    """Direction, prior value, change with the range that is none, per day, and the earlier study."""
    analysis, comparison = compared()
    found = observations(bundle_of(analysis))
    labels = {Region.LUNG_LEFT: "Left lung", Region.CONSOLIDATION_RIGHT: "Consolidation, right"}
    directions = {"increase": "15454001", "decrease": "19776001", "no_significant_change": "129723006"}
    for region, label in labels.items():
        one, change = found[f"Change: {label}"], comparison.of(region).volume_ml
        assert one["code"]["coding"][0] == {
            "system": SYSTEMS["SCT"],
            "code": "442714003",
            "display": "Difference in size",
        }
        assert value_code(one) == directions[change.direction]
        numbers = components(one)
        assert numbers["prior-volume"]["valueQuantity"]["value"] == pytest.approx(change.prior, abs=6e-4)
        assert numbers["volume-change"]["valueQuantity"]["value"] == pytest.approx(change.absolute, abs=6e-4)
        assert numbers["volume-chg-day"]["valueQuantity"]["code"] == "mL/d"
        (interval,) = numbers["volume-change"]["referenceRange"]
        bounds = [interval[end]["value"] for end in ("low", "high")]
        assert bounds == pytest.approx([-change.limit, change.limit], abs=6e-4)
        study = one["derivedFrom"][1]["identifier"]
        assert study == {"system": "urn:dicom:uid", "value": f"urn:oid:{EARLIER_STUDY_UID}"}
    assert found["Change: Left lung"]["device"] != found["Change: Consolidation, right"]["device"]


def test_each_lesion_has_its_course() -> None:
    """New ones have no change; several parts are one observation; what resolved is there too."""
    analysis, comparison = compared()
    found = {name: one for name, one in observations(bundle_of(analysis)).items() if "Course: " in name}
    assert len(found) == len(comparison.lesions)
    fates = {name.removeprefix("Course: "): value_code(one) for name, one in found.items()}
    assert fates == {
        "lesion 1": "persistent",
        "lesion 2": "persistent",
        "lesion 3": "persistent",
        "lesion 4": "7147002",
        "lesion 5": "merged",
        "lesion 6 and 7": "split",
        "prior lesion 5": "723506003",
    }
    assert components(found["Course: lesion 4"]) == {}
    (split,) = [one for one in comparison.lesions if one.fate is Fate.SPLIT]
    change = components(found["Course: lesion 6 and 7"])["volume-change"]["valueQuantity"]["value"]
    assert change == pytest.approx(split.volume_ml.absolute, abs=6e-4)


@pytest.mark.parametrize("course", Course)
def test_the_course_has_its_reason_and_cautions(course: Course) -> None:
    """One observation says what became of the disease, why, and why to be careful."""
    analysis, _ = compared(Pair(course=course))
    one = observations(bundle_of(analysis))["Course of the disease since the prior scan"]
    expected = {Course.UNDETERMINED: "373068000", Course.MIXED: "mixed-course"}.get(course, course.value)
    assert value_code(one) == expected
    notes = [note["text"] for note in one["note"]]
    assert notes[:4] == ["Research use only.", BECAUSE, *WARNINGS]


def test_unknown_repeatability_says_nothing_about_direction() -> None:
    """No range, and a direction that is undetermined."""
    analysis, _ = compared(CASES["repeatability unknown"])
    one = observations(bundle_of(analysis))["Change: All lesions"]
    assert value_code(one) == "373068000"
    assert "referenceRange" not in components(one)["volume-change"]


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        (
            Language.ENGLISH,
            "On 2026-01-02 lesions took 3.1 ml, 9.5 % of both lungs (−0.3 percentage points since): "
            "mixed change.",
        ),
        (Language.CHINESE, "2026-01-02 病灶体积 3.1 ml，占双肺 9.5 %（此后 −0.3 个百分点）：变化不一。"),
    ],
)
def test_the_conclusion_says_what_there_was_and_the_course(language: Language, sentence: str) -> None:
    """The conclusion of the report has the change in the language of people."""
    analysis, _ = compared()
    found = [entry["resource"] for entry in bundle_of(analysis, language)["entry"]]
    (report,) = [one for one in found if one["resourceType"] == "DiagnosticReport"]
    assert sentence in report["conclusion"]
    assert len(report["result"]) == len([one for one in found if one["resourceType"] == "Observation"])


def test_what_was_not_compared_has_no_observation_of_a_change() -> None:
    """Without an earlier scan the bundle is as it was."""
    analysis, _ = compared()
    names = observations(bundle_of(replace(analysis, comparison=None)))
    assert not [name for name in names if name.startswith(("Change", "Course"))]


# --- result.json ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", CASES.values(), ids=CASES.keys())
def test_it_is_json_without_identifiers(pair: Pair) -> None:
    """Every case is strict JSON: no NaN, no infinity, no patient."""
    _, comparison = compared(pair)
    text = json.dumps(comparison_json(comparison), allow_nan=False)
    assert [one for one in IDENTIFIERS if one in text] == []


def test_it_says_what_changed() -> None:
    """Course, reason, dates, numbers of every kind, lesions with their fate, warnings and history."""
    analysis, comparison = compared()
    result = result_json(Analysed(analysis, "densitometry", "CPUExecutionProvider", {}))["comparison"]
    assert (result["course"], result["because"], result["days"]) == ("mixed", BECAUSE, 58.066)
    assert (result["scanned_at"], result["prior"]["scanned_at"]) == (
        "2026-03-01T11:15:00",
        "2026-01-02T09:40:00",
    )
    assert result["prior"]["study_instance_uid"] == EARLIER_STUDY_UID
    assert list(result["regions"]) == [region.name.lower() for region in Region]
    volume = comparison.of(Region.CONSOLIDATION_RIGHT).volume_ml
    assert volume.per_day is not None
    assert volume.percent is not None
    assert result["regions"]["consolidation_right"]["volume_ml"] == {
        "prior": round(volume.prior, 3),
        "current": round(volume.current, 3),
        "change": round(volume.absolute, 3),
        "percent": round(volume.percent, 3),
        "per_day": round(volume.per_day, 3),
        "limit": round(volume.limit, 3),
        "direction": "increase",
    }
    assert len(result["zones"]) == 18
    assert [one["fate"] for one in result["lesions"]] == [one.fate.value for one in comparison.lesions]
    assert [len(one["current"]) for one in result["lesions"]] == [1, 1, 1, 1, 1, 2, 0]
    assert result["lesions"][0]["tracking_uid"] == comparison.lesions[0].tracking_uid
    assert {"from": "ground_glass", "to": "consolidation", "volume_ml": 0.175} in result["shift"]["volumes"]
    assert result["registration"]["succeeded"] is True
    assert result["warnings"] == list(WARNINGS)
    assert [one["scanned_at"] for one in result["history"]] == [
        "2025-11-20T08:00:00",
        "2026-01-02T09:40:00",
        "2026-03-01T11:15:00",
    ]
    assert result["peak"] == result["history"][0]


def test_what_is_not_known_is_null() -> None:
    """An infinite limit, a correlation that is no number, dates that are missing."""
    _, comparison = compared(Pair(registered=False, repeatability=False, dated=False))
    assert math.isnan(comparison.registration.correlation)
    result = comparison_json(comparison)
    assert result is not None
    total = result["regions"]["lesions"]["volume_ml"]
    assert (total["limit"], total["direction"], total["per_day"]) == (None, None, None)
    assert (result["days"], result["scanned_at"], result["prior"]["scanned_at"]) == (None, None, None)
    assert (result["registration"]["correlation"], result["shift"], result["lesions"]) == (None, None, [])
    assert "overlap is 0.41" in result["registration"]["reason"]


def test_without_an_earlier_scan_it_is_null() -> None:
    """The key is there in every result, analysed or refused."""
    analysis, _ = compared()
    alone = replace(analysis, comparison=None)
    assert result_json(Analysed(alone, "densitometry", "CPUExecutionProvider", {}))["comparison"] is None
    assert refused_json("no lungs", "densitometry")["comparison"] is None
