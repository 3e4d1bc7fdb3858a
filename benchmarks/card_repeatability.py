"""The part of a model card that says how far two scans of an unchanged patient lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.card_sections import markdown_table
from benchmarks.repeatability_figures import SOURCES, is_inside
from core.repeatability import Condition, Quantity

Figures = Mapping[str, Any]

_NONE = "–"


def repeatability(figures: Figures) -> str:
    """Limits of a change, how many differences they are made of, and the pairs that they were tried on."""
    limits = {(one["quantity"], one["condition"]): one for one in figures["limits"]}
    conditions = [one for one in Condition if any(key[1] == one for key in limits)]
    rows = [
        [_words(quantity), *(_limit(limits.get((quantity, condition))) for condition in conditions)]
        for quantity in Quantity
        if any(key[0] == quantity for key in limits)
    ]
    heads = ["", *(_words(condition) for condition in conditions)]
    patients = figures["patients"]
    real = f" and in {patients['real']} volumes of real CT with lesions put in" if patients["real"] else ""
    return (
        f"{markdown_table(heads, rows)}\n\nSo many ml and so much of the larger volume. What share of the "
        f"differences measured in {patients['phantom']} phantoms{real} lies inside:\n\n"
        f"{markdown_table(heads, _coverage(figures, conditions))}{_checks(figures['checks'])}"
    )


def _coverage(figures: Figures, conditions: Sequence[Condition]) -> list[list[str]]:
    """Return what lies inside: pairs of scans, then phantoms and real CT by quantity."""
    pairs = ["pairs of scans", *(_pairs(figures["pairs"][condition]) for condition in conditions)]
    limits = {(one["quantity"], one["condition"]): one for one in figures["limits"]}
    rows = [
        [_words(quantity), *(_inside(limits.get((quantity, condition))) for condition in conditions)]
        for quantity in Quantity
        if any(key[0] == quantity for key in limits)
    ]
    return [pairs, *rows]


def _pairs(counts: Mapping[str, int]) -> str:
    return " + ".join(str(counts[source]) for source in SOURCES if counts[source]) or _NONE


def _inside(limit: Figures | None) -> str:
    """Show the share inside and of how many, phantoms first."""
    cells = [limit[source] for source in SOURCES if limit[source] is not None] if limit else []
    return "; ".join(f"{100 * cell['inside']:.1f} % of {cell['differences']:,}" for cell in cells) or _NONE


def _limit(limit: Figures | None) -> str:
    if limit is None:
        return _NONE
    parts = [f"{limit['floor_ml']:g} ml"] if limit["floor_ml"] else []
    parts += [f"{limit['percent']:g} %"] if limit["percent"] or not parts else []
    return " + ".join(parts)


def _checks(checks: Sequence[Figures]) -> str:
    """Show the pairs that no limit is made of: the volume then, now, and what may lie between."""
    if not checks:
        return ""
    quantities = [_words(one["quantity"]) for one in checks[0]["volumes"]]
    rows = [
        [
            check["name"],
            *(_then_and_now(one) for one in check["volumes"]),
            f"{check['lesions_outside']} of {check['lesions']}",
        ]
        for check in checks
    ]
    table = markdown_table(["real CT as it is, ml", *quantities, "lesions called changed"], rows)
    return (
        "\n\nThe same series without lesions put in; no limit is made of these pairs; then and now (limit):"
        f"\n\n{table}"
    )


def _then_and_now(volume: Figures) -> str:
    limit = f"{'±' if is_inside(volume) else '**beyond** '}{volume['limit_ml']:,.0f}"
    return f"{volume['first_ml']:,.0f}, {volume['second_ml']:,.0f} ({limit})"


def _words(name: str) -> str:
    return name.replace("_", " ")
