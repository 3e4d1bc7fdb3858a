"""Small analyses of a phantom chest, as the writers get them: headers read from bytes, masks, numbers.

The phantom lives in the patient: the right lung is at negative LPS x whatever the orientation of the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID

from core.ct_header import CT_IMAGE_STORAGE, ENHANCED_CT_IMAGE_STORAGE
from core.domain import (
    Analysis,
    CtVolume,
    LesionMask,
    LungMask,
    ModelIdentity,
    ResultKind,
    Side,
    SOPInstanceUID,
    SourceFrame,
)
from core.geometry import Geometry
from inference.lesions import measure
from sr_writer.context import ResultContext
from sr_writer.elements import write_as_is
from sr_writer.results import write_results

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
SERIES_UID = "1.2.826.0.1.3680043.8.498.1.2"
FRAME_OF_REFERENCE_UID = "1.2.826.0.1.3680043.8.498.1.3"
INSTANCE_UID = "1.2.826.0.1.3680043.8.498.1.4"

MODEL = ModelIdentity(
    name="densitometry",
    version="1.2.0",
    sha256="ab" * 32,
    family_code=("123110", "DCM", "Artificial Intelligence"),
    parameters="threshold_hu=-300",
    manufacturer="lesion-node contributors",
    research_only=True,
)


@dataclass(frozen=True)
class Phantom:
    """What a source series and its analysis look like.

    Parameters
    ----------
    shape_zyx, spacing_zyx_mm
        Grid; its centre is the origin of the patient's coordinates.
    orientation
        Image Orientation (Patient).
    tilt_deg, tilt_direction
        Gantry tilt by which the slices slide, degrees, and the direction in which the upper ones do: along
        increasing rows and columns. Image planes stay as `orientation` says.
    lungs, lesion_sides
        Which lungs there are, and in which of them lesions.
    dense_radii_mm
        Size of the consolidation in each lesion.
    attributes
        Header attributes that replace the ordinary ones; None leaves an attribute out.
    raw
        Bytes of header attributes, written as they are.
    enhanced
        Whether the source is one Enhanced CT instance.
    """

    shape_zyx: tuple[int, int, int] = (12, 64, 64)
    spacing_zyx_mm: tuple[float, float, float] = (5.0, 1.25, 1.0)
    orientation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    tilt_deg: float = 0.0
    tilt_direction: tuple[float, float] = (1.0, 0.0)
    lungs: tuple[Side, ...] = (Side.RIGHT, Side.LEFT)
    lesion_sides: tuple[Side, ...] = (Side.RIGHT, Side.LEFT)
    dense_radii_mm: tuple[float, float, float] = (3.0, 3.0, 6.0)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, bytes] = field(default_factory=dict)
    enhanced: bool = False

    def changed(self, **changes: Any) -> Phantom:
        """Return a phantom that differs in some fields."""
        return replace(self, **changes)


def geometry_of(phantom: Phantom) -> Geometry:
    """Return the grid of a phantom."""
    geometry = Geometry.from_dicom(
        image_position_mm=(0.0, 0.0, 0.0),
        image_orientation=phantom.orientation,
        pixel_spacing_mm=phantom.spacing_zyx_mm[1:],
        slice_spacing_mm=phantom.spacing_zyx_mm[0],
        shape_zyx=phantom.shape_zyx,
        slide_mm=_slide_mm(phantom),
        frame_of_reference_uid=FRAME_OF_REFERENCE_UID,
    )
    centre = (np.asarray(phantom.shape_zyx) - 1) / 2
    geometry.affine_lps[:3, 3] = -geometry.to_lps_mm(centre)
    return geometry


def _slide_mm(phantom: Phantom) -> list[float]:
    cosines, (rows, columns) = np.array(phantom.orientation), phantom.tilt_direction
    along = (rows * cosines[3:] + columns * cosines[:3]) / np.hypot(rows, columns)
    slide_mm = phantom.spacing_zyx_mm[0] * np.tan(np.radians(phantom.tilt_deg)) * along
    return [float(value) for value in slide_mm]


def analysis_of(phantom: Phantom | None = None) -> Analysis:
    """Return the analysis of a phantom."""
    phantom = phantom or Phantom()
    geometry = geometry_of(phantom)
    lps_mm = geometry.to_lps_mm(np.moveaxis(np.indices(phantom.shape_zyx), 0, -1))
    lungs, lesions, hu = _paint(lps_mm, phantom)
    volume = CtVolume(hu, geometry, _frames(phantom), _headers(phantom, geometry))
    lung_mask, lesion_mask = LungMask(lungs), LesionMask(lesions, MODEL)
    return Analysis(volume, lung_mask, lesion_mask, measure(volume, lung_mask, lesion_mask))


def context_of(analysis: Analysis, **changes: Any) -> ResultContext:
    """Return circumstances in which an analysis may be written."""
    digests = {frame.sop_instance_uid: "cd" * 32 for frame in analysis.volume.frames}
    fields: dict[str, Any] = {
        "node_name": "lesion-node",
        "manufacturer": "lesion-node contributors",
        "software_version": "0.1.0",
        "device_serial_number": "0001",
        "station_name": "LESION_NODE",
        "generation": 1,
        "source_digests": digests,
        "settings_digest": "ef" * 32,
        "provider": "CPUExecutionProvider",
        "content_datetime_utc": datetime(2026, 3, 1, 10, 30, 15, tzinfo=UTC),
    }
    return ResultContext(**{**fields, **changes})


def results_of(analysis: Analysis, **changes: Any) -> dict[ResultKind, Dataset]:
    """Write the results of an analysis, in circumstances that differ in some fields."""
    written = write_results(analysis, context_of(analysis, **changes)).objects
    return {one.kind: one.dataset for one in written}


def encoded(dataset: Dataset) -> bytes:
    """Return a result as the Part 10 file that would be sent."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _paint(
    lps_mm: NDArray[np.float64], phantom: Phantom
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int16]]:
    shape = lps_mm.shape[:3]
    lungs = np.zeros(shape, dtype=np.uint8)
    lesions = np.zeros(shape, dtype=np.uint8)
    for label, side, sign in ((1, Side.RIGHT, -1.0), (2, Side.LEFT, 1.0)):
        size = 1.0 if side is Side.RIGHT else 0.85
        if side in phantom.lungs:
            lungs[_ellipsoid(lps_mm, (sign * 15.0, 2.0, 0.0), (11 * size, 18 * size, 24 * size))] = label
        if side in phantom.lungs and side in phantom.lesion_sides:
            lesions[_ellipsoid(lps_mm, (sign * 15.0, 8.0, -8.0), (6 * size, 6 * size, 9 * size))] = 1
            lesions[_ellipsoid(lps_mm, (sign * 15.0, 9.0, -8.0), phantom.dense_radii_mm)] = 2
    lesions[lungs == 0] = 0
    hu = np.full(shape, 40, dtype=np.int16)
    noise = np.arange(hu.size, dtype=np.int16).reshape(shape) % 7
    hu[lungs > 0] = -850
    hu[lesions == 1] = -550
    hu[lesions == 2] = 10
    return lungs, lesions, hu + noise


