"""The two lungs of a chest CT, by density and shape alone: explainable, and independent of any model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as label_components

from core.domain import LUNG_LABEL, CtVolume, LungMask
from core.errors import NotAChest
from core.geometry import CanonicalOrder
from inference.lung_airways import airways
from inference.lung_border import complete_outline
from inference.lung_grid import (
    AIR_BELOW_HU,
    BORDER,
    CODES_PER_LUNG,
    INSIDE,
    CoarseGrid,
    close_notches,
    coarsen,
    dilate,
    erode,
    refine,
)
from inference.lung_pair import NO_LUNGS, lung_pair
from inference.lung_ribs import Ribs, dense_behind, dense_between
from inference.straightening import require_straight

#: Soft tissue in front of and behind the lung is at least this thick in all; clothes and tables are thinner.
_COVER_MM = 8.0
_TISSUE_ABOVE_HU = -200
#: Air outside the body that soft tissue happens to cover.
_ROOM_AIR_BELOW_HU = -930.0
#: The lungs take at least this share of the body in their widest slice; bowel and sinuses take less.
_SMALLEST_BODY_SHARE = 0.12
#: Lungs cut off and lower than this share of their common width are the edge of another examination; a
#: share, because whole lungs of infants are lower than the bases of an adult's.
_LOWEST_CUT_LUNGS = 0.4
#: A lung this wide in the first or last slice goes on beyond it.
_CUT_AREA_MM2 = 150.0
#: Coarse voxels kept around the air, wide enough for the closing.
_MARGIN = 6


def segment_lungs(volume: CtVolume) -> LungMask:
    """Find the right and the left lung.

    Air inside the body is found on a grid of about 2 mm; trachea and main bronchi are taken out, the lungs
    parted, dense parts inside the outline filled; the border follows the density of the full grid,
    but for narrow notches.
    Consolidation counts as lung where lung or a concavity of the costal side encloses it, where it lies in
    front of the ribs, or at the back between lung above and below; a lung, or most of a lobe, without any
    air cannot be told from effusion this way and stays out.

    Parameters
    ----------
    volume
        A chest CT in any patient position, on a straight grid; orientation is taken from its geometry alone.

    Returns
    -------
    LungMask
        In the order of the volume.

    Raises
    ------
    NotAChest
        No pair of lungs is in view, or only their edge.
    InferenceError
        Its slices slide sideways.
    """
    require_straight(volume.geometry)
    order = CanonicalOrder.of(volume.geometry)
    hu_zyx = order.apply(volume.hu_zyx)
    spacing_zyx_mm = order.apply_geometry(volume.geometry).spacing_zyx_mm
    whole = coarsen(hu_zyx, spacing_zyx_mm)
    air = _covered_air(whole)
    box = _box(air, margin=_MARGIN)
    grid, air = whole.crop(box), air[box]
    tubes = airways(grid, air)
    lungs = lung_pair(grid, air & (1 - tubes))
    _require_chest(grid, lungs, np.count_nonzero(whole.hu_zyx[box[0]] > _TISSUE_ABOVE_HU, axis=(1, 2)))
    codes = np.zeros(whole.hu_zyx.shape, np.uint8)
    codes[box] = _codes(grid, _complete(grid, lungs, tubes), tubes)
    labels_zyx = np.zeros(volume.hu_zyx.shape, np.uint8)
    canonical = order.apply(labels_zyx)
    refine(hu_zyx, codes, whole.slices_per_step, canonical)
    close_notches(canonical, spacing_zyx_mm[1:])
    return LungMask(labels_zyx)


def coverage_remarks(lungs: LungMask, volume: CtVolume) -> tuple[str, ...]:
    """Tell where the series cuts the lungs off.

    Parameters
    ----------
    lungs
        Their mask.
    volume
        The volume that it belongs to, as the source has it: its edges are what cuts off.

    Returns
    -------
    tuple of str
        One sentence for each end of the series and one for the sides; empty where the lungs are complete.
    """
    order = CanonicalOrder.of(volume.geometry)
    view = order.apply(lungs.labels_zyx)
    _, row_mm, column_mm = order.apply_geometry(volume.geometry).spacing_zyx_mm
    cut = []
    for plane, name in ((view[0], "lower end of the series"), (view[-1], "upper end of the series")):
        if np.count_nonzero(plane) * row_mm * column_mm > _CUT_AREA_MM2:
            cut.append(name)
    if any(edge.any() for edge in (view[:, 0], view[:, -1], view[:, :, 0], view[:, :, -1])):
        cut.append("side of the image")
    return tuple(
        f"The lungs are cut off at the {where}: volumes and percentages cover only the part in view."
        for where in cut
    )


def _covered_air(grid: CoarseGrid) -> NDArray[np.uint8]:
    """Return air with soft tissue in front of it and behind it, without the room's."""
    thick = max(1, round(_COVER_MM / grid.spacing_zyx_mm[1]))
    before = np.cumsum(grid.hu_zyx > _TISSUE_ABOVE_HU, axis=1, dtype=np.int16)
    air = (grid.hu_zyx < AIR_BELOW_HU) & (before >= thick) & (before <= before[:, -1:, :] - thick)
    labels, count = label_components(air, connectivity=1, return_num=True)
    if count == 0:
        raise NotAChest(NO_LUNGS)
    sides = np.unique(np.concatenate([labels[:, :, 0], labels[:, :, -1]], axis=1))
    touching = sides[sides > 0]
    if touching.size:
        means = np.asarray(ndimage.mean(grid.hu_zyx, labels, touching))
        air &= ~np.isin(labels, touching[means < _ROOM_AIR_BELOW_HU])
    return air.view(np.uint8)


