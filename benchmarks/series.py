"""Real CT without pneumonia: what a model marks there all the same, and whether two kernels agree.

    python -m benchmarks.series --model NAME [--data DIR] [--only START] [--json]

Every series goes the node's whole way (`lesionnode.pipeline.analyse_series`). Two of the scans have a known
answer: on the Biograph series an expert drew lungs and tumour; the Sensation study has one scan in a sharp
and in a soft kernel, which should give the same.

With --json, standard output is one object::

    model     name, version, sha256, provider, restriction
    series    [{series, slices, slice_mm, lungs_ml: {right, left}, burden_ml, burden_percent, ground_glass_ml,
                consolidation_ml, seconds, seconds_lesions, refused}]   refused: a sentence, figures are null
    expert    {series, dice: {right, left}, tumour_ml, burden_inside_tumour_ml, burden_outside_tumour_ml,
               outside_percent_of_lung, inside_percent_of_lung, inside_percent_of_tumour}
    kernels   {sharp, soft, burden_percent: {sharp, soft}, difference_points, difference_relative_percent,
               lungs_dice}

`expert` and `kernels` are null where their series are absent or refused. The tumour is the expert's contour
grown by 5 mm; lungs are judged outside the contour itself. A difference is sharp minus soft, in percentage
points of the lungs, and relative to the soft kernel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.arguments import model_parser, report
from benchmarks.metrics import dice
from benchmarks.opened import OpenedModel, open_model
from benchmarks.real_series import (
    EXPERT_SERIES,
    EXPERT_TUMOUR,
    SENSATION_SHARP,
    SENSATION_SOFT,
    add_series_arguments,
    expert_labels,
    series_files,
    series_folders,
)
from benchmarks.tables import line, model_line, shown, table
from core.domain import LUNG_LABEL, Analysis
from core.errors import SeriesRejected
from lesionnode.pipeline import Analysed, analyse_series
from lesionnode.result_json import result_json

_TUMOUR_GROWN_MM = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)
    return report(
        lambda: measure(open_model(options.model), series_folders(options.data, options.only)),
        print_figures,
        as_json=options.json,
    )


def measure(model: OpenedModel, folders: Sequence[Path]) -> dict[str, Any]:
    """Analyse every series.

    Parameters
    ----------
    model
        Which model.
    folders
        One per series.

    Returns
    -------
    dict
        As described at the head of this module.
    """
    rows, kept = [], {}
    expert = None
    for folder in folders:
        try:
            analysed = analyse_series(series_files(folder), model.engine, model.name, model.settings)
        except SeriesRejected as error:
            rows.append({**_row(folder.name, None), "refused": str(error)})
            continue
        rows.append(_row(folder.name, analysed))
        geometry = analysed.analysis.volume.geometry
        truth = expert_labels(folder, rising=bool(geometry.affine_lps[2, 0] > 0))
        if truth is not None:
            expert = against_expert(analysed.analysis, truth)
        if folder.name in (SENSATION_SHARP, SENSATION_SOFT):
            kept[folder.name] = analysed.analysis
    kernels = between_kernels(kept[SENSATION_SHARP], kept[SENSATION_SOFT]) if len(kept) == 2 else None
    return {"model": model.described(), "series": rows, "expert": expert, "kernels": kernels}


def against_expert(analysis: Analysis, truth: NDArray[np.uint8]) -> dict[str, Any]:
    """Compare lungs with an expert's, and part the lesions into tumour and the rest.

    Parameters
    ----------
    analysis
        Of the series the expert saw.
    truth
        The expert's labels on the grid and in the order of the volume: 1 right lung, 2 left lung, 3 tumour.

    Returns
    -------
    dict
        Dice of each lung, volumes in ml, percentages.
    """
    geometry = analysis.volume.geometry
    lungs, lesions = analysis.lungs.labels_zyx, analysis.lesions.labels_zyx > 0
    tumour = truth == EXPERT_TUMOUR
    grown = ndimage.distance_transform_edt(~tumour, sampling=geometry.spacing_zyx_mm) <= _TUMOUR_GROWN_MM
    lung_voxels = np.count_nonzero(lungs)
    inside, outside = np.count_nonzero(lesions & grown), np.count_nonzero(lesions & ~grown)
    return {
        "series": EXPERT_SERIES,
        "dice": {
            side.value: round(dice((lungs == label) & ~tumour, truth == label), 4)
            for side, label in LUNG_LABEL.items()
        },
        "tumour_ml": round(np.count_nonzero(tumour) * geometry.voxel_ml, 1),
        "burden_inside_tumour_ml": round(inside * geometry.voxel_ml, 1),
        "burden_outside_tumour_ml": round(outside * geometry.voxel_ml, 1),
        "outside_percent_of_lung": round(100.0 * outside / lung_voxels, 2),
        "inside_percent_of_lung": round(100.0 * inside / lung_voxels, 2),
        "inside_percent_of_tumour": round(
            100.0 * np.count_nonzero(lesions & tumour) / np.count_nonzero(tumour), 1
        ),
    }


def between_kernels(sharp: Analysis, soft: Analysis) -> dict[str, Any] | None:
    """Compare two reconstructions of one scan; None where they do not lie on one grid."""
    one, other = sharp.volume.geometry, soft.volume.geometry
    if one.shape_zyx != other.shape_zyx or not np.allclose(one.affine_lps, other.affine_lps, atol=1e-3):
        return None
    percent = {name: _percent(analysis) for name, analysis in (("sharp", sharp), ("soft", soft))}
    difference = percent["sharp"] - percent["soft"]
    return {
        "sharp": SENSATION_SHARP,
        "soft": SENSATION_SOFT,
        "burden_percent": {name: round(value, 2) for name, value in percent.items()},
        "difference_points": round(difference, 2),
        "difference_relative_percent": round(100.0 * difference / percent["soft"], 1)
        if percent["soft"]
        else None,
        "lungs_dice": round(dice(sharp.lungs.labels_zyx > 0, soft.lungs.labels_zyx > 0), 4),
    }


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print the tables."""
    if figures["model"] is not None:
        line(model_line(figures["model"]))
    table(
        "Real CT; nobody has labelled pneumonia in it",
        (
            "series",
            "slices",
            "slice\nmm",
            "lung, ml\nright",
            "lung, ml\nleft",
            "marked\nml",
            "marked\n% of lung",
            "ground\nglass, ml",
            "consoli-\ndation, ml",
            "seconds\nin all",
            "seconds\nlesions",
        ),
        [_cells(row) for row in figures["series"]],
    )
    for row in figures["series"]:
        if row["refused"]:
            line(f"{row['series']} was refused: {row['refused']}")
    if figures["expert"] is not None:
        _print_expert(figures["expert"])
    if figures["kernels"] is not None:
        _print_kernels(figures["kernels"])


