"""What became of each voxel, and both lungs from the front coloured by it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.comparison import Alignment
from core.domain import FINDING_LABEL, Analysis, Finding
from core.geometry import Geometry
from core.time_point import TimePoint
from sr_writer.film.drawing import outline_lungs, pixels_per_mm, shaded
from sr_writer.film.front import Front, Marked
from sr_writer.film.grids import AlignedGrids
from sr_writer.film.views import COLOURS


class Became(StrEnum):
    """What became of a voxel of a lung; those that never were lesion have none of these."""

    REMAINED = "remained"
    RESOLVED = "resolved"
    NEW = "new"
    CONSOLIDATED = "consolidated"


#: Label of each in a change map; drawn in this order, the gravest above all others.
LABELS: dict[Became, int] = {one: label for label, one in enumerate(Became, start=1)}
#: Red, green, blue: none that stands for a finding. With red-green blindness they differ in lightness or in
#: blue; besides, what resolved is hatched.
CHANGE_COLOURS: dict[Became, tuple[int, int, int]] = {
    Became.REMAINED: (150, 156, 200),
    Became.RESOLVED: (0, 215, 165),
    Became.NEW: (255, 232, 60),
    Became.CONSOLIDATED: (228, 44, 150),
}
HATCHED = frozenset({Became.RESOLVED})
#: Less than for lesions themselves: what changed may be thin.
_FULL_COLOUR_MM = 25.0


def _table() -> NDArray[np.uint8]:
    """Return the label by what a voxel was and is (`core.domain.FINDING_LABEL`, 0 for no lesion)."""
    none, glass, dense = 0, FINDING_LABEL[Finding.GROUND_GLASS], FINDING_LABEL[Finding.CONSOLIDATION]
    table = np.full((3, 3), LABELS[Became.REMAINED], np.uint8)
    table[none, :], table[:, none] = LABELS[Became.NEW], LABELS[Became.RESOLVED]
    table[none, none], table[glass, dense] = 0, LABELS[Became.CONSOLIDATED]
    return table


_BECAME = _table()


@dataclass(frozen=True, slots=True, eq=False)
class ChangeMap:
    """What became of the voxels of the current scan.

    Parameters
    ----------
    grids
        Where it is.
    labels_zyx
        uint8 on `grids.masks` (`LABELS`).
    """

    grids: AlignedGrids
    labels_zyx: NDArray[np.uint8]

    @classmethod
    def of(cls, analysis: Analysis, alignment: Alignment) -> ChangeMap:
        """Compare the findings of both scans voxel by voxel.

        What the earlier scan shows outside the lungs of the current one is left out: there the two do not
        quite fit.
        """
        grids = AlignedGrids.of(analysis, alignment)
        then, now = alignment.lesions_zyx, analysis.lesions.labels_zyx[grids.box]
        labels = _BECAME[then, now]
        labels[analysis.lungs.labels_zyx[grids.box] == 0] = 0
        return cls(grids, labels)


def change_from_front(analysis: Analysis, change: ChangeMap, width: int, height: int) -> NDArray[np.uint8]:
    """Draw both lungs from the front, in colour what became of them: (y, x, 3) uint8, at most that large."""
    box = change.grids.box
    front = Front.through(
        Marked(
            change.grids.masks,
            analysis.volume.hu_zyx[box],
            analysis.lungs.labels_zyx[box],
            change.labels_zyx,
            LABELS,
        )
    )
    scale = pixels_per_mm(front, width, height)
    picture = shaded(front, scale, CHANGE_COLOURS, HATCHED, _FULL_COLOUR_MM)
    outline_lungs(picture, front, COLOURS[None])
    return picture


def both_from_front(
    analysis: Analysis, prior: TimePoint, width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the lesions of the current and of the earlier scan from the front, at one scale.

    Parameters
    ----------
    analysis, prior
        The two scans.
    width, height
        Largest extent of either picture, pixels.

    Returns
    -------
    now, then
        (y, x, 3) uint8 each.
    """
    fronts = (Front.of(analysis), _front_of_prior(prior))
    scale = min(pixels_per_mm(front, width, height) for front in fronts)
    now, then = (_findings(front, scale) for front in fronts)
    return now, then


def _findings(front: Front[Finding], scale: float) -> NDArray[np.uint8]:
    picture = shaded(front, scale, {one: COLOURS[one] for one in Finding})
    outline_lungs(picture, front, COLOURS[None])
    return picture


def _front_of_prior(prior: TimePoint) -> Front[Finding]:
    """Look at an earlier scan on the grid of its densities."""
    lungs, lesions = (
        _on(prior.density_geometry, labels, prior.geometry)
        for labels in (prior.lungs.labels_zyx, prior.lesions.labels_zyx)
    )
    return Front.through(Marked(prior.density_geometry, prior.density_hu_zyx, lungs, lesions, FINDING_LABEL))


def _on(grid: Geometry, labels_zyx: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Bring labels onto another grid, each voxel that of the nearest one."""
    inverse = np.linalg.inv(geometry.affine_lps[:3, :3])
    matrix = inverse @ grid.affine_lps[:3, :3]
    offset = geometry.to_index_zyx(grid.affine_lps[:3, 3])
    moved = ndimage.affine_transform(labels_zyx, matrix, offset, grid.shape_zyx, order=0, mode="nearest")
    return np.asarray(moved, np.uint8)
