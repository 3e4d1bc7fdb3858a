"""Thin slices: a slice model at its own distance of slices against the same model at every slice.

    python -m benchmarks.spacing --model NAME [--seeds 1,2,3] [--json]

Phantoms with lesions (those of `benchmarks.phantom_lesions` whose lesions the seed chooses) at 1 mm. Each is
segmented as the package says, thin slices averaged, and once more with `spacing_mm.z = "native"`.

With --json, standard output is one object::

    model     name, version, sha256, provider, restriction
    slice_mm  distance of the phantom's slices
    phantoms  [{seed, own: {slices, dice, burden_error_percent, seconds}, every: {same}, dice_between}]
    summary   {own: {dice, burden_error_percent, seconds}, every: {same}, dice_between}     means

`dice` is that of all lesions against the truth; errors are of the total volume, in the summary without sign.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import add_seeds, model_parser, report
from benchmarks.metrics import dice
from benchmarks.opened import OpenedModel, open_model
from benchmarks.phantom_lesions import error_percent
from benchmarks.phantom_patients import scans
from benchmarks.tables import line, model_line, shown, table
from core.domain import CtVolume, LungMask
from core.errors import InferenceError
from inference.lungs import segment_lungs
from inference.segmenter import Segmenter
from lesionnode.phantom.generate import generate_phantom

_SLICE_MM, _HEIGHT_MM = 1.0, 300.0
_WAYS = ("own", "every")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = model_parser("spacing", "A slice model at its own distance of slices, and at every thin slice.")
    add_seeds(parser)
    options = parser.parse_args(arguments)
    return report(
        lambda: measure(open_model(options.model), options.seeds), print_figures, as_json=options.json
    )


def measure(model: OpenedModel, seeds: Sequence[int]) -> dict[str, Any]:
    """Segment a phantom of each seed in both ways.

    Parameters
    ----------
    model
        Must take one slice at a time.
    seeds
        Of the phantoms.

    Returns
    -------
    dict
        As described at the head of this module.

    Raises
    ------
    InferenceError
        The model takes blocks, or keeps every slice anyway.
    """
    wanted = model.package.manifest.input
    if wanted.axes != "NCYX" or wanted.spacing_mm.z == "native":
        raise InferenceError(f"{model.name} is no slice model that averages thin slices.")
    segmenters = {"own": model.segmenter, "every": _at_every_slice(model)}
    rows = [_phantom(seed, segmenters) for seed in seeds]
    summary: dict[str, Any] = {
        way: {
            "dice": round(fmean(row[way]["dice"] for row in rows), 4),
            "burden_error_percent": round(fmean(abs(row[way]["burden_error_percent"]) for row in rows), 1),
            "seconds": round(fmean(row[way]["seconds"] for row in rows), 2),
        }
        for way in _WAYS
    }
    summary["dice_between"] = round(fmean(row["dice_between"] for row in rows), 4)
    return {"model": model.described(), "slice_mm": _SLICE_MM, "phantoms": rows, "summary": summary}


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    line(model_line(figures["model"]))
    table(
        f"Phantoms with slices of {figures['slice_mm']:g} mm",
        ("seed", "slices seen", "Dice", "error of\nvolume, %", "seconds"),
        [
            (
                str(row["seed"]),
                "at the model's distance" if way == "own" else "every one",
                shown(row[way]["dice"], 3),
                shown(row[way]["burden_error_percent"], 1, sign=True),
                shown(row[way]["seconds"], 2),
            )
            for row in figures["phantoms"]
            for way in _WAYS
        ],
        left=2,
    )
    own, every = (figures["summary"][way] for way in _WAYS)
    line(
        f"\nmean Dice {own['dice']:.3f} at the model's distance, {every['dice']:.3f} at every slice; "
        f"{own['seconds']:.1f} and {every['seconds']:.1f} s; "
        f"Dice between the two {figures['summary']['dice_between']:.3f}"
    )


def _at_every_slice(model: OpenedModel) -> Segmenter:
    manifest = model.package.manifest
    spacing = manifest.input.spacing_mm.model_copy(update={"z": "native"})
    wanted = manifest.input.model_copy(update={"spacing_mm": spacing})
    package = replace(model.package, manifest=manifest.model_copy(update={"input": wanted}))
    return Segmenter(package, model.session, model.settings.consolidation_from_hu)


def _phantom(seed: int, segmenters: Mapping[str, Segmenter]) -> dict[str, Any]:
    varied = scans(seed)[1].spec
    spacing_zyx_mm = (_SLICE_MM, *varied.spacing_zyx_mm[1:])
    shape_zyx = (round(_HEIGHT_MM / _SLICE_MM), *varied.shape_zyx[1:])
    phantom = generate_phantom(replace(varied, shape_zyx=shape_zyx, spacing_zyx_mm=spacing_zyx_mm))
    volume = CtVolume(phantom.hu_zyx, phantom.geometry, (), ())
    lungs = segment_lungs(volume)
    truth = phantom.truth.lesions_zyx > 0
    row: dict[str, Any] = {"seed": seed}
    masks = {}
    for way, segmenter in segmenters.items():
        row[way], masks[way] = _judged(segmenter, volume, lungs, truth)
    return row | {"dice_between": round(dice(masks["own"], masks["every"]), 4)}


def _judged(
    segmenter: Segmenter, volume: CtVolume, lungs: LungMask, truth: NDArray[np.bool_]
) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    start_s = time.perf_counter()
    found = segmenter.segment(volume, lungs).lesions.labels_zyx > 0
    seconds = time.perf_counter() - start_s
    volumes_ml = [float(np.count_nonzero(mask) * volume.geometry.voxel_ml) for mask in (found, truth)]
    figures = {
        "dice": round(dice(found, truth), 4),
        "burden_error_percent": error_percent(*volumes_ml) or 0.0,
        "seconds": round(seconds, 2),
    }
    return figures, found


if __name__ == "__main__":
    sys.exit(main())
