"""The exact voxels of each measured region: one definition for measuring, for the SEG and for its readers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain import FINDING_LABEL, LUNG_LABEL, LesionMask, LungMask, Region, Side, Zone

Box = tuple[slice, slice, slice]

_THIRDS = ("lower", "middle", "upper")


def region_mask_zyx(region: Region, lungs: LungMask, lesions: LesionMask) -> NDArray[np.bool_]:
    """Return the voxels of a region.

    Parameters
    ----------
    region
        Which one.
    lungs, lesions
        Masks on one grid.

    Returns
    -------
    ndarray
        (z, y, x) bool in the order of the masks.
    """
    lung_labels = lungs.labels_zyx
    lesion_labels = lesions.labels_zyx
    if region.side is None:
        anywhere: NDArray[np.bool_] = np.logical_and(lesion_labels > 0, lung_labels > 0)
        return anywhere
    in_lung: NDArray[np.bool_] = np.equal(lung_labels, LUNG_LABEL[region.side])
    if region.finding is None:
        return in_lung
    found: NDArray[np.bool_] = np.logical_and(in_lung, lesion_labels == FINDING_LABEL[region.finding])
    return found


def bounding_box(labels_zyx: NDArray[Any]) -> Box:
    """Return the smallest box around everything that is not 0; an empty one where there is nothing."""
    by_zy = np.any(labels_zyx, axis=2)
    by_x = np.any(labels_zyx, axis=(0, 1))
    z, y, x = (
        slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)
        for used in (np.flatnonzero(flags) for flags in (np.any(by_zy, axis=1), np.any(by_zy, axis=0), by_x))
    )
    return z, y, x


def zone_layers(in_lung_z: NDArray[np.bool_], side: Side) -> dict[Zone, NDArray[np.intp]]:
    """Divide a lung into thirds of its own height.

    Parameters
    ----------
    in_lung_z
        (z,) bool: whether a layer across the patient's long axis (`core.layers`) holds any of this lung; z
        rises to the head.
    side
        Which lung.

    Returns
    -------
    dict
        Layers of each zone, lowest first; none where there is no lung. A layer belongs to the third that
        holds its middle.
    """
    layers = np.flatnonzero(in_lung_z)
    span = np.arange(layers[0], layers[-1] + 1) if layers.size else np.zeros(0, np.intp)
    thirds = (2 * (span - span[:1]) + 1) * len(_THIRDS) // max(2 * span.size, 1)
    return {Zone(f"{name}_{side}"): span[thirds == third] for third, name in enumerate(_THIRDS)}
