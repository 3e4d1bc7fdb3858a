"""Whether the prior scan really lies on the current one: the lungs' borders, and what is inside them.

Lungs of different patients can be made to overlap well by a deformation, but their vessels do not meet. So
the densities inside have to correlate too, after what varies slowly (how deeply the patient breathed in,
gravity) was taken away, and without the lesions, which are what may have changed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from core.comparison import RegistrationQuality
from core.time_point import TimePoint
from inference.carrying import PlacesMap, carried, mapped
from inference.lattice import (
    Lattice,
    SampledScan,
    cut_borders,
    healthy_density_hu,
    image_of,
    not_beyond,
)

#: Scans of one patient reach 0.96 to 0.99, those of different patients 0.84 to 0.99 (docs/adr/0024).
LEAST_OVERLAP = 0.90
#: One patient at most 1 mm, 2.4 mm where half of the lungs is cut off; others 0.5 to 5 mm.
MOST_SURFACE_MM = 3.0
#: One patient at least 0.8, others at most 0.11.
LEAST_CORRELATION = 0.40
#: Lung that both scans show, as a share of the smaller lungs.
LEAST_SHARED = 0.25
#: Lung without lesion in which densities are compared, as a share of what both scans show.
_LEAST_COMPARED = 0.05
#: Densities are compared after smoothing over so many voxels, less their mean over so many.
_FINE_VOXELS, _SLOW_VOXELS = 3, 9
_MOST_SURFACE_POINTS = 20_000


def judged(
    method: str, prior: TimePoint, current: TimePoint, prior_places_lps_mm: PlacesMap
) -> RegistrationQuality:
    """Judge a map from the current scan to the prior one.

    Parameters
    ----------
    method
        What made it.
    prior, current
        The scans, both with lungs.
    prior_places_lps_mm
        The map.

    Returns
    -------
    RegistrationQuality
        Figures are NaN where there is nothing that they could be computed from.
    """
    lattice = Lattice.around(current)
    ours = SampledScan.of(current, healthy_density_hu(current), lattice)
    known = ours.known_zyx & _prior_covers(prior, lattice, prior_places_lps_mm)
    lungs = _labelled(prior, prior.lungs.labels_zyx, lattice, prior_places_lps_mm)
    shown, theirs = ours.lungs_zyx & known, lungs & known
    both = shown & theirs
    count = int(np.count_nonzero(both))
    overlap = 2.0 * count / max(int(np.count_nonzero(shown)) + int(np.count_nonzero(theirs)), 1)
    smaller = min(float(np.count_nonzero(ours.lungs_zyx)), _lung_voxels(prior, lattice))
    surface_mm = _surface_mm(shown, theirs, known) * lattice.step_mm
    lesions = _labelled(prior, prior.lesions.labels_zyx, lattice, prior_places_lps_mm)
    free = ndimage.binary_erosion(both) & ~ours.lesions_zyx & ~ndimage.binary_dilation(lesions)
    correlation = math.nan
    if int(np.count_nonzero(free)) >= max(_LEAST_COMPARED * count, 100.0):
        hu = carried(
            prior.density_hu_zyx,
            prior.density_geometry,
            lattice.geometry,
            prior_places_lps_mm,
            order=1,
            outside=-1024.0,
        )
        correlation = _correlation(ours.image_zyx, image_of(hu, healthy_density_hu(prior)), free)
    reason = _reason(count / max(smaller, 1), overlap, surface_mm, correlation)
    return RegistrationQuality(not reason, method, overlap, surface_mm, correlation, reason)


def _reason(shared: float, overlap: float, surface_mm: float, correlation: float) -> str:
    """Return why places may not be compared; empty where they may."""
    if shared < LEAST_SHARED and overlap >= LEAST_OVERLAP:
        return f"The scans show too little of the same lung: {100.0 * shared:.0f} percent."
    if overlap < LEAST_OVERLAP:
        return f"The lungs could not be brought together: their overlap is {overlap:.3f}."
    if not surface_mm <= MOST_SURFACE_MM:
        return f"The lungs could not be brought together: their surfaces are {surface_mm:.1f} mm apart."
    if math.isnan(correlation):
        return "Too little lung is free of lesions to tell whether the scans lie on each other."
    if correlation < LEAST_CORRELATION:
        return f"What is inside the lungs does not match: the correlation is {correlation:.2f}."
    return ""


def _labelled(
    prior: TimePoint, labels_zyx: NDArray[np.uint8], lattice: Lattice, places: PlacesMap
) -> NDArray[np.bool_]:
    brought = carried(labels_zyx, prior.geometry, lattice.geometry, places, order=0, outside=0.0)
    return np.asarray(brought != 0.0)


def _lung_voxels(point: TimePoint, lattice: Lattice) -> float:
    voxels = int(np.count_nonzero(point.lungs.labels_zyx))
    return voxels * point.geometry.voxel_ml * 1000.0 / lattice.step_mm**3


def _prior_covers(prior: TimePoint, lattice: Lattice, places: PlacesMap) -> NDArray[np.bool_]:
    """Tell which voxels of a lattice the prior scan covers; to two voxels, which is enough here."""
    borders = cut_borders(prior)
    if not any(low or high for low, high in borders):
        return np.ones(lattice.shape_zyx, np.bool_)
    coarse = lattice.coarser(2)
    nodes = np.moveaxis(np.indices(coarse.shape_zyx), 0, -1).reshape(-1, 3)
    there = places(mapped(coarse.affine_lps, nodes.astype(np.float64)))
    index = mapped(np.linalg.inv(prior.geometry.affine_lps), there)
    within = np.ones(len(nodes), np.bool_)
    for axis, (low, high) in enumerate(borders):
        within &= not_beyond(index[:, axis], prior.geometry.shape_zyx[axis], low=low, high=high)
    fine = within.reshape(coarse.shape_zyx)
    for axis, length in enumerate(lattice.shape_zyx):
        fine = np.repeat(fine, 2, axis=axis).take(range(length), axis=axis)
    return fine


def _surface_mm(one: NDArray[np.bool_], other: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    """Return the mean distance of two surfaces in voxels, both ways; NaN where one is empty.

    Where a scan ends there is no surface.
    """
    inner = ndimage.binary_erosion(known, border_value=True)
    surfaces = [np.argwhere(mask & ~ndimage.binary_erosion(mask) & inner) for mask in (one, other)]
    if not all(len(surface) for surface in surfaces):
        return math.nan
    trees = [KDTree(surface) for surface in surfaces]
    means = []
    for tree, surface in zip(trees, reversed(surfaces), strict=True):
        every = -(-len(surface) // _MOST_SURFACE_POINTS)
        means.append(float(np.mean(tree.query(surface[::every])[0])))
    return (means[0] + means[1]) / 2.0


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Return the correlation of what two images show inside a mask, without what varies slowly."""
    mask = where.astype(np.float32)
    within = [ndimage.uniform_filter(mask, size)[where] for size in (_FINE_VOXELS, _SLOW_VOXELS)]
    details = []
    for image in (one, other):
        held = image * mask
        fine, slow = (
            ndimage.uniform_filter(held, size)[where] / share
            for size, share in zip((_FINE_VOXELS, _SLOW_VOXELS), within, strict=True)
        )
        detail = (fine - slow).astype(np.float64)
        details.append(detail - np.mean(detail))
    spread = math.sqrt(float(np.sum(details[0] ** 2)) * float(np.sum(details[1] ** 2)))
    return float(np.sum(details[0] * details[1])) / spread if spread > 0.0 else math.nan
