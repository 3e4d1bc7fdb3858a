"""Small data sets as a scanner or a PACS would send them, and the settings, clock and ledger around them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from config import (
    DicomwebPeerSettings,
    DimsePeerSettings,
    NodeSettings,
    PeerSettings,
    ReceptionSettings,
    Settings,
    SourceSettings,
)
from core.ct_header import CT_IMAGE_STORAGE
from core.own_results import PRODUCT_MODEL_NAME, contribution_description, device_uid
from core.uid import derived_uid
from custody.ledger import Ledger, new_id, reception
from custody.ledger.reception import Caller
from custody.ledger.tables import metadata

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
COMPREHENSIVE_3D_SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.34"
X_RAY_DOSE_SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.67"
SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
PRIVATE_STORAGE = "1.3.12.2.1107.5.9.1"

#: Noon of an arbitrary day, seconds since 1970 UTC.
NOON = 1_704_110_400.0


class Clock:
    """A clock that moves only when told to, seconds since 1970 UTC."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def ct_image(number: int = 1, *, series: str = "series", study: str = "study", **changes: Any) -> Dataset:
    """Return one axial CT slice of 4 × 4 pixels; keyword arguments replace or add elements, None removes."""
    ds = Dataset()
    ds.SOPClassUID = CT_IMAGE_STORAGE
    ds.SOPInstanceUID = derived_uid(study, series, str(number))
    ds.StudyInstanceUID = derived_uid(study)
    ds.SeriesInstanceUID = derived_uid(study, series)
    ds.FrameOfReferenceUID = derived_uid(study, "frame")
    ds.PatientName, ds.PatientID = "Example^Patient", "P-1"
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionDate, ds.AcquisitionTime = "20240101", f"1200{number % 60:02d}.5"
    ds.AcquisitionNumber = 1
    ds.SeriesNumber, ds.InstanceNumber = 2, number
    ds.ConvolutionKernel = "B31f"
    ds.SliceThickness = 3.0
    ds.ImagePositionPatient = [-100.0, -100.0, 3.0 * number]
    ds.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    ds.PixelSpacing = [0.7, 0.7]
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1.0, -1024.0
    ds.PixelData = bytes(range(32))
    return changed(ds, **changes)


def ct_series(count: int = 5, **changes: Any) -> list[Dataset]:
    """Return slices 1 to `count` of one series."""
    return [ct_image(number, **changes) for number in range(1, count + 1)]


def changed(ds: Dataset, **changes: Any) -> Dataset:
    """Set elements by keyword; None removes one."""
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def dose_report() -> Dataset:
    """Return an X-Ray Radiation Dose SR with just its identity."""
    return _other(X_RAY_DOSE_SR_STORAGE, "SR", "dose")


def secondary_capture() -> Dataset:
    """Return a screenshot with just its identity."""
    return _other(SECONDARY_CAPTURE_STORAGE, "OT", "capture")


def own_segmentation() -> Dataset:
    """Return a SEG that bears the mark of this product."""
    ds = _other(SEGMENTATION_STORAGE, "SEG", "own")
    mark = Dataset()
    mark.ManufacturerModelName = PRODUCT_MODEL_NAME
    mark.ContributionDescription = contribution_description("ab" * 32)
    mark.DeviceUID = device_uid("ab" * 32)
    ds.ContributingEquipmentSequence = [mark]
    return ds


def _other(sop_class: str, modality: str, name: str) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, derived_uid("study", name, "1")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid("study"), derived_uid("study", name)
    ds.PatientName, ds.PatientID = "Example^Patient", "P-1"
    ds.Modality = modality
    return ds


def encoded(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """Return the bytes of a data set as they travel: without File Meta Information, deflated where asked."""
    stream = DicomBytesIO()
    stream.is_implicit_VR = transfer_syntax_uid == ImplicitVRLittleEndian
    stream.is_little_endian = transfer_syntax_uid != ExplicitVRBigEndian
    write_dataset(stream, ds)
    plain = stream.getvalue()
    if transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return plain
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(plain) + deflater.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def settings_for(
    data_folder: Path,
    *,
    peers: tuple[PeerSettings, ...] = (),
    sources: tuple[SourceSettings, ...] = (),
    **reception_limits: Any,
) -> Settings:
    """Return settings of a node on the loopback interface with one scanner ``CT1`` and one peer ``pacs``."""
    limits: dict[str, Any] = {"disk_floor_mb": 0, "quiet_s": 3.0, **reception_limits}
    return Settings(
        node=NodeSettings(listen="127.0.0.1", port=0, data_folder=data_folder),
        peers=peers or (peer("pacs", 11112),),
        sources=sources or (source("scanner", "CT1"),),
        reception=ReceptionSettings(**limits),
    )


def peer(name: str, port: int, **changes: Any) -> DimsePeerSettings:
    """Return a destination on the loopback interface."""
    return DimsePeerSettings.model_validate(
        {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": port, **changes}
    )


def web_peer(name: str, port: int, **changes: Any) -> DicomwebPeerSettings:
    """Return a DICOMweb destination on the loopback interface."""
    url = f"http://127.0.0.1:{port}/dicom-web"
    return DicomwebPeerSettings.model_validate({"name": name, "kind": "dicomweb", "url": url, **changes})


def source(name: str, *ae_titles: str, **changes: Any) -> SourceSettings:
    """Return a source on the loopback interface that sends to ``pacs``."""
    values = {"name": name, "ae_titles": ae_titles, "networks": ["127.0.0.1"], "send_to": ["pacs"]}
    return SourceSettings.model_validate({**values, **changes})


@contextmanager
def fresh_ledger(folder: Path) -> Iterator[Ledger]:
    """Open an empty, migrated ledger in a folder and close it at the end."""
    ledger = Ledger(folder / "ledger.sqlite", folder)
    ledger.migrate()
    try:
        yield ledger
    finally:
        ledger.close()


def emptied(ledger: Ledger) -> Ledger:
    """Delete every row of a ledger on PostgreSQL: faster than another database."""
    tables = ", ".join(table.name for table in metadata.sorted_tables)
    with ledger.write() as connection:
        connection.exec_driver_sql(f"TRUNCATE {tables}")
    return ledger


def open_caller(
    ledger: Ledger, now: float, *, source: str = "scanner", calling: str = "CT1", process: str = "node-1"
) -> Caller:
    """Record an open association and return its caller."""
    caller = Caller(new_id(), source, calling, "127.0.0.1")
    reception.open_association(ledger, caller, process, now)
    return caller
