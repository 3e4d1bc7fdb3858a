"""The square around the lungs that a model sees when it looks at whole slices of one size.

Scanners and protocols frame the chest differently; models trained on whole slices have learnt one framing.
One square for the whole series keeps its slices comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.preparation import AIR_HU


@dataclass(frozen=True, slots=True)
class Square:
    """A square of the patient in every axial slice of a series.

    Parameters
    ----------
    rows, columns
        First and last-plus-one pixel of its edges along canonical y and x; they may lie beyond the image.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Pixels along its edges."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def cut(self, plane: NDArray[np.float32], size: int, beyond: float = AIR_HU) -> NDArray[np.float32]:
        """Return what the square shows.

        Parameters
        ----------
        plane
            (y, x) float32, one canonical slice.
        size
            Pixels along either edge of the picture.
        beyond
            Value of what lies beyond the image.

        Returns
        -------
        ndarray
            (size, size) float32: area averages where the picture is coarser than the slice, cubic
            interpolation where it is finer.
        """
        inside, at = self._overlap((plane.shape[0], plane.shape[1]))
        canvas = np.full(self.shape_yx, beyond, dtype=np.float32)
        canvas[at] = plane[inside]
        method = cv2.INTER_AREA if size < min(self.shape_yx) else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(canvas, (size, size), interpolation=method), dtype=np.float32)

    def paste(self, picture: NDArray[np.float32], plane: NDArray[np.float32]) -> None:
        """Lay a picture of the square back over a slice; what lies outside the square stays.

        Parameters
        ----------
        picture
            (size, size) float32.
        plane
            (y, x) float32 of one canonical slice, changed in place; linear interpolation.
        """
        inside, at = self._overlap((plane.shape[0], plane.shape[1]))
        rows, columns = self.shape_yx
        plane[inside] = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_LINEAR)[at]

    def _overlap(self, shape_yx: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return where the square lies in the image, and where that part stands in the square."""
        inside, at = [], []
        for (first, last), count in zip((self.rows, self.columns), shape_yx, strict=True):
            start, stop = max(0, first), min(count, last)
            inside.append(slice(start, stop))
            at.append(slice(start - first, stop - first))
        return (inside[0], inside[1]), (at[0], at[1])


def square_around(
    inside_zyx: NDArray[np.uint8], spacing_yx_mm: tuple[float, float], field_of_view: float
) -> Square | None:
    """Choose the square of a series.

    Parameters
    ----------
    inside_zyx
        (z, y, x) canonical lung labels, 0 outside.
    spacing_yx_mm
        Distance of rows and of columns, mm.
    field_of_view
        Edge of the square as a multiple of the larger extent of both lungs along y and x, all slices taken
        together; the square stands around the middle of that extent.

    Returns
    -------
    Square or None
        None where there is no lung.
    """
    silhouette = np.zeros(inside_zyx.shape[1:], dtype=bool)
    for plane in inside_zyx:
        silhouette |= plane > 0
    if not silhouette.any():
        return None
    spans = [np.flatnonzero(silhouette.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    extents_mm = [
        float(span[1] - span[0] + 1) * spacing for span, spacing in zip(spans, spacing_yx_mm, strict=True)
    ]
    edge_mm = field_of_view * max(extents_mm)
    edges = []
    for span, spacing in zip(spans, spacing_yx_mm, strict=True):
        count = max(1, round(edge_mm / spacing))
        first = round((int(span[0]) + int(span[1]) + 1 - count) / 2)
        edges.append((first, first + count))
    return Square(edges[0], edges[1])
