"""Parts of a model card that show why something was chosen: preparation, class rule, format, distance."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.card_sections import markdown_table

Figures = Mapping[str, Any]

_CLASSES = ("ground_glass", "consolidation")


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


def classes(figures: Figures) -> str:
    """The learned class against a rule of greys; layout in `models/training/pneumonia_ct/class_rules.py`."""
    names = {"learned": "the network's own output", "grey": "a grey between healthy lung and soft tissue"}
    rows = [
        [text, *(f"{fmean(fold[rule][name] for fold in figures['folds']):.3f}" for name in _CLASSES)]
        for rule, text in names.items()
    ]
    table = markdown_table(["rule", "ground glass, Dice", "consolidation, Dice"], rows)
    return f"{table}\n\n{figures['slices']} slices, mean over {len(figures['folds'])} networks that saw none."


def variants(figures: Figures) -> str:
    """Number formats of one fold's network; layout in `models/training/pneumonia_ct/variants.py`."""
    rows = [
        [
            row["variant"],
            f"{row['megabytes']:.1f} MB",
            f"{row['ms_per_slice']:.1f}",
            f"{row['lesion_dice']:.3f}",
            f"{row['lung_dice']:.3f}",
        ]
        for row in figures["rows"]
    ]
    return markdown_table(["format", "size", "ms a slice", "lesion Dice", "lung Dice"], rows)


def spacing(figures: Figures) -> str:
    """The model's own distance of slices against every thin slice; layout in `benchmarks.spacing`."""
    rows = [
        [
            text,
            f"{figures['summary'][way]['dice']:.3f}",
            f"{figures['summary'][way]['burden_error_percent']:.1f} %",
            f"{figures['summary'][way]['seconds']:.1f}",
        ]
        for way, text in (("own", "averaged to the model's distance"), ("every", "every slice"))
    ]
    table = markdown_table(["slices seen", "lesion Dice", "error of the volume", "s"], rows)
    return (
        f"{table}\n\n{len(figures['phantoms'])} phantoms with slices of {figures['slice_mm']:g} mm; "
        f"Dice between the two {figures['summary']['dice_between']:.3f}."
    )
