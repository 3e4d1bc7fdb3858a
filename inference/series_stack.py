"""From frames in any order to one regular stack, or to the reason why they are none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InconsistentGeometry, MissingSlices, OtherImages, UnsupportedImage
from core.geometry import (
    SAME_DIRECTION_COS,
    Geometry,
    StackRegularity,
    position_along_normal_mm,
    slice_normal,
    stack_regularity,
)
from inference.header_values import SEND_ONE, SEND_SERIES, text_value
from inference.series_frames import Frame
from inference.straightening import Straightening

#: Fewer slices, or less extent along the normal, are no volume to measure.
MIN_SLICES = 8
MIN_COVERAGE_MM = 50.0
#: The slice normal may lean from the patient's long axis by this, degrees; gantries do not tilt further.
MAX_LEAN_DEG = 35.0
#: Gantries tilt by up to this, degrees; slices that slide further come from no tilt, and straightening was
#: not measured beyond it.
MAX_TILT_DEG = 30.0
#: Rounded positions and tilts may differ by this, degrees.
TILT_TOLERANCE_DEG = 0.5
#: A tilted gantry leaves the table where it is: the line of its slices leans from the patient's long axis by
#: no more than this, degrees.
MAX_TABLE_LEAN_DEG = 5.0
#: More voxels (2 GiB as int16) are refused before they are allocated.
MAX_VOXELS = 2**30
#: Distance from its even place up to which a slice counts as there, as a share of the spacing. Positions
#: rounded to 0.1 mm stay below, a missing slice shifts another one by at least a half.
PLACE_TOLERANCE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Frames in axis-z order on one grid.

    Parameters
    ----------
    frames
        In the order of rising position along the slice normal.
    geometry
        Of the grid.
    remarks
        What was noticed and is no reason to refuse.
    """

    frames: tuple[Frame, ...]
    geometry: Geometry
    remarks: tuple[str, ...]


def build_stack(frames: Sequence[Frame]) -> Stack:
    """Sort frames along the slice normal and judge whether they form one regular axial stack.

    Parameters
    ----------
    frames
        In any order, at least one.

    Raises
    ------
    InconsistentGeometry
        Mixed matrices, pixel spacings, orientations or frames of reference; two slices at one place; slices
        that slide sideways unevenly, or further than a gantry tilts; too few slices.
    OtherImages
        Not axial, or less of the patient than any chest.
    MissingSlices
        Gaps or uneven distances.
    UnsupportedImage
        Larger than any CT.
    """
    _require_one_grid(frames)
    orientation = _common_orientation(frames)
    _require_axial(orientation)
    along_mm = np.array([position_along_normal_mm(f.plane.position_mm.tolist(), orientation) for f in frames])
    order = np.argsort(along_mm, kind="stable")
    ordered = tuple(frames[at] for at in order)
    along_mm = along_mm[order]
    _require_regular(ordered, along_mm)
    spacing_mm = float(along_mm[-1] - along_mm[0]) / (len(ordered) - 1)
    first = ordered[0]
    geometry = Geometry.from_dicom(
        image_position_mm=first.plane.position_mm.tolist(),
        image_orientation=orientation,
        pixel_spacing_mm=first.plane.pixel_spacing_mm,
        slice_spacing_mm=spacing_mm,
        shape_zyx=(len(ordered), first.stored.rows, first.stored.columns),
        slide_mm=(_slide_per_mm(ordered, orientation) * spacing_mm).tolist(),
        frame_of_reference_uid=first.plane.frame_of_reference_uid,
    )
    for shape in (geometry.shape_zyx, Straightening.of(geometry).target.shape_zyx):
        if math.prod(shape) > MAX_VOXELS:
            raise UnsupportedImage(f"{shape[0]} slices of {shape[1]} × {shape[2]} are too many: {SEND_ONE}")
    return Stack(ordered, geometry, (*_spacing_remarks(ordered, spacing_mm), *_tilt_remarks(first, geometry)))


def _require_one_grid(frames: Sequence[Frame]) -> None:
    """Refuse frames that differ in matrix, pixel spacing or Frame of Reference."""
    matrices = Counter(f"{frame.stored.rows} × {frame.stored.columns}" for frame in frames)
    _require_single(matrices, "matrix sizes")
    spacings = np.array([frame.plane.pixel_spacing_mm for frame in frames])
    if np.any(np.abs(spacings / spacings[0] - 1) > 1e-3):
        texts = Counter("\\".join(f"{value:.4g}" for value in row) + " mm" for row in spacings)
        _require_single(texts, "pixel spacings")
    references = {frame.plane.frame_of_reference_uid for frame in frames}
    if len(references) > 1:
        raise InconsistentGeometry(
            f"{len(references)} Frames of Reference in one series: its images cannot be stacked, {SEND_ONE}"
        )


