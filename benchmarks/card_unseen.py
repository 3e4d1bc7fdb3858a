"""Parts of a model card about data that no model of a cross-validation saw: scans, and other slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.card_sections import NAMES, implants, markdown_table

Figures = Mapping[str, Any]


def unseen(figures: Figures) -> str:
    """Each fold's model on the real series that it never saw; layout in `benchmarks.unseen`."""
    rows, remarks = [], []
    for fold in figures["folds"]:
        for one in fold["series"]:
            marked = "refused" if one["refused"] else f"{one['burden_percent']:.2f} %"
            rows.append([one["series"], fold["fold"], marked])
        expert, kernels = fold["expert"], fold["kernels"]
        if expert is not None:
            remarks.append(
                f"{expert['series']}, {fold['fold']}: outside the tumour and its surroundings of 5 mm "
                f"{expert['outside_percent_of_lung']:.2f} % of the lungs are marked."
            )
        if kernels is not None:
            remarks.append(
                f"One scan, two kernels, {fold['fold']}: {kernels['burden_percent']['sharp']:.2f} and "
                f"{kernels['burden_percent']['soft']:.2f} % of the lungs."
            )
    table = markdown_table(["series", "model", "marked, of the lungs"], rows)
    return "\n\n".join(
        [table, " ".join(remarks), "Lesions implanted into them:", implants(figures["implants"])]
    )


def external(figures: Figures) -> str:
    """Slices of another source; layout in `benchmarks.unseen_slices`."""
    rows = [
        [NAMES[name], f"**{values['mean']:.3f}**", f"{values['smallest']:.3f} to {values['largest']:.3f}"]
        for name, values in figures["summary"].items()
    ]
    return (
        f"{figures['slices']} slices; mean over the slices, by {len(figures['models'])} networks that saw "
        f"none of them:\n\n{markdown_table(['', 'mean of the networks', 'from network to network'], rows)}"
    )
