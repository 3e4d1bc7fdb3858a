"""Whose examination it was, when, and what measured it: what every resource of the bundle shares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone

from core.codes import Code
from core.domain import ModelIdentity
from core.own_results import device_uid
from sr_writer.context import ResultContext
from sr_writer.fhir.elements import (
    Element,
    Resource,
    concept,
    dicom_identifier,
    hl7_concept,
    reference,
    resource_id,
)
from sr_writer.identity import SourceIdentity

#: As the SR has it in Performed Procedure Code Sequence.
_CT_CHEST = Code("24627-2", "LN", "CT Chest")
_UNKNOWN_PATIENT = "not stated in the images"
# When the images were taken: the most exact statement first.
_WHEN = (("AcquisitionDateTime", ""), ("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"))
_STUDY_WHEN = ("StudyDate", "StudyTime")
_DATE_TIME = re.compile(r"(\d{8})(?:(\d{2})(\d{2})(\d{2})?)?[.\d]*([+-]\d{4})?")


@dataclass(frozen=True, slots=True, eq=False)
class Circumstances:
    """What every resource shares.

    Parameters
    ----------
    subject
        Reference to the patient.
    study, node, model
        Resources: the imaging study, this node, the algorithm.
    effective
        When the images were taken; empty where they do not say.
    issued
        When the numbers were computed.
    """

    subject: Element
    study: Resource
    node: Resource
    model: Resource
    effective: str
    issued: str

    @classmethod
    def of(
        cls, identity: SourceIdentity, images: int, context: ResultContext, model: ModelIdentity
    ) -> Circumstances:
        """Collect them.

        Parameters
        ----------
        identity
            Header of the source.
        images
            Number of source instances.
        context, model
            This node and the algorithm.
        """
        subject = subject_of(identity)
        node = _node(context)
        return cls(
            subject=subject,
            study=_imaging_study(identity, subject, images),
            node=node,
            model=_model(model, node),
            effective=next(
                (when for names in (*_WHEN, _STUDY_WHEN) if (when := _when(identity, *names))), ""
            ),
            issued=identity.local_time(context.content_datetime_utc).isoformat(timespec="seconds"),
        )


def subject_of(identity: SourceIdentity) -> Element:
    """Return a logical reference to the patient: ID, issuer and name, each where the header has it."""
    identifier: Element = {}
    patient_id, issuer = identity.decoded("PatientID"), identity.decoded("IssuerOfPatientID")
    if patient_id:
        identifier = {**_issuer_system(identity), "value": patient_id}
        if issuer:
            identifier["assigner"] = {"display": issuer}
    subject: Element = {"type": "Patient"}
    if identifier:
        subject["identifier"] = identifier
    name = _shown_name(identity.decoded("PatientName"))
    if name or not identifier:
        subject["display"] = name or _UNKNOWN_PATIENT
    return subject


def accession_identifier(identity: SourceIdentity) -> Element | None:
    """Return the Accession Number as an identifier."""
    number = identity.decoded("AccessionNumber")
    return {"type": hl7_concept("v2-0203", "ACSN", "Accession ID"), "value": number} if number else None


def _issuer_system(identity: SourceIdentity) -> Element:
    """Return the system of the Patient ID, where the header names one by an OID (PS3.3 10.14)."""
    for item in identity.header.get("IssuerOfPatientIDQualifiersSequence") or ():
        if item.get("UniversalEntityIDType") == "ISO" and item.get("UniversalEntityID"):
            return {"system": f"urn:oid:{item.UniversalEntityID}"}
    return {}


def _shown_name(name: str) -> str:
    """Return a Person Name for people: in ideographs where it is written in them, else in letters."""
    letters, *others = name.split("=")
    chosen = next((group for group in (*others[:1], letters) if group.strip("^ ")), "")
    return " ".join(chosen.replace("^", " ").split())


def _imaging_study(identity: SourceIdentity, subject: Element, images: int) -> Resource:
    uid, series_uid = identity.text("StudyInstanceUID"), identity.text("SeriesInstanceUID")
    accession = accession_identifier(identity)
    series: Element = {
        "uid": series_uid,
        "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"},
        "numberOfInstances": images,
    }
    number = identity.text("SeriesNumber").strip()
    if number.isdigit():
        series["number"] = int(number)
    started = _when(identity, *_STUDY_WHEN)
    return {
        "resourceType": "ImagingStudy",
        "id": resource_id("study", *identity.patient_key, uid),
        "identifier": [dicom_identifier(uid), *([accession] if accession else [])],
        "status": "available",
        "subject": subject,
        **({"started": started} if started else {}),
        "procedureCode": [concept(_CT_CHEST)],
        "series": [series],
    }


def _node(context: ResultContext) -> Resource:
    made = (context.manufacturer, context.node_name, context.software_version, context.device_serial_number)
    return {
        "resourceType": "Device",
        "id": resource_id("node", *made),
        "manufacturer": context.manufacturer,
        "serialNumber": context.device_serial_number,
        "deviceName": [{"name": context.node_name, "type": "model-name"}],
        "version": [{"value": context.software_version}],
    }


def _model(model: ModelIdentity, node: Resource) -> Resource:
    made = (model.sha256, model.manufacturer, model.name, model.version)
    return {
        "resourceType": "Device",
        "id": resource_id("model", node["id"], *made),
        "identifier": [dicom_identifier(device_uid(model.sha256))],
        "manufacturer": model.manufacturer,
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": concept(Code(*model.family_code)),
        "version": [{"value": model.version}, {"type": {"text": "SHA-256"}, "value": model.sha256}],
        "parent": reference(node),
    }


def _when(identity: SourceIdentity, date: str, time: str) -> str:
    """Return a FHIR dateTime: with the time where the header says in which time zone, else the date alone."""
    found = _DATE_TIME.fullmatch(identity.text(date).strip() + (identity.text(time).strip() if time else ""))
    if found is None:
        return ""
    day, hour, minute, second, offset = found.groups()
    try:
        moment = datetime.strptime(day + (hour or "00") + (minute or "00") + (second or "00"), "%Y%m%d%H%M%S")
        own_zone = datetime.strptime(offset, "%z").tzinfo if offset else None
    except ValueError:
        return ""
    zone = own_zone or (timezone(identity.utc_offset) if identity.utc_offset is not None else None)
    if hour is None or zone is None:
        return f"{moment:%Y-%m-%d}"
    return moment.replace(tzinfo=zone).isoformat(timespec="seconds")