def _require_single(found: Counter[str], what: str) -> None:
    if len(found) > 1:
        listed = ", ".join(f"{value} in {count} images" for value, count in found.most_common(3))
        raise InconsistentGeometry(f"{len(found)} {what} in one series ({listed}): {SEND_ONE}")


def _common_orientation(frames: Sequence[Frame]) -> tuple[float, ...]:
    """Return the orientation that all frames share; else tell how many directions there are."""
    groups: list[tuple[tuple[float, ...], int]] = []
    for frame in frames:
        for at, (known, count) in enumerate(groups):
            if _same_orientation(known, frame.plane.orientation):
                groups[at] = (known, count + 1)
                break
        else:
            groups.append((frame.plane.orientation, 1))
    if len(groups) > 1:
        counts = sorted((count for _, count in groups), reverse=True)
        listed = " and ".join(str(count) for count in counts[:4])
        raise InconsistentGeometry(
            f"{len(groups)} orientations in one series (of {listed} images): leave out localizers and "
            f"reformations, {SEND_ONE}"
        )
    return groups[0][0]


def _same_orientation(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    rows = sum(a * b for a, b in zip(one[:3], other[:3], strict=True))
    columns = sum(a * b for a, b in zip(one[3:], other[3:], strict=True))
    return rows >= SAME_DIRECTION_COS and columns >= SAME_DIRECTION_COS


def _require_axial(orientation: tuple[float, ...]) -> None:
    normal = slice_normal(orientation)
    lean_deg = math.degrees(math.acos(min(1.0, abs(float(normal[2])))))
    if lean_deg > MAX_LEAN_DEG:
        plane = ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))]
        refusal = UnsupportedImage if plane == "axial" else OtherImages
        what = f"{plane} slices" if plane != "axial" else f"slices tilted by {lean_deg:.0f} degrees"
        raise refusal(f"{what}, not axial ones: send the original axial series")


def _require_regular(frames: Sequence[Frame], along_mm: NDArray[np.float64]) -> None:
    """Refuse duplicates, gaps, uneven distances and stacks too small to measure."""
    regularity = stack_regularity(along_mm.tolist())
    extent_mm = float(along_mm[-1] - along_mm[0]) + regularity.spacing_mm
    # Bolus tracking and test slices look at one place only.
    refusal = OtherImages if extent_mm < MIN_COVERAGE_MM else InconsistentGeometry
    if regularity.duplicates:
        raise refusal(_duplicates_text(frames, regularity))
    if len(frames) < MIN_SLICES:
        raise refusal(f"{_count(len(frames), 'slice')}, at least {MIN_SLICES} are needed: {SEND_SERIES}")
    if not _is_even(along_mm):
        raise MissingSlices(_gaps_text(frames, along_mm, regularity))
    if extent_mm < MIN_COVERAGE_MM:
        raise OtherImages(
            f"the slices cover {extent_mm:.0f} mm, at least {MIN_COVERAGE_MM:.0f} mm are needed: "
            f"{SEND_SERIES}"
        )


def _is_even(along_mm: NDArray[np.float64]) -> bool:
    spacing = (along_mm[-1] - along_mm[0]) / (along_mm.size - 1)
    even_mm = along_mm[0] + spacing * np.arange(along_mm.size)
    return bool(np.max(np.abs(along_mm - even_mm)) <= PLACE_TOLERANCE * spacing)


def _duplicates_text(frames: Sequence[Frame], regularity: StackRegularity) -> str:
    places = regularity.count - regularity.duplicates
    text = f"{regularity.count} images at {_count(places, 'place')}"
    if places > 1 and regularity.count % places == 0:
        text += f" ({regularity.count // places} at each: several phases or reconstructions in one series)"
    acquisitions = {text_value(frame.file.header, "AcquisitionNumber") for frame in frames}
    if len(acquisitions) > 1:
        text += f", from {len(acquisitions)} acquisitions"
    return f"{text}: {SEND_ONE}"


def _gaps_text(frames: Sequence[Frame], along_mm: NDArray[np.float64], regularity: StackRegularity) -> str:
    steps = np.diff(along_mm)
    if regularity.uneven or not regularity.missing:
        return (
            f"uneven slice positions: {float(steps.min()):.2f} to {float(steps.max()):.2f} mm apart, mostly "
            f"{regularity.spacing_mm:.2f} mm: {SEND_SERIES}, or {SEND_ONE}"
        )
    at = int(np.searchsorted(along_mm, regularity.gaps_mm[0][0]))
    start, end = (float(frame.plane.position_mm[2]) for frame in frames[at : at + 2])
    where = f"between z = {start:.1f} and {end:.1f} mm"
    if len(regularity.gaps_mm) > 1:
        where = f"in {len(regularity.gaps_mm)} gaps, the first {where}"
    return (
        f"{_count(regularity.missing, 'slice')} missing {where} (spacing {regularity.spacing_mm:.4g} mm): "
        f"{SEND_SERIES}"
    )


