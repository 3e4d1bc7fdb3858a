"""What one CT frame says about itself: its plane, its stored values, its way to Hounsfield units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, AllTransferSyntaxes

from core.errors import UnsupportedImage
from inference.header_values import (
    SEND_ORIGINAL,
    finite_numbers,
    int_value,
    name_of,
    optional_number,
    text_of,
    text_value,
)
from inference.series_files import SeriesFile

#: Rows and columns outside this are no CT image; checked before anything is allocated.
MATRIX_LIMITS = (16, 4096)
#: Distance of pixel centres outside this is no CT image, mm.
PIXEL_SPACING_LIMITS_MM = (0.01, 10.0)
#: Deviation from unit length and from a right angle that rounded direction cosines may show.
COSINE_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class StoredFormat:
    """How stored values lie in their 16-bit words (PS3.5 8.1.1).

    Parameters
    ----------
    rows, columns
        Matrix.
    bits_stored, high_bit
        Bits Stored (0028,0101) and High Bit (0028,0102).
    is_signed
        Pixel Representation (0028,0103): two's complement.
    photometric_interpretation
        MONOCHROME1 or MONOCHROME2; stored values mean the same in both.
    """

    rows: int
    columns: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric_interpretation: str


@dataclass(frozen=True, slots=True, eq=False)
class ModalityLut:
    """A Modality LUT Sequence (0028,3000), within the data set that holds it; equal only to itself."""

    holder: Dataset


@dataclass(frozen=True, slots=True)
class ValueMapping:
    """The way from stored values to HU (PS3.3 C.11.1).

    Parameters
    ----------
    slope, intercept
        Rescale Slope (0028,1053) and Rescale Intercept (0028,1052).
    modality_lut
        Used in place of slope and intercept where present.
    padding
        Lowest and highest stored value that is no image (PS3.3 C.7.5.1.1.2), None where there is none.
    """

    slope: float
    intercept: float
    modality_lut: ModalityLut | None
    padding: tuple[int, int] | None


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Where a frame lies in the patient.

    Parameters
    ----------
    position_mm
        (3,) float64 Image Position (Patient), LPS mm.
    orientation
        Direction of rising column index, then of rising row index; two orthogonal unit vectors.
    pixel_spacing_mm
        Between rows, then between columns.
    slice_thickness_mm
        Slice Thickness (0018,0050), None where absent or not positive.
    gantry_tilt_deg
        Gantry/Detector Tilt (0018,1120), None where absent; positions alone say how the slices lie.
    frame_of_reference_uid
        Frame of Reference UID (0020,0052), empty where absent.
    """

    position_mm: NDArray[np.float64]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float | None
    gantry_tilt_deg: float | None
    frame_of_reference_uid: str


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One slice to be read.

    Parameters
    ----------
    file
        Holds its pixels.
    number
        1-based frame number in a multi-frame instance, None in a single-frame one.
    plane, stored, mapping
        See there.
    """

    file: SeriesFile
    number: int | None
    plane: Plane
    stored: StoredFormat
    mapping: ValueMapping


def single_frame(file: SeriesFile) -> Frame:
    """Describe the one frame of a CT Image.

    Raises
    ------
    UnsupportedImage
        An attribute that geometry or HU depend on is missing or unusable.
    """
    header = file.header
    if int_value(header, "NumberOfFrames", 1) != 1:
        raise UnsupportedImage(f"a CT Image with more than one frame is not allowed: {SEND_ORIGINAL}")
    stored = read_stored_format(header, file.transfer_syntax_uid)
    plane = read_plane(header, header, header, header)
    return Frame(file, None, plane, stored, read_mapping(header, header, stored))


def read_plane(position: Dataset, orientation: Dataset, measures: Dataset, header: Dataset) -> Plane:
    """Read a plane from the data sets that hold its parts: one and the same for a CT Image.

    Raises
    ------
    UnsupportedImage
        A part is missing, not a number, or impossible.
    """
    spacing = finite_numbers(measures, "PixelSpacing", 2)
    low, high = PIXEL_SPACING_LIMITS_MM
    if not all(low <= value <= high for value in spacing):
        raise UnsupportedImage(f"{name_of('PixelSpacing')} is {text_of(spacing)} mm: {SEND_ORIGINAL}")
    thickness = optional_number(measures, "SliceThickness")
    return Plane(
        position_mm=np.array(finite_numbers(position, "ImagePositionPatient", 3)),
        orientation=_orthonormal(finite_numbers(orientation, "ImageOrientationPatient", 6)),
        pixel_spacing_mm=(spacing[0], spacing[1]),
        slice_thickness_mm=thickness if thickness is not None and thickness > 0 else None,
        gantry_tilt_deg=optional_number(header, "GantryDetectorTilt"),
        frame_of_reference_uid=text_value(header, "FrameOfReferenceUID"),
    )


def read_stored_format(header: Dataset, transfer_syntax_uid: str) -> StoredFormat:
    """Read the Image Pixel module (PS3.3 C.7.6.3) within the bounds of a CT Image (PS3.3 C.8.2.1).

    Raises
    ------
    UnsupportedImage
        Colour, other than 16 bits allocated, or an impossible matrix.
    """
    photometric = text_value(header, "PhotometricInterpretation").upper() or "MONOCHROME2"
    samples = int_value(header, "SamplesPerPixel", 1)
    if samples != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnsupportedImage(f"a colour image ({photometric}), not CT values: {SEND_ORIGINAL}")
    rows, columns = int_value(header, "Rows", 0), int_value(header, "Columns", 0)
    low, high = MATRIX_LIMITS
    if not (low <= rows <= high and low <= columns <= high):
        raise UnsupportedImage(f"a matrix of {rows} × {columns} is no CT image: {SEND_ORIGINAL}")
    allocated = int_value(header, "BitsAllocated", 0)
    stored = int_value(header, "BitsStored", allocated)
    # A compressed frame has no unused bits; its decoder returns values at the low end of each word.
    is_native = transfer_syntax_uid not in AllTransferSyntaxes or not UID(transfer_syntax_uid).is_encapsulated
    high_bit = int_value(header, "HighBit", stored - 1) if is_native else stored - 1
    if allocated != 16 or not 8 <= stored <= 16 or not stored - 1 <= high_bit <= 15:
        raise UnsupportedImage(
            f"Bits Allocated {allocated}, Bits Stored {stored}, High Bit {high_bit} "
            f"cannot hold CT values (16 bits are needed): {SEND_ORIGINAL}"
        )
    is_signed = int_value(header, "PixelRepresentation", 0) == 1
    return StoredFormat(rows, columns, stored, high_bit, is_signed, photometric)


def read_mapping(rescale: Dataset, header: Dataset, stored: StoredFormat) -> ValueMapping:
    """Read how stored values become HU.

    Parameters
    ----------
    rescale
        Holds Rescale Slope and Intercept.
    header
        Holds Modality LUT Sequence and pixel padding.
    stored
        Format of the stored values.

    Raises
    ------
    UnsupportedImage
        There is no way to HU, or an impossible one.
    """
    padding = _padding(header, stored)
    lut_items = header.get("ModalityLUTSequence")
    if lut_items:
        lut_type = text_value(lut_items[0], "ModalityLUTType").upper() or "HU"
        if lut_type not in {"HU", "US"}:
            raise UnsupportedImage(f"a Modality LUT of type {lut_type} does not yield HU: {SEND_ORIGINAL}")
        return ValueMapping(1.0, 0.0, ModalityLut(header), padding)
    slope = finite_numbers(rescale, "RescaleSlope", 1)[0]
    intercept = finite_numbers(rescale, "RescaleIntercept", 1)[0]
    if slope <= 0 or slope > 1e3 or abs(intercept) > 1e6:
        raise UnsupportedImage(
            f"Rescale Slope {slope:g} and Rescale Intercept {intercept:g} do not yield HU: {SEND_ORIGINAL}"
        )
    return ValueMapping(slope, intercept, None, padding)


def _orthonormal(cosines: Sequence[float]) -> tuple[float, ...]:
    """Check direction cosines and remove what rounding left of them; exact ones stay as they are."""
    along_row, along_column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(along_row @ along_column)) > COSINE_TOLERANCE:
        raise UnsupportedImage(
            f"{name_of('ImageOrientationPatient')} is {text_of(cosines)}, not two orthogonal unit vectors: "
            f"{SEND_ORIGINAL}"
        )
    along_row = along_row / lengths[0]
    along_column = along_column - (along_row @ along_column) * along_row
    along_column = along_column / np.linalg.norm(along_column)
    return tuple(float(value) for value in (*along_row, *along_column))


def _padding(header: Dataset, stored: StoredFormat) -> tuple[int, int] | None:
    """Read Pixel Padding Value and Range Limit; unusable ones count as absent, as they only mark the rim."""
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = optional_number(header, keyword)
        if value is not None and -32768 <= value <= 65535:
            # Written as US where Pixel Representation says SS and the other way round (PS3.3 C.7.5.1.1.2).
            word = int(value) & 0xFFFF
            ends.append(word - 65536 if stored.is_signed and word >= 32768 else word)
        elif keyword == "PixelPaddingValue":
            return None
    return min(ends), max(ends)