def _ellipsoid(
    lps_mm: NDArray[np.float64], centre: Sequence[float], radii: Sequence[float]
) -> NDArray[np.bool_]:
    return np.asarray(np.sum(((lps_mm - centre) / radii) ** 2, axis=-1) <= 1.0)


def _frames(phantom: Phantom) -> tuple[SourceFrame, ...]:
    count = phantom.shape_zyx[0]
    if phantom.enhanced:
        # Frames are stored from the head downwards, against the direction of axis z.
        return tuple(SourceFrame(SOPInstanceUID(INSTANCE_UID), count - k) for k in range(count))
    return tuple(SourceFrame(SOPInstanceUID(f"{INSTANCE_UID}.{k + 1}"), None) for k in range(count))


def _headers(phantom: Phantom, geometry: Geometry) -> tuple[Dataset, ...]:
    if phantom.enhanced:
        return (_read(_enhanced(phantom, geometry), phantom),)
    headers = []
    for k, frame in enumerate(_frames(phantom)):
        header = _common(phantom)
        header.SOPClassUID = CT_IMAGE_STORAGE
        header.SOPInstanceUID = frame.sop_instance_uid
        header.InstanceNumber = k + 1
        header.ImagePositionPatient = _position(geometry, k)
        header.ImageOrientationPatient = [f"{value:.9g}" for value in phantom.orientation]
        header.PixelSpacing = list(phantom.spacing_zyx_mm[1:])
        header.SliceThickness = phantom.spacing_zyx_mm[0]
        headers.append(_read(header, phantom))
    return tuple(headers)


