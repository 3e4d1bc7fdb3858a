"""What the film shows of the scan: slices with outlines, and an overview of both lungs from the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain import FINDING_LABEL, LUNG_LABEL, Analysis, Finding, Side, Zone
from core.geometry import CanonicalOrder
from core.regions import zone_slices

#: How radiologists read lungs: window centre and width, HU.
WINDOW_CENTRE_HU, WINDOW_WIDTH_HU = -600.0, 1500.0
#: Red, green, blue. Told apart by people with red-green blindness, and by lightness on a grey print.
COLOURS: dict[Finding | None, tuple[int, int, int]] = {
    Finding.GROUND_GLASS: (70, 180, 255),
    Finding.CONSOLIDATION: (255, 150, 40),
    None: (110, 190, 120),
}
#: Room around the lungs, as a share of their extent.
_AROUND = 0.06
#: Depth of lesion at which its colour in the overview is full, mm.
_FULL_COLOUR_MM = 60.0
#: Attenuation that the overview's rays add up: what is denser is bone or metal.
_RAY_HU = (-1000.0, 200.0)
_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))


@dataclass(frozen=True, slots=True, eq=False)
class SliceView:
    """One slice as the source has it, cut around the lungs.

    Parameters
    ----------
    picture
        (edge, edge, 3) uint8, red, green, blue.
    index
        Slice of the volume.
    letters
        Patient directions at the left, right, upper and lower edge.
    """

    picture: NDArray[np.uint8]
    index: int
    letters: tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """Both lungs from the front: the patient's right at the left, the head above.

    Parameters
    ----------
    picture
        (y, x, 3) uint8, red, green, blue.
    zones
        Middle of each zone, (x, y) pixels.
    """

    picture: NDArray[np.uint8]
    zones: dict[Zone, tuple[float, float]]


def key_slices(analysis: Analysis, count: int) -> list[int]:
    """Choose slices to show, from head to foot.

    The lesions' stretch along the patient is divided evenly, and of each part the slice with the largest area
    of lesion is taken, so that all of the disease is seen and not the same place several times. Without
    lesions slices at even distances through the lungs are taken.

    Parameters
    ----------
    analysis
        Lungs and lesions.
    count
        How many at most.
    """
    lungs, lesions = analysis.lungs.labels_zyx, analysis.lesions.labels_zyx
    area = np.count_nonzero(lesions, axis=(1, 2))
    if area.any():
        inside = np.flatnonzero(area)
        parts = np.array_split(np.arange(inside[0], inside[-1] + 1), count)
        chosen = [int(part[np.argmax(area[part])]) for part in parts if part.size and area[part].any()]
    else:
        inside = np.flatnonzero(np.count_nonzero(lungs, axis=(1, 2)))
        if not inside.size:
            inside = np.arange(len(lungs))
        parts = np.array_split(np.arange(inside[0], inside[-1] + 1), count)
        chosen = [int(part[part.size // 2]) for part in parts if part.size]
    rises = analysis.volume.geometry.affine_lps[2, 0] > 0
    return sorted(chosen, reverse=bool(rises))


def slice_views(analysis: Analysis, indices: Sequence[int], edge: int) -> list[SliceView]:
    """Draw slices in the orientation of the source, all cut to one square around the lungs.

    Parameters
    ----------
    analysis
        Volume and masks.
    indices
        Slices of the volume.
    edge
        Pixels along either edge.
    """
    affine, letters = _square(analysis, edge), _letters(analysis)
    return [SliceView(_slice(analysis, index, affine, edge), index, letters) for index in indices]


def overview(analysis: Analysis, width: int, height: int) -> Overview:
    """Draw what a ray from the front meets: all tissue in grey, lesions in colour by their depth.

    Parameters
    ----------
    analysis
        Volume and masks.
    width, height
        Largest extent in pixels; the picture keeps the patient's proportions.
    """
    order = CanonicalOrder.of(analysis.volume.geometry)
    spacing = order.apply_geometry(analysis.volume.geometry).spacing_zyx_mm
    hu = order.apply(analysis.volume.hu_zyx)
    lungs, lesions = order.apply(analysis.lungs.labels_zyx), order.apply(analysis.lesions.labels_zyx)
    z, x = _front_box(lungs)
    grey = np.stack([np.clip(plane[:, x], *_RAY_HU).mean(axis=0, dtype=np.float32) for plane in hu[z]])
    low, high = (float(value) for value in np.quantile(grey, (0.01, 0.99)))
    grey = np.clip((grey - low) / max(high - low, 1.0), 0.0, 1.0)
    scale = min(width / (grey.shape[1] * spacing[2]), height / (grey.shape[0] * spacing[0]))
    size = (
        max(1, round(grey.shape[1] * spacing[2] * scale)),
        max(1, round(grey.shape[0] * spacing[0] * scale)),
    )
    picture = np.repeat(_enlarged(grey, size)[..., None], 3, axis=2) * 200.0
    for finding, label in FINDING_LABEL.items():
        depth = np.stack([np.count_nonzero(plane[:, x] == label, axis=0) for plane in lesions[z]])
        share = np.clip(_enlarged(depth.astype(np.float32) * spacing[1] / _FULL_COLOUR_MM, size), 0.0, 1.0)
        alpha = (0.85 * np.sqrt(share))[..., None]
        picture = picture * (1.0 - alpha) + np.array(COLOURS[finding], np.float32) * alpha
    shown = np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8)[::-1])
    places: dict[Zone, tuple[float, float]] = {}
    for side, label in LUNG_LABEL.items():
        shadow = np.stack([(plane[:, x] == label).any(axis=0) for plane in lungs[z]])
        if shadow.any():
            _outline(shown, _enlarged(shadow.astype(np.float32), size)[::-1] > 0.5, COLOURS[None], 1)
            places |= _zones(shown, shadow, side)
    return Overview(shown, places)


def _zones(
    shown: NDArray[np.uint8], shadow_zx: NDArray[np.bool_], side: Side
) -> dict[Zone, tuple[float, float]]:
    """Draw the borders of a lung's zones; return the middle of each, (x, y) pixels."""
    rows, columns = shadow_zx.shape
    high, wide = shown.shape[0] / rows, shown.shape[1] / columns
    places = {}
    for zone, own in zone_slices(np.asarray(shadow_zx.any(axis=1)), side).items():
        filled = np.flatnonzero(shadow_zx[own].any(axis=0))
        if not filled.size:
            continue
        left, right = filled[0] * wide, (filled[-1] + 1) * wide
        places[zone] = ((left + right) / 2, shown.shape[0] - (own.mean() + 0.5) * high)
        if not zone.startswith("upper"):
            y = round(shown.shape[0] - (own[-1] + 1) * high)
            for start in range(round(left), round(right), 12):
                cv2.line(shown, (start, y), (min(start + 6, round(right)), y), COLOURS[None], 1)
    return places


