"""Two scans of one patient compared: lesions matched, volumes changed, course told, and for how long.

    python -m benchmarks.comparison --model NAME [--pairs 40] [--json FILE] [--lines FILE] [--data DIR]
                                    [--quick]

Random phantom patients (`lesionnode.phantom.random_pairs`) are scanned twice, in another breath, position and
often kernel; three to six lesions grow, shrink, stay, appear or go. The grid is coarse (pixels of 1.15 mm,
slices of 2 or 2.5 mm), the true volumes come from the shapes and not from it. Each scan goes the node's way,
lungs and lesions and numbers, and both are compared by the node's own registration and rule. Real CT where it
is there: pairs of scans that did not change (`repeated_series.series_checks`) have to show no change.

A true lesion is *matched* where the parts that the model marked of it are in one change, without another true
lesion; where it is new or gone, in a change without anything in the other scan. What the model did not see is
counted apart. Its change of volume is *exact* within 15 % of the lesion's larger true volume or 0.5 ml. The
course is judged where the true change is beyond twice the limit that the comparison itself has for all
lesions (`benchmarks.comparison_judgement.right_courses`), in patients of whom no lesion changes always; and,
counted apart, beyond once the limit. Lesions are judged once more with the true masks in place of the
model's: what is wrong there is wrong in the comparison.

--lines keeps what was measured, one pair a line: a measurement that was broken off goes on there.
--quick: one pair and nothing else, to try it out.

The JSON file is one object::

    model      name, version, sha256, provider, restriction
    machine    cpus, processor, python
    summary    {pairs, registered, lesions, lesions_seen, matched_percent, lesions_followed, exact_percent,
               courses_judged, courses_right, courses_beyond_limit, courses_beyond_limit_right,
               courses: {kind: {course: pairs}}, true_masks: {lesions, … exact_percent}}
    pairs      [{name, kind, course, right_courses, right_beyond_limit, because, warnings,
               total_ml: [then, now, limit], true_ml, registration,
               lesions: [{before_ml, after_ml, verdict, error_ml, exact}], seconds, true_masks: {lesions}}]
    real       [{name, course, because, warnings, total_ml, lesions, significant: {fate: lesions},
               registration}]
    clock      {slices, register_s, compare_s, cpu_s, memory_mib}; compare_s without registering

`lesions_followed` are those of both scans that were matched. `significant`: single lesions that changed
beyond their own limit. `memory_mib` is the peak of the whole process, model and making of phantoms included.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.arguments import UNUSABLE, at_least, model_parser
from benchmarks.comparison_figures import lesion_summary, registration_row, row_of, summary
from benchmarks.comparison_scans import FIRST_SEED, Compared, kind_of, large_pair, phantom_pair, real_pairs
from benchmarks.machine import machine
from benchmarks.opened import OpenedModel, open_model
from benchmarks.real_series import series_folders
from benchmarks.tables import line, model_line, shown, table
from core.comparison import Comparison
from core.errors import NodeError
from core.repeatability import Repeatability
from core.time_point import TimePoint
from inference.common_view import Registered
from inference.comparison import compare
from inference.registration import register

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        figures = measure(open_model(options.model), options)
    except NodeError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    print_figures(figures)
    if options.json is not None:
        text = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
        options.json.write_text(f"{text}\n", encoding="utf-8")
    return 0


def measure(model: OpenedModel, options: argparse.Namespace) -> Row:
    """Compare everything that is asked for; return the figures as described at the head of this module."""
    kept = _Kept(options.lines, model.package.manifest.sha256)
    repeatability = model.package.repeatability
    count = 1 if options.quick else options.pairs
    pairs = [
        kept.row(f"phantom-{seed}", partial(_phantom, model, seed, repeatability))
        for seed in range(FIRST_SEED, FIRST_SEED + count)
    ]
    with_truth = lesion_summary([row["true_masks"] for row in pairs])
    figures: Row = {
        "model": model.described(),
        "machine": machine(),
        "summary": {**summary(pairs), "true_masks": with_truth},
        "pairs": pairs,
        "real": [],
        "clock": None,
    }
    if options.quick:
        return figures
    clock = kept.row("clock", lambda: _clock(large_pair(model), repeatability))
    return {**figures, "real": _real(model, options.data, kept, repeatability), "clock": clock}


class _Kept:
    """What was measured, one line each; of another model file it is measured again."""

    def __init__(self, path: Path | None, sha256: str) -> None:
        self._path, self._sha256 = path, sha256
        self._rows: dict[str, Row] = {}
        if path is not None and path.is_file():
            rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
            self._rows = {row["name"]: row["row"] for row in rows if row["sha256"] == sha256}

    def row(self, name: str, measured: Callable[[], Row]) -> Row:
        """Return what was measured of this name, and measure it where nothing was."""
        if name not in self._rows:
            row = self._rows[name] = measured()
            print(f"{name}: {row.get('course', 'done')}", file=sys.stderr)
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"name": name, "sha256": self._sha256, "row": row}) + "\n")
        return self._rows[name]


def _phantom(model: OpenedModel, seed: int, repeatability: Repeatability) -> Row:
    pair, truth = phantom_pair(model, seed)
    start_s = time.perf_counter()
    found = _compared(pair, repeatability)
    seconds = time.perf_counter() - start_s
    exact = row_of(truth.lesions, _compared(truth, repeatability))
    return {
        "name": pair.name,
        "kind": kind_of(seed).value,
        **row_of(pair.lesions, found),
        "seconds": round(seconds, 2),
        "true_masks": {"lesions": exact["lesions"]},
    }


def _real(model: OpenedModel, data: Path | None, kept: _Kept, repeatability: Repeatability) -> list[Row]:
    """Compare pairs of real scans without change; none where there is no real CT."""
    try:
        folders = series_folders(data)
    except NodeError as error:
        line(f"Phantoms alone are measured. {error}")
        return []
    return [
        kept.row(pair.name, partial(_unchanged, pair, repeatability)) for pair in real_pairs(model, folders)
    ]


def _unchanged(pair: Compared, repeatability: Repeatability) -> Row:
    found = _compared(pair, repeatability)
    total = found.total.volume_ml
    significant = Counter(one.fate.value for one in found.lesions if one.volume_ml.is_significant)
    return {
        "name": pair.name,
        "course": found.course.value,
        "because": found.because,
        "warnings": list(found.warnings),
        "total_ml": [round(total.prior, 2), round(total.current, 2), round(total.limit, 2)],
        "lesions": len(found.lesions),
        "significant": dict(significant),
        "registration": registration_row(found),
    }


def _clock(pair: Compared, repeatability: Repeatability) -> Row:
    """Compare two large scans; registering and the rest apart."""
    seconds: list[float] = []

    def registered(prior: TimePoint, current: TimePoint) -> Registered:
        start_s = time.perf_counter()
        found = register(prior, current)
        seconds.append(time.perf_counter() - start_s)
        return found

    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    _compared(pair, repeatability, registered)
    whole_s = time.perf_counter() - start_s
    return {
        "slices": pair.name,
        "register_s": round(seconds[0], 2),
        "compare_s": round(whole_s - seconds[0], 2),
        "cpu_s": round(time.process_time() - start_cpu_s, 2),
        "memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _compared(
    pair: Compared,
    repeatability: Repeatability,
    registering: Callable[[TimePoint, TimePoint], Registered] = register,
) -> Comparison:
    found = compare(pair.current, [pair.prior], repeatability, register=registering)
    if found is None:
        raise NodeError(f"{pair.name}: the two scans were not compared.")
    return found


def print_figures(figures: Row) -> None:
    """Print the tables."""
    told = figures["summary"]
    line(model_line(figures["model"]))
    line(
        f"{told['pairs']} phantom pairs, {told['registered']} registered; {told['lesions_seen']} of "
        f"{told['lesions']} lesions seen, of these {shown(told['matched_percent'])} % matched; change exact "
        f"in {shown(told['exact_percent'])} % of {told['lesions_followed']}; {told['courses_right']} of "
        f"{told['courses_judged']} courses right ({told['courses_beyond_limit_right']} of "
        f"{told['courses_beyond_limit']} beyond once the limit)"
    )
    truth = told["true_masks"]
    line(
        f"True masks: {shown(truth['matched_percent'])} % of {truth['lesions_seen']} matched; change exact "
        f"in {shown(truth['exact_percent'])} % of {truth['lesions_followed']}"
    )
    courses = [*next(iter(told["courses"].values()))]
    rows = [[kind, *(str(counts[one]) for one in courses)] for kind, counts in told["courses"].items()]
    table("Course told, by what was planned", ["planned", *courses], rows)
    for one in figures["real"]:
        line(f"{one['name']}: {one['course']}; beyond their limits {one['significant'] or 'no'} lesions")
    if figures["clock"] is not None:
        clock = figures["clock"]
        line(f"{clock['slices']}: registering {clock['register_s']} s, the rest {clock['compare_s']} s")


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("comparison", "Two scans of one patient compared.", as_json=False)
    parser.add_argument("--pairs", type=at_least(1), default=40, metavar="N", help="random patients (40)")
    parser.add_argument("--quick", action="store_true", help="one pair, to try it out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--lines", type=Path, metavar="FILE", help="keep what was measured, and go on there")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder (else LESION_NODE_DATA)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
