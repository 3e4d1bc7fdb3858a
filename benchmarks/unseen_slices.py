"""Slices of another source: the models of a cross-validation, none of which was trained on them.

    python -m benchmarks.unseen_slices --slices DIR FOLDER [FOLDER ...] [--json]

DIR is as for `benchmarks.accuracy`, FOLDER the package of one model.

With --json, standard output is one object::

    folder, slices, cases    name of DIR, its slices, number of cases
    models                   [{name: name of the folder, threshold, summary, pooled}]
    summary                  {figure: {mean, smallest, largest}}   over the models, of each model's mean
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.accuracy.__main__ import measure as measure_one
from benchmarks.accuracy.__main__ import parser as accuracy_parser
from benchmarks.accuracy.folders import SliceFolder, read_folder
from benchmarks.accuracy.pictures import UnusableSlices
from benchmarks.arguments import report
from benchmarks.opened import open_model
from benchmarks.tables import line, shown, table
from core.errors import NodeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unseen_slices",
        description="Several models on slices that none of them saw.",
    )
    parser.add_argument(
        "--slices", type=Path, required=True, metavar="DIR", help="as for benchmarks.accuracy"
    )
    parser.add_argument("packages", nargs="+", metavar="FOLDER", help="folder of a package")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options = parser.parse_args(arguments)
    return report(lambda: measure(options.slices, options.packages), print_figures, as_json=options.json)


def measure(slices: Path, packages: Sequence[str]) -> dict[str, Any]:
    """Judge every model on one folder.

    Parameters
    ----------
    slices
        Folder of slices.
    packages
        Folders of packages.

    Returns
    -------
    dict
        As described at the head of this module.

    Raises
    ------
    NodeError
        The slices or a package cannot be used.
    """
    try:
        folder = read_folder(slices)
    except UnusableSlices as error:
        raise NodeError(str(error)) from error
    models = [_one(folder, package) for package in packages]
    figures = {name: [model["summary"][name]["mean"] for model in models] for name in models[0]["summary"]}
    return {
        "folder": slices.resolve().name,
        "slices": sum(len(case.pictures) for case in folder.cases),
        "cases": len(folder.cases),
        "models": models,
        "summary": {
            name: {
                "mean": round(fmean(values), 4),
                "smallest": round(min(values), 4),
                "largest": round(max(values), 4),
            }
            for name, values in figures.items()
        },
    }


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print the table."""
    table(
        f"{figures['slices']} slices of {figures['cases']} cases: mean over the cases",
        ("", "mean of models", "smallest", "largest"),
        [
            (name, *(shown(values[key], 3) for key in ("mean", "smallest", "largest")))
            for name, values in figures["summary"].items()
        ],
    )
    line(f"{len(figures['models'])} models: {', '.join(model['name'] for model in figures['models'])}")


def _one(folder: SliceFolder, package: str) -> dict[str, Any]:
    options = accuracy_parser().parse_args(["--slices", ".", "--model", package])
    found = measure_one(open_model(package), folder, options)
    return {
        "name": Path(package).name,
        "threshold": found["threshold"],
        "summary": found["summary"],
        "pooled": found["pooled"],
    }


if __name__ == "__main__":
    sys.exit(main())
