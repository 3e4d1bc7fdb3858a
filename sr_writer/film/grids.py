"""Where the arrays of an alignment are in the current scan: the box of the lungs, and its blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.comparison import Alignment
from core.domain import Analysis
from core.errors import ResultEncodingError
from core.geometry import Geometry
from core.regions import Box, bounding_box


@dataclass(frozen=True, slots=True, eq=False)
class AlignedGrids:
    """The two grids of a current scan on which an earlier one is brought (`core.time_point.TimePoint`).

    Parameters
    ----------
    box
        Part of the source volume that the masks cover.
    masks
        Grid of the masks.
    densities
        Grid of the densities: averages over whole blocks of voxels from the box's first corner on.
    """

    box: Box
    masks: Geometry
    densities: Geometry

    @classmethod
    def of(cls, analysis: Analysis, alignment: Alignment) -> AlignedGrids:
        """Find both grids by their shapes: the masks' box is that of the lungs, with even room around them.

        Raises
        ------
        ResultEncodingError
            Where the arrays are not those of this scan.
        """
        volume, shape = analysis.volume.geometry, alignment.lesions_zyx.shape
        lungs = bounding_box(analysis.lungs.labels_zyx)
        edges = [_grown(*one) for one in zip(lungs, shape, volume.shape_zyx, strict=True)]
        box = (edges[0], edges[1], edges[2])
        affine = volume.affine_lps.copy()
        affine[:3, 3] = volume.to_lps_mm(np.array([edge.start for edge in box]))
        masks = Geometry(affine, (shape[0], shape[1], shape[2]), volume.frame_of_reference_uid)
        return cls(box, masks, _in_blocks(masks, alignment.density_hu_zyx.shape))


def _grown(edge: slice, wanted: int, length: int) -> slice:
    """Give an edge even room on both sides, as far as the volume goes, until it has the wanted length."""
    for room in range(length + 1):
        grown = slice(max(0, edge.start - room), min(length, edge.stop + room))
        if grown.stop - grown.start == wanted:
            return grown
    raise _other_scan()


def _in_blocks(masks: Geometry, shape_zyx: tuple[int, ...]) -> Geometry:
    """Return the grid of blocks of voxels; the last block of an axis may be smaller."""
    sizes = [
        math.ceil(n / count) if count else 0 for n, count in zip(masks.shape_zyx, shape_zyx, strict=True)
    ]
    for size, n, count in zip(sizes, masks.shape_zyx, shape_zyx, strict=True):
        if size == 0 or math.ceil(n / size) != count:
            raise _other_scan()
    affine = masks.affine_lps.copy()
    affine[:3, :3] *= sizes
    affine[:3, 3] = masks.to_lps_mm((np.array(sizes) - 1) / 2)
    return Geometry(affine, (shape_zyx[0], shape_zyx[1], shape_zyx[2]), masks.frame_of_reference_uid)


def _other_scan() -> ResultEncodingError:
    return ResultEncodingError(
        "The earlier scan was brought onto another grid than that of the analysed series, so the film cannot "
        "show both beside each other. Analyse the series again."
    )
