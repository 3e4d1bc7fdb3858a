"""Which lesions of two scans are the same ones.

Voxels of the current lesions are looked up in the prior scan. Two lesions are linked where they share enough
of the smaller one, and where that is the most that one of them shares with any: a third lesion that is grazed
does not join two that are apart. What shares nothing, small lesions above all, is linked to the nearest
lesion left. What is linked is one lesion, that may have been or become several.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from core.domain import Lesion
from core.time_point import TimePoint
from inference.common_view import Registered
from inference.time_points import numbered_lesions

#: Share of the smaller lesion that two have to have in common: a ball that is moved by its radius keeps 0.31.
LEAST_SHARED = 0.3
#: Centres of lesions that hardly overlap, but are the nearest to each other, are at most so far apart, mm.
REACH_MM = 8.0
#: Distance of the voxels of a lesion that are looked up, mm; of small lesions every voxel is.
_STEP_MM, _EVERY_VOXEL_UP_TO_ML = 2.0, 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Nearness:
    """How much the lesions of two scans overlap, and how far they are apart.

    Parameters
    ----------
    shared_ml
        (prior, current) common volume, ml.
    distance_mm
        (prior, current) distance of their centres, mm; infinite between the two lungs.
    """

    shared_ml: NDArray[np.float64]
    distance_mm: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Group:
    """One lesion, or several that were or became one.

    Parameters
    ----------
    prior, current
        Its parts, largest first; none where it is in one scan only.
    carried_on
        Which prior part goes on as which current one, (prior number, current number): each at most once, and
        linked; what has the most in common first.
    """

    prior: tuple[Lesion, ...]
    current: tuple[Lesion, ...]
    carried_on: tuple[tuple[int, int], ...] = ()


def matched(prior: TimePoint, current: TimePoint, registered: Registered) -> list[Group]:
    """Bring the lesions of two scans together.

    Returns
    -------
    list of Group
        Every lesion of either scan is in exactly one: first those that are here now, by the least number of
        their current parts, then the others.
    """
    before, now = prior.measurements.lesions, current.measurements.lesions
    return grouped(before, now, nearness(prior, current, registered))


def grouped(prior: Sequence[Lesion], current: Sequence[Lesion], near: Nearness) -> list[Group]:
    """Bring lesions together by how near they are to each other; ordered as in `matched`."""
    count = len(prior) + len(current)
    if count == 0:
        return []
    links = linked(prior, current, near)
    then, now = np.nonzero(links)
    graph = csr_array((np.ones(then.size), (then, now + len(prior))), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    groups = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        before = [at for at in members if at < len(prior)]
        after = [at - len(prior) for at in members if at >= len(prior)]
        groups.append(
            Group(
                _largest_first([prior[at] for at in before]),
                _largest_first([current[at] for at in after]),
                tuple(
                    (prior[one].number, current[other].number)
                    for one, other in _pairs(before, after, near, links)
                ),
            )
        )
    return sorted(groups, key=_order)


def _pairs(
    before: Sequence[int], after: Sequence[int], near: Nearness, links: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Pair linked parts of one lesion one to one: what has the most in common first, then what is nearest.

    The ends of a chain are parts of one lesion and may lie far apart: they are no pair.
    """
    taken_then, taken_now = set[int](), set[int]()
    for one, other in sorted(
        ((one, other) for one in before for other in after if links[one, other]),
        key=lambda pair: (-near.shared_ml[pair], near.distance_mm[pair], pair),
    ):
        if one not in taken_then and other not in taken_now:
            taken_then.add(one)
            taken_now.add(other)
            yield one, other


