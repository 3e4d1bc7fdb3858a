"""Figures of the cases that a fold keeps apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.metrics import dice
from models.training.pneumonia_ct.network import Mirrored
from models.training.pneumonia_ct.sampling import network_input
from models.training.pneumonia_ct.slices import LESION, LUNG, SliceSet

#: Probability from which a pixel is lung, lesion, consolidation. Where probabilities are right and the best
#: Dice that can be had is D, pixels count from D / 2 on (Lipton et al., ECML 2014); for lesions, whose border
#: experts draw differently, D is about 0.8.
THRESHOLDS = (0.5, 0.4, 0.5)
_BATCH = 8


@torch.no_grad()
def probabilities(
    network: Mirrored, pictures: NDArray[np.uint8], *, calibrated: bool = False
) -> NDArray[np.float32]:
    """Run the network.

    Parameters
    ----------
    network
        In use, not in training.
    pictures
        (n, y, x) uint8.
    calibrated
        Whether greys stand for Hounsfield units.

    Returns
    -------
    ndarray
        (n, channel, y, x) float32.
    """
    device = next(network.parameters()).device
    found = []
    for start in range(0, len(pictures), _BATCH):
        values = pictures[start : start + _BATCH].astype(np.float32) / np.float32(255.0)
        batch = torch.from_numpy(np.stack([network_input(one, calibrated=calibrated) for one in values])).to(
            device
        )
        found.append(torch.sigmoid(network(batch)).cpu().numpy())
    return np.concatenate(found)


def case_figures(case: SliceSet, found_ncyx: NDArray[np.float32]) -> dict[str, Any]:
    """Compare all voxels of a case with its truth.

    Parameters
    ----------
    case
        Truth.
    found_ncyx
        (n, channel, y, x) float32 probabilities.

    Returns
    -------
    dict
        Dice of lung and lesion, sensitivity and precision of lesion, absolute error of the percentage of
        lung that is lesion.
    """
    lung, lesion = ((case.labels & bit) > 0 for bit in (LUNG, LESION))
    found_lung, found_lesion = (found_ncyx[:, channel] >= THRESHOLDS[channel] for channel in (0, 1))
    hit = np.count_nonzero(found_lesion & lesion)
    percent = 100.0 * np.count_nonzero(lesion) / max(np.count_nonzero(lung), 1)
    found_percent = 100.0 * np.count_nonzero(found_lesion) / max(np.count_nonzero(found_lung), 1)
    return {
        "case": case.case,
        "slices": len(case.pictures),
        "lesion_dice": dice(found_lesion, lesion),
        "lung_dice": dice(found_lung, lung),
        "sensitivity": hit / max(np.count_nonzero(lesion), 1),
        "precision": hit / max(np.count_nonzero(found_lesion), 1),
        "percent_error": abs(found_percent - percent),
    }


def fold_figures(network: Mirrored, cases: Sequence[SliceSet]) -> list[dict[str, Any]]:
    """Return the figures of every case kept apart."""
    return [case_figures(case, probabilities(network, case.pictures)) for case in cases]
