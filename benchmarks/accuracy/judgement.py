"""What a model found in each case, compared with the truth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.folders import SliceCase
from benchmarks.metrics import Overlap, spread
from inference.pictures import PictureMasks

Planes = Sequence[NDArray[np.bool_]]
Find = Callable[[Sequence[NDArray[np.uint8]]], PictureMasks]

#: Figures of a case that are averaged, in the order of the tables.
FIGURES = (
    "lesion_dice",
    "lung_dice",
    "sensitivity",
    "precision",
    "percent_error",
    "ground_glass_dice",
    "consolidation_dice",
)


@dataclass(frozen=True, slots=True)
class CaseJudgement:
    """One case.

    Parameters
    ----------
    case, slices
        Its name and number of slices.
    overlaps
        Voxels by what they are: `lesion`, and, where truth and model know them, `lung`, `ground_glass`,
        `consolidation`.
    percent_truth, percent_found
        Lesion as percent of lung, lesions counted as lung; None where lungs are not known.
    class_dices
        Dice of each class in every slice where the truth has it.
    seconds
        Spent by the model and its preparation.
    """

    case: str
    slices: int
    overlaps: Mapping[str, Overlap]
    percent_truth: float | None
    percent_found: float | None
    class_dices: Mapping[str, tuple[float, ...]]
    seconds: float

    def figures(self) -> dict[str, Any]:
        """Return the case as plain values; None where a figure is not defined."""
        lesion, lung = self.overlaps["lesion"], self.overlaps.get("lung")
        error = None
        if self.percent_truth is not None and self.percent_found is not None:
            error = abs(self.percent_found - self.percent_truth)
        return {
            "case": self.case,
            "slices": self.slices,
            "lesion_dice": lesion.dice,
            "lung_dice": lung.dice if lung else None,
            "sensitivity": lesion.sensitivity,
            "precision": lesion.precision,
            "percent_truth": self.percent_truth,
            "percent_found": self.percent_found,
            "percent_error": error,
        } | {f"{name}_dice": spread(dices)["mean"] for name, dices in self.class_dices.items()}


def judge(case: SliceCase, find: Find) -> CaseJudgement:
    """Run the model on a case and count.

    Parameters
    ----------
    case
        Turned as the model is to see it.
    find
        The model.
    """
    started_s = time.perf_counter()
    found = find(case.pictures)
    seconds = time.perf_counter() - started_s
    overlaps = {"lesion": _overlap(found.lesion, case.lesion)}
    percent_truth = percent_found = None
    if case.lung is not None and found.lung is not None:
        overlaps["lung"] = _overlap(found.lung, case.lung)
        percent_truth = _percent(case.lesion, case.lung)
        percent_found = _percent(found.lesion, found.lung)
    class_dices = {}
    if case.consolidation is not None and found.consolidation is not None:
        truths, founds = (_classes(masks) for masks in (case, found))
        for name, truth in truths.items():
            pairs = [Overlap.of(mine, real) for mine, real in zip(founds[name], truth, strict=True)]
            overlaps[name] = sum(pairs, Overlap())
            class_dices[name] = tuple(pair.dice for pair in pairs if pair.truth)
    return CaseJudgement(
        case.case, len(case.pictures), overlaps, percent_truth, percent_found, class_dices, seconds
    )


def report(cases: Sequence[CaseJudgement]) -> dict[str, Any]:
    """Return all cases as plain values.

    Returns
    -------
    dict
        `cases`: figures of each; `summary`: their number, mean, median and sd (n − 1), those of classes over
        slices where the truth has the class; `pooled`: Dice over the voxels of all cases together; `slices`,
        `ms_per_slice`.
    """
    figures = [case.figures() for case in cases]
    summary = {name: spread(case.get(name) for case in figures) for name in FIGURES}
    for name in {name for case in cases for name in case.class_dices}:
        summary[f"{name}_dice"] = spread(dice for case in cases for dice in case.class_dices[name])
    slices = sum(case.slices for case in cases)
    pooled = {
        f"{name}_dice": sum((case.overlaps[name] for case in cases), Overlap()).dice
        for name in ("lesion", "lung", "ground_glass", "consolidation")
        if all(name in case.overlaps for case in cases)
    }
    return {
        "slices": slices,
        "ms_per_slice": 1000.0 * math.fsum(case.seconds for case in cases) / slices,
        "cases": figures,
        "summary": {name: values for name, values in summary.items() if values["n"]},
        "pooled": pooled,
    }


def _overlap(found: Planes, truth: Planes) -> Overlap:
    pairs = (Overlap.of(mine, real) for mine, real in zip(found, truth, strict=True))
    return sum(pairs, Overlap())


def _percent(lesion: Planes, lung: Planes) -> float:
    """Return lesion as percent of lung and lesion together, 0 where there is neither."""
    voxels = sum(np.count_nonzero(plane) for plane in lesion)
    whole = sum(np.count_nonzero(both) for both in map(np.logical_or, lesion, lung))
    return 100.0 * voxels / whole if whole else 0.0


def _classes(masks: SliceCase | PictureMasks) -> dict[str, list[NDArray[np.bool_]]]:
    """Split lesions into their classes: what is not consolidation is ground glass."""
    consolidation = masks.consolidation or ()
    pairs = list(zip(masks.lesion, consolidation, strict=True))
    return {
        "ground_glass": [lesion & ~dense for lesion, dense in pairs],
        "consolidation": [lesion & dense for lesion, dense in pairs],
    }
