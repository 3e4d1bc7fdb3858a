"""Consolidation at the back of the lung: in front of the ribs, and between lung above and below."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as label_components

from inference.lung_grid import CoarseGrid

_BONE_ABOVE_HU = 200
#: Ribs of this height above and below a slice close the gaps between its own.
_RIB_REACH_MM = 15.0
#: Tissue between lung and ribs: thinner is pleura and muscle, thicker is more than can be told.
_LAYER_MM = (8.0, 50.0)
#: Share of a slice's rays on which the lung lies against the ribs; with fewer they are not its wall there.
_TOUCHING_SHARE = 0.5
#: Pleura and inner intercostal muscle, left out.
_WALL_MM = 3.0
#: What hangs together over the slices and is smaller than this is a muscle between two ribs.
_SMALLEST_ML = 10.0
#: Pleural fluid has 0–20 HU, consolidation more.
_FLUID_BELOW_HU = 20
#: Chest wall holds more fat than this share; the lung none.
_FAT_HU = (-150, -30)
_FAT_SHARE = 0.15
#: Spine and aorta lie within this share of the thorax's half-width from its middle.
_SPINE_SHARE = 0.3
_ANGLES = 180
#: Consolidation is bridged where lung stands so close above it and so close below it.
_BRIDGE_MM = 70.0
#: What is bridged and thinner than this is a rib or a muscle that bulges into the lung.
_BULGE_MM = 8.0
#: Bridged only behind this share of the way from the middle of the thorax to the lung's back: the heart, too,
#: has lung above and below it.
_BEHIND_HEART_SHARE = 0.5
#: So many neighbouring rays (two degrees each) that pass between two ribs are held back at the nearer one.
_GAP_RAYS = 21


@dataclass(frozen=True, slots=True, eq=False)
class Ribs:
    """What `dense_behind` needs to know about a volume, the same for both lungs.

    Parameters
    ----------
    smooth_hu_zyx
        (z, y, x) int16 HU, median of 5 × 5 in the plane: noise of a lung kernel reaches the density of bone,
        and of fat.
    shadow_zyx
        (z, y, x) uint8, 1 where a bone stands in this or a neighbouring slice.
    """

    smooth_hu_zyx: NDArray[np.int16]
    shadow_zyx: NDArray[np.uint8]

    @classmethod
    def of(cls, grid: CoarseGrid) -> Ribs:
        """Find the bones of a coarse volume."""
        smooth = np.empty_like(grid.hu_zyx)
        bone = np.empty(grid.hu_zyx.shape, np.uint8)
        for z, plane in enumerate(np.ascontiguousarray(grid.hu_zyx)):
            bone[z] = cv2.medianBlur(plane, 3) > _BONE_ABOVE_HU
            smooth[z] = cv2.medianBlur(plane, 5)
        reach = round(_RIB_REACH_MM / grid.spacing_zyx_mm[0])
        return cls(smooth, ndimage.maximum_filter1d(bone, 2 * reach + 1, axis=0))


def dense_behind(
    grid: CoarseGrid,
    lung_zyx: NDArray[np.uint8],
    ribs: Ribs,
    centre_yx: tuple[float, float],
) -> NDArray[np.bool_]:
    """Find dense lung between the aerated lung and the ribs behind it.

    From the middle of the lung every ray to the back leaves the aerated lung and meets a rib; what lies
    between is normally a few millimetres of pleura and muscle. A thick layer that is denser than fluid is
    taken for consolidated lung.

    Parameters
    ----------
    grid
        The coarse volume.
    lung_zyx
        (z, y, x) uint8, 1 for one lung.
    ribs
        Of the same volume.
    centre_yx
        Middle between the two lungs, coarse index.

    Returns
    -------
    ndarray
        (z, y, x) bool.
    """
    found = np.zeros(lung_zyx.shape, bool)
    rows, columns = (np.flatnonzero(lung_zyx.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not rows.size:
        return found
    middle_xy = (0.5 * float(columns[0] + columns[-1]), 0.5 * float(rows[0] + rows[-1]))
    half_width = max(abs(float(columns[0]) - centre_yx[1]), abs(float(columns[-1]) - centre_yx[1]))
    beside = (np.arange(lung_zyx.shape[2]) - centre_yx[1]) * math.copysign(1.0, middle_xy[0] - centre_yx[1])
    allowed = np.zeros(lung_zyx.shape[1:], bool)
    allowed[math.ceil(centre_yx[0]) :, beside > _SPINE_SHARE * half_width] = True
    for z in np.flatnonzero(lung_zyx.any(axis=(1, 2))):
        found[z] = _layer(grid, lung_zyx[z], ribs.shadow_zyx[z], middle_xy) & allowed & (lung_zyx[z] == 0)
    return _consolidated(found, ribs.smooth_hu_zyx, grid.voxel_ml)


def dense_between(
    grid: CoarseGrid, lung_zyx: NDArray[np.uint8], ribs: Ribs, centre_yx: tuple[float, float]
) -> NDArray[np.bool_]:
    """Find dense lung at the back that has lung both above and below it, also beside the spine.

    What normally lies in the back of the chest (spine, aorta, oesophagus, chest wall) runs from top to
    bottom, and liver and spleen have no lung below them; consolidation and masses end within the lung.

    Parameters
    ----------
    grid
        The coarse volume.
    lung_zyx
        (z, y, x) uint8, 1 for one lung.
    ribs
        Of the same volume.
    centre_yx
        Middle between the two lungs, coarse index.

    Returns
    -------
    ndarray
        (z, y, x) bool.
    """
    reach = max(1, round(_BRIDGE_MM / grid.spacing_zyx_mm[0]))
    rows = np.flatnonzero(lung_zyx.any(axis=(0, 2)))
    found = np.zeros(lung_zyx.shape, bool)
    if not rows.size:
        return found
    at_back = np.s_[:, math.ceil(centre_yx[0] + _BEHIND_HEART_SHARE * (rows[-1] - centre_yx[0])) :]
    lung = lung_zyx[at_back]
    above, below = (
        ndimage.maximum_filter1d(lung, reach, axis=0, mode="constant", origin=origin)
        for origin in (-(reach // 2), (reach - 1) // 2)  # so that the filter looks to one side only
    )
    between = above & below & (1 - lung) & (ribs.smooth_hu_zyx[at_back] < _BONE_ABOVE_HU)
    width = max(3, round(_BULGE_MM / math.sqrt(grid.pixel_mm2)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    for plane, opened in zip(between, found[at_back], strict=True):
        opened[:] = cv2.morphologyEx(plane, cv2.MORPH_OPEN, disc, borderType=cv2.BORDER_CONSTANT) > 0
    return _consolidated(found, ribs.smooth_hu_zyx, grid.voxel_ml)


def _layer(
    grid: CoarseGrid, lung_yx: NDArray[np.uint8], ribs_yx: NDArray[np.uint8], middle_xy: tuple[float, float]
) -> NDArray[np.bool_]:
    """Return what lies between lung and ribs on the rays where it is neither thin nor endless."""
    reach = math.ceil(math.hypot(*lung_yx.shape))
    # Without WARP_FILL_OUTLIERS OpenCV leaves what lies outside the image uninitialised.
    flags = cv2.INTER_NEAREST | cv2.WARP_POLAR_LINEAR | cv2.WARP_FILL_OUTLIERS
    size = (reach, _ANGLES)
    lung = cv2.warpPolar(lung_yx, size, middle_xy, reach, flags) > 0
    ribs = cv2.warpPolar(ribs_yx, size, middle_xy, reach, flags) > 0
    radius = np.arange(reach)
    last_lung = np.where(lung, radius, -1).max(axis=1)
    first_rib = np.where(ribs & (radius > last_lung[:, None]), radius, reach).min(axis=1)
    first_rib = ndimage.grey_opening(first_rib, _GAP_RAYS, mode="wrap")
    pixel_mm = math.sqrt(grid.pixel_mm2)
    gap_mm = (first_rib - last_lung - 1) * pixel_mm
    thick = (last_lung >= 0) & (gap_mm >= _LAYER_MM[0]) & (gap_mm <= _LAYER_MM[1])
    touching = (last_lung >= 0) & (gap_mm < _LAYER_MM[0])
    if np.count_nonzero(touching) < _TOUCHING_SHARE * np.count_nonzero(touching | thick):
        return np.zeros(lung_yx.shape, bool)
    outer = first_rib - max(1, round(_WALL_MM / pixel_mm))
    between = thick[:, None] & (radius > last_lung[:, None]) & (radius < outer[:, None])
    shape_xy = (lung_yx.shape[1], lung_yx.shape[0])
    back = cv2.warpPolar(between.view(np.uint8), shape_xy, middle_xy, reach, flags | cv2.WARP_INVERSE_MAP)
    return np.asarray(back > 0)


def _consolidated(
    layers_zyx: NDArray[np.bool_], hu_zyx: NDArray[np.int16], voxel_ml: float
) -> NDArray[np.bool_]:
    """Return the connected layers that are large enough and as dense as consolidation."""
    labels, count = label_components(layers_zyx, connectivity=1, return_num=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = np.zeros(count + 1, bool)
    for part in np.flatnonzero(sizes * voxel_ml >= _SMALLEST_ML):
        if part > 0:
            hu = hu_zyx[labels == part]
            fat = np.mean((hu > _FAT_HU[0]) & (hu < _FAT_HU[1]))
            keep[part] = np.median(hu) >= _FLUID_BELOW_HU and fat <= _FAT_SHARE
    return np.asarray(keep[labels])
