"""Cross-validation in Hounsfield units: each fold's model on the real CT series that it was not trained on.

    python -m benchmarks.unseen FOLDER=START [FOLDER=START ...] [--runs N] [--seed S] [--data DIR] [--json]

FOLDER is the package of one fold's model, START the start of the names of the series that it never saw. Every
pair is measured as `benchmarks.series` and `benchmarks.implants` measure; implants are taken together.

With --json, standard output is one object::

    folds      [{fold: name of the folder, series, expert, kernels}]    as benchmarks.series gives them
    implants   {runs_per_series, seed, not_judged, cells, classes, places, by_series}
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import implants, series
from benchmarks.arguments import at_least, report
from benchmarks.implant_judgement import summary
from benchmarks.opened import open_model
from benchmarks.real_series import series_folders
from benchmarks.tables import line


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)
    return report(
        lambda: measure(options.pairs, options.data, options.runs, options.seed),
        _print,
        as_json=options.json,
    )


def measure(pairs: Sequence[tuple[str, str]], data: Path | None, runs: int, seed: int) -> dict[str, Any]:
    """Measure every model on its own series.

    Parameters
    ----------
    pairs
        Folder of a package, and start of the names of the series that it never saw.
    data
        Data folder; None for the usual one.
    runs, seed
        Of the implants, per series.

    Returns
    -------
    dict
        As described at the head of this module.
    """
    folds, lesions, not_judged = [], [], 0
    for folder, only in pairs:
        model, folders = open_model(folder), series_folders(data, only)
        found = series.measure(model, folders)
        folds.append(
            {"fold": Path(folder).name, **{key: found[key] for key in ("series", "expert", "kernels")}}
        )
        implanted = implants.measure(model, folders, runs, seed)
        lesions += implanted["lesions"]
        not_judged += implanted["not_judged"]
    head = {"runs_per_series": runs, "seed": seed, "not_judged": not_judged}
    return {"folds": folds, "implants": {**head, **summary(lesions)}}


def _print(figures: Mapping[str, Any]) -> None:
    for fold in figures["folds"]:
        line(f"\n{fold['fold']}")
        series.print_figures({"model": None, **fold})
    line("\nImplants of all folds")
    implants.print_summary(figures["implants"])


def _pair(text: str) -> tuple[str, str]:
    folder, found, only = text.rpartition("=")
    if not found or not folder or not only:
        raise argparse.ArgumentTypeError(f"{text}: wanted FOLDER=START of the series' names")
    return folder, only


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unseen", description="Each fold's model on the series that it never saw."
    )
    parser.add_argument("pairs", nargs="+", type=_pair, metavar="FOLDER=START", help="package and its series")
    parser.add_argument("--runs", type=at_least(1), default=6, help="volumes per series, 8 lesions each")
    parser.add_argument("--seed", type=int, default=1, help="decides the lesions")
    parser.add_argument("--data", type=Path, help="data folder; LESION_NODE_DATA if left out")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
