"""Phantoms, where the truth is exact: lesions detected, burden, and what is marked in healthy lungs.

    python -m benchmarks.phantom_lesions --model NAME [--seeds 1,2,3] [--json]

Three phantoms per seed: the default patient with six lesions; one whose lesions, slices (1, 2.5 or 5 mm),
noise, kernel, contrast medium and position on the table are chosen by the seed; and a healthy one scanned in
another such way. Each goes the node's way, lungs and then lesions. A lesion of more than 1 ml counts as
detected where half of its voxels are marked. Seeds 1 to 20 belong to this measurement: no model may be
trained on them.

With --json, standard output is one object::

    model     name, version, sha256, provider, restriction
    seeds     [1, 2, 3]
    phantoms  [{seed, kind: default | varied | healthy, spacing_mm, position, noise_hu, kernel: soft | lung,
                contrast, lesions, detected, truth_ml: {total, ground_glass, consolidation}, found_ml: {same},
                burden_error_percent, burden_percent: {right, left, both}, truth_percent: {same}, seconds}]
    summary   {lesions, sensitivity, burden_error_percent, ground_glass_error_percent,
               consolidation_error_percent, healthy_burden_percent: {mean, largest}}

`lesions` are those of more than 1 ml. Percentages of burden are of the lungs: found of the found ones, true
of the true ones. Errors are in percent of the true volume, in the summary {median, q1, q3} over phantoms.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import add_seeds, model_parser
from benchmarks.opened import OpenedModel, open_model
from benchmarks.phantom_patients import Scan, lesion_mask, scans
from benchmarks.tables import line, model_line, output, quartiles, shown, shown_quartiles, table
from core.domain import FINDING_LABEL, LUNG_LABEL, CtVolume, Finding, Side
from core.errors import NodeError
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.patient import Patient
from lesionnode.phantom.spec import Phantom

_UNUSABLE = 2
_DETECTED_FROM = 0.5
_SMALLEST_ML = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        model = open_model(options.model)
        rows = [measure(model, scan) for seed in options.seeds for scan in scans(seed)]
    except NodeError as error:
        print(error, file=sys.stderr)
        return _UNUSABLE
    figures = {
        "model": model.described(),
        "seeds": list(options.seeds),
        "phantoms": rows,
        "summary": summary(rows),
    }
    if options.json:
        output(figures)
    else:
        print_figures(figures)
    return 0


def measure(model: OpenedModel, scan: Scan) -> dict[str, Any]:
    """Make one phantom, analyse it, and compare.

    Parameters
    ----------
    model
        Which model.
    scan
        Which phantom.

    Returns
    -------
    dict
        One entry of `phantoms`, as described at the head of this module.
    """
    phantom = generate_phantom(scan.spec)
    start_s = time.perf_counter()
    found = model.segment(CtVolume(phantom.hu_zyx, phantom.geometry, (), ()))
    seconds = time.perf_counter() - start_s
    labels = found.lesions.labels_zyx
    wanted, detected = _detected(phantom, labels)
    truth_ml, found_ml = {}, {}
    for finding in Finding:
        voxels = np.count_nonzero(labels == FINDING_LABEL[finding])
        found_ml[finding.value] = float(voxels * phantom.geometry.voxel_ml)
        truth_ml[finding.value] = float(sum(phantom.truth.finding_ml[finding, side] for side in Side))
    truth_ml, found_ml = ({"total": sum(ml.values()), **ml} for ml in (truth_ml, found_ml))
    return {
        **scan.described(),
        "lesions": wanted,
        "detected": detected,
        "truth_ml": {name: round(value, 1) for name, value in truth_ml.items()},
        "found_ml": {name: round(value, 1) for name, value in found_ml.items()},
        "burden_error_percent": error_percent(found_ml["total"], truth_ml["total"]),
        "burden_percent": _found_percent(found.lungs.labels_zyx, labels),
        "truth_percent": _true_percent(phantom),
        "seconds": round(seconds, 2),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Take all phantoms together."""
    lesions, detected = (sum(row[key] for row in rows) for key in ("lesions", "detected"))

    def errors(part: str) -> dict[str, float] | None:
        values = [error_percent(row["found_ml"][part], row["truth_ml"][part]) for row in rows]
        return quartiles([value for value in values if value is not None])

    healthy = [row["burden_percent"]["both"] for row in rows if row["kind"] == "healthy"]
    marked = {"mean": round(float(np.mean(healthy)), 2), "largest": max(healthy)} if healthy else None
    return {
        "lesions": lesions,
        "sensitivity": round(detected / lesions, 3) if lesions else None,
        "burden_error_percent": errors("total"),
        "ground_glass_error_percent": errors("ground_glass"),
        "consolidation_error_percent": errors("consolidation"),
        "healthy_burden_percent": marked,
    }


