"""Lesions of known volume in real CT: which sizes and densities a model finds, and how well it measures them.

    python -m benchmarks.implants --model NAME [--runs 9] [--seed 1] [--series N] [--only START]
                                  [--data DIR] [--json]

Each run puts eight lesions into one real series in memory (`benchmarks.implanting`; nothing is written), and
sends it the node's whole way: lungs found anew, then lesions. A lesion counts as detected where a quarter of
its voxels is newly marked. Its volume is what is newly marked in it and within 3 mm of it; one that is missed
altogether has an error of −100 %. New means not marked by the model before the lesion was there; where the
model had marked a quarter of the place already, the lesion is not judged.

With --json, standard output is one object::

    model        name, version, sha256, provider, restriction
    seed, runs_per_series, series, not_judged
    cells        [{density, size, n, detected, sensitivity, volume_error_percent}]
    classes      [{density, n, correct_share}]       share of the voxels found that carry the right finding
    places       [{density, place: subpleural | central, n, detected, sensitivity, volume_error_percent}]
    by_series    [{series, n, detected, sensitivity, volume_error_percent}]
    lesions      [{series, run, density, size, place, target_hu, volume_ml, found_ml, coverage, detected,
                   correct_share}]

Densities are those of `implanting.TARGET_HU`, sizes ml (`implanting.SIZES_ML`); shares 0…1; an error is
{median, q1, q3} in percent of the known volume, over found and missed lesions alike.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import at_least, model_parser, report
from benchmarks.implant_judgement import Lesion, judge, summary
from benchmarks.implanting import Density, Host, Place, Wanted, implanted, place_lesions
from benchmarks.opened import OpenedModel, open_model
from benchmarks.real_series import add_series_arguments, series_files, series_folders
from benchmarks.tables import line, model_line, shown, shown_quartiles, table
from core.domain import CtVolume
from core.errors import SeriesRejected
from inference.lungs import segment_lungs
from inference.series_reader import read_series
from inference.straightening import Straightening

#: Lesions of one run; each run gives them other densities, so that after three runs all have had each.
_RUN_SIZES = ("<1", "<1", "1–3", "1–3", "3–10", "3–10", "10–50", ">50")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)

    def figures() -> dict[str, Any]:
        model = open_model(options.model)
        folders = series_folders(options.data, options.only)[: options.series]
        return measure(model, folders, options.runs, options.seed)

    return report(figures, print_figures, as_json=options.json)


def measure(model: OpenedModel, folders: Sequence[Path], runs: int, seed: int) -> dict[str, Any]:
    """Implant into every series; a series that the node refuses is left out.

    Parameters
    ----------
    model
        Which model.
    folders
        One per series.
    runs
        Volumes per series, eight lesions each.
    seed
        Decides the lesions.

    Returns
    -------
    dict
        As described at the head of this module.
    """
    found: list[Lesion | None] = []
    names = []
    for folder in folders:
        try:
            volume = read_series(series_files(folder))
            volume = Straightening.of(volume.geometry).straight(volume)
            judged = implant_series(model, volume, range(runs), _seed(seed, folder.name))
        except SeriesRejected as error:
            print(f"{folder.name} is left out: {error}", file=sys.stderr)
            continue
        names.append(folder.name)
        found += [lesion and {"series": folder.name, **lesion} for lesion in judged]
    lesions = [lesion for lesion in found if lesion is not None]
    head = {"model": model.described(), "seed": seed, "runs_per_series": runs, "series": names}
    return {**head, "not_judged": len(found) - len(lesions), **summary(lesions), "lesions": lesions}


def implant_series(
    model: OpenedModel, volume: CtVolume, runs: Sequence[int], seed: tuple[int, ...]
) -> list[Lesion | None]:
    """Implant into one volume, run by run.

    Parameters
    ----------
    model
        Which model.
    volume
        The scan.
    runs
        Numbers of the runs; a number decides which size gets which density.
    seed
        Decides the rest.

    Returns
    -------
    list
        One entry per lesion: what became of it, None where it cannot be judged.
    """
    lungs = segment_lungs(volume)
    before = model.segmenter.segment(volume, lungs).lesions.labels_zyx
    host = Host.of(volume, lungs)
    judged: list[Lesion | None] = []
    for run in runs:
        rng = np.random.default_rng((*seed, run))
        implants = place_lesions(host, _wanted(run, rng), rng)
        after = model.segment(implanted(host, implants)).lesions.labels_zyx
        for implant in implants:
            lesion = judge(implant, before, after, volume)
            judged.append(lesion and {"run": run, **lesion})
    return judged


def print_figures(figures: dict[str, Any]) -> None:
    """Print the tables."""
    line(model_line(figures["model"]))
    line(
        f"{len(figures['lesions'])} lesions in {len(figures['series'])} series, seed {figures['seed']}; "
        f"{figures['not_judged']} not judged because the model had marked their place before"
    )
    print_summary(figures)


def print_summary(figures: dict[str, Any]) -> None:
    """Print the tables of `implant_judgement.summary`."""
    table(
        "Lesions of known volume in real CT: detected, and error of the volume, median (quartiles), percent",
        ("density", "volume, ml", "n", "detected", "sensitivity", "volume error, %"),
        [(_words(one["density"]), one["size"], *_cells(one)) for one in figures["cells"]],
        left=2,
    )
    table(
        "Right finding, ground glass or consolidation, among the voxels found",
        ("density", "n", "right, %"),
        [
            (_words(one["density"]), str(one["n"]), _percent(one["correct_share"]))
            for one in figures["classes"]
        ],
    )
    table(
        "By place, all sizes",
        ("density", "place", "n", "detected", "sensitivity", "volume error, %"),
        [(_words(one["density"]), one["place"], *_cells(one)) for one in figures["places"]],
        left=2,
    )
    table(
        "By series",
        ("series", "n", "detected", "sensitivity", "volume error, %"),
        [(one["series"], *_cells(one)) for one in figures["by_series"]],
    )


def _wanted(run: int, rng: np.random.Generator) -> list[Wanted]:
    """Choose the lesions of one run: densities in turn, places by chance."""
    densities, places = list(Density), list(Place)
    return [
        Wanted(densities[(run + at) % len(densities)], size, places[int(rng.integers(len(places)))])
        for at, size in enumerate(_RUN_SIZES)
    ]


def _seed(seed: int, name: str) -> tuple[int, ...]:
    """Give every series its own lesions, whatever other series there are."""
    return seed, zlib.crc32(name.encode())


def _words(value: str) -> str:
    return value.replace("_", " ")


def _percent(share: float | None) -> str:
    return shown(None if share is None else 100.0 * share, 0)


def _cells(group: dict[str, Any]) -> tuple[str, ...]:
    errors = shown_quartiles(group["volume_error_percent"])
    return str(group["n"]), str(group["detected"]), shown(group["sensitivity"], 2), errors


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("implants", "Lesions of known volume in real CT.")
    add_series_arguments(parser)
    parser.add_argument("--series", type=at_least(1), metavar="N", help="only the first N series")
    parser.add_argument("--runs", type=at_least(1), default=9, help="volumes per series (9)")
    parser.add_argument("--seed", type=at_least(0), default=1, help="decides the lesions (1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
