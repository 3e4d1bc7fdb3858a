"""When two headers are held to be of one person."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from core.patient import Person


def person(**changes: str | None) -> Person:
    """Return the person of a header, changed as told; None takes an element away."""
    header = Dataset()
    values = {
        "PatientID": "P-1",
        "IssuerOfPatientID": "HOSPITAL",
        "PatientName": "Roe^Jane",
        "PatientBirthDate": "19600101",
        "PatientSex": "F",
    }
    for keyword, value in {**values, **changes}.items():
        if value is not None:
            setattr(header, keyword, value)
    return Person.of(header)


@pytest.mark.parametrize(
    "changes",
    [{}, {"PatientName": "Roe-Smith^Jane"}, {"PatientName": ""}, {"PatientID": "P-1 "}],
    ids=["same", "married", "no name", "padded"],
)
def test_the_name_says_nothing_either_way(changes: dict[str, str]) -> None:
    """Patient ID, issuer, birth date and sex are what counts; padding does not."""
    assert person().why_not_the_same(person(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientID": "P-2"}, "the Patient IDs differ"),
        ({"PatientID": ""}, "there is no Patient ID"),
        ({"PatientID": None}, "there is no Patient ID"),
        ({"IssuerOfPatientID": "OTHER"}, "the issuers of the Patient ID differ"),
        ({"IssuerOfPatientID": None}, "the issuers of the Patient ID differ"),
        ({"PatientBirthDate": "19600102"}, "the birth dates differ"),
        ({"PatientBirthDate": ""}, "there is no birth date to confirm the Patient ID"),
        ({"PatientSex": "M"}, "the sexes differ"),
        ({"PatientSex": ""}, "there is no sex to confirm the Patient ID"),
        ({"PatientBirthDate": "19000101"}, "there is no birth date to confirm the Patient ID"),
    ],
)
def test_anything_that_differs_or_is_missing_tells_people_apart(
    changes: dict[str, str | None], reason: str
) -> None:
    """In either direction, with the reason."""
    assert person().why_not_the_same(person(**changes)) == reason
    assert person(**changes).why_not_the_same(person()) == reason


@pytest.mark.parametrize(
    "birth_date", ["", "19000101", "00000000", "18991231", "19600231", "1960.1.1", "unknown"]
)
def test_two_scans_without_a_birth_date_are_not_held_to_be_of_one_person(birth_date: str) -> None:
    """A Patient ID alone may have been typed wrongly; what is typed in for the unknown is no birth date."""
    one = replace(person(), birth_date=birth_date)
    assert one.why_not_the_same(one) == "there is no birth date to confirm the Patient ID"
    assert one.digest == ""


def test_birth_date_and_sex_make_the_digest() -> None:
    """So that they can be compared without being kept."""
    digests = {one.digest for one in (person(), person(PatientSex="M"), person(PatientBirthDate="19600102"))}
    assert len(digests) == 3
    assert person().digest == person(PatientID="P-2").digest
    assert person(PatientSex="").digest == ""


def test_a_person_is_never_shown() -> None:
    """Neither identifiers nor dates get into a log by accident."""
    shown = f"{person(PatientID='SECRET')} {person(PatientID='SECRET')!r}"
    assert "SECRET" not in shown
    assert "HOSPITAL" not in shown
