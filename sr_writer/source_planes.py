"""Where the planes of a source are, in its own numbers: a SEG repeats them to the last digit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from core.domain import CtVolume
from core.errors import ResultEncodingError
from core.geometry import SAME_DIRECTION_COS

# With room for the decimals of positions.
_ONE_PIXEL = 1.01
_LONGEST_DS = 16  # PS3.5 6.2


@dataclass(frozen=True, slots=True)
class SourcePlanes:
    """Plane position, orientation and pixel measures of a volume's source, as decimal strings.

    Parameters
    ----------
    positions
        Image Position (Patient) of each slice in axis-z order, LPS mm.
    orientation
        Image Orientation (Patient) of all of them.
    pixel_spacing
        Pixel Spacing: between rows, between columns, mm.
    slice_thickness, slice_spacing
        Slice Thickness and Spacing Between Slices, mm; both are measured along the slice normal, also where
        slices slide sideways (PS3.3 C.7.6.16.2.1).
    """

    positions: tuple[tuple[str, ...], ...]
    orientation: tuple[str, ...]
    pixel_spacing: tuple[str, ...]
    slice_thickness: str
    slice_spacing: str

    @classmethod
    def of(cls, volume: CtVolume) -> SourcePlanes:
        """Read the planes and check them against the geometry that the masks were made in.

        Raises
        ------
        ResultEncodingError
            Where headers and slices do not belong to each other, or a plane is not where the geometry says:
            a mask written there would be shifted or flipped.
        """
        planes = tuple(_planes(volume))
        if len(planes) != volume.geometry.shape_zyx[0]:
            raise ResultEncodingError(
                f"The volume has {volume.geometry.shape_zyx[0]} slices and {len(planes)} source images."
            )
        positions = tuple(_decimal_strings(_required(plane, "ImagePositionPatient", 3)) for plane in planes)
        orientations = [_required(plane, "ImageOrientationPatient", 6) for plane in planes]
        _check(volume, positions, orientations)
        z_mm, y_mm, x_mm = volume.geometry.spacing_zyx_mm
        thickness = _first_number(planes[0].get("SliceThickness"))
        return cls(
            positions,
            _decimal_strings(orientations[0]),
            _decimal_strings(planes[0].get("PixelSpacing") or (y_mm, x_mm)),
            _decimal_string(thickness if thickness > 0 else z_mm),
            _decimal_string(z_mm),
        )


def _planes(volume: CtVolume) -> Iterator[Dataset]:
    """Yield per slice a data set that has the attributes of its plane at top level."""
    if volume.frames and volume.frames[0].frame_number is not None:
        # One instance, or the parts of a concatenation (PS3.3 C.7.6.16.2.2.4).
        parts = {str(header.SOPInstanceUID): header for header in volume.headers}
        for frame in volume.frames:
            header = parts.get(frame.sop_instance_uid)
            if header is None or frame.frame_number is None:
                raise ResultEncodingError(
                    "A slice refers to a multi-frame image that is not among the volume's headers."
                )
            yield _plane_of_frame(header, frame.frame_number)
        return
    if len(volume.headers) != len(volume.frames):
        raise ResultEncodingError(
            f"The volume has {len(volume.frames)} slices and {len(volume.headers)} source headers."
        )
    for header, frame in zip(volume.headers, volume.frames, strict=True):
        if frame.sop_instance_uid != header.SOPInstanceUID:
            raise ResultEncodingError("A slice and its header are not of the same source image.")
        yield header


def _plane_of_frame(header: Dataset, frame_number: int) -> Dataset:
    """Collect the plane macros of a frame (PS3.3 C.7.6.16.2), from its own groups or the shared ones."""
    plane = Dataset()
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or ()
    if not 1 <= frame_number <= len(per_frame):
        raise ResultEncodingError(f"The multi-frame source image describes no frame {frame_number}.")
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*shared, per_frame[frame_number - 1]):
        for macro in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
            for item in groups.get(macro) or ():
                plane.update(item)
    return plane


def _required(plane: Dataset, keyword: str, count: int) -> Sequence[float]:
    value = plane.get(keyword)
    if value is None or len(value) != count:
        raise ResultEncodingError(f"A source image has no complete {keyword}, so masks cannot be placed.")
    numbers: Sequence[float] = value
    return numbers


def _check(
    volume: CtVolume, positions: tuple[tuple[str, ...], ...], orientations: Sequence[Sequence[float]]
) -> None:
    affine = volume.geometry.affine_lps
    along_x = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    along_y = affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    directions = np.asarray(orientations, dtype=np.float64)
    if (directions[:, :3] @ along_x < SAME_DIRECTION_COS).any() or (
        directions[:, 3:] @ along_y < SAME_DIRECTION_COS
    ).any():
        raise ResultEncodingError("The rows or columns of the analysed volume do not run as in its images.")
    expected = affine[:3, 3] + np.arange(len(positions))[:, None] * affine[:3, 0]
    offsets = np.asarray(positions, dtype=np.float64) - expected
    along_mm = np.abs(offsets @ np.cross(along_x, along_y))
    sideways_mm = np.hypot(offsets @ along_x, offsets @ along_y)
    z_mm, y_mm, x_mm = volume.geometry.spacing_zyx_mm
    # Positions carry rounding. Half a slice off, another image would be named; sideways the reader lets a
    # stack slide by one pixel from end to end, and a frame has its own position here.
    if along_mm.max() > 0.5 * z_mm or sideways_mm.max() > max(y_mm, x_mm) * _ONE_PIXEL:
        raise ResultEncodingError(
            f"A source image lies {max(along_mm.max(), sideways_mm.max()):.2f} mm from where its slice was "
            "analysed; the masks would be misplaced."
        )


def _decimal_strings(values: Sequence[float]) -> tuple[str, ...]:
    return tuple(_decimal_string(value) for value in values)


def _decimal_string(value: float) -> str:
    """Return a DS: the source's own digits where they fit."""
    text = str(value).strip()
    return text if len(text) <= _LONGEST_DS else str(format_number_as_ds(float(value)))


def _first_number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0
