"""All analysed scans of a patient, for people: a table, and the plot of the trend as a picture."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.comparison import HistoryPoint, peak_of
from core.domain import Language
from lesionnode.comparison_json import history_json
from sr_writer.film.canvas import TEXT_PX, Canvas
from sr_writer.film.comparison_words import COMPARISON_WORDS
from sr_writer.film.trend import Area, draw_trend

_COLUMNS = (
    "\nScan",
    "Lungs\nml",
    "Lesions\nml",
    "of lung\n%",
    "Ground\nglass ml",
    "Consoli-\ndation ml",
    "Score\nof 24",
    "Change\nml",
)
#: Of the picture, pixels.
_WIDTH, _HEIGHT, _BORDER, _HEADING = 960, 520, 24, 48


def print_history(history: Sequence[HistoryPoint], console: Console) -> None:
    """Print a line for each scan, the oldest first; the one with the largest share of lesion is marked.

    Where several models looked at them each has a letter, so that the table fits a terminal.
    """
    models = list(dict.fromkeys(point.model for point in history))
    letters = dict(zip(models, string.ascii_uppercase, strict=False))
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == _COLUMNS[0] else "right", no_wrap=True)
    table.add_column("\nModel" if len(models) > 1 else "", no_wrap=True)
    peak = peak_of(history)
    for at, point in enumerate(history):
        marks = [letters.get(point.model, "?")] if len(models) > 1 else []
        marks += ["[yellow]peak[/]"] if point is peak else []
        table.add_row(*_row(point, history[at - 1] if at else None), " ".join(marks))
    console.print(table)
    if len(models) == 1:
        console.print(f"[dim]Model: {escape(models[0])}[/]")
        return
    for model_name, letter in letters.items():
        console.print(f"[dim]Model {letter}: {escape(model_name)}[/]")


def history_rows(history: Sequence[HistoryPoint]) -> list[dict[str, Any]]:
    """Return the same as plain values."""
    return [history_json(point) for point in history]


def write_trend(history: Sequence[HistoryPoint], path: Path, language: Language) -> None:
    """Write the plot of the trend as a PNG file.

    Raises
    ------
    OSError
        It cannot be written.
    """
    page, words = Canvas(_WIDTH, _HEIGHT), COMPARISON_WORDS[language]
    page.text((_BORDER, _BORDER), words.trend.format(count=len(history)), TEXT_PX)
    area = Area(_BORDER, _BORDER + _HEADING, _WIDTH - _BORDER, _HEIGHT - _BORDER)
    draw_trend(page, area, history, words)
    page.image.save(path, format="PNG")


def _row(point: HistoryPoint, before: HistoryPoint | None) -> list[str]:
    scanned_at = point.facts.scanned_at
    return [
        "no date" if scanned_at is None else f"{scanned_at:%Y-%m-%d %H:%M}",
        f"{point.lung_ml:,.0f}",
        f"{point.lesion_ml:,.1f}",
        f"{point.percent_of_lung:.1f}",
        f"{point.ground_glass_ml:,.1f}",
        f"{point.consolidation_ml:,.1f}",
        f"{point.severity_score}",
        _change(point, before),
    ]


def _change(point: HistoryPoint, before: HistoryPoint | None) -> str:
    """Return by how much lesion changed, ml; numbers of two models are not compared."""
    if before is None or not before.is_by_the_model_of(point):
        return "-"
    return f"{round(point.lesion_ml - before.lesion_ml, 1) + 0.0:+,.1f}"  # never -0.0
