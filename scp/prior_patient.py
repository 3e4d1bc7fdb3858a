"""Whether a study that a PACS lists is an earlier one of the same patient, and why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pydicom.dataset import Dataset

from core.patient import Person
from core.uid import is_tolerable_uid
from scp.answer_values import text_of
from scp.prior_choice import SeriesLike

# Why a study is left out; each of these becomes one note with the number of studies.
OTHER_PATIENT = "of another Patient ID, which was not asked for"
OTHER_ISSUER = "of the same Patient ID from another issuer"
OTHER_BIRTH_DATE = "of the same Patient ID with another birth date"
NO_BIRTH_DATE = "without a birth date to confirm the Patient ID"
OTHER_SEX = "of the same Patient ID with another sex, or without one"
SEVERAL_PATIENTS = "filed under several patients"
IN_FUTURE = "dated later than this scan"
UNDATED = "without a valid date"
NAMELESS = "without a valid Study Instance UID"


@dataclass(frozen=True, slots=True, repr=False)
class CurrentScan:
    """The scan that earlier ones are looked for.

    Parameters
    ----------
    person
        Whose it is.
    study_instance_uid
        Its study, which is no earlier one.
    scanned_at
        By the scanner's own clock, no time zone; None where unknown.
    like
        What an earlier series should resemble.
    """

    person: Person
    study_instance_uid: str
    scanned_at: datetime | None
    like: SeriesLike = field(default_factory=SeriesLike)


def why_not_asked(current: CurrentScan) -> str | None:
    """Return why no PACS can be asked for this patient; None where it can."""
    person = current.person
    if not person.patient_id:
        return "this scan has no Patient ID"
    # PS3.4 C.2.2.2.4: they would match other patients, and there is no way to quote them.
    if set(person.patient_id) & set("*?\\") or not person.patient_id.isprintable():
        return "its Patient ID has characters that a query cannot hold (* ? \\)"
    if not person.digest:
        return "this scan has no birth date or no sex to confirm the Patient ID"
    if current.scanned_at is None:
        return "this scan has no date"
    return None


def why_left_out(answer: Dataset, current: CurrentScan, moment: datetime | None) -> str | None:
    """Return why a study is not compared with; None where it may be.

    Parameters
    ----------
    answer
        To C-FIND at the STUDY level.
    current
        What it would be compared with.
    moment
        When the study was, as `scp.answer_values.studied_at` reads it.
    """
    person, now = current.person, current.scanned_at
    issuer = text_of(answer, "IssuerOfPatientID")
    birth_date, sex = text_of(answer, "PatientBirthDate"), text_of(answer, "PatientSex")
    reasons = (
        (text_of(answer, "PatientID") != person.patient_id, OTHER_PATIENT),
        # A PACS that knows no issuers names none; the images do, and they are looked at later.
        (bool(issuer) and issuer != person.issuer, OTHER_ISSUER),
        (not Person.of(answer).has_birth_date, NO_BIRTH_DATE),
        (birth_date != person.birth_date, OTHER_BIRTH_DATE),
        (sex != person.sex, OTHER_SEX),
        (not is_tolerable_uid(text_of(answer, "StudyInstanceUID")), NAMELESS),
        (moment is None, UNDATED),
        (moment is not None and now is not None and moment >= now, IN_FUTURE),
    )
    return next((reason for applies, reason in reasons if applies), None)