def _slide_per_mm(frames: Sequence[Frame], orientation: tuple[float, ...]) -> NDArray[np.float64]:
    """Return how far slices slide sideways per mm along their normal: (3,) LPS, 0 in a straight stack.

    Positions say it alone; the sign of Gantry/Detector Tilt differs from maker to maker. A slide of one pixel
    over the whole stack may come from rounded cosines and stays within half a voxel of its middle.
    """
    offsets = np.array([frame.plane.position_mm for frame in frames]) - frames[0].plane.position_mm
    normal = slice_normal(orientation)
    along = offsets @ normal
    sideways = offsets - along[:, None] * normal
    reach_mm = float(np.linalg.norm(sideways, axis=1).max())
    allowed_mm = min(frames[0].plane.pixel_spacing_mm)
    if reach_mm <= allowed_mm:
        return np.zeros(3)
    slide: NDArray[np.float64] = sideways[-1] / along[-1]
    off_line_mm = float(np.linalg.norm(sideways - along[:, None] * slide, axis=1).max())
    if off_line_mm > allowed_mm:
        raise InconsistentGeometry(
            f"the slices slide sideways by up to {reach_mm:.1f} mm, and not evenly as with a tilted gantry: "
            f"one lies {off_line_mm:.1f} mm off the line of the others, {SEND_ONE}"
        )
    tilt_deg = math.degrees(math.atan(float(np.linalg.norm(slide))))
    if tilt_deg > MAX_TILT_DEG + TILT_TOLERANCE_DEG:
        raise InconsistentGeometry(
            f"the slices slide sideways by up to {reach_mm:.1f} mm, as with a gantry tilted by "
            f"{tilt_deg:.1f} degrees (up to {MAX_TILT_DEG:g} can be analysed): "
            "send a reconstruction without tilt"
        )
    return slide


def _tilt_remarks(first: Frame, geometry: Geometry) -> tuple[str, ...]:
    """Tell that slices slide, and where header and positions contradict each other."""
    remarks = []
    tilt_deg, said_deg = geometry.tilt_deg, first.plane.gantry_tilt_deg
    if geometry.is_sheared:
        remarks.append(
            f"The slices slide sideways as with a gantry tilted by {tilt_deg:.1f} degrees: lungs and lesions "
            "were sought on straightened (resheared) voxels, results lie on the original slices."
        )
        step = geometry.affine_lps[:3, 0]
        lean_deg = math.degrees(math.acos(min(1.0, abs(float(step[2])) / float(np.linalg.norm(step)))))
        if lean_deg > MAX_TABLE_LEAN_DEG:
            remarks.append(
                f"The line of the slices leans from the patient's long axis by {lean_deg:.0f} degrees, which "
                "a tilted gantry does not bring about: check Image Orientation and Image Position (Patient)."
            )
        if said_deg is not None and abs(abs(said_deg) - tilt_deg) > 2 * TILT_TOLERANCE_DEG:
            remarks.append(
                f"Gantry/Detector Tilt is {said_deg:g} degrees, but the slice positions are those of "
                f"{tilt_deg:.1f} degrees; the positions were followed."
            )
    elif said_deg is not None and abs(said_deg) > TILT_TOLERANCE_DEG:
        remarks.append(
            f"Gantry/Detector Tilt is {said_deg:g} degrees, but the slice positions are not sheared."
        )
    return tuple(remarks)


def _spacing_remarks(frames: Sequence[Frame], spacing_mm: float) -> tuple[str, ...]:
    remarks = []
    thickness = frames[0].plane.slice_thickness_mm
    if thickness is not None and thickness < 0.75 * spacing_mm:
        remarks.append(
            f"Slices of {thickness:g} mm stand {spacing_mm:.4g} mm apart: what lies between was not imaged, "
            "volumes are estimates."
        )
    elif thickness is not None and thickness > 1.25 * spacing_mm:
        remarks.append(f"Slices of {thickness:g} mm overlap (spacing {spacing_mm:.4g} mm).")
    if spacing_mm > 10.0:
        remarks.append(f"Slices are {spacing_mm:.4g} mm apart: small lesions can be missed.")
    return tuple(remarks)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
