"""Sheared stacks made straight for the analysis, and labels carried back to the source's own frames.

The slices of a tilted gantry slide sideways from one to the next. Lungs and lesions are sought on voxels with
right angles: every slice is moved within its own plane, with linear interpolation, until pixels of one row
and column stand on one line along the slice normal. No value moves from one slice to another. What is found
goes back by whole pixels: each voxel of a source frame has the label of the straight voxel nearest to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain import CtVolume, LesionMask, LungMask, Segmentation
from core.errors import InferenceError
from core.geometry import Geometry, Scalar

#: What lies outside the source images.
_PADDING_HU = -1024


@dataclass(frozen=True, slots=True, eq=False)
class Straightening:
    """The way from a source grid to a straight one and back.

    Parameters
    ----------
    source
        Grid of the source images.
    target
        Straight grid that holds every voxel of the source; the source itself where that is straight.
    shifts_zyx
        (slices, 2) float64: rows and columns by which each slice is moved on the way there, from 0 on.
    """

    source: Geometry
    target: Geometry
    shifts_zyx: NDArray[np.float64]

    @classmethod
    def of(cls, source: Geometry) -> Straightening:
        """Choose the smallest straight grid around a source."""
        slices, *shape_yx = source.shape_zyx
        shifts = np.arange(slices)[:, None] * np.array(source.slide_yx)
        if not source.is_sheared:
            return cls(source, source, shifts)
        first = np.floor(shifts.min(axis=0))
        shifts -= first
        rows, columns = (
            count + math.ceil(float(reach)) for count, reach in zip(shape_yx, shifts.max(axis=0), strict=True)
        )
        affine = source.without_slide().affine_lps.copy()
        affine[:3, 3] += affine[:3, 1:3] @ first
        return cls(source, Geometry(affine, (slices, rows, columns), source.frame_of_reference_uid), shifts)

    def straight(self, volume: CtVolume) -> CtVolume:
        """Return a volume on the straight grid; the very same one where its slices do not slide.

        Parameters
        ----------
        volume
            On the source grid.

        Returns
        -------
        CtVolume
            int16 HU, linear between the pixels of one slice, −1024 where no slice reaches. Frames, headers
            and remarks are those of the source.
        """
        if not self.source.is_sheared:
            return volume
        _, rows, columns = self.target.shape_zyx
        hu_zyx = np.empty(self.target.shape_zyx, np.int16)
        for plane, moved, (row, column) in zip(volume.hu_zyx, hu_zyx, self.shifts_zyx, strict=True):
            there = np.array([[1.0, 0.0, column], [0.0, 1.0, row]])
            cv2.warpAffine(
                plane,
                there,
                (columns, rows),
                dst=moved,
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=_PADDING_HU,
            )
        return replace(volume, hu_zyx=hu_zyx, geometry=self.target)

    def placed(self, labels_zyx: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return labels of the source on the straight grid, by whole pixels; undone by `labels_on_source`.

        Parameters
        ----------
        labels_zyx
            On the source grid.
        """
        if not self.source.is_sheared:
            return labels_zyx
        placed = np.zeros(self.target.shape_zyx, labels_zyx.dtype)
        for window, plane in zip(self._windows(placed), labels_zyx, strict=True):
            window[...] = plane
        return placed

    def labels_on_source(self, labels_zyx: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return labels of the straight grid on the source's own frames.

        Parameters
        ----------
        labels_zyx
            On the straight grid.

        Returns
        -------
        ndarray
            On the source grid: each voxel has the label of the straight voxel nearest to it. The very same
            array where slices do not slide.
        """
        return np.stack(self._windows(labels_zyx)) if self.source.is_sheared else labels_zyx

    def lungs_on_source(self, lungs: LungMask) -> LungMask:
        """Return lungs of the straight grid on the source's own frames."""
        return LungMask(self.labels_on_source(lungs.labels_zyx))

    def on_source(self, found: Segmentation) -> Segmentation:
        """Return what was found on the straight grid on the source's own frames."""
        lesions = LesionMask(self.labels_on_source(found.lesions.labels_zyx), found.lesions.model)
        return Segmentation(self.lungs_on_source(found.lungs), lesions, found.remarks)

    def _windows(self, straight_zyx: NDArray[Scalar]) -> list[NDArray[Scalar]]:
        """Return of each slice of the straight grid the part that holds the source's slice, as a view."""
        _, rows, columns = self.source.shape_zyx
        # Half a pixel goes the same way in every slice, so that a slide of whole pixels stays one.
        whole = np.floor(self.shifts_zyx + 0.5).astype(np.intp)
        return [
            plane[row : row + rows, column : column + columns]
            for plane, (row, column) in zip(straight_zyx, whole, strict=True)
        ]


def require_straight(geometry: Geometry) -> None:
    """Raise where voxels have no right angles, and whoever asks needs them.

    Raises
    ------
    InferenceError
        The slices slide sideways: the caller has to straighten the volume first.
    """
    if geometry.is_sheared:
        raise InferenceError(
            f"The slices slide sideways (tilt {geometry.tilt_deg:.1f} degrees) and were not straightened: "
            "nothing was analysed; report this as a fault of the program."
        )
