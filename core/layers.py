"""Where the voxels of a grid stand along an axis of the patient, in layers of even thickness.

In most axial stacks a slice is a layer: all of it stands at one height. Slices that are inclined, as those of
a tilted gantry or of an oblique reconstruction, reach from one height to another: thirds of a lung, or a view
from the front, have to count voxels there and not slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.geometry import CanonicalOrder, Geometry


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Even layers across one axis of the patient.

    A step along the grid axis that is most parallel to it leads to the next layer, so that every line of
    voxels along that grid axis has one voxel in each layer that it reaches.

    Parameters
    ----------
    step_mm
        Thickness.
    count
        Number of layers that the whole grid reaches.
    grid_axis
        The grid axis along which a step leads to the next layer.
    share_zyx
        Layers by which one step along z, y, x rises; 1 or −1 along `grid_axis`.
    start
        Layer of the first voxel.
    length
        Voxels along `grid_axis`.
    """

    step_mm: float
    count: int
    grid_axis: int
    share_zyx: tuple[float, float, float]
    start: int
    length: int

    @classmethod
    def rising_to_head(cls, geometry: Geometry) -> Layers:
        """Return the layers along the patient's long axis, from foot to head."""
        return cls._along(geometry, 2)

    @classmethod
    def rising_to_left(cls, geometry: Geometry) -> Layers:
        """Return the layers from the patient's right to the left."""
        return cls._along(geometry, 0)

    @classmethod
    def _along(cls, geometry: Geometry, world: int) -> Layers:
        grid_axis = CanonicalOrder.of(geometry).axes[2 - world]
        step_mm = float(abs(geometry.affine_lps[world, grid_axis]))
        share = geometry.affine_lps[world, :3] / step_mm
        reach = share * (np.array(geometry.shape_zyx) - 1)
        others = np.delete(reach, grid_axis)
        lowest, highest = (
            int(np.rint(bound(reach[grid_axis], 0.0))) + math.floor(bound(others, 0.0).sum() + 0.5)
            for bound in (np.minimum, np.maximum)
        )
        z, y, x = (float(value) for value in share)
        length = geometry.shape_zyx[grid_axis]
        return cls(step_mm, highest - lowest + 1, grid_axis, (z, y, x), -lowest, length)

    @property
    def are_slices(self) -> bool:
        """Whether all voxels at one index along `grid_axis` stand in one layer."""
        return self.count == self.length

    def at(
        self, z: NDArray[np.intp] | int, y: NDArray[np.intp] | int, x: NDArray[np.intp] | int
    ) -> NDArray[np.intp]:
        """Return the layer of each voxel, 0…`count` − 1.

        Parameters
        ----------
        z, y, x
            Indices in the whole grid; arrays are broadcast against each other.
        """
        indices = (z, y, x)
        # Whole numbers along the grid's own axis: rounding cannot put two of its voxels into one layer.
        along = indices[self.grid_axis] * int(self.share_zyx[self.grid_axis])
        aside = [indices[axis] * self.share_zyx[axis] for axis in range(3) if axis != self.grid_axis]
        return np.asarray(np.floor(aside[0] + aside[1] + 0.5).astype(np.intp) + along + self.start)