def _front_box(lungs_zyx: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the slices and columns of the lungs with some room; everything where there are none."""
    shadow = np.stack([plane.any(axis=0) for plane in lungs_zyx])
    if not shadow.any():
        return slice(0, shadow.shape[0]), slice(0, shadow.shape[1])
    box = []
    for axis in (1, 0):
        filled = np.flatnonzero(shadow.any(axis=axis))
        room = round((filled[-1] - filled[0] + 1) * _AROUND)
        box.append(
            slice(max(0, int(filled[0]) - room), min(shadow.shape[1 - axis], int(filled[-1]) + 1 + room))
        )
    return box[0], box[1]


def _square(analysis: Analysis, edge: int) -> NDArray[np.float64]:
    """Return the map from source pixels (x, y) to the square around both lungs, 2 × 3."""
    _, row_mm, column_mm = analysis.volume.geometry.spacing_zyx_mm
    shadow: NDArray[np.bool_] = np.asarray((analysis.lungs.labels_zyx > 0).any(axis=0))
    if not shadow.any():
        shadow = np.ones_like(shadow)
    spans = [np.flatnonzero(shadow.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    (top, bottom), (left, right) = spans
    side_mm = (1.0 + 2.0 * _AROUND) * max((bottom - top + 1) * row_mm, (right - left + 1) * column_mm)
    scale = edge / side_mm
    return np.array(
        [
            [column_mm * scale, 0.0, edge / 2 - (left + right) / 2 * column_mm * scale],
            [0.0, row_mm * scale, edge / 2 - (top + bottom) / 2 * row_mm * scale],
        ]
    )


def _slice(analysis: Analysis, index: int, affine: NDArray[np.float64], edge: int) -> NDArray[np.uint8]:
    hu = analysis.volume.hu_zyx[index].astype(np.float32)
    low = WINDOW_CENTRE_HU - WINDOW_WIDTH_HU / 2
    grey = np.clip((hu - low) / WINDOW_WIDTH_HU, 0.0, 1.0) * np.float32(255.0)

    def shown(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.warpAffine(plane, affine, (edge, edge), flags=cv2.INTER_LINEAR), np.float32)

    picture = np.repeat(shown(grey)[..., None], 3, axis=2).astype(np.uint8)
    lungs, lesions = analysis.lungs.labels_zyx[index], analysis.lesions.labels_zyx[index]
    _outline(picture, shown((lungs > 0).astype(np.float32)) > 0.5, COLOURS[None], 1)
    for finding, label in FINDING_LABEL.items():
        _outline(picture, shown((lesions == label).astype(np.float32)) > 0.5, COLOURS[finding], 2)
    return picture


def _letters(analysis: Analysis) -> tuple[str, str, str, str]:
    """Return the patient directions at the left, right, upper and lower edge of a source image."""
    affine = analysis.volume.geometry.affine_lps
    (left, right), (top, bottom) = (_ends(affine[:3, axis]) for axis in (2, 1))
    return left, right, top, bottom


def _ends(direction_lps: NDArray[np.float64]) -> tuple[str, str]:
    """Return where a direction comes from and where it goes."""
    axis = int(np.argmax(np.abs(direction_lps)))
    minus, plus = _LETTERS[axis]
    return (minus, plus) if direction_lps[axis] > 0 else (plus, minus)


def _outline(
    picture: NDArray[np.uint8], mask_yx: NDArray[np.bool_], colour: tuple[int, int, int], width: int
) -> None:
    outlines, _ = cv2.findContours(
        np.ascontiguousarray(mask_yx, np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(picture, outlines, -1, colour, width)


def _enlarged(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)
