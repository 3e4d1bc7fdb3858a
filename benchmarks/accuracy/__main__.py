"""Accuracy of a slice model on a folder of 8-bit slices with masks.

    python -m benchmarks.accuracy --slices DIR --model NAME [--json]

DIR is of one of two kinds, see `folders`. NAME is an installed package or the path of a package's folder. The
node's own inference for pictures is measured: `inference.pictures.segment_pictures`.

With --json, standard output is one object::

    model        name, version, sha256, provider, restriction, licence
    folder, kind "lesions" or "labels"
    threshold, equalised, fit, orientation {upside_down, rotate, mirror}
    slices, left_out, ms_per_slice
    cases        [{case, slices, lesion_dice, lung_dice, sensitivity, precision,
                   percent_truth, percent_found, percent_error,
                   and, with labels, ground_glass_dice, consolidation_dice}]
    summary      {figure: {n, mean, median, sd}}; classes: over slices where the truth has the class
    pooled       {figure: Dice over the voxels of all cases together}

Dice, sensitivity and precision are shares 0…1 over all voxels of a case; Dice of two empty masks is 1.
`percent_error` is the difference without its sign of lesion as percent of lung, in percentage points;
lesions count as lung in both. null stands for what is not defined: lungs where there are no masks of them,
sensitivity without lesion, precision where nothing was found.

Exit status 2 where the folder, the model or an option cannot be used; standard error says why.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.folders import SliceFolder, read_folder
from benchmarks.accuracy.judgement import judge, report
from benchmarks.accuracy.orientation import Orientation
from benchmarks.accuracy.pictures import UnusableSlices
from benchmarks.accuracy.table import print_report
from benchmarks.arguments import model_parser
from benchmarks.opened import OpenedModel, open_model
from benchmarks.tables import output
from core.errors import NodeError
from inference.pictures import PictureMasks, segment_pictures

_UNUSABLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        folder = read_folder(options.slices)
        measured = measure(open_model(options.model), folder, options)
    except (UnusableSlices, NodeError) as error:
        print(error, file=sys.stderr)
        return _UNUSABLE
    measured = {"folder": options.slices.resolve().name} | measured
    if folder.left_out:
        pictures = "picture" if folder.left_out == 1 else "pictures"
        print(f"{folder.left_out} {pictures} in ct left out: no mask or case belongs there", file=sys.stderr)
    if options.json:
        output(_rounded(measured))
    else:
        print_report(measured)
    return 0


def measure(model: OpenedModel, folder: SliceFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Run a model over a folder.

    Parameters
    ----------
    model, folder
        Opened and read.
    options
        Of the command line: `fit`, `threshold`, `rotate`, `mirror`, `upside_down`; None for what the model or
        the kind of folder says.

    Returns
    -------
    dict
        As the module describes, without `folder`.

    Raises
    ------
    InferenceError
        The model is none for slices, or failed.
    """
    manifest = model.package.manifest
    if options.threshold is not None:
        output = manifest.output.model_copy(update={"threshold": options.threshold})
        manifest = manifest.model_copy(update={"output": output})
    fit = folder.kind.fit if options.fit is None else options.fit
    orientation = _orientation(folder.kind.orientation, options)

    def find(pictures: Sequence[NDArray[np.uint8]]) -> PictureMasks:
        return segment_pictures(model.session, manifest, pictures, equalised=folder.kind.equalised, fit=fit)

    cases = [judge(case.turned(orientation), find) for case in folder.cases]
    return {
        "model": model.described() | {"licence": manifest.licence.text.strip()},
        "kind": folder.kind.masks,
        "threshold": manifest.output.threshold,
        "equalised": folder.kind.equalised,
        "fit": fit,
        "orientation": asdict(orientation),
        "left_out": folder.left_out,
    } | report(cases)


def _orientation(usual: Orientation, options: argparse.Namespace) -> Orientation:
    """Return how pictures are turned: as usual for the kind, but for what the command line says."""
    names = ("rotate", "mirror", "upside_down")
    return replace(usual, **{name: value for name in names if (value := getattr(options, name)) is not None})


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = model_parser("accuracy", "Accuracy of a slice model on 8-bit slices with masks.")
    parser.add_argument(
        "--slices", type=Path, required=True, metavar="DIR", help="holds ct with lesions, or with labels"
    )
    parser.add_argument(
        "--rotate",
        type=int,
        choices=(0, 90, 180, 270),
        help="degrees counter-clockwise (270 with labels, else 0)",
    )
    parser.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="left and right exchanged after turning (yes with labels, else no)",
    )
    parser.add_argument(
        "--upside-down",
        metavar="PATTERN",
        help="cases whose rows are reversed first (radiopaedia_* with lesions, else none; '' for none)",
    )
    parser.add_argument(
        "--fit",
        type=_share,
        help="share of the model's picture that the longer side takes (1/1.35 with labels, else 1)",
    )
    parser.add_argument("--threshold", type=_threshold, help="probability from which a voxel is lesion")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie above 0 and up to 1")
    return value


def _threshold(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return value


def _rounded(value: Any) -> Any:
    """Return plain values with six decimals, which is more than they mean."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
