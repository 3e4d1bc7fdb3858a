"""One image plane while it is painted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesionnode.phantom.shapes import FloatArray, Points, Solid, capsule_mm, occupancy, vector
from lesionnode.phantom.trees import Segments

Window = tuple[slice, slice]


class Canvas:
    """The attenuation of one plane; later paint covers earlier paint by its share of each pixel.

    Parameters
    ----------
    points
        Pixel centres, coordinates that broadcast to (rows, columns), mm of the anatomy.
    pixel_mm
        Width of the ramp that stands for partial volume.
    background_hu
        Attenuation before anything is painted.
    """

    def __init__(self, points: Points, pixel_mm: float, background_hu: float) -> None:
        self.points = points
        self.pixel_mm = pixel_mm
        self.hu_yx: FloatArray = np.full(points.shape, background_hu, dtype=np.float32)
        coordinates = (points.x, points.y, points.z)
        rows, columns = points.shape
        self._row_low, self._row_high = _extent(coordinates, 1, rows)
        self._column_low, self._column_high = _extent(coordinates, 0, columns)

    def over(self, points: Points) -> Canvas:
        """Return a canvas of the same pixels whose centres are other points of the anatomy."""
        if points is self.points:
            return self
        other = Canvas(points, self.pixel_mm, 0.0)
        other.hu_yx = self.hu_yx
        return other

    def window(self, low_mm: Sequence[float], high_mm: Sequence[float]) -> Window | None:
        """Return rows and columns that a box can touch, None where it misses the plane."""
        low = np.subtract(low_mm, self.pixel_mm)[:, None]
        high = np.add(high_mm, self.pixel_mm)[:, None]
        rows = np.flatnonzero(((self._row_high >= low) & (self._row_low <= high)).all(axis=0))
        columns = np.flatnonzero(((self._column_high >= low) & (self._column_low <= high)).all(axis=0))
        if not rows.size or not columns.size:
            return None
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def lay(self, window: Window, share: FloatArray, hu: float | FloatArray) -> None:
        """Cover a window by its share of each pixel with an attenuation."""
        region = self.hu_yx[window]
        region += share * (hu - region)

    def fill(self, window: Window, distance_mm: FloatArray, hu: float | FloatArray) -> None:
        """Cover the inside of a body, given by its distance over a window."""
        self.lay(window, occupancy(distance_mm, self.pixel_mm), hu)

    def paint(self, solid: Solid, hu: float) -> None:
        """Cover the inside of a solid."""
        window = self.window(solid.low_mm, solid.high_mm)
        if window is not None:
            self.fill(window, solid.distance_mm(self.points.crop(window)), hu)

    def segments_share(self, segments: Segments, grow_mm: float = 0.0) -> FloatArray:
        """Return the share of each pixel that a tree fills; thinner than a pixel, it fills less than one.

        Parameters
        ----------
        segments
            The tree.
        grow_mm
            Added to every radius: the wall.

        Returns
        -------
        ndarray
            (rows, columns) float32, 0…1.
        """
        share = np.zeros(self.points.shape, dtype=np.float32)
        low, high = segments.low_mm - grow_mm, segments.high_mm + grow_mm
        z_low, z_high = float(self._row_low[2].min()), float(self._row_high[2].max())
        for at in np.flatnonzero((high[:, 2] >= z_low) & (low[:, 2] <= z_high)):
            window = self.window(low[at], high[at])
            if window is None:
                continue
            radii = segments.radii_mm[at] + grow_mm
            distance = capsule_mm(
                self.points.crop(window),
                vector(segments.start_mm[at]),
                vector(segments.end_mm[at]),
                (float(radii[0]), float(radii[1])),
            )
            thin = min(1.0, 2.0 * float(radii.mean()) / self.pixel_mm)
            region = share[window]
            np.maximum(region, occupancy(distance, self.pixel_mm) * np.float32(thin), out=region)
        return share


def _extent(
    coordinates: tuple[FloatArray, FloatArray, FloatArray], axis: int, length: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the smallest and largest x, y, z of every row (axis 1) or column (axis 0): two (3, n) arrays."""
    low = [np.broadcast_to(part.min(axis=axis), (length,)) for part in coordinates]
    high = [np.broadcast_to(part.max(axis=axis), (length,)) for part in coordinates]
    return np.stack(low), np.stack(high)
