"""Scans on a common grid for registration: axes of the patient, equal steps, a bounded number of voxels.

What guides a registration is the border of the lungs and the vessels in them. So a scan becomes an image that
is 1 outside the lungs, about 0.14 in healthy lung and more where a vessel is, whatever the kernel and however
deeply the patient breathed in. Lesions are painted over with healthy lung, so that one that grew does not
pull the earlier one to its own size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.geometry import Geometry
from core.regions import bounding_box
from core.time_point import TimePoint

#: Distance of the voxels on which scans are brought together, mm.
STEP_MM = 2.5
#: Lungs that would need more voxels get larger steps: what bounds the time.
MOST_VOXELS = 2_500_000
#: Around the lungs, mm.
_MARGIN_MM = 15.0
#: Densities from this far below healthy lung on make up the range that is looked at, HU.
_BELOW_HU, _RANGE_HU = 100.0, 700.0
#: The image in healthy lung.
_HEALTHY = _BELOW_HU / _RANGE_HU
#: Where all of the lung is lesion, HU.
_USUAL_HU = -850.0


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """A grid whose axes are the patient's: z to the head, y to the back, x to the left.

    Parameters
    ----------
    origin_lps_mm
        First voxel, x, y, z.
    shape_zyx
        Voxels.
    step_mm
        Their distance.
    """

    origin_lps_mm: NDArray[np.float64]
    shape_zyx: tuple[int, int, int]
    step_mm: float

    @classmethod
    def around(cls, point: TimePoint, step_mm: float = STEP_MM) -> Lattice:
        """Return the lattice around the lungs of a time point; coarser than asked for if they are huge."""
        box = bounding_box(point.lungs.labels_zyx)
        corners = np.array(np.meshgrid(*((edge.start, edge.stop - 1) for edge in box)))
        places = point.geometry.to_lps_mm(corners.reshape(3, -1).T)
        low, high = places.min(axis=0) - _MARGIN_MM, places.max(axis=0) + _MARGIN_MM
        step_mm = max(step_mm, float(np.cbrt(np.prod(high - low) / MOST_VOXELS)))
        x, y, z = (int(count) for count in np.ceil((high - low) / step_mm) + 1)
        return cls(low, (z, y, x), step_mm)

    def coarser(self, factor: int) -> Lattice:
        """Return the lattice of the same place with steps that are larger by a factor."""
        z, y, x = (-(-length // factor) for length in self.shape_zyx)
        return Lattice(self.origin_lps_mm, (z, y, x), self.step_mm * factor)

    @property
    def affine_lps(self) -> NDArray[np.float64]:
        """4 × 4, index (z, y, x, 1) to LPS mm."""
        affine = np.zeros((4, 4))
        affine[2, 0] = affine[1, 1] = affine[0, 2] = self.step_mm
        affine[:3, 3] = self.origin_lps_mm
        affine[3, 3] = 1.0
        return affine

    @property
    def geometry(self) -> Geometry:
        """Where its voxels are."""
        return Geometry(self.affine_lps, self.shape_zyx, "")

    def sample(
        self,
        array_zyx: NDArray[np.generic],
        geometry: Geometry,
        through_lps: NDArray[np.float64],
        *,
        order: int,
        outside: float | None = None,
    ) -> NDArray[np.generic]:
        """Sample an array of another grid, sheared or not.

        Parameters
        ----------
        array_zyx, geometry
            The array and where it is.
        through_lps
            4 × 4, places of this lattice to those of that grid, LPS mm.
        order
            0 nearest voxel, 1 linear.
        outside
            Value beyond the grid; None for that of the nearest voxel.

        Returns
        -------
        ndarray
            (z, y, x) on this lattice, of the array's own type; float32 where it is interpolated.
        """
        to_index = np.linalg.inv(geometry.affine_lps) @ through_lps @ self.affine_lps
        sampled: NDArray[np.generic] = ndimage.affine_transform(
            array_zyx,
            to_index[:3, :3],
            to_index[:3, 3],
            self.shape_zyx,
            output=np.float32 if order else array_zyx.dtype,
            order=order,
            mode="nearest" if outside is None else "grid-constant",
            cval=0.0 if outside is None else outside,
        )
        return sampled

    def is_within(self, point: TimePoint, through_lps: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell where it is known what is lung and what is not: (z, y, x).

        That is everywhere but beyond those borders of the time point's grid that cut off a lung.
        """
        to_index = np.linalg.inv(point.geometry.affine_lps) @ through_lps @ self.affine_lps
        axes = np.ogrid[tuple(slice(length) for length in self.shape_zyx)]
        within = np.ones(self.shape_zyx, np.bool_)
        for axis, (low, high) in enumerate(cut_borders(point)):
            if not (low or high):
                continue
            index = sum((to_index[axis, at] * axes[at] for at in range(3)), to_index[axis, 3])
            within &= not_beyond(index, point.geometry.shape_zyx[axis], low=low, high=high)
        return within


