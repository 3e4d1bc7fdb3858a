"""What a scanner would have made of a lesion: shares of voxels, and a volume with it in place."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain import CtVolume
from lesionnode.phantom.lesions import PlacedLesion
from lesionnode.phantom.shapes import FloatArray, Points, occupancy

Box = tuple[slice, slice, slice]

#: In-plane point spread, standard deviation.
BLUR_MM = 1.0
_SUBSLICE_MM = 1.3
_MARGIN_MM = 4.0
#: How far partial volume at the pleura reaches beyond the lung mask.
_RIM_MM = 2.0
_RIM_BELOW_HU = -200.0
#: Parenchyma around a lesion is averaged with this standard deviation.
_PARENCHYMA_MM, _PARENCHYMA_BELOW_HU = 8.0, -600.0
#: Parenchyma varies by so much before it counts as partly vessel.
_BLOOD_HU, _TEXTURE_HU = 40.0, 60.0


def box_around(volume: CtVolume, placed: PlacedLesion) -> Box:
    """Return the part of a volume that a lesion with its blur can touch."""
    corners = np.array(list(itertools.product(*zip(placed.low_mm, placed.high_mm, strict=True))))
    index = volume.geometry.to_index_zyx(corners)
    margin = _MARGIN_MM / np.array(volume.geometry.spacing_zyx_mm)
    low = np.maximum(np.floor(index.min(axis=0) - margin).astype(int), 0)
    high = np.minimum(np.ceil(index.max(axis=0) + margin).astype(int) + 1, volume.hu_zyx.shape)
    z, y, x = (slice(int(start), int(max(start, stop))) for start, stop in zip(low, high, strict=True))
    return z, y, x


def share_in_voxels(volume: CtVolume, placed: PlacedLesion, box: Box) -> FloatArray:
    """Return the share of each voxel of a box that a lesion fills, imaged; the lungs do not cut it yet.

    Parameters
    ----------
    volume
        Gives the grid; slices are as thick as they are apart.
    placed
        The lesion's body, LPS mm.
    box
        Part of the volume.

    Returns
    -------
    ndarray
        float32 (z, y, x) of the box, 0…1: mean over planes 1.3 mm apart, blurred by 1 mm in the plane.
    """
    slice_mm, row_mm, column_mm = volume.geometry.spacing_zyx_mm
    count = max(1, math.ceil(slice_mm / _SUBSLICE_MM))
    total = np.zeros([part.stop - part.start for part in box], dtype=np.float32)
    for at in range(count):
        points = voxel_points(volume, box, (at + 0.5) / count - 0.5)
        total += occupancy(placed.outer_mm(points), math.sqrt(row_mm * column_mm))
    blurred = ndimage.gaussian_filter(total / count, (0.0, BLUR_MM / row_mm, BLUR_MM / column_mm))
    return np.asarray(blurred, dtype=np.float32)


def painted(
    volume: CtVolume, lungs_zyx: NDArray[np.bool_], placed: PlacedLesion, target_hu: float, box: Box
) -> NDArray[np.int16]:
    """Return a box of a volume with a lesion in it.

    Where lung is, attenuation rises by share × (target − mean of the parenchyma around). What a voxel holds
    of vessels and walls takes no part in that, so that nothing denser than the lesion changes much and
    nothing becomes darker.

    Parameters
    ----------
    volume, lungs_zyx
        The scan and its lungs.
    placed
        The lesion's body, LPS mm.
    target_hu
        Its mean attenuation.
    box
        Part of the volume that the lesion can touch.

    Returns
    -------
    ndarray
        int16 HU (z, y, x) of the box; as before outside the lungs and their 2 mm rim of partial volume.
    """
    hu = volume.hu_zyx[box].astype(np.float32)
    parenchyma = _parenchyma_hu(volume, lungs_zyx, box)
    room = lungs_zyx[box] | _rim(volume, lungs_zyx, box, parenchyma)
    share = share_in_voxels(volume, placed, box) * room
    onset = parenchyma + np.float32(_TEXTURE_HU)
    solid = np.clip((np.minimum(smoothed_hu(volume, box), hu) - onset) / (_BLOOD_HU - onset), 0.0, 1.0)
    rise = np.maximum(np.float32(target_hu) - parenchyma, 0.0)
    return np.asarray(np.rint(hu + share * (1.0 - solid) * rise), dtype=np.int16)


def smoothed_hu(volume: CtVolume, box: Box) -> FloatArray:
    """Return a box of a volume blurred by 1 mm in the plane, float32 HU: without most of its noise."""
    _, row_mm, column_mm = volume.geometry.spacing_zyx_mm
    hu = volume.hu_zyx[box].astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(hu, (0.0, BLUR_MM / row_mm, BLUR_MM / column_mm)))


def _parenchyma_hu(volume: CtVolume, lungs_zyx: NDArray[np.bool_], box: Box) -> FloatArray:
    """Return the mean of aerated lung around each voxel of a box."""
    spacing = np.array(volume.geometry.spacing_zyx_mm)
    reach = np.ceil(2.0 * _PARENCHYMA_MM / spacing).astype(int)
    wide = tuple(
        slice(max(part.start - int(more), 0), part.stop + int(more))
        for part, more in zip(box, reach, strict=True)
    )
    hu = volume.hu_zyx[wide].astype(np.float32)
    aerated = (lungs_zyx[wide] & (hu < _PARENCHYMA_BELOW_HU)).astype(np.float32)
    sigmas = _PARENCHYMA_MM / spacing
    weight = ndimage.gaussian_filter(aerated, sigmas, truncate=2.0)
    total = ndimage.gaussian_filter(aerated * hu, sigmas, truncate=2.0)
    # Without aerated lung in reach nothing is added: targets are then no denser than this.
    mean = np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 100.0)
    inner = tuple(
        slice(part.start - outer.start, part.stop - outer.start)
        for part, outer in zip(box, wide, strict=True)
    )
    return np.asarray(mean[inner], dtype=np.float32)


def _rim(
    volume: CtVolume, lungs_zyx: NDArray[np.bool_], box: Box, parenchyma: FloatArray
) -> NDArray[np.bool_]:
    """Return what partial volume darkens beyond the lung mask: lung air mixed with the wall, no airway."""
    lungs = lungs_zyx[box]
    # In the plane alone: slices count as far apart.
    away_mm = ndimage.distance_transform_edt(~lungs, sampling=(1e3, *volume.geometry.spacing_zyx_mm[1:]))
    # A sharp kernel undershoots next to the wall, so that single voxels there are darker than lung.
    smooth = smoothed_hu(volume, box)
    mixed = (smooth > parenchyma - np.float32(_TEXTURE_HU)) & (smooth < _RIM_BELOW_HU)
    return np.asarray(~lungs & (away_mm <= _RIM_MM) & mixed)


def voxel_points(volume: CtVolume, box: Box, offset: float) -> Points:
    """Return the voxel centres of a box, moved along the slice axis by a share of a slice; LPS mm."""
    index = [np.arange(part.start, part.stop, dtype=np.float64) for part in box]
    index[0] += offset
    affine = volume.geometry.affine_lps
    parts = []
    for world in range(3):
        total = np.full((1, 1, 1), affine[world, 3])
        for axis in range(3):
            # What does not vary along an axis stays of length 1 there, which keeps the shapes cheap.
            if abs(affine[world, axis]) > 1e-9:
                total = total + (affine[world, axis] * index[axis]).reshape(
                    [-1 if a == axis else 1 for a in range(3)]
                )
        parts.append(total.astype(np.float32))
    return Points(parts[0], parts[1], parts[2])
