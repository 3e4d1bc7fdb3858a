"""The affine map that takes places in one scan to the same tissue in another: a fixed number of Newton steps.

The sum of squared differences of two images is brought down by Gauss-Newton steps with the mean of both
images' gradients. Near the solution that is Newton's method (Malis, "Improving vision-based control using
efficient second-order minimization techniques", ICRA 2004): a dozen steps do what takes a gradient descent
hundreds. Everything is plain sums in a fixed order, so that results do not depend on the number of cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.lattice import Lattice, SampledScan

#: Steps on every second voxel, then on all.
_COARSE_STEPS, _FINE_STEPS = 15, 8
#: Differences count up to this distance around the lungs, mm.
_NEAR_MM = 15.0
#: Lungs of one patient do not differ more than that in width, depth and height; for the start only.
_MOST_SCALE = 1.25
#: Where a lung is cut off, heights this far apart are tried as a start, mm.
_TRIED_MM = 12.0
#: A start has to bring this share of the smaller lungs onto the others.
_LEAST_SHARED = 0.4
#: Keeps the equations solvable where a direction does not matter.
_DAMPING = 1e-3
#: Turns and stretches in units in which they move the lungs' border about as far as a shift does, mm.
_LEVER_MM = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """One of the two scans at one resolution."""

    lattice: Lattice
    image_zyx: NDArray[np.float32]
    lungs_zyx: NDArray[np.bool_]
    known_zyx: NDArray[np.bool_]

    @classmethod
    def of(cls, lattice: Lattice, scan: SampledScan, factor: int) -> _Images:
        every = (slice(None, None, factor),) * 3
        smooth = ndimage.gaussian_filter(scan.image_zyx, 0.7 * factor, truncate=3.0)
        coarse = lattice.coarser(factor)
        return cls(coarse, smooth[every], scan.lungs_zyx[every], scan.known_zyx[every])

    def through(
        self, other: Lattice, map_lps: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return image and known voxels of this scan on the lattice of the other."""
        to_index = np.linalg.inv(self.lattice.affine_lps) @ map_lps @ other.affine_lps
        matrix, offset = to_index[:3, :3], to_index[:3, 3]
        shape = other.shape_zyx
        image = ndimage.affine_transform(
            self.image_zyx, matrix, offset, shape, order=1, mode="constant", cval=1.0
        )
        known = ndimage.affine_transform(
            self.known_zyx.view(np.uint8), matrix, offset, shape, order=0, mode="nearest"
        )
        return image, known != 0


def affine_between(
    lattice: Lattice, scan: SampledScan, onto_lattice: Lattice, onto: SampledScan
) -> NDArray[np.float64]:
    """Return the affine map from places in `scan` to the same tissue in `onto`.

    Parameters
    ----------
    lattice, scan
        A scan with lungs.
    onto_lattice, onto
        The other one, with lungs.

    Returns
    -------
    ndarray
        4 × 4, LPS mm to LPS mm.
    """
    fixed, moving = _Images.of(lattice, scan, 2), _Images.of(onto_lattice, onto, 2)
    starts = [_by_moments(fixed, moving)]
    if not (scan.known_zyx.all() and onto.known_zyx.all()):
        starts.append(_by_height(fixed, moving))
    tried = [_Descent(fixed, moving).run(start, _COARSE_STEPS) for start in starts]
    best = min(tried, key=lambda one: one[0])[1]
    return _Descent(_Images.of(lattice, scan, 1), _Images.of(onto_lattice, onto, 1)).run(best, _FINE_STEPS)[1]


def _by_moments(fixed: _Images, moving: _Images) -> NDArray[np.float64]:
    """Return the map that gives the lungs the same middle and, within bounds, the same extent."""
    (here, extent), (there, other) = (_moments(one) for one in (fixed, moving))
    return _scaled(here, there, np.clip(other / extent, 1.0 / _MOST_SCALE, _MOST_SCALE))


