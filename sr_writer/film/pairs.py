"""The current and the earlier scan beside each other: which planes, and their pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.comparison import Alignment, Comparison
from core.domain import FINDING_LABEL, Analysis
from core.geometry import Geometry
from sr_writer.film.canvas import PAPER
from sr_writer.film.change_map import CHANGE_COLOURS, HATCHED, LABELS, Became, ChangeMap
from sr_writer.film.drawing import lung_window, outline, stripes
from sr_writer.film.front import AROUND
from sr_writer.film.planes import AIR_HU, Extent, Heights, Window, covered, sampled
from sr_writer.film.views import COLOURS, spread

#: Planes that are shown where places are compared, and where they are not.
MATCHED, APART = 3, 6
#: What an unchanged voxel counts when places are chosen, against a changed one.
_UNCHANGED = 0.25
#: Parts into which the height of the lungs is divided where only relative heights are the same.
_PARTS = 60
#: What is shown around lungs: an earlier scan is kept no further.
_ROOM_MM = 12.0
_CHANGE_ALPHA, _DIMMED = 0.75, 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One plane of both scans, the patient's right at the left, the front above.

    Parameters
    ----------
    now, then
        (height, width, 3) uint8 each, at one scale.
    change
        The current one coloured by what became of it; None where places are not compared.
    slice_index
        Slice of the current volume in the middle of the picture.
    is_slice
        Whether that slice is what the picture shows, and not one of several that it cuts.
    """

    now: NDArray[np.uint8]
    then: NDArray[np.uint8]
    change: NDArray[np.uint8] | None
    slice_index: int
    is_slice: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Heights of one plane in the current and in the earlier scan, LPS z; the same where they are aligned."""

    now_mm: float
    then_mm: float


def pairs(
    analysis: Analysis, comparison: Comparison, change: ChangeMap | None, size: tuple[int, int]
) -> list[Pair]:
    """Draw the planes in which most has changed, from head to foot.

    Parameters
    ----------
    analysis, comparison
        The current scan, and the earlier one.
    change
        What became of the voxels; None where places are not compared: planes of equal relative height of the
        lungs are shown instead, those with most lesion.
    size
        (width, height) of each picture, pixels.
    """
    if change is None or comparison.alignment is None:
        places = _by_share(analysis, comparison, APART)
        return list(_apart(analysis, comparison, places, size))
    places = _by_change(analysis, change, MATCHED)
    return list(_matched(analysis, comparison.alignment, change, places, size))


def slices_compared(analysis: Analysis, comparison: Comparison) -> list[int]:
    """Return the slices of the current volume on which `pairs` stands, from head to foot."""
    if comparison.alignment is None:
        places = _by_share(analysis, comparison, APART)
    else:
        places = _by_change(analysis, ChangeMap.of(analysis, comparison.alignment), MATCHED)
    return [_slice_at(analysis, _extent(analysis).centre_xy_mm, one.now_mm)[0] for one in places]


# --- which planes -----------------------------------------------------------------------------------------


def _by_change(analysis: Analysis, change: ChangeMap, count: int) -> list[_Place]:
    heights = Heights.of(change.grids.masks)
    remained = change.labels_zyx == LABELS[Became.REMAINED]
    weight = heights.counts(change.labels_zyx > 0) - (1.0 - _UNCHANGED) * heights.counts(remained)
    lungs = heights.counts(analysis.lungs.labels_zyx[change.grids.box] > 0)
    chosen = heights.z_mm[spread(weight, lungs, count)]
    return [_Place(float(z), float(z)) for z in chosen[::-1]]


def _by_share(analysis: Analysis, comparison: Comparison, count: int) -> list[_Place]:
    prior = comparison.prior
    scans = (
        (analysis.lungs.labels_zyx, analysis.lesions.labels_zyx, analysis.volume.geometry),
        (prior.lungs.labels_zyx, prior.lesions.labels_zyx, prior.geometry),
    )
    weight = np.zeros(_PARTS)
    for lungs, lesions, geometry in scans:
        extent, heights = Extent.of(lungs, geometry), Heights.of(geometry)
        shares = np.array([extent.share_of(z) for z in heights.z_mm])
        parts = np.clip((shares * _PARTS).astype(int), 0, _PARTS - 1)
        np.add.at(weight, parts, heights.counts(lesions > 0) * geometry.voxel_ml)
    chosen = (np.array(spread(weight, np.ones(_PARTS), count)) + 0.5) / _PARTS
    heights_mm = [
        [Heights.of(geometry).nearest(Extent.of(lungs, geometry).at(share)) for share in chosen]
        for lungs, _, geometry in scans
    ]
    return [_Place(*both) for both in zip(*heights_mm, strict=True)][::-1]


def _slice_at(analysis: Analysis, centre_xy_mm: tuple[float, float], z_mm: float) -> tuple[int, bool]:
    """Return the slice at a place, and whether all of it stands at that height."""
    geometry = analysis.volume.geometry
    index = geometry.to_index_zyx(np.array([*centre_xy_mm, z_mm]))[0]
    last = geometry.shape_zyx[0] - 1
    return int(np.clip(np.rint(index), 0, last)), Heights.of(geometry).layers.are_slices


def _extent(analysis: Analysis) -> Extent:
    return Extent.of(analysis.lungs.labels_zyx, analysis.volume.geometry)


# --- their pictures ---------------------------------------------------------------------------------------


def _matched(
    analysis: Analysis,
    alignment: Alignment,
    change: ChangeMap,
    places: list[_Place],
    size: tuple[int, int],
) -> Iterator[Pair]:
    extent, grids = _extent(analysis), change.grids
    window = Window(extent.centre_xy_mm, extent.mm_per_pixel(*size, AROUND), *size)
    lungs, lesions = analysis.lungs.labels_zyx[grids.box], analysis.lesions.labels_zyx[grids.box]
    for place in places:
        at = window.places(place.now_mm)
        known = covered(grids.masks, at)
        hu = _current_hu(analysis, at, grids.densities)
        now = _shown(hu, known)
        then = _shown(sampled(alignment.density_hu_zyx, grids.densities, at, outside=AIR_HU), known)
        coloured = _coloured(now, sampled(change.labels_zyx, grids.masks, at, order=0))
        for picture in (now, then, coloured):
            _draw_lungs(picture, lungs, grids.masks, at)
        _draw_findings(now, lesions, grids.masks, at)
        _draw_findings(then, alignment.lesions_zyx, grids.masks, at)
        yield Pair(now, then, coloured, *_slice_at(analysis, extent.centre_xy_mm, place.now_mm))


def _apart(
    analysis: Analysis, comparison: Comparison, places: list[_Place], size: tuple[int, int]
) -> Iterator[Pair]:
    prior, extent = comparison.prior, _extent(analysis)
    before = Extent.of(prior.lungs.labels_zyx, prior.geometry)
    scale = max(one.mm_per_pixel(*size, AROUND) for one in (extent, before))
    window = Window(extent.centre_xy_mm, scale, *size)
    for place in places:
        at = window.places(place.now_mm)
        now = _shown(_current_hu(analysis, at, prior.density_geometry), extent.is_near(at, _ROOM_MM))
        _draw_lungs(now, analysis.lungs.labels_zyx, analysis.volume.geometry, at)
        _draw_findings(now, analysis.lesions.labels_zyx, analysis.volume.geometry, at)
        at = window.moved_to(before.centre_xy_mm).places(place.then_mm)
        hu = sampled(prior.density_hu_zyx, prior.density_geometry, at, outside=AIR_HU)
        then = _shown(hu, before.is_near(at, _ROOM_MM))
        _draw_lungs(then, prior.lungs.labels_zyx, prior.geometry, at)
        _draw_findings(then, prior.lesions.labels_zyx, prior.geometry, at)
        yield Pair(now, then, None, *_slice_at(analysis, extent.centre_xy_mm, place.now_mm))


def _current_hu(analysis: Analysis, at: NDArray[np.float64], densities: Geometry) -> NDArray[np.float32]:
    """Sample the current scan as sharp as the earlier one was kept."""
    geometry = analysis.volume.geometry
    z, y, x = (
        max(1, round(coarse / fine))
        for coarse, fine in zip(densities.spacing_zyx_mm, geometry.spacing_zyx_mm, strict=True)
    )
    return sampled(analysis.volume.hu_zyx, geometry, at, outside=AIR_HU, block_zyx=(z, y, x))


def _shown(hu: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw densities in grey, as page where nothing is known."""
    picture = np.repeat(lung_window(hu)[..., None], 3, axis=2).astype(np.uint8)
    picture[~known] = PAPER
    return picture


def _draw_lungs(
    picture: NDArray[np.uint8], lungs_zyx: NDArray[Any], geometry: Geometry, at: NDArray[np.float64]
) -> None:
    outline(picture, sampled(lungs_zyx > 0, geometry, at) > 0.5, COLOURS[None], 1)


def _draw_findings(
    picture: NDArray[np.uint8], lesions_zyx: NDArray[np.uint8], geometry: Geometry, at: NDArray[np.float64]
) -> None:
    for finding, label in FINDING_LABEL.items():
        outline(picture, sampled(lesions_zyx == label, geometry, at) > 0.5, COLOURS[finding], 2)


def _coloured(now: NDArray[np.uint8], labels_yx: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay the colours of a change map over a dimmed picture."""
    picture = np.where((now == PAPER).all(axis=2, keepdims=True), now, now * _DIMMED)
    for became, label in LABELS.items():
        here = labels_yx == label
        if became in HATCHED:
            here &= stripes((here.shape[0], here.shape[1]))
        colour = np.array(CHANGE_COLOURS[became], np.float32)
        picture[here] = (1.0 - _CHANGE_ALPHA) * picture[here] + _CHANGE_ALPHA * colour
    return picture.astype(np.uint8)