def _box(mask_zyx: NDArray[np.uint8], *, margin: int) -> tuple[slice, slice, slice]:
    """Return the bounding box of a mask: all slices, and a margin of so many voxels in the plane."""
    spans = [slice(0, mask_zyx.shape[0])]
    for axis, across in ((1, (0, 2)), (2, (0, 1))):
        filled = np.flatnonzero(mask_zyx.any(axis=across))
        if not filled.size:
            raise NotAChest(NO_LUNGS)
        last = min(int(filled[-1]) + 1 + margin, mask_zyx.shape[axis])
        spans.append(slice(max(int(filled[0]) - margin, 0), last))
    return spans[0], spans[1], spans[2]


def _require_chest(
    grid: CoarseGrid, lungs_zyx: NDArray[np.uint8], tissue_per_slice: NDArray[np.intp]
) -> None:
    """Raise where the pair is too small for lungs, or only their bases or tips are in view."""
    area = np.count_nonzero(lungs_zyx, axis=(1, 2))
    if (area / (area + tissue_per_slice + 1)).max() < _SMALLEST_BODY_SHARE:
        raise NotAChest(NO_LUNGS)
    slices = np.flatnonzero(area)
    height_mm = (int(slices[-1] - slices[0]) + 1) * grid.spacing_zyx_mm[0]
    columns = np.flatnonzero((lungs_zyx > 0).any(axis=(0, 1)))
    width_mm = (int(columns[-1] - columns[0]) + 1) * grid.spacing_zyx_mm[2]
    if height_mm < _LOWEST_CUT_LUNGS * width_mm and (area[[0, -1]] * grid.pixel_mm2 > _CUT_AREA_MM2).any():
        raise NotAChest(
            f"Only {height_mm:.0f} mm of the lungs are in view, cut off by the edge of the series; "
            "send a CT of the whole chest."
        )


def _complete(
    grid: CoarseGrid, lungs_zyx: NDArray[np.uint8], tubes_zyx: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return the labels with dense lung filled in."""
    spans = [_box((lungs_zyx == label).view(np.uint8), margin=0) for label in LUNG_LABEL.values()]
    centre_y, centre_x = (
        float(np.mean([0.5 * (span[axis].start + span[axis].stop - 1) for span in spans])) for axis in (1, 2)
    )
    ribs = Ribs.of(grid)
    walls = dilate(dilate(tubes_zyx, in_plane=True), in_plane=True) > 0
    whole = lungs_zyx.copy()
    for label in LUNG_LABEL.values():
        own = whole == label
        forbidden = walls | ((whole > 0) & ~own)
        box = _box(own.view(np.uint8), margin=_MARGIN)
        middle = centre_y - box[1].start, centre_x - box[2].start
        own[box] |= complete_outline(grid.crop(box), own[box].view(np.uint8), forbidden[box], middle)
        own |= dense_behind(grid, own.view(np.uint8), ribs, (centre_y, centre_x)) & ~forbidden
        own |= dense_between(grid, own.view(np.uint8), ribs, (centre_y, centre_x)) & ~forbidden
        whole[own & (whole == 0)] = label
    return whole


def _codes(grid: CoarseGrid, whole_zyx: NDArray[np.uint8], tubes_zyx: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the codes of `lung_grid.refine` for both completed lungs."""
    dense = grid.hu_zyx >= AIR_BELOW_HU
    codes = np.zeros_like(whole_zyx)
    for label in LUNG_LABEL.values():
        own = (whole_zyx == label).view(np.uint8)
        near = dilate(own, in_plane=True) & (1 - tubes_zyx) & ((whole_zyx == 0) | (own > 0))
        codes[(near > 0) & (codes == 0)] = CODES_PER_LUNG * label + BORDER
        codes[(own > 0) & (dense | (erode(own, in_plane=True) > 0))] = CODES_PER_LUNG * label + INSIDE
    return codes