def _by_height(fixed: _Images, moving: _Images) -> NDArray[np.float64]:
    """Return the shift along the body that makes the images most alike: what is left of cut-off lungs."""
    (here, extent), (there, other) = (_moments(one) for one in (fixed, moving))
    reach = 3.5 * float(max(extent[2], other[2]))
    counted = min(np.count_nonzero(fixed.lungs_zyx), np.count_nonzero(moving.lungs_zyx))
    descent = _Descent(fixed, moving)
    best = (np.inf, _scaled(here, there, np.ones(3)))
    for height_mm in np.arange(-reach, reach + _TRIED_MM, _TRIED_MM):
        start = _scaled(here, there + np.array((0.0, 0.0, height_mm)), np.ones(3))
        image, used = descent.compare(start)
        shared = np.count_nonzero(used & fixed.lungs_zyx & (image < 0.5))
        cost = descent.cost(image, used)
        if shared >= _LEAST_SHARED * counted and cost < best[0]:
            best = (cost, start)
    return best[1]


def _moments(one: _Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return middle and standard deviation of the lungs' voxels, x, y, z, LPS mm."""
    places = one.lattice.geometry.to_lps_mm(np.argwhere(one.lungs_zyx))
    return places.mean(axis=0), np.maximum(places.std(axis=0), 1.0)


def _scaled(
    here: NDArray[np.float64], there: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    affine = np.diag((*scale, 1.0))
    affine[:3, 3] = there - scale * here
    return affine


class _Descent:
    """Gauss-Newton steps at one resolution."""

    def __init__(self, fixed: _Images, moving: _Images) -> None:
        """Take what stays the same in every step."""
        self._fixed, self._moving = fixed, moving
        step_mm = fixed.lattice.step_mm
        around = max(1, round(_NEAR_MM / step_mm))
        self._counted = ndimage.binary_dilation(fixed.lungs_zyx, iterations=around) & fixed.known_zyx
        self._gradient = _gradient_xyz(fixed.image_zyx)
        self._middle = _moments(fixed)[0]
        axes = np.ogrid[tuple(slice(length) for length in fixed.lattice.shape_zyx)]
        start = (fixed.lattice.origin_lps_mm - self._middle) / _LEVER_MM
        self._lever = tuple(
            np.broadcast_to(axes[2 - axis] * (step_mm / _LEVER_MM) + start[axis], fixed.lattice.shape_zyx)
            for axis in range(3)
        )

    def run(self, start: NDArray[np.float64], steps: int) -> tuple[float, NDArray[np.float64]]:
        """Return the least cost that was met, and the map that has it."""
        affine, best = start, (np.inf, start)
        for step in range(steps + 1):
            image, used = self.compare(affine)
            cost = self.cost(image, used)
            if cost < best[0]:
                best = (cost, affine)
            if step < steps and used.any():
                affine = affine @ self._change(image, used)
        return best

    def compare(self, affine: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the moving image on the fixed one, and the voxels that count."""
        image, known = self._moving.through(self._fixed.lattice, affine)
        return image, known & self._counted

    def cost(self, image: NDArray[np.float32], used: NDArray[np.bool_]) -> float:
        """Return the mean squared difference; infinite where nothing counts."""
        difference = (image - self._fixed.image_zyx)[used]
        return float(np.mean(difference * difference, dtype=np.float64)) if difference.size else np.inf

    def _change(self, image: NDArray[np.float32], used: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the small map after which the moving image fits better."""
        step_mm = self._fixed.lattice.step_mm
        difference = (image - self._fixed.image_zyx)[used].astype(np.float64)
        slope = [
            (ours[used] + theirs[used]).astype(np.float64) * (0.5 / step_mm)
            for ours, theirs in zip(self._gradient, _gradient_xyz(image), strict=True)
        ]
        lever = [along[used] for along in self._lever]
        # What moving along x, y and z by the lever along x, y, z and by 1 would do, one row each.
        columns = np.stack([part for one in slope for part in (*(one * arm for arm in lever), one)])
        normal = np.einsum("in,jn->ij", columns, columns)
        wanted = np.einsum("in,n->i", columns, difference)
        diagonal = np.diag(normal)
        normal = normal + np.diag(_DAMPING * diagonal + 1e-12 * float(diagonal.max()) + 1e-30)
        turn = -np.linalg.solve(normal, wanted).reshape(3, 4)
        change = np.eye(4)
        change[:3, :3] += turn[:, :3] / _LEVER_MM
        # Turned about the middle of the lungs.
        change[:3, 3] = turn[:, 3] + self._middle - change[:3, :3] @ self._middle
        return change


def _gradient_xyz(image_zyx: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return the slopes along x, y and z, per voxel."""
    return tuple(np.asarray(np.gradient(image_zyx, axis=axis)) for axis in (2, 1, 0))
