"""What all documents of coded content share: who observed, and which instances they are about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dcm_codes

from core.ct_header import CT_IMAGE_STORAGE
from core.domain import Predecessor
from core.own_results import PRODUCT_MODEL_NAME
from core.time_point import ResultReference
from sr_writer.context import ResultContext
from sr_writer.elements import copied, reference, uid_element, write_as_is
from sr_writer.identity import SourceIdentity
from sr_writer.uids import observer_uid

_REQUEST = (
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
)
_ISSUERS = ("IssuerOfAccessionNumberSequence",)
_REQUEST_TYPE_2 = ("AccessionNumber", *_REQUEST[:5])


def device_observer(context: ResultContext) -> sr.ObserverContext:
    """Return the node as the observer (TID 1002, TID 1004)."""
    return sr.ObserverContext(
        observer_type=dcm_codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=observer_uid(context),
            name=context.node_name,
            manufacturer_name=context.manufacturer,
            model_name=PRODUCT_MODEL_NAME,
            serial_number=context.device_serial_number,
        ),
    )


def evidence_template(instance: Dataset | None) -> Dataset:
    """Return what highdicom needs to know about the evidence; patient and study are filled in afterwards.

    Parameters
    ----------
    instance
        One of our own that the document is about; None for source images only.
    """
    template = Dataset()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(template, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(template, keyword, "")
    template.StudyInstanceUID = template.SeriesInstanceUID = "2.25.1"
    if instance is None:
        template.SOPClassUID, template.SOPInstanceUID = CT_IMAGE_STORAGE, "2.25.1"
    else:
        template.SOPClassUID = instance.SOPClassUID
        template.SOPInstanceUID = instance.SOPInstanceUID
    return template


def evidence(identity: SourceIdentity, all_series: Iterable[Dataset]) -> Dataset:
    """Return an item of the Hierarchical SOP Instance Reference macro (PS3.3 C.17.2.1) for this study."""
    return evidence_in(identity.text("StudyInstanceUID"), all_series)


def evidence_in(study_instance_uid: str, all_series: Iterable[Dataset]) -> Dataset:
    """Return such an item for any study."""
    study = Dataset()
    study.add(uid_element("StudyInstanceUID", study_instance_uid))
    study.ReferencedSeriesSequence = list(all_series)
    return study


def source_evidence(headers: Sequence[Dataset]) -> Dataset:
    """Return source images, all of one series, as one referenced series."""
    images = [reference(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in headers]
    return _series(str(headers[0].SeriesInstanceUID), images)


def result_evidence(result: Dataset) -> Dataset:
    """Return a result of our own as one referenced series."""
    instance = reference(str(result.SOPClassUID), str(result.SOPInstanceUID))
    return _series(str(result.SeriesInstanceUID), [instance])


def referenced_requests(identity: SourceIdentity) -> list[Dataset]:
    """Return Referenced Request Sequence (0040,A370) of what the source was requested by (PS3.3 C.17.2).

    An information system that has several procedures under one Accession Number files by it.
    """
    requests = identity.header.get("RequestAttributesSequence") or ()
    items = []
    for request in requests:
        item = copied(request, _REQUEST, identity.plan)
        item.update(copied(identity.header, ("AccessionNumber", *_ISSUERS), identity.plan))
        item.update(copied(request, ("AccessionNumber", *_ISSUERS), identity.plan))
        item.add(uid_element("StudyInstanceUID", identity.text("StudyInstanceUID")))
        item.ReferencedStudySequence = []
        for keyword in _REQUEST_TYPE_2:
            if keyword not in item:
                setattr(item, keyword, [] if keyword.endswith("Sequence") else None)
        write_as_is(item)
        items.append(item)
    return items


def earlier_evidence(objects: Iterable[Predecessor | ResultReference]) -> list[Dataset]:
    """Return objects of an earlier result, each in the series that it stands in."""
    by_series: dict[str, list[Dataset]] = {}
    for one in objects:
        by_series.setdefault(one.series_instance_uid, []).append(
            reference(one.sop_class_uid, one.sop_instance_uid)
        )
    return [_series(series, instances) for series, instances in by_series.items()]


def _series(series_instance_uid: str, instances: list[Dataset]) -> Dataset:
    series = Dataset()
    series.add(uid_element("SeriesInstanceUID", series_instance_uid))
    series.ReferencedSOPSequence = instances
    return series
