"""Branching trees inside the lungs: vessels and segmental bronchi.

Each lung is seeded with end points; one after the other, from the hilum outwards, they are joined to the tree
where the way is short (after Karch et al., "constrained constructive optimization", much simplified).
Calibres follow Murray's law: the radius grows with a power of the number of end points downstream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionnode.phantom.shapes import Points, Vector

#: Murray's law has 1/3; measured pulmonary trees are a little steeper.
_MURRAY = 1 / 2.7
_STEP_MM = 9.0


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Straight pieces of trees.

    Parameters
    ----------
    start_mm, end_mm
        (n, 3) float64, LPS mm.
    radii_mm
        (n, 2) float64: radius at start and end.
    """

    start_mm: NDArray[np.float64]
    end_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]

    @property
    def low_mm(self) -> NDArray[np.float64]:
        """(n, 3) lower corners of the bounding boxes."""
        return np.asarray(np.minimum(self.start_mm, self.end_mm) - self.radii_mm.max(axis=1)[:, None])

    @property
    def high_mm(self) -> NDArray[np.float64]:
        """(n, 3) upper corners of the bounding boxes."""
        return np.asarray(np.maximum(self.start_mm, self.end_mm) + self.radii_mm.max(axis=1)[:, None])


def join(*parts: Segments) -> Segments:
    """Return all pieces of several trees."""
    return Segments(
        np.concatenate([part.start_mm for part in parts]),
        np.concatenate([part.end_mm for part in parts]),
        np.concatenate([part.radii_mm for part in parts]),
    )


def scatter(
    lung_zyx: NDArray[np.bool_], points: Points, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Choose end points in a lung.

    Parameters
    ----------
    lung_zyx
        Where end points may lie, on a lattice.
    points
        That lattice.
    count
        How many.
    rng
        Source of chance.

    Returns
    -------
    ndarray
        (count, 3) float64, LPS mm.
    """
    z, y, x = np.nonzero(lung_zyx)
    chosen = rng.choice(z.size, size=count, replace=False)
    place = np.stack([points.x.ravel()[x], points.y.ravel()[y], points.z.ravel()[z]], axis=1)[chosen]
    return np.asarray(place + rng.uniform(-1.5, 1.5, size=place.shape), dtype=np.float64)


def grow(root: Vector, ends_mm: NDArray[np.float64], tip_radius_mm: float, bend: float = 0.08) -> Segments:
    """Grow one tree.

    Parameters
    ----------
    root
        Where it starts, LPS mm.
    ends_mm
        (n, 3) end points.
    tip_radius_mm
        Radius at the end points.
    bend
        How far branches sag from the straight line, as a share of their length.

    Returns
    -------
    Segments
        Pieces of about 9 mm.
    """
    nodes = [np.asarray(root, dtype=np.float64)]
    parents, travelled, leaves = [-1], [0.0], []
    order = np.argsort(np.linalg.norm(ends_mm - nodes[0], axis=1))
    for number, end in enumerate(ends_mm[order]):
        known = np.array(nodes)
        distance = np.linalg.norm(known - end, axis=1)
        at = int(np.argmin(distance + 0.45 * np.array(travelled)))
        start, length = nodes[at], float(distance[at])
        sag = np.cross(end - start, (0.0, 0.0, 1.0)) * bend * (1 if number % 2 else -1)
        pieces = max(1, round(length / _STEP_MM))
        for piece in range(1, pieces + 1):
            share = piece / pieces
            nodes.append(start + (end - start) * share + sag * share * (1.0 - share) * 4.0)
            parents.append(at)
            travelled.append(travelled[at] + length / pieces)
            at = len(nodes) - 1
        leaves.append(at)
    return _with_calibres(np.array(nodes), parents, leaves, tip_radius_mm)


def _with_calibres(
    nodes: NDArray[np.float64], parents: list[int], leaves: list[int], tip_radius_mm: float
) -> Segments:
    downstream = np.zeros(len(parents))
    downstream[leaves] = 1.0
    for node in range(len(parents) - 1, 0, -1):  # children always stand behind their parents
        downstream[parents[node]] += downstream[node]
    radius = tip_radius_mm * np.maximum(downstream, 1.0) ** _MURRAY
    start = np.array(parents[1:])
    # A side branch starts with its own calibre, not with that of the stem.
    start_radius = np.minimum(radius[start], 1.25 * radius[1:])
    return Segments(nodes[start], nodes[1:], np.stack([start_radius, radius[1:]], axis=1))
