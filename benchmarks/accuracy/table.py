"""The figures for people: one table, averages below it, and what was measured how above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.tables import line, model_line, shown, table

#: Columns of a case: key, heading, decimals.
_COLUMNS = (
    ("lesion_dice", "lesion\nDice", 3),
    ("lung_dice", "lung\nDice", 3),
    ("sensitivity", "sensi-\ntivity", 3),
    ("precision", "preci-\nsion", 3),
    ("percent_truth", "% of lung\ntrue", 1),
    ("percent_found", "% of lung\nfound", 1),
    ("percent_error", "|error|\npoints", 1),
    ("ground_glass_dice", "ground glass\nDice", 3),
    ("consolidation_dice", "consolidation\nDice", 3),
)


def print_report(report: Mapping[str, Any]) -> None:
    """Print a report as `__main__` puts it together."""
    line(f"{model_line(report['model'])}, threshold {report['threshold']:g}")
    if report["model"]["restriction"] != "none":
        line(report["model"]["licence"])
    there = {key for case in report["cases"] for key, value in case.items() if value is not None}
    columns = [column for column in _COLUMNS if column[0] in there]
    headings = ["case", "slices", *(heading for _, heading, _ in columns)]
    cases = [
        [case["case"], str(case["slices"]), *(shown(case[key], decimals) for key, _, decimals in columns)]
        for case in report["cases"]
    ]
    table(_title(report), headings, [*cases, [""] * len(headings), *_averages(report, columns)])
    line("")
    for note in _notes(report):
        line(note)


def _title(report: Mapping[str, Any]) -> str:
    turned = report["orientation"]
    steps = [f"{turned['upside_down']} put upright"] if turned["upside_down"] else []
    steps += [f"turned by {turned['rotate']}°"] if turned["rotate"] else []
    steps += ["mirrored"] if turned["mirror"] else []
    equalised = "equalised before" if report["equalised"] else "stretched and equalised here"
    return (
        f"{report['folder']}: {report['slices']} slices of {len(report['cases'])} cases; "
        f"{', '.join(steps) or 'not turned'}; {equalised}; fit {report['fit']:.3f}"
    )


def _averages(report: Mapping[str, Any], columns: list[tuple[str, str, int]]) -> list[list[str]]:
    """Return the lines below the cases; blank where a column is not averaged."""
    summary, pooled = report["summary"], report["pooled"]
    named: list[tuple[str, Mapping[str, Any]]] = [
        (name, {key: values[name] for key, values in summary.items()}) for name in ("mean", "median", "sd")
    ]
    return [
        [name, "", *(shown(values[key], decimals) if key in values else "" for key, _, decimals in columns)]
        for name, values in [*named, ("all voxels together", pooled)]
    ]


def _notes(report: Mapping[str, Any]) -> list[str]:
    notes = [f"{report['ms_per_slice']:.0f} ms a slice. Dice of two empty masks is 1; – where not defined."]
    classes = [name for name in ("ground_glass", "consolidation") if f"{name}_dice" in report["summary"]]
    if classes:
        counts = ", ".join(
            f"{name.replace('_', ' ')} {report['summary'][f'{name}_dice']['n']}" for name in classes
        )
        notes.append(
            f"Classes: mean, median and sd over the slices where the truth has the class ({counts})."
        )
    return notes
