"""The results as a FHIR R4 bundle: for platforms that read no DICOM SR.

It says what the SR says, with the same codes where FHIR takes them. It is a transaction, so that it can be
posted to a server as it is; every id is derived, so posting it twice changes nothing.
"""

from __future__ import annotations

import json

from pydicom.dataset import Dataset

from core import codes
from core.domain import Analysis
from sr_writer.context import ResultContext, plain_text
from sr_writer.document.content import summary
from sr_writer.fhir.circumstances import Circumstances, accession_identifier
from sr_writer.fhir.elements import (
    Element,
    Resource,
    concept,
    dicom_identifier,
    hl7_concept,
    reference,
    resource_id,
)
from sr_writer.fhir.material import Material
from sr_writer.fhir.observations import OBSERVATION_KINDS
from sr_writer.film.words import WORDS
from sr_writer.identity import SourceIdentity
from sr_writer.uids import ResultUids

#: File name beside the other results.
FILE_NAME = "fhir.json"


def fhir_bundle(
    analysis: Analysis,
    report: Dataset,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Resource:
    """Return the results of an analysis as a Bundle.

    Parameters
    ----------
    analysis
        Source and numbers.
    report
        The SR that says the same; its SOP Instance UID identifies the DiagnosticReport.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    dict
        Bundle of type transaction: ImagingStudy (created where the server has none of this Study Instance
        UID), two Devices, Observations, DiagnosticReport. The patient is referred to by Patient ID; no
        Patient is created.
    """
    around = Circumstances.of(identity, len(analysis.volume.headers), context, analysis.lesions.model)
    run_id = resource_id("run", context.language.value, *uids.run)
    material = Material(analysis, context, around, run_id)
    observations = [one for make in OBSERVATION_KINDS for one in make(material)]
    diagnostic = _diagnostic_report(material, report, identity, observations)
    return {
        "resourceType": "Bundle",
        "id": run_id,
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{run_id}"},
        "type": "transaction",
        "timestamp": around.issued,
        "entry": [
            _created_where_missing(around.study),
            *(_put(one) for one in (around.node, around.model, *observations, diagnostic)),
        ],
    }


def encoded_bundle(bundle: Resource) -> bytes:
    """Return a bundle as the bytes of its file."""
    return (json.dumps(bundle, ensure_ascii=False, indent=1) + "\n").encode()


def _diagnostic_report(
    material: Material, report: Dataset, identity: SourceIdentity, observations: list[Resource]
) -> Resource:
    around = material.circumstances
    accession = accession_identifier(identity)
    optional = {
        "basedOn": [{"type": "ServiceRequest", "identifier": accession}] if accession else None,
        "effectiveDateTime": around.effective,
    }
    return {
        "resourceType": "DiagnosticReport",
        "id": resource_id(material.run_id, "report"),
        "language": material.context.language.value,
        "identifier": [dicom_identifier(str(report.SOPInstanceUID))],
        "status": "preliminary",
        "category": [hl7_concept("v2-0074", "RAD", "Radiology")],
        "code": concept(codes.IMAGING_MEASUREMENT_REPORT),
        "subject": around.subject,
        "issued": around.issued,
        "result": [reference(one) for one in observations],
        "imagingStudy": [reference(around.study)],
        "conclusion": _conclusion(material.analysis, material.context),
        **{name: element for name, element in optional.items() if element},
    }


def _conclusion(analysis: Analysis, context: ResultContext) -> str:
    """Return the result in sentences, whether it is for research only, and the remarks."""
    lines = [summary(analysis, context.language)]
    if analysis.lesions.model.research_only:
        lines.append(WORDS[context.language].research_only)
    lines += [plain_text(remark) for remark in analysis.volume.remarks]
    return "\n".join(lines)


def _put(resource: Resource) -> Element:
    return _entry(resource, {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"})


def _created_where_missing(resource: Resource) -> Element:
    """Return an entry that leaves alone what the server has under the same first identifier."""
    first = resource["identifier"][0]
    condition = f"identifier={first['system']}|{first['value']}"
    return _entry(resource, {"method": "POST", "url": resource["resourceType"], "ifNoneExist": condition})


def _entry(resource: Resource, request: Element) -> Element:
    return {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource, "request": request}