def cut_borders(point: TimePoint) -> tuple[tuple[bool, bool], ...]:
    """Tell for each axis z, y, x of a time point's grid whether its first and its last layer hold lung."""
    lungs = point.lungs.labels_zyx
    return tuple((bool(lungs.take(0, axis).any()), bool(lungs.take(-1, axis).any())) for axis in range(3))


def not_beyond(index: NDArray[np.floating], length: int, *, low: bool, high: bool) -> NDArray[np.bool_]:
    """Tell which indices along an axis lie beyond neither of the borders that count."""
    within = np.ones(np.shape(index), np.bool_)
    if low:
        within &= index >= -0.5
    if high:
        within &= index <= length - 0.5
    return within


@dataclass(frozen=True, slots=True, eq=False)
class SampledScan:
    """A scan on a lattice.

    Parameters
    ----------
    image_zyx
        float32, 0…1, see above.
    lungs_zyx, lesions_zyx
        bool; lesions with a voxel around them.
    known_zyx
        bool, whether the scan covers the place.
    """

    image_zyx: NDArray[np.float32]
    lungs_zyx: NDArray[np.bool_]
    lesions_zyx: NDArray[np.bool_]
    known_zyx: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        point: TimePoint,
        healthy_hu: float,
        lattice: Lattice,
        through_lps: NDArray[np.float64] | None = None,
    ) -> SampledScan:
        """Sample a time point; `through_lps` as in `Lattice.sample`."""
        through = np.eye(4) if through_lps is None else through_lps
        lungs = lattice.sample(point.lungs.labels_zyx, point.geometry, through, order=0, outside=0) != 0
        lesions = lattice.sample(point.lesions.labels_zyx, point.geometry, through, order=0, outside=0) != 0
        hu = lattice.sample(point.density_hu_zyx, point.density_geometry, through, order=1)
        lesions = np.asarray(ndimage.binary_dilation(lesions)) & lungs
        image = image_of(np.asarray(hu, np.float32), healthy_hu)
        image[lesions] = _HEALTHY
        image[~lungs] = 1.0
        return cls(image, lungs, lesions, lattice.is_within(point, through))


def image_of(hu: NDArray[np.float32], healthy_hu: float) -> NDArray[np.float32]:
    """Return densities as registration sees them inside the lungs, 0…1."""
    shares = (hu - np.float32(healthy_hu - _BELOW_HU)) / np.float32(_RANGE_HU)
    return np.asarray(np.clip(shares, 0.0, 1.0))


def healthy_density_hu(point: TimePoint) -> float:
    """Return the median density of lung without lesion, HU: it tells how deeply the patient breathed in."""
    lattice = Lattice.around(point, 2.0 * STEP_MM)
    here = np.eye(4)
    lungs = lattice.sample(point.lungs.labels_zyx, point.geometry, here, order=0, outside=0) != 0
    lesions = lattice.sample(point.lesions.labels_zyx, point.geometry, here, order=0, outside=0) != 0
    hu = lattice.sample(point.density_hu_zyx, point.density_geometry, here, order=0)
    free = hu[lungs & ~lesions]
    return float(np.median(free)) if free.size else _USUAL_HU