def _common(phantom: Phantom) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.Modality = "CT"
    header.PatientName, header.PatientID, header.IssuerOfPatientID = "Doe^Jane", "P-0001", "HOSPITAL"
    header.PatientBirthDate, header.PatientSex, header.PatientAge = "19600102", "F", "066Y"
    header.StudyInstanceUID, header.SeriesInstanceUID = STUDY_UID, SERIES_UID
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = FRAME_OF_REFERENCE_UID, "SN"
    header.StudyDate, header.StudyTime, header.StudyID = "20260301", "111500", "S1"
    header.AccessionNumber, header.ReferringPhysicianName = "A-77", "Ref^Doctor"
    header.StudyDescription, header.TimezoneOffsetFromUTC = "CT chest", "+0100"
    header.Manufacturer, header.ManufacturerModelName = "Scanner Inc", "Scan 64"
    header.InstitutionName, header.BodyPartExamined, header.PatientPosition = "Hospital", "CHEST", "HFS"
    header.Rows, header.Columns = phantom.shape_zyx[1:]
    for keyword, value in phantom.attributes.items():
        if value is not None:
            setattr(header, keyword, value)
        elif keyword in header:
            del header[keyword]
    return header


def _enhanced(phantom: Phantom, geometry: Geometry) -> Dataset:
    count = phantom.shape_zyx[0]
    header = _common(phantom)
    header.SOPClassUID, header.SOPInstanceUID = ENHANCED_CT_IMAGE_STORAGE, INSTANCE_UID
    header.NumberOfFrames = count
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [f"{value:.9g}" for value in phantom.orientation]
    measures.PixelSpacing = list(phantom.spacing_zyx_mm[1:])
    measures.SliceThickness = phantom.spacing_zyx_mm[0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    header.SharedFunctionalGroupsSequence = [shared]
    per_frame = []
    for frame_number in range(1, count + 1):
        position, groups = Dataset(), Dataset()
        position.ImagePositionPatient = _position(geometry, count - frame_number)
        groups.PlanePositionSequence = [position]
        per_frame.append(groups)
    header.PerFrameFunctionalGroupsSequence = per_frame
    return header


def _position(geometry: Geometry, k: int) -> list[str]:
    return [f"{value:.8g}" for value in geometry.to_lps_mm(np.asarray((k, 0, 0)))]


def _read(header: Dataset, phantom: Phantom) -> Dataset:
    """Return a header as it is after reading a received file: elements not decoded yet."""
    for keyword, value in phantom.raw.items():
        tag = Tag(keyword)
        vr = "PN" if keyword.endswith("Name") and keyword.startswith(("Patient", "Ref")) else "LO"
        value += b" " * (len(value) % 2)
        header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    value = header.get("SpecificCharacterSet")
    terms = () if value is None else (value,) if isinstance(value, str) else tuple(value)
    write_as_is(header, terms)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    return dcmread(BytesIO(encoded(header)))
