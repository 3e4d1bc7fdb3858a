"""What became of implanted lesions: one by one, and by size and density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.implant_imaging import Box
from benchmarks.implanting import SIZES_ML, Density, Implant, Place
from benchmarks.tables import quartiles
from core.domain import FINDING_LABEL, CtVolume

_DETECTED_FROM = 0.25
_MARKED_BEFORE = 0.25
_REACH_MM = 3.0

Lesion = dict[str, Any]


def judge(
    implant: Implant, before: NDArray[np.uint8], after: NDArray[np.uint8], volume: CtVolume
) -> Lesion | None:
    """Tell what became of one lesion.

    Parameters
    ----------
    implant
        The lesion.
    before, after
        Labels of the model without and with it, on the grid of the volume.
    volume
        Gives the grid.

    Returns
    -------
    dict or None
        Classes, known and found volume in ml, share covered, share of the right finding; None where the
        model had marked a quarter of its place before.
    """
    window, inside = _widened(implant, volume)
    near = ndimage.distance_transform_edt(~inside, sampling=volume.geometry.spacing_zyx_mm) <= _REACH_MM
    marked = before[window] > 0
    if np.count_nonzero(marked & inside) >= _MARKED_BEFORE * np.count_nonzero(inside):
        return None
    new = (after[window] > 0) & ~marked
    hits = np.count_nonzero(new & inside)
    coverage = hits / np.count_nonzero(inside & ~marked)
    right = after[window] == FINDING_LABEL[implant.wanted.density.finding]
    return {
        "density": implant.wanted.density.value,
        "size": implant.wanted.size,
        "place": implant.wanted.place.value,
        "target_hu": round(implant.target_hu),
        "volume_ml": round(implant.volume_ml, 3),
        "found_ml": round(np.count_nonzero(new & near) * volume.geometry.voxel_ml, 3),
        "coverage": round(coverage, 3),
        "detected": bool(coverage >= _DETECTED_FROM),
        "correct_share": round(np.count_nonzero(new & inside & right) / hits, 3) if hits else None,
    }


def summary(lesions: Sequence[Lesion]) -> dict[str, Any]:
    """Count by size and density, by density, by density and place, and by series."""

    def group(**keys: str) -> dict[str, Any]:
        mine = [lesion for lesion in lesions if all(lesion[key] == value for key, value in keys.items())]
        return {**keys, **_found_of(mine)}

    def classes(density: Density) -> dict[str, Any]:
        mine = [one for one in lesions if one["density"] == density and one["correct_share"] is not None]
        # Weighed by volume, so that it is a share of voxels (of series with voxels of unlike size, of ml).
        weights = [one["coverage"] * one["volume_ml"] for one in mine]
        right = sum(one["correct_share"] * weight for one, weight in zip(mine, weights, strict=True))
        share = round(right / sum(weights), 3) if mine else None
        return {"density": density.value, "n": len(mine), "correct_share": share}

    return {
        "cells": [group(density=density.value, size=size) for density in Density for size in SIZES_ML],
        "classes": [classes(density) for density in Density],
        "places": [group(density=density.value, place=place.value) for density in Density for place in Place],
        "by_series": [group(series=name) for name in sorted({one["series"] for one in lesions})],
    }


def _found_of(lesions: Sequence[Lesion]) -> dict[str, Any]:
    detected = sum(lesion["detected"] for lesion in lesions)
    errors = [100.0 * (one["found_ml"] / one["volume_ml"] - 1.0) for one in lesions]
    return {
        "n": len(lesions),
        "detected": detected,
        "sensitivity": round(detected / len(lesions), 3) if lesions else None,
        "volume_error_percent": quartiles(errors),
    }


def _widened(implant: Implant, volume: CtVolume) -> tuple[Box, NDArray[np.bool_]]:
    """Return the box of a lesion with what counts around it, and the lesion's voxels on it."""
    parts = []
    for part, length, edge in zip(
        implant.box, volume.hu_zyx.shape, volume.geometry.spacing_zyx_mm, strict=True
    ):
        more = int(np.ceil(_REACH_MM / edge))
        parts.append(slice(max(part.start - more, 0), min(part.stop + more, length)))
    share = np.zeros([part.stop - part.start for part in parts], dtype=np.float32)
    own = tuple(
        slice(part.start - wide.start, part.stop - wide.start)
        for part, wide in zip(implant.box, parts, strict=True)
    )
    share[own] = implant.share_zyx
    # A lesion thinner than a slice fills no voxel by half: its own peak is the measure then.
    return (parts[0], parts[1], parts[2]), share >= 0.5 * share.max()
