"""Ground glass or consolidation in 8-bit pictures: the network's own output against a rule of greys.

In a scan Hounsfield units decide. A picture has none, but air-filled lung and soft tissue are known in it, so
that the grey of a density between them can be reckoned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.metrics import dice, spread
from inference.greys import dense_by_grey
from models.training.pneumonia_ct.evaluation import THRESHOLDS, probabilities
from models.training.pneumonia_ct.network import CHANNELS, Mirrored
from models.training.pneumonia_ct.slices import CONSOLIDATION, LESION, SliceSet

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
        lung, lesion, dense = (found[at] >= THRESHOLDS[at] for at in (_LUNG, _LESION, _CONSOLIDATION))
        truth = {"consolidation": (label & CONSOLIDATION) > 0, "ground_glass": (label & LESION) > 0}
        truth["ground_glass"] &= ~truth["consolidation"]
        rules = {
            "learned": dense,
            "grey": dense_by_grey(picture, lung & ~lesion, ~lung, smoothing_px=1.0),
        }
        for rule, consolidated in rules.items():
            found_classes = {"consolidation": lesion & consolidated, "ground_glass": lesion & ~consolidated}
            for name, mask in found_classes.items():
                if truth[name].any():
                    dices[rule][name].append(dice(mask, truth[name]))
    return {
        rule: {name: spread(values)["mean"] for name, values in by_class.items()}
        for rule, by_class in dices.items()
    }
