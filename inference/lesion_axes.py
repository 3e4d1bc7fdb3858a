"""Long and short axis of a lesion, as a reader would measure them with calipers on one axial slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from core.geometry import CanonicalOrder, Geometry

#: Lengths that differ by less, relatively, are equal: sums of the same spacings in another order do.
_SAME_LENGTH = 1e-9


def axes_mm(mask_zyx: NDArray[np.bool_], geometry: Geometry) -> tuple[float, float]:
    """Measure a lesion in the axial plane in which its area is largest.

    Axial planes are the grid planes that lie most nearly so; in a series of axial slices, its slices. What
    is measured is the lesion's outline in that plane: the points half-way between the centres of a pixel
    inside and a neighbour (of four) outside. So a single pixel is as long and as wide as its spacing, and a
    row of n pixels is n spacings long.

    The long axis is the largest distance of two points of the outline. The short axis is the largest width
    perpendicular to it: the distance of the two parallels to the long axis between which the outline just
    fits. Neither has to lie inside the lesion, which may be bent, or in several parts in that plane. Where
    several planes have the largest area, or several pairs of points the largest distance, the one with the
    longest axes counts, so that the order in which a scan is stored changes nothing.

    Parameters
    ----------
    mask_zyx
        bool, (z, y, x) in the order of the source, with at least one voxel; may be cut out of its volume.
    geometry
        Orientation and spacing of the grid; its origin and shape do not matter.

    Returns
    -------
    tuple of float
        Long axis and short axis in mm; long ≥ short > 0.
    """
    order = CanonicalOrder.of(geometry)
    planes = order.apply(mask_zyx)
    spacing_yx_mm = np.asarray([geometry.spacing_zyx_mm[axis] for axis in order.axes[1:]])
    areas = np.count_nonzero(planes, axis=(1, 2))
    return max(_calipers(_outline(plane) * spacing_yx_mm) for plane in planes[areas == areas.max()])


def _outline(plane_yx: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the outline's outermost points, (n, 2) as (y, x) in pixels: two of each row and column."""
    points = []
    for lines, crossing in ((plane_yx, 1), (plane_yx.T, 0)):
        used = np.flatnonzero(lines.any(axis=1))
        first = lines[used].argmax(axis=1) - 0.5
        last = lines.shape[1] - lines[used, ::-1].argmax(axis=1) - 0.5
        for border in (first, last):
            pair = (used, border) if crossing == 1 else (border, used)
            points.append(np.stack(pair, axis=1))
    return np.concatenate(points)


def _calipers(outline_mm: NDArray[np.float64]) -> tuple[float, float]:
    """Return the largest distance of two points, and the width perpendicular to it."""
    hull = outline_mm[ConvexHull(outline_mm).vertices]
    steps = hull[:, None] - hull[None]
    distances = np.hypot(steps[..., 0], steps[..., 1])
    longest = float(distances.max())
    along = steps[distances >= longest * (1.0 - _SAME_LENGTH)] / longest
    widths = np.ptp(hull @ np.stack([-along[:, 1], along[:, 0]]), axis=0)
    return longest, min(float(widths.max()), longest)
