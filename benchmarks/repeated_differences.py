"""What one model measures in two scans of an unchanged patient, and the differences between the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.opened import OpenedModel
from benchmarks.repeatability_fit import Difference
from benchmarks.repeated_scans import RepeatedScan, ToRest
from core.domain import Finding, Lesion, LesionMeasurements, Region, Side
from core.geometry import Geometry
from core.repeatability import Quantity
from inference.lesions import measure

#: Edge of the cells in which lesions are compared; it forgives half of a thick slice.
_CELL_MM = 4.0
#: Two lesions are one where they share so much of the smaller's cells, or are the nearest left within reach.
_SHARED = 0.25
_REACH_MM = 10.0
#: Keeps three cell numbers apart within one int64.
_FAR_CELLS = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class MarkedLesion:
    """One connected lesion that a model marked.

    Parameters
    ----------
    volume_ml
        Its volume.
    centre_mm
        (3,) centre, mm of the patient at rest.
    cells
        Sorted numbers of the cells of the patient at rest that it touches.
    """

    volume_ml: float
    centre_mm: NDArray[np.float64]
    cells: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The numbers of one scan.

    Parameters
    ----------
    volumes_ml
        By quantity: right, left, both.
    lesions
        Single lesions, in any order.
    """

    volumes_ml: dict[Quantity, tuple[float, float, float]]
    lesions: tuple[MarkedLesion, ...]


def measured(model: OpenedModel, scan: RepeatedScan) -> Measured:
    """Let a model look at a scan, and measure as the node does."""
    found = model.segment(scan.volume)
    numbers = measure(scan.volume, found.lungs, found.lesions)
    lesions = tuple(_marked(lesion, scan.volume.geometry, scan.to_rest) for lesion in numbers.lesions)
    return Measured(_volumes_ml(numbers), lesions)


def differences(first: Measured, second: Measured) -> dict[Quantity, list[Difference]]:
    """Return every difference between two scans.

    Regions differ three times: right, left and both. A single lesion is compared with what it became: what
    overlaps, or else is nearest, is one lesion, its parts together; where there is nothing it became 0 ml.
    """
    found = {
        quantity: [Difference(*pair) for pair in zip(volumes, second.volumes_ml[quantity], strict=True)]
        for quantity, volumes in first.volumes_ml.items()
    }
    return found | {
        Quantity.SINGLE_LESION: [Difference(*pair) for pair in matched_ml(first.lesions, second.lesions)]
    }


def matched_ml(first: Sequence[MarkedLesion], second: Sequence[MarkedLesion]) -> list[tuple[float, float]]:
    """Return the volumes of each lesion in either scan, ml; 0 where it is missing.

    Parameters
    ----------
    first, second
        Single lesions of two scans.
    """
    group = list(range(len(first) + len(second)))

    def root(at: int) -> int:
        while group[at] != at:
            at = group[at]
        return at

    for one, mine in enumerate(first):
        for other, theirs in enumerate(second):
            if _overlap(mine, theirs):
                group[root(len(first) + other)] = root(one)
    roots = [root(at) for at in range(len(group))]
    lonely = {at for at in range(len(group)) if roots.count(roots[at]) == 1}
    for one, other in _nearest(first, second, lonely):
        roots[len(first) + other] = roots[one]
    volumes = [lesion.volume_ml for lesion in (*first, *second)]
    return [
        (
            sum(volumes[at] for at in range(len(first)) if roots[at] == number),
            sum(volumes[at] for at in range(len(first), len(group)) if roots[at] == number),
        )
        for number in sorted(set(roots))
    ]


def _overlap(one: MarkedLesion, other: MarkedLesion) -> bool:
    shared = np.intersect1d(one.cells, other.cells, assume_unique=True).size
    return bool(shared >= _SHARED * min(one.cells.size, other.cells.size))


def _nearest(
    first: Sequence[MarkedLesion], second: Sequence[MarkedLesion], lonely: set[int]
) -> Iterator[tuple[int, int]]:
    """Pair what overlaps nothing, the nearest first."""
    away = [
        (float(np.linalg.norm(mine.centre_mm - theirs.centre_mm)), one, other)
        for one, mine in enumerate(first)
        for other, theirs in enumerate(second)
        if one in lonely and len(first) + other in lonely
    ]
    taken: set[int] = set()
    for distance_mm, one, other in sorted(away):
        if distance_mm <= _REACH_MM and not taken & {one, len(first) + other}:
            taken |= {one, len(first) + other}
            yield one, other


def _marked(lesion: Lesion, geometry: Geometry, to_rest: ToRest) -> MarkedLesion:
    index = np.argwhere(lesion.voxels.mask_zyx) + np.array(lesion.voxels.start_zyx)
    points = to_rest(geometry.to_lps_mm(index))
    return MarkedLesion(lesion.volume_ml, np.asarray(points.mean(axis=0)), _cells(points))


def _cells(points_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    cell = np.floor(points_mm / _CELL_MM).astype(np.int64) + _FAR_CELLS // 2
    return np.unique((cell[:, 0] * _FAR_CELLS + cell[:, 1]) * _FAR_CELLS + cell[:, 2])


def _volumes_ml(numbers: LesionMeasurements) -> dict[Quantity, tuple[float, float, float]]:
    lungs = [numbers.of(region).volume_ml for region in (Region.LUNG_RIGHT, Region.LUNG_LEFT)]
    by_finding = {
        finding: [
            sum(
                one.volume_ml
                for one in numbers.regions
                if one.region.finding is finding and one.region.side is side
            )
            for side in Side
        ]
        for finding in Finding
    }
    ground_glass, consolidation = (by_finding[finding] for finding in Finding)
    lesions = [sum(parts) for parts in zip(ground_glass, consolidation, strict=True)]
    sides = {
        Quantity.LUNG: lungs,
        Quantity.LESIONS: lesions,
        Quantity.GROUND_GLASS: by_finding[Finding.GROUND_GLASS],
        Quantity.CONSOLIDATION: by_finding[Finding.CONSOLIDATION],
    }
    return {quantity: (right, left, right + left) for quantity, (right, left) in sides.items()}
