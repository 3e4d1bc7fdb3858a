"""Every object that the writers write, before every independent judge.

    python -m benchmarks.conformance [--model NAME] [--only START] [--data DIR] [--json]

Judged are the cases of `tests.helpers.cases`, which the suite judges too, and each real series of the data
folder, analysed by the model. NAME is an installed package or the path of a package's folder.

With --json, standard output is one object::

    model       name, version, sha256, provider, restriction
    objects     [{case, object, bytes, judges: {NAME: {errors, warnings, inherited, tolerated}}}]
    volumes     [{case, counter, volumes, largest_percent}]
    complaints  [{case, object, judge, severity, text}]   those that count
    inherited   [{case, judge, text}]
    refused     [{case, reason}]   real series that the node does not analyse

`errors` and `warnings` are those that count. `tolerated` are those of tests/judges/tolerated.toml.
`inherited` are those that the same judge has against the source image too: a patient's name in a retired form
is carried over as it is. Values are left out of the texts. A judge that cannot judge a kind of object is left
out of its `judges`. `volumes` compares each volume of the report with the voxels of its segment, as another
program counts them; `largest_percent` is the largest deviation without its sign, null where the report has no
volume.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from benchmarks.arguments import model_parser, report
from benchmarks.opened import OpenedModel, open_model
from benchmarks.real_series import add_series_arguments, series_files, series_folders
from benchmarks.tables import line, model_line, shown, table
from core.domain import ResultObject
from core.errors import NodeError, SeriesRejected
from lesionnode.pipeline import analyse_series
from tests.helpers.cases import CASES, objects_of, write_files
from tests.helpers.judges import dciodvfy
from tests.helpers.judges.complaints import Complaint, Severity
from tests.helpers.judges.panel import JUDGES, REPORTS, judged
from tests.helpers.judges.volumes import deviations_percent

#: A case gives the objects that are written of it.
Cases = Mapping[str, Callable[[], Sequence[ResultObject]]]
#: Texts of each judge's complaints against the source, by case and judge.
Inherited = Mapping[tuple[str, str], frozenset[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)
    return report(
        lambda: measure(open_model(options.model), series_folders(options.data, options.only)),
        print_figures,
        as_json=options.json,
    )


def measure(model: OpenedModel, folders: Sequence[Path]) -> dict[str, Any]:
    """Put the objects of every case before every judge.

    Parameters
    ----------
    model
        Analyses the real series.
    folders
        One per real series.

    Returns
    -------
    dict
        As described at the head of this module.

    Raises
    ------
    NodeError
        A judge is not installed.
    """
    cases = {**CASES, **{folder.name: partial(_real_objects, model, folder) for folder in folders}}
    with tempfile.TemporaryDirectory(prefix="lesion-node-conformance-") as folder:
        written, refused = _written(cases, Path(folder))
        try:
            inherited = _complaints_of_sources(folders)
            return {"model": model.described(), **_judged(written, inherited), "refused": refused}
        except (pytest.skip.Exception, pytest.fail.Exception) as absent:
            raise NodeError(f"A judge is missing: {absent}") from None


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print the tables."""
    line(model_line(figures["model"]))
    names = [judge.name for judge in JUDGES]
    table(
        "Errors, warnings (tolerated or the source's own); – is not judged",
        ("case", "object", *names),
        (
            (one["case"], one["object"], *(_cell(one["judges"].get(name)) for name in names))
            for one in figures["objects"]
        ),
        left=2,
    )
    table(
        "Volumes of the report against the voxels of its segments",
        ("case", "counted by", "volumes", "largest deviation\n%"),
        (
            (one["case"], one["counter"], str(one["volumes"]), shown(one["largest_percent"], 4))
            for one in figures["volumes"]
        ),
        left=2,
    )
    for one in figures["complaints"]:
        line(f"{one['case']}, {one['object']}, {one['judge']}: {one['text']}")
    for one in figures["inherited"]:
        line(f"{one['case']}, {one['judge']}, of the source already: {one['text']}")
    for one in figures["refused"]:
        line(f"{one['case']} was refused: {one['reason']}")


