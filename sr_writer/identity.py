"""Whose results these are: everything that a result takes over from its source, in this one place.

Results belong to the study of their source, so the Patient, General Study and Patient Study modules are
copied exactly (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), and the written bytes are read back and compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from core.domain import CtVolume
from core.errors import ResultEncodingError
from sr_writer.character_sets import TextPlan
from sr_writer.elements import character_set_element, copied, raw_text, text_plan, write_as_is

_UTC_OFFSET = re.compile(r"([+-])([0-9]{2})([0-5][0-9])")

# Type 2 attributes: written empty where the source lacks them.
_ALWAYS_PRESENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
)  # fmt: skip

_PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar",
    "PatientDeathDateInAlternativeCalendar", "PatientAlternativeCalendar", "PatientSex",
    "QualityControlSubject", "ReferencedPatientSequence", "OtherPatientNames", "OtherPatientIDs",
    "OtherPatientIDsSequence", "EthnicGroup", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
    "PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "PatientComments", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "SourcePatientGroupIdentificationSequence", "GroupOfPatientsIdentificationSequence",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "ClinicalTrialProtocolEthicsCommitteeName",
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
)  # fmt: skip

_STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence", "StudyID", "StudyDescription", "ProcedureCodeSequence",
    "PhysiciansOfRecord", "PhysiciansOfRecordIdentificationSequence", "NameOfPhysiciansReadingStudy",
    "PhysiciansReadingStudyIdentificationSequence", "RequestingService", "RequestingServiceCodeSequence",
    "ReferencedStudySequence", "ReasonForPerformedProcedureCodeSequence",
)  # fmt: skip

_PATIENT_STUDY = (
    "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "PatientAge", "PatientSize",
    "PatientSizeCodeSequence", "PatientWeight", "PatientBodyMassIndex", "MedicalAlerts", "Allergies",
    "Occupation", "SmokingStatus", "AdditionalPatientHistory", "PregnancyStatus", "LastMenstrualDate",
    "PatientSexNeutered", "ReasonForVisit", "ReasonForVisitCodeSequence", "AdmissionID",
    "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "ServiceEpisodeDescription",
    "IssuerOfServiceEpisodeIDSequence", "PatientState", "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription", "ConsentForClinicalTrialUseSequence",
)  # fmt: skip

# The product stands in the hospital that owns the scanner, so the institution is the same.
_EQUIPMENT = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName")

_COMMON = _PATIENT + _STUDY + _PATIENT_STUDY + _EQUIPMENT

#: What a result says of the patient as a person; that the identity was removed, and how, is not part of it.
OF_THE_PATIENT = tuple(
    keyword
    for keyword in _PATIENT + _PATIENT_STUDY
    if not keyword.startswith(("PatientIdentityRemoved", "DeidentificationMethod"))
)

#: Taken over into the Contributing Equipment item of the scanner.
SCANNER_ATTRIBUTES = (
    "Manufacturer", "InstitutionName", "InstitutionAddress", "StationName", "InstitutionalDepartmentName",
    "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "DeviceUID",
)  # fmt: skip

#: Taken over by results that are images. Laterality is left out: validators reject it on a SEG of the chest.
IMAGE_ATTRIBUTES = (
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "BodyPartExamined",
    "PatientPosition",
)

# What must be one and the same in all source images, and what people call it.
_ONE_PATIENT = {
    "PatientID": "Patient ID",
    "IssuerOfPatientID": "Issuer of Patient ID",
    "PatientName": "Patient's Name",
    "PatientBirthDate": "Patient's Birth Date",
    "StudyInstanceUID": "Study Instance UID",
    "SeriesInstanceUID": "Series Instance UID",
}
# And besides, where voxels are placed.
_ONE_PLACE = {"FrameOfReferenceUID": "Frame of Reference UID"}

# What the written file is compared by: the patient, and what a PACS files an object under.
_VERIFIED = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDs",
    "StudyInstanceUID", "AccessionNumber", "StudyID", "StudyDate", "ReferringPhysicianName",
    "StudyDescription", "InstitutionName",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class SourceIdentity:
    """Patient, study and series of one source.

    Parameters
    ----------
    header
        Header that stands for all of them.
    plan
        How its text is copied.
    """

    header: Dataset
    plan: TextPlan

    @classmethod
    def of(cls, volume: CtVolume) -> SourceIdentity:
        """Read the identity of a volume's source images.

        Raises
        ------
        ResultEncodingError
            Where the images are not all of one patient, study, series and frame of reference, where they
            have no frame of reference, or where their text cannot be copied without loss.
        """
        identity = cls.of_headers(volume.headers)
        identity._require_one(volume.headers, _ONE_PLACE, ("FrameOfReferenceUID",))
        if identity.text("FrameOfReferenceUID") != volume.geometry.frame_of_reference_uid:
            raise ResultEncodingError("The analysed volume and its images differ in Frame of Reference UID.")
        return identity

    @classmethod
    def of_headers(cls, headers: Sequence[Dataset]) -> SourceIdentity:
        """Read the identity of images that need not form a volume.

        Raises
        ------
        ResultEncodingError
            Where the images are not all of one patient, study and series, or where their text cannot be
            copied without loss.
        """
        if not headers:
            raise ResultEncodingError("There are no source images to take the patient and study from.")
        plan = text_plan(headers[0], (*_COMMON, *IMAGE_ATTRIBUTES, *SCANNER_ATTRIBUTES))
        identity = cls(headers[0], plan)
        identity._require_one(headers, _ONE_PATIENT, ("StudyInstanceUID", "SeriesInstanceUID"))
        return identity

    def _require_one(
        self, headers: Sequence[Dataset], names: Mapping[str, str], required: Sequence[str]
    ) -> None:
        """Refuse images that differ in a named attribute, or lack one that a result cannot do without."""
        _refuse_mixture(headers, self.plan, names)
        for keyword in required:
            if not self.text(keyword):
                raise ResultEncodingError(
                    f"The source images have no {names[keyword]}; a result could not be filed or overlaid. "
                    "Have the sender corrected."
                )

    def text(self, keyword: str) -> str:
        """Return a value as text that is the same for the same bytes, for comparing and for deriving UIDs."""
        return raw_text(self.header, keyword, self.plan).decode("latin-1")

    def decoded(self, keyword: str) -> str:
        """Return a value as text for people and other software, empty where it is absent or mislabelled."""
        return (self.plan.decode(raw_text(self.header, keyword, self.plan)) or "").strip()

    def local_time(self, moment_utc: datetime) -> datetime:
        """Return a moment in the study's Timezone Offset From UTC, or in the node's zone where it has none.

        PS3.3 C.12.1.1.8: the offset governs every date and time of an object, the copied ones as well, so our
        own have to be told in it.
        """
        offset = self.utc_offset
        return moment_utc.astimezone(None if offset is None else timezone(offset))

    @property
    def utc_offset(self) -> timedelta | None:
        """Timezone Offset From UTC (0008,0201) of the study, None where it has no valid one."""
        found = _UTC_OFFSET.fullmatch(self.text("TimezoneOffsetFromUTC").strip())
        if found is None:
            return None
        sign, hours, minutes = found.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
        return offset if timedelta(hours=-12) <= offset <= timedelta(hours=14) else None

    @property
    def patient_key(self) -> tuple[str, str, str]:
        """Patient ID, its issuer, and the study where there is no Patient ID: who the patient is."""
        patient_id = self.text("PatientID")
        return patient_id, self.text("IssuerOfPatientID"), "" if patient_id else self.text("StudyInstanceUID")

    def apply(self, result: Dataset, more: Sequence[str] = ()) -> None:
        """Give a result the identity of its source.

        Parameters
        ----------
        result
            Data set that will be written as Explicit VR Little Endian; what it says about patient and study
            is replaced.
        more
            Further attributes to take over.
        """
        for keyword in (*_COMMON, *more):
            if keyword in result:
                del result[keyword]
        result.update(copied(self.header, (*_COMMON, *more), self.plan))
        for keyword in ("ReferencedStudySequence", "ReferencedPatientSequence"):
            _drop_incomplete_references(result, keyword)
        _complete_deidentification(result)
        # An offset that breaks the grammar cannot govern our own times.
        if self.utc_offset is not None:
            result.update(copied(self.header, ("TimezoneOffsetFromUTC",), self.plan))
        for keyword in _ALWAYS_PRESENT:
            if keyword not in result:
                setattr(result, keyword, None)
        if "SpecificCharacterSet" in result:
            del result.SpecificCharacterSet
        terms = self.plan.result_terms
        if terms:
            result[Tag("SpecificCharacterSet")] = character_set_element(self.plan)
        write_as_is(result, terms)

    def verify(self, encoded: bytes) -> None:
        """Read a written result back and compare it with the source.

        Parameters
        ----------
        encoded
            Part 10 file.

        Raises
        ------
        ResultEncodingError
            Where an identifying value or the character set is not what the source says.
        """
        tags = [*_VERIFIED, "SpecificCharacterSet"]
        written = dcmread(BytesIO(encoded), specific_tags=tags)
        copied_as_is = TextPlan(self.plan.result_terms, transcode=False)
        terms = raw_text(written, "SpecificCharacterSet", copied_as_is).decode("latin-1")
        if terms != "\\".join(self.plan.result_terms):
            raise ResultEncodingError("A result was written in another character set than its text needs.")
        for keyword in _VERIFIED:
            if raw_text(written, keyword, copied_as_is) != raw_text(self.header, keyword, self.plan):
                raise ResultEncodingError(
                    f"{keyword} of a result differs from its source after writing, so it is not sent."
                )


def _drop_incomplete_references(result: Dataset, keyword: str) -> None:
    """Leave out references that name no instance, as de-identification leaves them behind."""
    complete = [
        item
        for item in result.get(keyword) or ()
        if item.get("ReferencedSOPClassUID") and item.get("ReferencedSOPInstanceUID")
    ]
    if complete:
        setattr(result, keyword, complete)
    elif keyword in result:
        del result[keyword]


def _complete_deidentification(result: Dataset) -> None:
    """Say that the method is not known where the source says "removed" and not how (PS3.3 C.7.1.1, 1C)."""
    removed = str(result.get("PatientIdentityRemoved") or "").strip() == "YES"
    if removed and not (
        result.get("DeidentificationMethod") or result.get("DeidentificationMethodCodeSequence")
    ):
        result.DeidentificationMethod = "Not stated by the source"


def _refuse_mixture(headers: Sequence[Dataset], plan: TextPlan, names: Mapping[str, str]) -> None:
    for keyword, name in names.items():
        values = {raw_text(header, keyword, plan) for header in headers}
        if len(values) > 1:
            raise ResultEncodingError(
                f"The source images differ in {name} ({len(values)} values), so it is not certain whose "
                "results these are. Correct the series in the PACS and send it again."
            )
