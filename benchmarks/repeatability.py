"""How far two scans of an unchanged patient lie apart: the limits beyond which a change is called one.

    python -m benchmarks.repeatability --model NAME [--quick] [--json FILE] [--lines FILE]
                                       [--manifest FILE ...] [--data DIR]

Patients are scanned again and again; nothing of them changes. Phantoms (`benchmarks.repeated_phantoms`, seeds
that are kept for measuring): every scan has other noise, another position on the table and another angle;
they have two kernels, slices of 1, 2.5 and 5 mm, contrast medium or none, three depths of inspiration. Real
CT where it is there (`benchmarks.repeated_series`): lesions put in, then moved, turned and resampled, in two
kernels where a study has them. Every two scans of a patient that differ in one thing at most are a pair, and
give differences of lungs and findings (right, left, both) and of every single lesion.
`benchmarks.repeatability_fit` says how limits are made of them.

--lines keeps what was measured, one patient a line: a measurement that was broken off goes on there.
--manifest writes the limits into a `model.toml`. --quick: one coarse phantom and nothing else, to try it out.

The JSON file is one object::

    model     name, version, sha256, provider, restriction
    seconds   of all scans together
    patients  {phantom, real}
    pairs     {condition: {phantom, real}}      pairs of scans
    limits    [{quantity, condition, floor_ml, percent, phantom: cell or null, real: cell or null}]
    checks    [{name, condition, volumes: [{quantity, first_ml, second_ml, limit_ml}], lesions,
                lesions_outside}]

A cell is {differences, largest_ml, inside, floor_ml, percent}: how many, at volumes up to which, what share
lies inside the limit, and the limit that it would make alone. `checks` are pairs of real scans that no limit
is made of; their volumes are of both lungs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.arguments import UNUSABLE, model_parser
from benchmarks.opened import OpenedModel, open_model
from benchmarks.real_series import series_folders
from benchmarks.repeatability_figures import figures_of, print_figures, with_limits
from benchmarks.repeated_differences import Measured, differences, measured
from benchmarks.repeated_phantoms import PhantomGrid, phantom_patients
from benchmarks.repeated_scans import Protocol, RepeatedPatient, condition_between
from benchmarks.repeated_series import series_checks, series_patients
from benchmarks.tables import line
from core.errors import NodeError
from core.repeatability import Condition, Quantity

_SEEDS = tuple(range(1, 13))
_QUICK_SEEDS, _QUICK_GRID = (5,), PhantomGrid(edge=160, in_plane_mm=2.3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, fit, print and write; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        model = open_model(options.model)
        lines = measure(model, _patients(options.data, quick=options.quick), options.lines)
    except NodeError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    figures = figures_of(model.described(), lines)
    print_figures(figures)
    if options.json is not None:
        text = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
        options.json.write_text(f"{text}\n", encoding="utf-8")
    for manifest in options.manifest:
        text = with_limits(manifest.read_text(encoding="utf-8"), figures["limits"])
        manifest.write_text(text, encoding="utf-8")
    return 0


def measure(
    model: OpenedModel, patients: Sequence[RepeatedPatient], kept: Path | None = None
) -> list[dict[str, Any]]:
    """Scan and compare every patient that has not been yet.

    Parameters
    ----------
    model
        Which model.
    patients
        Whom.
    kept
        JSON Lines file of what was measured; of another model file they are measured again. None: nothing is
        kept.

    Returns
    -------
    list of dict
        What `compared` returns, one per patient.
    """
    done: dict[str, dict[str, Any]] = {}
    if kept is not None and kept.is_file():
        rows = [json.loads(text) for text in kept.read_text(encoding="utf-8").splitlines()]
        sha256 = model.package.manifest.sha256
        done = {row["patient"]: row for row in rows if row["sha256"] == sha256}
    for patient in patients:
        if patient.name in done:
            continue
        row = done[patient.name] = compared(model, patient)
        print(f"{patient.name}: {len(row['pairs'])} pairs, {row['seconds']:.0f} s", file=sys.stderr)
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return [done[patient.name] for patient in patients]


def compared(model: OpenedModel, patient: RepeatedPatient) -> dict[str, Any]:
    """Scan a patient again and again, and compare every two scans that differ in one thing at most.

    Returns
    -------
    dict
        patient, source, sha256, seconds, and pairs: [{condition, first, second, differences: {quantity:
        [[first_ml, second_ml]]}}].
    """
    start_s = time.perf_counter()
    scans: list[tuple[str, Protocol, Measured]] = [
        (scan.name, scan.protocol, measured(model, scan)) for scan in patient.scans()
    ]
    pairs = []
    for (first, one, found), (second, other, again) in combinations(scans, 2):
        condition = condition_between(one, other)
        if condition is None:
            continue
        volumes = {
            quantity: [[round(pair.first_ml, 3), round(pair.second_ml, 3)] for pair in told]
            for quantity, told in differences(found, again).items()
        }
        if condition is Condition.OTHER_INSPIRATION:  # the lung itself has changed then
            del volumes[Quantity.LUNG]
        pairs.append({"condition": condition, "first": first, "second": second, "differences": volumes})
    return {
        "patient": patient.name,
        "source": patient.source,
        "sha256": model.package.manifest.sha256,
        "seconds": round(time.perf_counter() - start_s, 1),
        "pairs": pairs,
    }


def _patients(data: Path | None, *, quick: bool) -> list[RepeatedPatient]:
    """Return whom to measure: phantoms, and real CT where it is there."""
    if quick:
        return phantom_patients(_QUICK_SEEDS, _QUICK_GRID)
    phantoms = phantom_patients(_SEEDS)
    try:
        folders = series_folders(data)
    except NodeError as error:
        line(f"Phantoms alone are measured. {error}")
        return phantoms
    return [*series_patients(folders), *phantoms, *series_checks(folders)]


def _parser() -> argparse.ArgumentParser:
    parser = model_parser(
        "repeatability", "How far two scans of an unchanged patient lie apart.", as_json=False
    )
    parser.add_argument("--quick", action="store_true", help="one coarse phantom, to try it out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--lines", type=Path, metavar="FILE", help="keep what was measured, and go on there")
    parser.add_argument(
        "--manifest",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="write the limits into model.toml",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder (else LESION_NODE_DATA)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
