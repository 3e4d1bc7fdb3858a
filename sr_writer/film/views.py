"""What the film shows of the scan: slices with outlines, and an overview of both lungs from the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain import FINDING_LABEL, Analysis, Finding, Side, Zone
from core.geometry import Geometry
from core.regions import zone_layers
from sr_writer.film.drawing import lung_window, outline, outline_lungs, pixels_per_mm, shaded
from sr_writer.film.front import AROUND, Front

#: Red, green, blue. Told apart by people with red-green blindness, and by lightness on a grey print.
COLOURS: dict[Finding | None, tuple[int, int, int]] = {
    Finding.GROUND_GLASS: (70, 180, 255),
    Finding.CONSOLIDATION: (255, 150, 40),
    None: (110, 190, 120),
}
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
    of lesion is taken, at least half a part from the one before, so that all of the disease is seen and not
    the same place several times. Without
    lesions slices at even distances through the lungs are taken.

    Parameters
    ----------
    analysis
        Lungs and lesions.
    count
        How many at most.
    """
    area = np.count_nonzero(analysis.lesions.labels_zyx, axis=(1, 2))
    chosen = spread(area, np.count_nonzero(analysis.lungs.labels_zyx, axis=(1, 2)), count)
    rises = analysis.volume.geometry.affine_lps[2, 0] > 0
    return sorted(chosen, reverse=bool(rises))


def spread(area: NDArray[Any], otherwise: NDArray[Any], count: int) -> list[int]:
    """Choose places along an axis, spread over what is to be seen.

    Parameters
    ----------
    area
        How much there is to be seen at each place.
    otherwise
        Where places at even distances are taken from if there is nothing: where this is not 0.
    count
        How many at most.

    Returns
    -------
    list of int
        Rising.
    """
    if area.any():
        inside = np.flatnonzero(area)
        parts = np.array_split(np.arange(inside[0], inside[-1] + 1), count)
        chosen: list[int] = []
        for part in (one for one in parts if one.size and area[one].any()):
            # Two slices beside each other, on either side of a border, would be one picture twice.
            apart = part[part >= chosen[-1] + part.size / 2] if chosen else part
            best = apart if apart.size and area[apart].any() else part
            chosen.append(int(best[np.argmax(area[best])]))
        return chosen
    inside = np.flatnonzero(otherwise)
    if not inside.size:
        inside = np.arange(len(otherwise))
    parts = np.array_split(np.arange(inside[0], inside[-1] + 1), count)
    return [int(part[part.size // 2]) for part in parts if part.size]


def slice_views(analysis: Analysis, indices: Sequence[int], edge: int) -> list[SliceView]:
    """Draw slices in the orientation of the source, all cut to squares of one size around the lungs.

    Parameters
    ----------
    analysis
        Volume and masks.
    indices
        Slices of the volume.
    edge
        Pixels along either edge.
    """
    affine, letters, geometry = _square(analysis, edge), _letters(analysis), analysis.volume.geometry
    return [
        SliceView(_slice(analysis, index, _slid(affine, index, geometry), (edge, edge), 2), index, letters)
        for index in indices
    ]


def whole_slice(analysis: Analysis, index: int) -> SliceView:
    """Draw a slice pixel for pixel as the source has it."""
    rows, columns = analysis.volume.geometry.shape_zyx[1:]
    picture = _slice(analysis, index, np.eye(2, 3), (columns, rows), 1)
    return SliceView(picture, index, _letters(analysis))


def overview(analysis: Analysis, width: int, height: int) -> Overview:
    """Draw what a ray from the front meets: all tissue in grey, lesions in colour by their depth.

    Parameters
    ----------
    analysis
        Volume and masks.
    width, height
        Largest extent in pixels; the picture keeps the patient's proportions.
    """
    front = Front.of(analysis)
    shown = shaded(front, pixels_per_mm(front, width, height), {one: COLOURS[one] for one in Finding})
    outline_lungs(shown, front, COLOURS[None])
    places: dict[Zone, tuple[float, float]] = {}
    for side, shadow in front.lungs_zx.items():
        if shadow.any():
            places |= _zones(shown, shadow, side)
    return Overview(shown, places)


def _zones(
    shown: NDArray[np.uint8], shadow_zx: NDArray[np.bool_], side: Side
) -> dict[Zone, tuple[float, float]]:
    """Draw the borders of a lung's zones; return the middle of each, (x, y) pixels."""
    rows, columns = shadow_zx.shape
    high, wide = shown.shape[0] / rows, shown.shape[1] / columns
    places = {}
    for zone, own in zone_layers(np.asarray(shadow_zx.any(axis=1)), side).items():
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


def _square(analysis: Analysis, edge: int) -> NDArray[np.float64]:
    """Return the map from source pixels (x, y) of the first slice to the square around both lungs, 2 × 3."""
    geometry = analysis.volume.geometry
    _, row_mm, column_mm = geometry.spacing_zyx_mm
    (top, bottom), (left, right) = (_span(analysis.lungs.labels_zyx, axis, geometry) for axis in (0, 1))
    side_mm = (1.0 + 2.0 * AROUND) * max((bottom - top + 1) * row_mm, (right - left + 1) * column_mm)
    scale = edge / side_mm
    return np.array(
        [
            [column_mm * scale, 0.0, edge / 2 - (left + right) / 2 * column_mm * scale],
            [0.0, row_mm * scale, edge / 2 - (top + bottom) / 2 * row_mm * scale],
        ]
    )


def _span(labels_zyx: NDArray[np.uint8], axis: int, geometry: Geometry) -> tuple[float, float]:
    """Return the first and last row (axis 0) or column (axis 1) of the lungs, as the first slice counts."""
    filled = [np.flatnonzero(plane.any(axis=1 - axis)) for plane in labels_zyx]
    slide = geometry.slide_yx[axis]
    ends = [(line[0] + slide * z, line[-1] + slide * z) for z, line in enumerate(filled) if line.size]
    if not ends:
        return 0.0, labels_zyx.shape[1 + axis] - 1.0
    return float(min(first for first, _ in ends)), float(max(last for _, last in ends))


def _slid(affine: NDArray[np.float64], index: int, geometry: Geometry) -> NDArray[np.float64]:
    """Return the map of a slice to the square: it follows slices that slide, so that the lungs stay in it."""
    rows, columns = geometry.slide_yx
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ np.array([columns, rows]) * index
    return moved


def _slice(
    analysis: Analysis, index: int, affine: NDArray[np.float64], size: tuple[int, int], width: int
) -> NDArray[np.uint8]:
    """Draw a slice; `size` is (columns, rows) of the picture, `width` that of the lesions' outlines."""
    grey = lung_window(analysis.volume.hu_zyx[index].astype(np.float32))

    def shown(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.warpAffine(plane, affine, size, flags=cv2.INTER_LINEAR), np.float32)

    picture = np.repeat(shown(grey)[..., None], 3, axis=2).astype(np.uint8)
    lungs, lesions = analysis.lungs.labels_zyx[index], analysis.lesions.labels_zyx[index]
    outline(picture, shown((lungs > 0).astype(np.float32)) > 0.5, COLOURS[None], 1)
    for finding, label in FINDING_LABEL.items():
        outline(picture, shown((lesions == label).astype(np.float32)) > 0.5, COLOURS[finding], width)
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
