"""From an analysis to what later scans are compared with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from core.ct_facts import CtFacts
from core.domain import Analysis, BoxedMask, Lesion, LesionMask, LesionMeasurements, LungMask
from core.geometry import Geometry
from core.regions import Box, bounding_box
from core.time_point import ResultReference, ScanFacts, TimePoint

#: What is kept of the surroundings of the lungs: their border is what a registration holds on to.
_MARGIN_MM = 12.0
#: Densities are averaged to about these distances: fine enough for a picture, a twentieth of a thin scan.
_DENSITY_SLICE_MM, _DENSITY_PIXEL_MM = 2.5, 1.25
#: Noise is larger; what is rounded away would cost half of the file.
_DENSITY_STEP_HU = 4
#: What is entered for a Contrast/Bolus Agent where there was none.
_NO_CONTRAST = {
    "none", "no", "n", "nil", "na", "n a", "not applicable", "0", "without", "without contrast", "w o",
    "w o contrast", "no contrast", "non contrast", "noncontrast", "unenhanced", "plain", "native", "nativ",
    "ohne", "nein", "sans", "non", "无",
}  # fmt: skip
_LOWEST_HU, _HIGHEST_HU = -1024, 1000


def time_point_of(
    analysis: Analysis,
    tracking_uids: Mapping[int, str] | None = None,
    results: tuple[ResultReference, ...] = (),
) -> TimePoint | None:
    """Keep of an analysis what later scans are compared with.

    Parameters
    ----------
    analysis
        Volume, masks and numbers.
    tracking_uids
        Tracking UID of each single lesion, by number, once they are known.
    results
        The objects that were made of it, once they are.

    Returns
    -------
    TimePoint or None
        None where no lung was found: there is nothing to compare.
    """
    volume = analysis.volume
    box = _with_margin(bounding_box(analysis.lungs.labels_zyx), volume.geometry)
    if box is None:
        return None
    geometry = _cut(volume.geometry, box)
    density, density_geometry = _averaged(volume.hu_zyx[box], geometry)
    point = TimePoint(
        facts=scan_facts(volume.headers[0], cut_off=_is_cut_off(analysis.lungs.labels_zyx)),
        model=analysis.lesions.model,
        measurements=_moved(analysis.measurements, box),
        geometry=geometry,
        lungs=LungMask(np.ascontiguousarray(analysis.lungs.labels_zyx[box])),
        lesions=LesionMask(np.ascontiguousarray(analysis.lesions.labels_zyx[box]), analysis.lesions.model),
        density_geometry=density_geometry,
        density_hu_zyx=density,
    )
    return with_results(point, tracking_uids or {}, results)


def with_results(
    point: TimePoint, tracking_uids: Mapping[int, str], results: tuple[ResultReference, ...]
) -> TimePoint:
    """Return a time point with what was made of it, and the digest of the whole."""
    digest = hashlib.sha256()
    facts, numbers = repr(point.facts), repr(point.measurements)
    for part in (facts, repr(point.model), numbers, repr(sorted(tracking_uids.items())), repr(results)):
        digest.update(part.encode())
    masks = (point.lungs.labels_zyx, point.lesions.labels_zyx, point.density_hu_zyx)
    for array in (point.geometry.affine_lps, *masks):
        digest.update(np.ascontiguousarray(array).tobytes())
    return replace(point, tracking_uids=dict(tracking_uids), results=results, digest=digest.hexdigest())


def scan_facts(header: Dataset, *, cut_off: bool) -> ScanFacts:
    """Read what tells a scan from others; `cut_off`: a lung goes on beyond the first or the last slice."""
    facts = CtFacts.from_header(header)
    return ScanFacts(
        study_instance_uid=str(header.get("StudyInstanceUID") or ""),
        series_instance_uid=str(header.get("SeriesInstanceUID") or ""),
        scanned_at=_scanned_at(header),
        kernel=facts.kernel.strip(),
        slice_thickness_mm=facts.slice_thickness_mm,
        contrast=_has_contrast(header),
        manufacturer=_text(header, "Manufacturer"),
        manufacturer_model_name=_text(header, "ManufacturerModelName"),
        device_serial_number=_text(header, "DeviceSerialNumber"),
        patient_position=_text(header, "PatientPosition"),
        cut_off=cut_off,
    )


def _has_contrast(header: Dataset) -> bool:
    """Tell whether an agent is named, in classic or in enhanced images (PS3.3 C.7.6.4, C.7.6.4b)."""
    words = re.sub(r"[\W_]+", " ", _text(header, "ContrastBolusAgent").casefold()).strip()
    return bool(header.get("ContrastBolusAgentSequence")) or (bool(words) and words not in _NO_CONTRAST)


def _scanned_at(header: Dataset) -> datetime | None:
    """Return when the images were acquired; else when series or study began (PS3.5 6.2: DA, TM, DT)."""
    exact = _moment(_text(header, "AcquisitionDateTime"))
    if exact is not None:
        return exact
    for event in ("Acquisition", "Series", "Study"):
        date, time = _text(header, f"{event}Date"), _text(header, f"{event}Time")
        moment = _moment(date + time) or _moment(date)
        if moment is not None:
            return moment
    return None


def _moment(text: str) -> datetime | None:
    digits = text.split(".")[0].split("+")[0].split("-")[0]
    if len(digits) < 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return datetime.strptime(digits[:14].ljust(14, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip()


def _is_cut_off(lungs_zyx: NDArray[np.uint8]) -> bool:
    return bool(lungs_zyx[0].any() or lungs_zyx[-1].any())


def _with_margin(box: Box, geometry: Geometry) -> Box | None:
    """Return the box and its surroundings; None where it is empty."""
    if any(edge.stop <= edge.start for edge in box):
        return None
    spacing_mm, shape = geometry.spacing_zyx_mm, geometry.shape_zyx
    margins = [int(np.ceil(_MARGIN_MM / step)) for step in spacing_mm]
    z, y, x = (
        slice(max(edge.start - margin, 0), min(edge.stop + margin, length))
        for edge, margin, length in zip(box, margins, shape, strict=True)
    )
    return z, y, x


def _cut(geometry: Geometry, box: Box) -> Geometry:
    affine = geometry.affine_lps.copy()
    affine[:3, 3] = geometry.to_lps_mm(np.array([edge.start for edge in box]))
    z, y, x = (edge.stop - edge.start for edge in box)
    return Geometry(affine, (z, y, x), geometry.frame_of_reference_uid)


def _averaged(hu_zyx: NDArray[np.int16], geometry: Geometry) -> tuple[NDArray[np.int16], Geometry]:
    """Average densities over whole blocks of voxels; the last block of an axis may be smaller."""
    wanted = (_DENSITY_SLICE_MM, _DENSITY_PIXEL_MM, _DENSITY_PIXEL_MM)
    factors = [max(1, round(mm / step)) for mm, step in zip(wanted, geometry.spacing_zyx_mm, strict=True)]
    starts = [np.arange(0, length, factor) for length, factor in zip(hu_zyx.shape, factors, strict=True)]
    planes = []
    for first in starts[0]:
        block = hu_zyx[first : first + factors[0]]
        rows = np.add.reduceat(block.sum(axis=0, dtype=np.int32), starts[1], axis=0)
        sums = np.add.reduceat(rows, starts[2], axis=1)
        counts = len(block) * np.outer(
            *(np.diff(np.append(at, length)) for at, length in zip(starts[1:], hu_zyx.shape[1:], strict=True))
        )
        planes.append(sums / counts)
    steps = np.rint(np.clip(np.stack(planes), _LOWEST_HU, _HIGHEST_HU) / _DENSITY_STEP_HU)
    density = (steps * _DENSITY_STEP_HU).astype(np.int16)
    affine = geometry.affine_lps.copy()
    affine[:3, :3] *= factors
    affine[:3, 3] = geometry.to_lps_mm((np.array(factors) - 1) / 2)
    z, y, x = density.shape
    return density, Geometry(affine, (z, y, x), geometry.frame_of_reference_uid)


def _moved(measurements: LesionMeasurements, box: Box) -> LesionMeasurements:
    """Return the numbers with the lesions' voxels counted from a box's corner."""
    corner = [edge.start for edge in box]

    def moved(lesion: Lesion) -> Lesion:
        z, y, x = (at - start for at, start in zip(lesion.voxels.start_zyx, corner, strict=True))
        return replace(lesion, voxels=BoxedMask((z, y, x), lesion.voxels.mask_zyx))

    return replace(measurements, lesions=tuple(moved(one) for one in measurements.lesions))


def numbered_lesions(point: TimePoint) -> NDArray[np.uint16]:
    """Return the voxels of every single lesion: (z, y, x) uint16 of their numbers, 0 elsewhere."""
    numbers: NDArray[Any] = np.zeros(point.geometry.shape_zyx, np.uint16)
    for lesion in point.measurements.lesions:
        box = tuple(
            slice(start, start + length)
            for start, length in zip(lesion.voxels.start_zyx, lesion.voxels.mask_zyx.shape, strict=True)
        )
        numbers[box][lesion.voxels.mask_zyx] = lesion.number
    return numbers
