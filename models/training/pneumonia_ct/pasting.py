"""Real lesions of one patient in the lungs of another: more disease than any published slice alone shows.

Patients in whom most of the lung is diseased are rare in the published slices, and healthy scans have none at
all. After CarveMix (Zhang et al., NeuroImage 2023): a piece of a slice that holds a lesion takes the place of
the same piece of another slice, here brought to the greys of its new lung and blended at its border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.pneumonia_ct.slices import CONSOLIDATION, LESION, LUNG, UNSURE, WINDOW, SliceSet

#: Softness of the border, pixels.
_BORDER_PX = 1.5
#: Most donors for one slice.
_MOST_DONORS = 3
_DENSE_FROM_HU = -300.0
_DENSE_GREY = 255.0 * (_DENSE_FROM_HU - WINDOW.low_hu) / (WINDOW.high_hu - WINDOW.low_hu)


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """A slice with lesions.

    Parameters
    ----------
    patient
        Whose it is.
    picture, label
        (256, 256) uint8.
    upside_down
        Whether the spine is at the top.
    """

    patient: str
    picture: NDArray[np.uint8]
    label: NDArray[np.uint8]
    upside_down: bool


def upside_down(case: str) -> bool:
    """Tell whether a published case has the spine at the top."""
    return case.startswith("radiopaedia")


def with_pasted(
    case: SliceSet,
    picture: NDArray[np.uint8],
    label: NDArray[np.uint8],
    donors: Sequence[Donor],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paste lesions into the lungs of a slice.

    Parameters
    ----------
    case
        Of the slice: whose it is, and whether its greys are calibrated.
    picture, label
        (256, 256) uint8 of the slice; not changed.
    donors
        Slices with lesions, their greys made in the same way as the slice's.
    rng
        Where the chance comes from.

    Returns
    -------
    tuple of ndarray
        Picture and label with lesions added inside its lungs.
    """
    shown, marked = picture.astype(np.float32), label.copy()
    for _ in range(int(rng.integers(1, _MOST_DONORS + 1))):
        donor = donors[int(rng.integers(len(donors)))]
        greys, lesion, healthy = _moved(donor, upside_down(case.case), rng)
        lesion &= ((label & LUNG) > 0) & ((label & UNSURE) == 0)
        if not lesion.any():
            continue
        if not case.calibrated:
            greys = greys * _scale(shown, label, healthy)
        alpha = cv2.GaussianBlur(lesion.astype(np.float32), (0, 0), _BORDER_PX)
        # Never darker than before: vessels and lesions that are there stay.
        shown = np.where(lesion, np.maximum(shown, shown * (1 - alpha) + greys * alpha), shown)
        marked[lesion] |= LESION
        if case.classes_known:
            dense = lesion & (cv2.GaussianBlur(shown, (0, 0), 1.0) >= _DENSE_GREY)
            marked[dense] |= CONSOLIDATION
    return np.clip(shown, 0, 255).astype(np.uint8), marked


def _moved(
    donor: Donor, wanted_upside_down: bool, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
    """Return greys and lesion of a donor, moved at random, and the grey of its healthy lung."""
    size = donor.picture.shape[0]
    turn, scale = rng.normal(0.0, 12.0), float(np.exp(rng.normal(0.0, 0.15)))
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), turn, scale)
    if rng.random() < 0.5:
        matrix = matrix @ np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    if donor.upside_down != wanted_upside_down:
        matrix = matrix @ np.array([[1.0, 0.0, 0.0], [0.0, -1.0, size - 1.0], [0.0, 0.0, 1.0]])
    matrix[:, 2] += rng.normal(0.0, 0.06 * size, 2)
    greys = cv2.warpAffine(donor.picture.astype(np.float32), matrix, (size, size))
    label = cv2.warpAffine(donor.label, matrix, (size, size), flags=cv2.INTER_NEAREST)
    healthy = donor.picture[(donor.label & (LUNG | LESION)) == LUNG]
    grey = float(np.median(healthy)) if healthy.size > 50 else 60.0
    return greys, (label & LESION) > 0, max(grey, 10.0)


def _scale(shown: NDArray[np.float32], label: NDArray[np.uint8], donor_healthy: float) -> float:
    """Return by what the donor's greys are multiplied, so that its healthy lung is as bright as this one."""
    healthy = shown[(label & (LUNG | LESION)) == LUNG]
    if healthy.size < 50:
        return 1.0
    return float(np.clip(np.median(healthy) / donor_healthy, 0.6, 1.6))