def error_percent(found_ml: float, truth_ml: float) -> float | None:
    """Return the error of a volume in percent of the true one, None where there is next to nothing."""
    return round(100.0 * float(found_ml / truth_ml - 1.0), 1) if truth_ml > _SMALLEST_ML else None


def print_figures(figures: dict[str, Any]) -> None:
    """Print the tables."""
    line(model_line(figures["model"]))
    headings = (
        "seed",
        "phantom",
        "position",
        "kernel",
        "slice\nmm",
        "noise\nHU",
        "lesions\n> 1 ml",
        "detec-\nted",
    )
    volumes = (
        "true\nml",
        "found\nml",
        "error\n%",
        "ground\nglass, %",
        "consoli-\ndation, %",
        "% of lung\ntrue",
    )
    table(
        "Phantoms: lesions detected, and volumes found against true",
        (*headings, *volumes, "% of lung\nfound"),
        [_cells(row) for row in figures["phantoms"]],
        left=4,
    )
    one = figures["summary"]
    line("")
    line(f"sensitivity {shown(one['sensitivity'], 3)} of {one['lesions']} lesions over 1 ml")
    for name, key in (("all lesions", "burden"), ("ground glass", "ground_glass"), ("consolidation",) * 2):
        errors = shown_quartiles(one[f"{key}_error_percent"])
        line(f"error of the volume, {name}: {errors} %, median (quartiles) of the phantoms")
    healthy = one["healthy_burden_percent"]
    if healthy is not None:
        line(
            f"marked in healthy lungs: {healthy['mean']:.2f} % of the lungs on average, "
            f"{healthy['largest']:.2f} % at most"
        )


def _detected(phantom: Phantom, labels: NDArray[np.uint8]) -> tuple[int, int]:
    """Count the lesions that are large enough, and those of them that were detected."""
    patient = Patient.of(phantom.spec)
    wanted = detected = 0
    for truth, placed in zip(phantom.truth.lesions, patient.lesions, strict=True):
        if truth.volume_ml <= _SMALLEST_ML:
            continue
        box, mask = lesion_mask(phantom, placed)
        if not mask.any():  # wholly inside lesions before it
            continue
        wanted += 1
        detected += bool(np.mean(labels[box][mask] > 0) >= _DETECTED_FROM)
    return wanted, detected


def _found_percent(lungs: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[str, float]:
    masks = {**{side.value: lungs == label for side, label in LUNG_LABEL.items()}, "both": lungs > 0}
    return {
        name: round(100.0 * float(np.mean(labels[mask] > 0)), 2) if mask.any() else 0.0
        for name, mask in masks.items()
    }


def _true_percent(phantom: Phantom) -> dict[str, float]:
    truth = phantom.truth
    sides = {
        side.value: round(
            100.0 * sum(truth.finding_ml[finding, side] for finding in Finding) / truth.lung_ml[side], 2
        )
        for side in Side
    }
    return {**sides, "both": round(truth.burden_percent, 2)}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    truth, found = row["truth_ml"], row["found_ml"]
    errors = [error_percent(found[part], truth[part]) for part in ("total", "ground_glass", "consolidation")]
    return (
        str(row["seed"]),
        row["kind"],
        row["position"],
        row["kernel"] + (", contrast" if row["contrast"] else ""),
        f"{row['spacing_mm']:g}",
        f"{row['noise_hu']:.0f}",
        str(row["lesions"]),
        str(row["detected"]),
        f"{truth['total']:.0f}",
        f"{found['total']:.0f}",
        *(shown(error, 0, sign=True) for error in errors),
        f"{row['truth_percent']['both']:.2f}",
        f"{row['burden_percent']['both']:.2f}",
    )


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("phantom_lesions", "Phantoms with and without lesions, where the truth is exact.")
    add_seeds(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
