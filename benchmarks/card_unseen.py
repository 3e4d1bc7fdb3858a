"""Two more parts of a model card: the folds' models in Hounsfield units, and the preparation chosen."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.card_sections import implants, markdown_table

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


def preparations(figures: Figures) -> str:
    """Ways from Hounsfield units to the network; layout in `models/training/pneumonia_ct/preparations.py`."""
    names = list(dict.fromkeys(row["preparation"] for row in figures["rows"]))
    rows = []
    for name in names:
        own = [row for row in figures["rows"] if row["preparation"] == name]
        real = [row for row in own if not row["series"].startswith("phantom")]
        made = [row for row in own if row["series"].startswith("phantom")]
        rows.append(
            [
                name,
                *(f"{fmean(row['false_percent'] for row in group):.2f} %" for group in (real, made)),
                *(f"{fmean(row['painted_dice'] for row in group):.3f}" for group in (real, made)),
                f"{fmean(row['lung_dice'] for row in real):.3f}",
            ]
        )
    heads = [
        "preparation",
        "false, real CT",
        "false, phantom",
        "painted lesions, Dice, real CT",
        "phantom",
        "lungs, Dice, real CT",
    ]
    return markdown_table(heads, rows)