def _print_expert(expert: Mapping[str, Any]) -> None:
    line("")
    line(f"{expert['series']} against an expert's contours:")
    line(f"  lungs, Dice: right {expert['dice']['right']:.3f}, left {expert['dice']['left']:.3f}")
    line(
        f"  marked outside the tumour grown by 5 mm: {expert['burden_outside_tumour_ml']:.1f} ml, "
        f"{expert['outside_percent_of_lung']:.2f} % of the lungs"
    )
    line(
        f"  marked inside it: {expert['burden_inside_tumour_ml']:.1f} ml; "
        f"{expert['inside_percent_of_tumour']:.0f} % of the tumour's {expert['tumour_ml']:.0f} ml are marked"
    )


def _print_kernels(kernels: Mapping[str, Any]) -> None:
    burden = kernels["burden_percent"]
    line("")
    line("One scan in a sharp and in a soft kernel (Sensation 10):")
    line(
        f"  marked: {burden['sharp']:.2f} and {burden['soft']:.2f} % of the lungs; difference "
        f"{kernels['difference_points']:+.2f} points, "
        f"{shown(kernels['difference_relative_percent'], 0, sign=True)} % of the soft kernel's"
    )
    line(f"  lungs of the two, Dice: {kernels['lungs_dice']:.3f}")


def _row(name: str, analysed: Analysed | None) -> dict[str, Any]:
    """Return the figures of one series, null where it was refused."""
    keys = ("slices", "slice_mm", "lungs_ml", "burden_ml", "burden_percent", "ground_glass_ml")
    row: dict[str, Any] = {"series": name, **dict.fromkeys((*keys, "consolidation_ml", "seconds"))}
    row |= {"seconds_lesions": None, "refused": None}
    if analysed is None:
        return row
    numbers, geometry = result_json(analysed), analysed.analysis.volume.geometry
    burden, seconds = numbers["burden"], analysed.timings_s
    return row | {
        "slices": geometry.shape_zyx[0],
        "slice_mm": round(geometry.spacing_zyx_mm[0], 2),
        "lungs_ml": {side: round(numbers["lungs"][f"{side}_ml"], 1) for side in ("right", "left")},
        "burden_ml": round(burden["total_ml"], 1),
        "burden_percent": round(burden["percent_of_lung"], 2),
        "ground_glass_ml": round(burden["ground_glass_ml"], 1),
        "consolidation_ml": round(burden["consolidation_ml"], 1),
        "seconds": round(sum(seconds.values()), 2),
        "seconds_lesions": round(seconds["lesions"], 2),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    lungs = row["lungs_ml"] or {"right": None, "left": None}
    figures = [(row["slices"], 0), (row["slice_mm"], 1), (lungs["right"], 0), (lungs["left"], 0)]
    figures += [(row["burden_ml"], 1), (row["burden_percent"], 2), (row["ground_glass_ml"], 1)]
    figures += [(row["consolidation_ml"], 1), (row["seconds"], 1), (row["seconds_lesions"], 1)]
    return row["series"], *(shown(value, digits) for value, digits in figures)


def _percent(analysis: Analysis) -> float:
    lesion, lung = (np.count_nonzero(part.labels_zyx) for part in (analysis.lesions, analysis.lungs))
    return 100.0 * lesion / lung if lung else 0.0


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("series", "What a model marks in real CT without pneumonia.")
    add_series_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
