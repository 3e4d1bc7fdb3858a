"""The figures of `benchmarks.repeatability`: limits and how well they hold, printed and written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.repeatability_fit import BySource, Difference, covered_share, fitted, telling
from benchmarks.tables import line, model_line, shown, table
from core.repeatability import Condition, Limit, Quantity, Repeatability

SOURCES = ("phantom", "real")
_CHECK = "check"
_REGIONS = (Quantity.LUNG, Quantity.LESIONS, Quantity.GROUND_GLASS, Quantity.CONSOLIDATION)
#: What stands before the limits in a model.toml; they are its end.
_HEADING = """\
# 95 % of the differences between two scans of an unchanged patient are smaller than floor + percent of the
# larger volume. Measured and written by python -m benchmarks.repeatability; see MODEL_CARD.md.
"""

Lines = Sequence[Mapping[str, Any]]


def figures_of(model: Mapping[str, str], lines: Lines) -> dict[str, Any]:
    """Fit the limits.

    Parameters
    ----------
    model
        What `OpenedModel.described` says.
    lines
        What `repeatability.compared` returns, one per patient.

    Returns
    -------
    dict
        As described at the head of `benchmarks.repeatability`.
    """
    limits = list(_limits(lines))
    known = Repeatability(
        tuple(
            Limit(Quantity(one["quantity"]), Condition(one["condition"]), one["floor_ml"], one["percent"])
            for one in limits
        )
    )
    checks = [
        _checked(known, row["patient"], pair)
        for row in lines
        if row["source"] == _CHECK
        for pair in row["pairs"]
    ]
    return {
        "model": dict(model),
        "seconds": round(sum(row["seconds"] for row in lines)),
        "patients": {source: sum(row["source"] == source for row in lines) for source in SOURCES},
        "pairs": {condition.value: _pairs(lines, condition) for condition in Condition},
        "limits": limits,
        "checks": checks,
    }


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print the tables."""
    line(model_line(figures["model"]))
    table(
        "Limits of a change: 95 % of the differences without any are smaller",
        (
            "quantity",
            "condition",
            "floor\nml",
            "percent",
            "phantoms\ndifferences",
            "phantoms\ninside, %",
            "real CT\ndifferences",
            "real CT\ninside, %",
        ),
        [_cells(one) for one in figures["limits"]],
        left=2,
    )
    for check in figures["checks"]:
        outside = [one["quantity"] for one in check["volumes"] if not is_inside(one)]
        line(
            f"{check['name']}: {', '.join(outside) or 'no volume'} beyond the limit, "
            f"{check['lesions_outside']} of {check['lesions']} single lesions"
        )
    line(f"{figures['seconds']} s")


def is_inside(volume: Mapping[str, Any]) -> bool:
    """Tell whether one volume of a check changed by no more than its limit."""
    return bool(abs(volume["first_ml"] - volume["second_ml"]) <= volume["limit_ml"])


def with_limits(manifest: str, limits: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a `model.toml` with these limits at its end, in place of those it had."""
    kept = manifest.split(_HEADING, 1)[0].rstrip("\n")
    rows = [
        f'[[repeatability]]\nquantity = "{one["quantity"]}"\ncondition = "{one["condition"]}"\n'
        f"floor_ml = {float(one['floor_ml'])}\npercent = {float(one['percent'])}\n"
        for one in limits
    ]
    return f"{kept}\n\n{_HEADING}" + "\n".join(rows)


def _limits(lines: Lines) -> Iterator[dict[str, Any]]:
    """Yield every limit that something was measured for, the plain repetition first."""
    for quantity in Quantity:
        plain: Limit | None = None
        for condition in Condition:
            by_source = _by_source(lines, quantity, condition)
            if not any(telling(told) for told in by_source.values()):
                continue
            limit = fitted(quantity, condition, by_source, plain)
            if condition is Condition.SAME_PROTOCOL:
                plain = limit
            cells = {source: _cell(quantity, condition, told, limit) for source, told in by_source.items()}
            yield {
                "quantity": quantity.value,
                "condition": condition.value,
                "floor_ml": limit.floor_ml,
                "percent": limit.percent,
                **dict.fromkeys(SOURCES),
                **cells,
            }


def _by_source(lines: Lines, quantity: Quantity, condition: Condition) -> BySource:
    found: BySource = {}
    for row in lines:
        for pair in row["pairs"]:
            if pair["condition"] == condition and row["source"] != _CHECK:
                told = [Difference(*volumes) for volumes in pair["differences"].get(quantity, ())]
                found.setdefault(row["source"], []).extend(told)
    return found


def _cell(
    quantity: Quantity, condition: Condition, differences: list[Difference], limit: Limit
) -> dict[str, Any] | None:
    told = telling(differences)
    share = covered_share(told, limit)
    if share is None:
        return None
    alone = fitted(quantity, condition, {"": told}, None)
    return {
        "differences": len(told),
        "largest_ml": round(max(one.larger_ml for one in told), 1),
        "inside": round(share, 4),
        "floor_ml": alone.floor_ml,
        "percent": alone.percent,
    }


def _pairs(lines: Lines, condition: Condition) -> dict[str, int]:
    return {
        source: sum(
            pair["condition"] == condition
            for row in lines
            if row["source"] == source
            for pair in row["pairs"]
        )
        for source in SOURCES
    }


def _checked(known: Repeatability, name: str, pair: Mapping[str, Any]) -> dict[str, Any]:
    condition = Condition(pair["condition"])

    def limit_ml(quantity: Quantity, volumes: Sequence[float]) -> float:
        return known.interval_ml(quantity, volumes, {condition})

    volumes = []
    for quantity in _REGIONS:
        both = pair["differences"][quantity][-1]
        first_ml, second_ml = (round(volume, 1) for volume in both)
        limit = round(limit_ml(quantity, both), 1)
        volumes.append(
            {"quantity": quantity.value, "first_ml": first_ml, "second_ml": second_ml, "limit_ml": limit}
        )
    lesions = pair["differences"][Quantity.SINGLE_LESION]
    outside = sum(abs(one - other) > limit_ml(Quantity.SINGLE_LESION, (one, other)) for one, other in lesions)
    return {
        "name": name,
        "condition": condition.value,
        "volumes": volumes,
        "lesions": len(lesions),
        "lesions_outside": outside,
    }


def _cells(limit: Mapping[str, Any]) -> tuple[str, ...]:
    parts = []
    for source in SOURCES:
        cell = limit[source] or {"differences": None, "inside": None}
        inside = None if cell["inside"] is None else 100.0 * cell["inside"]
        parts += [shown(cell["differences"], 0), shown(inside, 1)]
    words = (limit[key].replace("_", " ") for key in ("quantity", "condition"))
    return *words, f"{limit['floor_ml']:g}", f"{limit['percent']:g}", *parts
