"""From probabilities to findings, by the rule that the manifest names."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain import FINDING_LABEL, Finding
from inference.manifest_output import ModelOutput

#: Attenuation from which lesion is consolidation where the site says nothing else: between ground glass, in
#: which vessels can be seen, and soft tissue, in which they cannot.
CONSOLIDATION_FROM_HU = -300.0

#: Standard deviation of the smoothing before attenuation decides, mm: about a pixel and a half, so that noise
#: does not make a chequerboard of a lesion, and vessels thinner than it do not stand out of ground glass.
_SMOOTHING_MM = 1.2
#: OpenCV's kernel reaches this many standard deviations and less than one pixel more.
_REACH_SD = 4.0

#: (label, y, x) probabilities and (y, x) int16 HU of one slice → (y, x) uint8, 0 or `FINDING_LABEL`.
Decision = Callable[[NDArray[np.float32], NDArray[np.int16]], NDArray[np.uint8]]


def decision(
    output: ModelOutput, spacing_yx_mm: tuple[float, float], consolidation_from_hu: float
) -> Decision:
    """Choose the rule.

    Parameters
    ----------
    output
        Its decision, threshold and labels.
    spacing_yx_mm
        Distance of rows and of columns of the slices to judge, mm.
    consolidation_from_hu
        Attenuation from which lesion is consolidation; only `density` asks for it.
    """
    if output.decision == "density":
        return lambda probabilities, hu_yx: by_density(
            probabilities[0], hu_yx, output, spacing_yx_mm, consolidation_from_hu
        )
    return lambda probabilities, _hu_yx: by_channel(probabilities, output)


def by_channel(probabilities: NDArray[np.float32], output: ModelOutput) -> NDArray[np.uint8]:
    """Choose what each voxel is by the channels alone.

    Parameters
    ----------
    probabilities
        (label, …) float32, in the order of the manifest's labels.
    output
        Its threshold, decision and labels.

    Returns
    -------
    ndarray
        uint8 without the label axis: 0 or `FINDING_LABEL`. Equal findings go to the first label.
    """
    codes = np.array([FINDING_LABEL[label.finding] for label in output.labels], dtype=np.uint8)
    strength = probabilities.sum(axis=0) if output.decision == "sum" else probabilities.max(axis=0)
    named = codes[probabilities.argmax(axis=0)]
    return np.where(strength >= np.float32(output.threshold), named, np.uint8(0))


def by_density(
    lesion_yx: NDArray[np.float32],
    hu_yx: NDArray[np.int16],
    output: ModelOutput,
    spacing_yx_mm: tuple[float, float],
    consolidation_from_hu: float,
) -> NDArray[np.uint8]:
    """Tell ground glass from consolidation by the attenuation inside one slice's lesions.

    Attenuation is smoothed first (Gaussian, 1.2 mm standard deviation) over the lesion's own pixels, so that
    neither the chest wall beside ground glass nor the air beside consolidation counts.

    Parameters
    ----------
    lesion_yx
        (y, x) float32 probability of lesion.
    hu_yx
        (y, x) HU of the same pixels.
    output
        Its threshold and `lesion_from_hu`.
    spacing_yx_mm
        Distance of rows and of columns, mm.
    consolidation_from_hu
        Smoothed attenuation from which lesion is consolidation.

    Returns
    -------
    ndarray
        (y, x) uint8: 0 or `FINDING_LABEL`.
    """
    found = np.zeros(lesion_yx.shape, dtype=np.uint8)
    lesion = lesion_yx >= np.float32(output.threshold)
    if not lesion.any():
        return found
    sd_yx = (_SMOOTHING_MM / spacing_yx_mm[0], _SMOOTHING_MM / spacing_yx_mm[1])
    box = []
    for axis, sd in zip((1, 0), sd_yx, strict=True):
        filled = np.flatnonzero(lesion.any(axis=axis))
        reach = int(np.ceil(_REACH_SD * sd)) + 1
        box.append(slice(max(0, int(filled[0]) - reach), int(filled[-1]) + 1 + reach))
    rows, columns = box
    inside = np.ascontiguousarray(lesion[rows, columns])
    smooth = _smoothed(hu_yx[rows, columns], inside, sd_yx)
    if output.lesion_from_hu is not None:
        inside &= smooth >= output.lesion_from_hu
    dense = np.where(
        smooth >= consolidation_from_hu,
        FINDING_LABEL[Finding.CONSOLIDATION],
        FINDING_LABEL[Finding.GROUND_GLASS],
    )
    found[rows, columns] = np.where(inside, dense, 0)
    return found


def _smoothed(
    hu_yx: NDArray[np.int16], inside_yx: NDArray[np.bool_], sd_yx: tuple[float, float]
) -> NDArray[np.float32]:
    """Return Gaussian means over what lies inside; outside it they mean nothing."""
    weight = inside_yx.astype(np.float32)
    total, count = (
        cv2.GaussianBlur(values, (0, 0), sigmaX=sd_yx[1], sigmaY=sd_yx[0], borderType=cv2.BORDER_CONSTANT)
        for values in (weight * hu_yx.astype(np.float32), weight)
    )
    return np.asarray(total / np.maximum(count, np.float32(1e-6)), dtype=np.float32)
