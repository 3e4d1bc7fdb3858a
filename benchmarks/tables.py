"""Figures for people: aligned tables, the same look in every measurement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

#: Wider than any table here, so that no figure is cut; a narrower terminal wraps the lines.
_WIDTH = 140


def output(figures: Mapping[str, Any]) -> None:
    """Print figures as the one JSON object on standard output."""
    print(json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False))


def line(text: str) -> None:
    """Print one line as it is."""
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


def model_line(model: Mapping[str, str]) -> str:
    """Say which model was measured, and under what terms where these are restricted."""
    terms = "" if model["restriction"] == "none" else f"; its licence: {model['restriction']} use only"
    return f"Model {model['name']} {model['version']} ({model['sha256'][:12]}…) on {model['provider']}{terms}"


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """Print a table.

    Parameters
    ----------
    title
        Stands above it.
    headings
        One per column; may hold line breaks.
    rows
        Cells as text.
    left
        So many columns from the first are words, the others figures.
    """
    shown = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold", title_justify="left")
    for at, heading in enumerate(headings):
        shown.add_column(
            heading, justify="left" if at < left else "right", vertical="bottom", no_wrap=at < left
        )
    for row in rows:
        shown.add_row(*row)
    line(f"\n{title}")
    Console(width=_WIDTH).print(shown, highlight=False, markup=False)


def shown(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """Show a figure, a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}"


def quartiles(values: Sequence[float]) -> dict[str, float] | None:
    """Return median and quartiles, None of nothing."""
    if not values:
        return None
    q1, median, q3 = (round(float(value), 2) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return {"median": median, "q1": q1, "q3": q3}


def shown_quartiles(spread: Mapping[str, float] | None) -> str:
    """Show median and quartiles in one cell."""
    if spread is None:
        return "–"
    return f"{spread['median']:+.0f} ({spread['q1']:+.0f}…{spread['q3']:+.0f})"
