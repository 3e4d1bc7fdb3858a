"""Lesions painted into healthy lung, so that the network meets lesions in Hounsfield units too.

The benchmark that measures sensitivity paints with other code, on purpose (`benchmarks/implants.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.training.pneumonia_ct.slices import CONSOLIDATION, LESION

_DENSE_FROM_HU = -300.0
#: An opacity that raises the density by less than this is no lesion that anybody would draw.
_LEAST_RISE_HU = 60.0


def with_lesions(
    hu_zyx: NDArray[np.float32],
    lungs_zyx: NDArray[np.bool_],
    spacing_zyx_mm: tuple[float, float, float],
    count: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Paint lesions.

    Parameters
    ----------
    hu_zyx
        (z, y, x) float32, HU.
    lungs_zyx
        Where they may be.
    spacing_zyx_mm
        Of the voxels, mm.
    count
        How many; some may fall on lung that is dense already and vanish.
    rng
        Where the chance comes from.

    Returns
    -------
    tuple of ndarray
        HU, and uint8 bits `LESION` and `CONSOLIDATION`.
    """
    painted = hu_zyx.copy()
    labels = np.zeros(hu_zyx.shape, np.uint8)
    depth_mm = np.asarray(ndimage.distance_transform_edt(lungs_zyx, sampling=spacing_zyx_mm))
    inside = np.argwhere(lungs_zyx)
    for _ in range(count):
        # Most lesions of viral pneumonia lie under the pleura: of a few places the outermost is taken.
        places = inside[rng.integers(len(inside), size=int(rng.integers(1, 5)))]
        centre = places[np.argmin(depth_mm[tuple(places.T)])]
        _paint(painted, labels, lungs_zyx, centre, spacing_zyx_mm, rng)
    return painted, labels


def _paint(
    painted: NDArray[np.float32],
    labels: NDArray[np.uint8],
    lungs_zyx: NDArray[np.bool_],
    centre: NDArray[np.intp],
    spacing_zyx_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> None:
    """Paint one lesion in place."""
    radii_mm = float(np.exp(rng.uniform(np.log(4.0), np.log(32.0)))) * np.exp(rng.normal(0.0, 0.25, 3))
    reach = [int(np.ceil(1.6 * radius / step)) for radius, step in zip(radii_mm, spacing_zyx_mm, strict=True)]
    box = tuple(
        slice(max(0, int(at) - far), min(size, int(at) + far + 1))
        for at, far, size in zip(centre, reach, painted.shape, strict=True)
    )
    shape = tuple(edge.stop - edge.start for edge in box)
    offsets = np.meshgrid(
        *(
            (np.arange(edge.start, edge.stop) - int(at)) * step / radius
            for edge, at, step, radius in zip(box, centre, spacing_zyx_mm, radii_mm, strict=True)
        ),
        indexing="ij",
    )
    size_mm = float(np.mean(radii_mm))
    ragged = _noise(shape, spacing_zyx_mm, 0.35 * size_mm, rng) * rng.uniform(0.1, 0.35)
    distance = np.sqrt(sum(offset**2 for offset in offsets)) + ragged
    softness = rng.uniform(0.06, 0.35)
    share = np.clip((1.0 - distance) / softness + 0.5, 0.0, 1.0) * ndimage.gaussian_filter(
        lungs_zyx[box].astype(np.float32), [0.0, 0.5, 0.5]
    )
    patchy = 1.0 + _noise(shape, spacing_zyx_mm, rng.uniform(2.0, 8.0), rng) * rng.uniform(0.05, 0.35)
    before = painted[box]
    kind = rng.random()
    if kind < 0.5:
        target = rng.uniform(-720.0, -430.0) + 0.0 * distance
    elif kind < 0.78:
        target = rng.uniform(-80.0, 60.0) + 0.0 * distance
    else:
        core = np.clip((rng.uniform(0.4, 0.75) - distance) / softness + 0.5, 0.0, 1.0)
        target = (1.0 - core) * rng.uniform(-650.0, -450.0) + core * rng.uniform(-60.0, 40.0)
    rise = np.maximum(target - np.minimum(before, -820.0), 0.0) * np.clip(share * patchy, 0.0, 1.0)
    after = np.where(before < target, np.minimum(before + rise, np.maximum(target + 60.0, before)), before)
    painted[box] = after
    smooth = np.asarray(ndimage.gaussian_filter(after, [0.0, 1.2, 1.2]))
    lesion = (share > 0.5) & (np.max(rise, initial=0.0) > _LEAST_RISE_HU) & lungs_zyx[box]
    # Lighter specks are part of a lesion to whoever outlines it.
    labels[box] |= np.where(lesion, LESION, 0).astype(np.uint8)
    labels[box] |= np.where(lesion & (smooth > _DENSE_FROM_HU), CONSOLIDATION, 0).astype(np.uint8)


def _noise(
    shape: tuple[int, ...],
    spacing_zyx_mm: tuple[float, float, float],
    grain_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return noise of standard deviation 1 with features of about `grain_mm`."""
    sigma = [max(0.3, grain_mm / step) for step in spacing_zyx_mm]
    rough = np.asarray(ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap"))
    return rough / max(float(rough.std()), 1e-6)
