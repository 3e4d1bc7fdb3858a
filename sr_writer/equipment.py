"""Who made a result: General Equipment, Contributing Equipment, File Meta Information, dates."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import UID

from core.codes import Code
from core.domain import ModelIdentity
from core.own_results import PRODUCT_MODEL_NAME, contribution_description, device_uid
from core.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sr_writer.context import ResultContext
from sr_writer.elements import copied
from sr_writer.identity import SCANNER_ATTRIBUTES, SourceIdentity

# CID 7005
_ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")
_PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

_RESEARCH_ONLY = " - Research use only"


def series_description(text: str, source: Dataset, context: ResultContext, model: ModelIdentity) -> str:
    """Return Series Description (0008,103E): what it is, of which series, with the warning a model needs.

    Two analysed series of one study, or two generations of one, are told apart in a PACS by this line alone.
    At most 64 characters.
    """
    ending = _RESEARCH_ONLY if model.research_only else ""
    number = str(source.get("SeriesNumber") or "").strip()
    if number.isdigit():
        text += f", series {number}"
    if context.generation > 1:
        text += f", update {context.generation}"
    return text[: 64 - len(ending)] + ending


def sign(result: Dataset, identity: SourceIdentity, context: ResultContext, model: ModelIdentity) -> None:
    """Write into a result who made it, with what, and when.

    Parameters
    ----------
    result
        Data set with File Meta Information; its patient and study are not touched.
    identity, context, model
        Source, circumstances and algorithm of the result.
    """
    result.Manufacturer = context.manufacturer
    result.ManufacturerModelName = PRODUCT_MODEL_NAME
    result.DeviceSerialNumber = context.device_serial_number
    result.SoftwareVersions = context.software_version
    result.StationName = context.station_name
    result.ContributingEquipmentSequence = [
        *_scanner(identity),
        _algorithm(identity, context, model),
    ]
    moment = identity.local_time(context.content_datetime_utc)
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    for event in ("InstanceCreation", "Series", "Content"):
        setattr(result, f"{event}Date", date)
        setattr(result, f"{event}Time", time)
    result.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    result.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME


def code_item(code: Code) -> Dataset:
    """Return an item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = code.meaning
    return item


def _scanner(identity: SourceIdentity) -> list[Dataset]:
    item = copied(identity.header, SCANNER_ATTRIBUTES, identity.plan)
    if not identity.text("Manufacturer"):  # type 1 in this sequence
        return []
    item.PurposeOfReferenceCodeSequence = [code_item(_ACQUISITION_EQUIPMENT)]
    return [item]


def _algorithm(identity: SourceIdentity, context: ResultContext, model: ModelIdentity) -> Dataset:
    """Describe the algorithm as IHE AIR asks, in the form that `core.own_results` recognises."""
    item = Dataset()
    item.Manufacturer = context.manufacturer
    item.ManufacturerModelName = PRODUCT_MODEL_NAME
    item.SoftwareVersions = [context.software_version, f"{model.name} {model.version}"[:64]]
    item.DeviceSerialNumber = context.device_serial_number
    item.StationName = context.station_name
    item.DeviceUID = device_uid(model.sha256)
    moment = identity.local_time(context.content_datetime_utc)
    item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S.%f%z")
    item.ContributionDescription = contribution_description(model.sha256)
    item.PurposeOfReferenceCodeSequence = [code_item(_PROCESSING_EQUIPMENT)]
    return item