def _real_objects(model: OpenedModel, folder: Path) -> Sequence[ResultObject]:
    return objects_of(analyse_series(series_files(folder), model.engine, model.name, model.settings).analysis)


def _written(cases: Cases, folder: Path) -> tuple[dict[str, list[Path]], list[dict[str, str]]]:
    """Write the objects of every case; return their files, and which cases the node refused."""
    written, refused = {}, []
    for name, case in cases.items():
        try:
            written[name] = write_files(case(), folder / name, "object")
        except SeriesRejected as error:
            refused.append({"case": name, "reason": str(error)})
    return written, refused


def _complaints_of_sources(folders: Sequence[Path]) -> Inherited:
    """Ask the judges of images about the first image of each real series."""
    sources = {series_files(folder)[0]: folder.name for folder in folders}
    return {
        (sources[path], judge): frozenset(one.text for one in said)
        for path, verdict in judged(
            list(sources), [one for one in JUDGES if one.name == dciodvfy.NAME]
        ).items()
        for judge, said in verdict.items()
    }


def _judged(written: Mapping[str, Sequence[Path]], inherited: Inherited) -> dict[str, Any]:
    verdicts = judged([path for paths in written.values() for path in paths])
    objects, complaints = [], []
    passed_on: dict[tuple[str, str, str], None] = {}
    for case, paths in written.items():
        for path in paths:
            whose = {"case": case, "object": path.stem.rpartition("-")[2]}
            judges = {}
            for name, said in verdicts[path].items():
                known = inherited.get((case, name), frozenset())
                counting = [one for one in said if one.tolerated is None and one.text not in known]
                judges[name] = _counts(said, counting)
                complaints += [{**whose, **_shown(one)} for one in counting]
                passed_on |= {(case, name, masked(one.text)): None for one in said if one.text in known}
            objects.append({**whose, "bytes": path.stat().st_size, "judges": judges})
    return {
        "objects": objects,
        "volumes": [one for case, paths in written.items() for one in _volumes(case, paths)],
        "complaints": complaints,
        "inherited": [dict(zip(("case", "judge", "text"), one, strict=True)) for one in passed_on],
    }


def _counts(said: Sequence[Complaint], counting: Sequence[Complaint]) -> dict[str, int]:
    severities = [one.severity for one in counting]
    tolerated = sum(one.tolerated is not None for one in said)
    return {
        "errors": severities.count(Severity.ERROR),
        "warnings": severities.count(Severity.WARNING),
        "inherited": len(said) - len(counting) - tolerated,
        "tolerated": tolerated,
    }


def _shown(one: Complaint) -> dict[str, str]:
    return {"judge": one.judge, "severity": one.severity.value, "text": masked(one.text)}


def masked(text: str) -> str:
    """Return a complaint without the values that it quotes: they may name a patient."""
    return re.sub(r"= <[^>]*>", "= <…>", text)


def _volumes(case: str, paths: Sequence[Path]) -> list[dict[str, Any]]:
    headers = {path: dcmread(path, stop_before_pixels=True) for path in paths}
    found = deviations_percent(
        [path for path, header in headers.items() if header.SOPClassUID in REPORTS],
        [path for path, header in headers.items() if "SegmentSequence" in header],
    )
    return [
        {
            "case": case,
            "counter": counter,
            "volumes": len(deviations),
            "largest_percent": round(max(map(abs, deviations.values())), 5) if deviations else None,
        }
        for counter, deviations in found.items()
    ]


def _cell(counts: Mapping[str, int] | None) -> str:
    if counts is None:
        return "–"
    return f"{counts['errors']}, {counts['warnings']} ({counts['tolerated'] + counts['inherited']})"


def _parser() -> argparse.ArgumentParser:
    parser = model_parser(
        "conformance", "Every written object before every independent judge.", model="densitometry"
    )
    add_series_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
