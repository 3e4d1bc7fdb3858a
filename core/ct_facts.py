"""The few header values by which series are grouped into acquisitions and ranked against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from core.ct_header import image_types
from core.geometry import position_along_normal_mm

#: Elements that `CtFacts.from_header` reads; a reader may skip every other one.
FACT_KEYWORDS = (
    "ImageType",
    "StudyDate",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "AcquisitionNumber",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "ConvolutionKernel",
    "NumberOfFrames",
    "SeriesNumber",
    "Rows",
    "Columns",
)


@dataclass(frozen=True, slots=True)
class CtFacts:
    """What one CT instance says about its acquisition and reconstruction.

    Parameters
    ----------
    image_type
        Image Type (0008,0008), upper case.
    frame_of_reference_uid
        Frame of Reference UID (0020,0052).
    acquisition_number
        Acquisition Number (0020,0012), empty where absent.
    acquired_at
        Acquisition Date and Time in seconds (the study's own clock, no time zone); None where absent.
    orientation
        Image Orientation (Patient), empty where absent.
    position_mm
        Position along the slice normal in mm; None where it cannot be told.
    slice_thickness_mm
        Slice Thickness (0018,0050); None where absent.
    kernel
        Convolution Kernel (0018,1210), its values joined by a space.
    number_of_frames
        Number of Frames (0028,0008), 1 where absent.
    series_number
        Series Number (0020,0011), 0 where absent.
    matrix
        Rows and columns.
    studied_at
        Start of the Study Date (0008,0020) in seconds, likewise; None where absent.
    """

    image_type: tuple[str, ...]
    frame_of_reference_uid: str
    acquisition_number: str
    acquired_at: float | None
    orientation: tuple[float, ...]
    position_mm: float | None
    slice_thickness_mm: float | None
    kernel: str
    number_of_frames: int
    series_number: int
    matrix: tuple[int, int]
    studied_at: float | None = None

    @classmethod
    def from_header(cls, header: Dataset) -> CtFacts:
        """Read the facts from a data set; whatever is absent or unreadable stays empty."""
        orientation = _numbers(header, "ImageOrientationPatient", 6)
        position = _numbers(header, "ImagePositionPatient", 3)
        along: float | None = None
        # Row and column directions that are parallel or zero span no plane.
        if orientation and position and np.linalg.norm(np.cross(orientation[:3], orientation[3:])) > 1e-6:
            along = position_along_normal_mm(position, orientation)
            along = along if math.isfinite(along) else None
        kernel = header.get("ConvolutionKernel") or ""
        return cls(
            image_type=image_types(header),
            frame_of_reference_uid=str(header.get("FrameOfReferenceUID") or ""),
            acquisition_number=str(header.get("AcquisitionNumber") or ""),
            acquired_at=_acquired_at(header),
            orientation=orientation,
            position_mm=along,
            slice_thickness_mm=next(iter(_numbers(header, "SliceThickness", 1)), None),
            kernel=" ".join(map(str, kernel)) if isinstance(kernel, (list, MultiValue)) else str(kernel),
            number_of_frames=_integer(header, "NumberOfFrames", 1),
            series_number=_integer(header, "SeriesNumber", 0),
            matrix=(_integer(header, "Rows", 0), _integer(header, "Columns", 0)),
            studied_at=_moment(f"{header.get('StudyDate') or ''}000000"),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CtFacts:
        """Undo `as_json`."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {name: getattr(self, name) for name in self.__slots__}


def _numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    try:
        value = header.get(keyword)
        if value is None or value == "":
            return ()
        values = (
            value if isinstance(value, (Sequence, MultiValue)) and not isinstance(value, str) else [value]
        )
        numbers = tuple(float(item) for item in values)
    except (TypeError, ValueError):
        return ()
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else ()


def _integer(header: Dataset, keyword: str, default: int) -> int:
    try:
        return int(header.get(keyword) or default)
    except (TypeError, ValueError, OverflowError):
        return default


def _acquired_at(header: Dataset) -> float | None:
    """Read Acquisition DateTime, or Acquisition Date and Time (PS3.5 6.2: DT, DA, TM)."""
    text = str(header.get("AcquisitionDateTime") or "")
    if not text:
        date, time = str(header.get("AcquisitionDate") or ""), str(header.get("AcquisitionTime") or "")
        text = f"{date}{time}" if len(date) == 8 and time else ""
    return _moment(text)


def _moment(text: str) -> float | None:
    """Read the digits of a DT value (PS3.5 6.2); None where they are no moment."""
    digits, _, fraction = text.split("+")[0].split("-")[0].partition(".")
    if not (digits.isascii() and digits.isdigit()) or len(digits) < 10:
        return None
    padded = digits[:14].ljust(14, "0")
    try:
        moment = datetime.strptime(padded, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)
