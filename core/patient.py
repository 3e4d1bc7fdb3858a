"""What identifies a patient to people and to a PACS (PS3.3 C.7.1.1)."""

from __future__ import annotations

from collections.abc import Mapping

#: Keyword → value representation. A PACS is asked for these, and results are corrected by its answer.
IDENTIFICATION: Mapping[str, str] = {
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "PatientName": "PN",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
}
