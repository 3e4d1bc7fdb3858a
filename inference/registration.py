"""The prior scan brought onto the current one, inside the lungs: an affine map, then a smooth deformation.

Everything happens a fixed number of times on a bounded number of voxels, with a fixed number of threads: the
time it takes is bounded without a clock, and the same two scans always give the same result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name under which the library is known
from numpy.typing import NDArray
from scipy import ndimage

from core.comparison import RegistrationQuality
from core.geometry import Geometry
from core.log import get_logger
from core.time_point import TimePoint
from inference.affine_alignment import affine_between
from inference.carrying import carried, mapped
from inference.lattice import Lattice, SampledScan, healthy_density_hu
from inference.registration_quality import judged

METHOD = "affine, then deformable (demons)"
#: Deformation: how many times coarser than the lattice, and how many iterations there.
_LEVELS = ((4, 200), (2, 100), (1, 25))
#: Standard deviation of the Gaussian that smooths it after every iteration, mm, and at least in voxels.
_SMOOTHNESS_MM, _LEAST_SMOOTHNESS = 5.0, 0.6
_THREADS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """Where tissue of the current scan was in the prior one.

    Parameters
    ----------
    quality
        How well they lie on each other, and whether places may be compared at all.
    affine_lps
        4 × 4, from the current to the prior scan, LPS mm; applied after the displacement.
    lattice
        Where the displacement is; None where there is none.
    displacement_mm
        (3, z, y, x) float32, along x, y, z, mm of the current scan.
    """

    quality: RegistrationQuality
    affine_lps: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    lattice: Lattice | None = None
    displacement_mm: NDArray[np.float32] | None = None

    def prior_places_lps_mm(self, places_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where the tissue at places of the current scan was in the prior one: (n, 3), LPS mm."""
        places = np.asarray(places_lps_mm, np.float64)
        if self.lattice is not None and self.displacement_mm is not None:
            index = ((places - self.lattice.origin_lps_mm) / self.lattice.step_mm)[:, ::-1].T
            moved = [
                ndimage.map_coordinates(along, index, output=np.float64, order=1, mode="nearest")
                for along in self.displacement_mm
            ]
            places = places + np.stack(moved, axis=1)
        return mapped(self.affine_lps, places)

    def brought(
        self,
        array_zyx: NDArray[np.generic],
        prior_geometry: Geometry,
        onto: Geometry,
        *,
        order: int,
        outside: float,
    ) -> NDArray[np.float32]:
        """Sample an array of the prior scan at the voxels of a grid of the current one.

        Parameters
        ----------
        array_zyx, prior_geometry
            The array and where it is.
        onto
            The grid.
        order
            0 nearest voxel, for labels; 1 linear.
        outside
            Value where the prior scan has none.

        Returns
        -------
        ndarray
            (z, y, x) float32 on that grid.
        """
        return carried(
            array_zyx, prior_geometry, onto, self.prior_places_lps_mm, order=order, outside=outside
        )


def register(prior: TimePoint, current: TimePoint) -> Registration:
    """Bring the prior scan onto the current one.

    Parameters
    ----------
    prior, current
        Scans of one patient, in any position and orientation.

    Returns
    -------
    Registration
        Never raises for what the scans hold: where they cannot be brought together, `quality` says why.
    """
    for name, point in (("earlier", prior), ("current", current)):
        if not point.lungs.labels_zyx.any():
            return _failed(f"No lungs were found in the {name} scan.")
    try:
        registration = _registered(prior, current)
        quality = judged(METHOD, prior, current, registration.prior_places_lps_mm)
    except (RuntimeError, ValueError, ArithmeticError):
        # The library's errors are RuntimeError; singular grids and the like are ValueError.
        get_logger().warning("registration_failed", exc_info=True)
        return _failed("The scans could not be brought together: the log of the node says why.")
    return replace(registration, quality=quality)


def _failed(reason: str) -> Registration:
    return Registration(RegistrationQuality(False, METHOD, 0.0, math.nan, math.nan, reason))


def _registered(prior: TimePoint, current: TimePoint) -> Registration:
    """Return the maps, not judged yet."""
    lattices = [Lattice.around(point) for point in (current, prior)]
    healthy_hu = [healthy_density_hu(point) for point in (current, prior)]
    rough = [lattice.coarser(2) for lattice in lattices]
    scans = [SampledScan.of(*one) for one in zip((current, prior), healthy_hu, rough, strict=True)]
    affine = affine_between(rough[0], scans[0], rough[1], scans[1])
    fixed = SampledScan.of(current, healthy_hu[0], lattices[0])
    moving = SampledScan.of(prior, healthy_hu[1], lattices[0], affine)
    displacement = _displacement(lattices[0], fixed, moving)
    return Registration(_failed("").quality, affine, lattices[0], displacement)


def _displacement(lattice: Lattice, fixed: SampledScan, moving: SampledScan) -> NDArray[np.float32]:
    """Return the deformation that is left after the affine map: (3, z, y, x), mm along x, y, z."""
    # Where one scan ends, the other stands in for it: no force, and no border that is none.
    ours = np.where(fixed.known_zyx | ~moving.known_zyx, fixed.image_zyx, moving.image_zyx)
    theirs = np.where(moving.known_zyx, moving.image_zyx, ours)
    coarsest = lattice.coarser(_LEVELS[0][0])
    displacement = _image(coarsest, np.zeros((*coarsest.shape_zyx, 3)))
    for factor, iterations in _LEVELS:
        coarse = lattice.coarser(factor)
        images = [_image(coarse, _coarser(one, factor)) for one in (ours, theirs)]
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfThreads(_THREADS)
        demons.SetNumberOfWorkUnits(_THREADS)
        demons.SetNumberOfIterations(iterations)
        # Never earlier: when it would stop depends on sums in the order in which threads finish.
        demons.SetMaximumRMSError(0.0)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(max(_SMOOTHNESS_MM / coarse.step_mm, _LEAST_SMOOTHNESS))
        displacement = demons.Execute(*images, _finer(displacement, images[0]))
    vectors = sitk.GetArrayFromImage(displacement)
    return np.ascontiguousarray(np.moveaxis(vectors, -1, 0), np.float32)


def _coarser(image_zyx: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return every second, third, … voxel of an image, smoothed for that."""
    if factor == 1:
        return image_zyx
    smooth = ndimage.gaussian_filter(image_zyx, 0.5 * factor, truncate=3.0)
    return np.ascontiguousarray(smooth[::factor, ::factor, ::factor])


def _finer(displacement: sitk.Image, like: sitk.Image) -> sitk.Image:
    resample = sitk.ResampleImageFilter()
    resample.SetNumberOfThreads(_THREADS)
    resample.SetReferenceImage(like)
    resample.SetUseNearestNeighborExtrapolator(True)
    finer: sitk.Image = resample.Execute(displacement)
    return finer


def _image(lattice: Lattice, array: NDArray[np.floating]) -> sitk.Image:
    """Return (z, y, x) values or (z, y, x, 3) vectors on a lattice as the library's image, in LPS mm."""
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing([lattice.step_mm] * 3)
    image.SetOrigin(lattice.origin_lps_mm.tolist())
    return image
