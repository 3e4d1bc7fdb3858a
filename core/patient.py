"""What identifies a patient to people and to a PACS (PS3.3 C.7.1.1), and when two of them are one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

#: Keyword → value representation. A PACS is asked for these, and results are corrected by its answer.
IDENTIFICATION: Mapping[str, str] = {
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "PatientName": "PN",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
}


#: Typed in for patients whose birth date nobody knows. No one alive was born before.
_PLACEHOLDERS, _EARLIEST = frozenset({"19000101", "19010101"}), 1900


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """Whose images they are, without the name: two spellings of it are one patient, one spelling may be two.

    Parameters
    ----------
    patient_id, issuer, birth_date, sex
        Patient ID (0010,0020), Issuer of Patient ID (0010,0021), Patient's Birth Date (0010,0030), Patient's
        Sex (0010,0040); empty where absent. Never shown: this has no representation.
    """

    patient_id: str
    issuer: str
    birth_date: str
    sex: str

    @classmethod
    def of(cls, header: Dataset) -> Person:
        """Read the header of an image, or an answer to C-FIND."""
        keywords = ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
        return cls(*(str(header.get(keyword) or "").strip(" \0") for keyword in keywords))

    def why_not_the_same(self, other: Person) -> str | None:
        """Return why two scans are not held to be of one person; None where they are.

        Patient ID and issuer must be the same, birth date and sex must be there and agree: a scan of somebody
        else would show change where there is none.
        """
        if not self.patient_id or not other.patient_id:
            return "there is no Patient ID"
        if self.patient_id != other.patient_id:
            return "the Patient IDs differ"
        if self.issuer != other.issuer:
            return "the issuers of the Patient ID differ"
        if not self.has_birth_date or not other.has_birth_date:
            return "there is no birth date to confirm the Patient ID"
        if self.birth_date != other.birth_date:
            return "the birth dates differ"
        if not self.sex or not other.sex:
            return "there is no sex to confirm the Patient ID"
        if self.sex != other.sex:
            return "the sexes differ"
        return None

    @property
    def has_birth_date(self) -> bool:
        """Whether the birth date is one, and not what is typed in where nobody knows it."""
        if self.birth_date in _PLACEHOLDERS or len(self.birth_date) != 8:
            return False
        try:
            return datetime.strptime(self.birth_date, "%Y%m%d").year >= _EARLIEST
        except ValueError:
            return False

    @property
    def digest(self) -> str:
        """What tells whether birth date and sex agree, without showing them; empty where one is missing.

        It keeps dates out of tables and logs. It is no secret: whoever has it can try every date.
        """
        if not self.has_birth_date or not self.sex:
            return ""
        return hashlib.sha256(f"{self.birth_date} {self.sex}".encode()).hexdigest()


#: Of images whose header names nobody, or does not matter.
NOBODY = Person("", "", "", "")