def linked(prior: Sequence[Lesion], current: Sequence[Lesion], near: Nearness) -> NDArray[np.bool_]:
    """Tell which two lesions are linked: (prior, current) bool."""
    before, now = (np.array([one.volume_ml for one in lesions]) for lesions in (prior, current))
    smaller = np.minimum(before[:, None], now[None, :])
    shared = np.where(near.shared_ml >= LEAST_SHARED * smaller, near.shared_ml, 0.0)
    if shared.size == 0:
        return np.zeros(shared.shape, np.bool_)
    most = (shared >= shared.max(axis=1, keepdims=True)) | (shared >= shared.max(axis=0, keepdims=True))
    links: NDArray[np.bool_] = np.logical_and(shared > 0.0, most)
    within = np.where(near.distance_mm <= REACH_MM, near.distance_mm, np.inf)
    return np.logical_or(links, _nearest(within, links))


def _nearest(distance_mm: NDArray[np.float64], links: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Link what is not linked yet, and is the nearest to each other of what is left."""
    found = np.zeros_like(links)
    while True:
        linked_now = links | found
        taken = linked_now.any(axis=1, keepdims=True) | linked_now.any(axis=0, keepdims=True)
        left = np.where(taken, np.inf, distance_mm)
        nearest = (left <= left.min(axis=1, keepdims=True)) & (left <= left.min(axis=0, keepdims=True))
        new = nearest & np.isfinite(left)
        if not new.any():
            return found
        found |= new


def nearness(prior: TimePoint, current: TimePoint, registered: Registered) -> Nearness:
    """Measure how near the lesions of two scans are to each other, brought together.

    Lesions of the current scan are looked up in the prior one; the common volume is that in the current scan.
    """
    before, now = prior.measurements.lesions, current.measurements.lesions
    row = {one.number: at for at, one in enumerate(before)}
    shared = np.zeros((len(before), len(now)))
    distance = np.full(shared.shape, math.inf)
    if shared.size == 0:
        return Nearness(shared, distance)
    numbers = numbered_lesions(prior)
    places = [lesion_places_lps_mm(current, lesion) for lesion in now]
    there = registered.prior_places_lps_mm(np.concatenate(places))
    for column, (lesion, found) in enumerate(
        zip(now, np.split(there, np.cumsum([len(one) for one in places])[:-1]), strict=True)
    ):
        at = np.rint(prior.geometry.to_index_zyx(found)).astype(np.int64)
        inside = np.all((at >= 0) & (at < prior.geometry.shape_zyx), axis=1)
        met, counts = np.unique(numbers[tuple(at[inside].T)], return_counts=True)
        for number, share in zip(met, counts / len(found), strict=True):
            if number:
                shared[row[int(number)], column] = share * lesion.volume_ml
    centres = registered.prior_places_lps_mm(np.array([one.centroid_lps_mm for one in now]))
    wanted = np.array([one.centroid_lps_mm for one in before])
    apart = np.linalg.norm(wanted[:, None] - centres[None, :], axis=2)
    same_side = np.array([[one.side is other.side for other in now] for one in before])
    return Nearness(shared, np.where(same_side, apart, math.inf))


def lesion_places_lps_mm(point: TimePoint, lesion: Lesion) -> NDArray[np.float64]:
    """Return evenly spread voxels of a lesion, at least one: (n, 3) LPS mm."""
    mask, start = lesion.voxels.mask_zyx, np.array(lesion.voxels.start_zyx)
    steps = np.ones(3, np.int64)
    if lesion.volume_ml > _EVERY_VOXEL_UP_TO_ML:
        steps = np.array([max(1, round(_STEP_MM / mm)) for mm in point.geometry.spacing_zyx_mm])
    index = np.argwhere(mask[tuple(slice(None, None, int(step)) for step in steps)]) * steps
    if len(index) == 0:
        index = np.argwhere(mask)
    return point.geometry.to_lps_mm(index + start)


def _largest_first(lesions: Sequence[Lesion]) -> tuple[Lesion, ...]:
    return tuple(sorted(lesions, key=lambda one: (-one.volume_ml, one.number)))


def _order(group: Group) -> tuple[bool, int]:
    lesions = group.current or group.prior
    return not group.current, min(one.number for one in lesions)
