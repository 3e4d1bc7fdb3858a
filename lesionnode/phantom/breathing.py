"""Inspiration: how the organs inside the rib cage move when the lungs hold more or less air.

Only z changes: the diaphragm moves up and down, the apex stays, and what lies between follows ever more
towards the base, as in patients. Skin, bones, table and the inside of the rib cage stay, so that the lungs
slide along them. Distances from the apex downwards grow by a share of their square, and below the lungs by a
constant; the local stretch is then linear in the height and there are no folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lesionnode.phantom import thorax
from lesionnode.phantom.shapes import FloatArray, Points, Vector

_TOP_MM = thorax.LUNG_BOX[1][2]
_HEIGHT_MM = thorax.LUNG_BOX[1][2] - thorax.LUNG_BOX[0][2]
#: How far down the foot of the lungs' box moves for one lung volume more: the lungs' own shape decides it.
_DESCENT_MM = 283.0


@dataclass(frozen=True, slots=True)
class Breathing:
    """The way between the patient at rest (inspiration 1) and the same patient at another inspiration.

    Parameters
    ----------
    inspiration
        Volume of both lungs as a share of that at rest.
    """

    inspiration: float

    @property
    def _descent_mm(self) -> float:
        return _DESCENT_MM * (self.inspiration - 1.0)

    def at_rest(self, points: Points) -> Points:
        """Return where points of the breathing patient lie in the patient at rest; all mm of the anatomy.

        At inspiration 1 these are the very same points.
        """
        descent_mm = self._descent_mm
        if descent_mm == 0.0:
            return points
        below = np.clip(np.float32(_TOP_MM) - points.z, 0.0, _HEIGHT_MM + descent_mm)
        root = np.sqrt(np.float32(_HEIGHT_MM**2) + np.float32(4.0 * descent_mm) * below)
        share = np.float32(2.0) * below / (np.float32(_HEIGHT_MM) + root)
        moved = points.z + np.float32(descent_mm) * share * share
        return Points(points.x, points.y, np.asarray(moved, dtype=np.float32))

    def moved(self, at_rest: Points) -> Points:
        """Return where points of the patient at rest lie in the breathing one: the way back of `at_rest`."""
        descent_mm = self._descent_mm
        if descent_mm == 0.0:
            return at_rest
        share = np.clip((np.float32(_TOP_MM) - at_rest.z) * np.float32(1.0 / _HEIGHT_MM), 0.0, 1.0)
        moved = at_rest.z - np.float32(descent_mm) * share * share
        return Points(at_rest.x, at_rest.y, np.asarray(moved, dtype=np.float32))

    def moved_vector(self, at_rest: Vector) -> Vector:
        """Return where one point of the patient at rest lies in the breathing one, mm of the anatomy."""
        x, y, z = at_rest
        share = min(max((_TOP_MM - z) / _HEIGHT_MM, 0.0), 1.0)
        return x, y, z - self._descent_mm * share**2

    def stretch(self, at_rest: Points) -> FloatArray:
        """Return the local ratio of volumes, breathing to rest, at points of the patient at rest.

        Returns
        -------
        ndarray
            float32 that broadcasts to the points: 1 at the apex and above, and where nothing is stretched.
        """
        share = (np.float32(_TOP_MM) - at_rest.z) * np.float32(1.0 / _HEIGHT_MM)
        share = np.where(share > 1.0, np.float32(0.0), np.maximum(share, 0.0))
        slope = np.float32(2.0 * self._descent_mm / _HEIGHT_MM)
        return np.asarray(1.0 + slope * share, dtype=np.float32)

    def lung_box(self) -> tuple[Vector, Vector]:
        """Return a box that holds both lungs of the breathing patient, mm of the anatomy."""
        low, high = thorax.LUNG_BOX
        return self.moved_vector(low), high
