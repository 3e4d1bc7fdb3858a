"""Ground glass or consolidation in 8-bit pictures: the network's own output against a rule of greys.

In a scan Hounsfield units decide. A picture has none, but air-filled lung and soft tissue are known in it, so
that the grey of a density between them can be reckoned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics import dice, spread
from inference.decisions import CONSOLIDATION_FROM_HU
from models.training.pneumonia_ct.evaluation import THRESHOLD, probabilities
from models.training.pneumonia_ct.network import CHANNELS, Mirrored
from models.training.pneumonia_ct.slices import CONSOLIDATION, LESION, SliceSet

#: Usual attenuation of the two anchors.
_LUNG_HU, _TISSUE_HU = -850.0, 40.0
#: Smoothing before the grey decides, pixels of the network's picture.
_SMOOTHING_PX = 1.0
_LUNG, _LESION, _CONSOLIDATION = (CHANNELS.index(name) for name in ("lung", "lesion", "consolidation"))


def class_figures(network: Mirrored, cases: Sequence[SliceSet]) -> dict[str, Any]:
    """Compare both rules inside the lesions that the network finds.

    Parameters
    ----------
    network
        In use, not in training; it must not have seen the cases.
    cases
        Slices with classes; the first picture of each, stretched and not equalised, is judged.

    Returns
    -------
    dict
        By rule, `learned` and `grey`: mean Dice of each class over the slices in which the truth has it.
    """
    dices: dict[str, dict[str, list[float]]] = {
        rule: {"ground_glass": [], "consolidation": []} for rule in ("learned", "grey")
    }
    for case in cases:
        picture, label = case.pictures[0], case.labels[0]
        found = probabilities(network, picture[None])[0]
        lesion = found[_LESION] >= THRESHOLD
        truth = {"consolidation": (label & CONSOLIDATION) > 0, "ground_glass": (label & LESION) > 0}
        truth["ground_glass"] &= ~truth["consolidation"]
        rules = {
            "learned": found[_CONSOLIDATION] >= THRESHOLD,
            "grey": dense_by_grey(picture, (found[_LUNG] >= THRESHOLD) & ~lesion, found[_LUNG] < THRESHOLD),
        }
        for rule, dense in rules.items():
            for name, mask in (("consolidation", lesion & dense), ("ground_glass", lesion & ~dense)):
                if truth[name].any():
                    dices[rule][name].append(dice(mask, truth[name]))
    return {
        rule: {name: spread(values)["mean"] for name, values in by_class.items()}
        for rule, by_class in dices.items()
    }


def dense_by_grey(
    picture: NDArray[np.uint8], healthy_yx: NDArray[np.bool_], outside_yx: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell where a picture is as bright as `CONSOLIDATION_FROM_HU` would be.

    Parameters
    ----------
    picture
        (y, x) uint8.
    healthy_yx, outside_yx
        bool: lung without lesion, and what is not lung.
    """
    lung = float(np.median(picture[healthy_yx])) if healthy_yx.any() else 50.0
    tissue_greys = picture[outside_yx]
    tissue_greys = tissue_greys[tissue_greys > lung + 25.0]
    tissue = float(np.median(tissue_greys)) if tissue_greys.size else 150.0
    share = (CONSOLIDATION_FROM_HU - _LUNG_HU) / (_TISSUE_HU - _LUNG_HU)
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), _SMOOTHING_PX)
    return np.asarray(smooth >= lung + share * (tissue - lung))
