"""Tables of the document, and how its numbers are written."""

from __future__ import annotations

from dataclasses import dataclass

#: Where there is no number.
DASH = "–"


@dataclass(frozen=True, slots=True)
class Head:
    """A head over one or more columns."""

    text: str
    columns: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption.

    Parameters
    ----------
    caption
        Above it.
    heads
        One or two rows of heads; each row spans all columns.
    rows
        Cells.
    texts
        How many columns from the left hold words; the others hold numbers.
    note
        Below it; may be empty.
    """

    caption: str
    heads: tuple[tuple[Head, ...], ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    note: str = ""


def amount(value: float) -> str:
    """Show a volume or a share with one decimal: a trace is not nothing."""
    if value == 0:
        return "0"
    return "< 0.1" if value < 0.1 else f"{value:.1f}"


def signed(value: float) -> str:
    """Show a difference with one decimal and its sign; what rounds to nothing has none."""
    text = f"{abs(value):.1f}"
    if text == "0.0":
        return "0" if value == 0 else "< 0.1"
    return ("+" if value > 0 else "−") + text
