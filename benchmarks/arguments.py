"""The command line that all measurements of a model share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.tables import output
from core.errors import NodeError

#: Exit status where a measurement is not possible.
UNUSABLE = 2


def model_parser(
    name: str, description: str, *, as_json: bool = True, model: str | None = None
) -> argparse.ArgumentParser:
    """Return a parser with ``--model``, and ``--json`` where figures are printed.

    Parameters
    ----------
    name
        Of the measurement.
    description
        One sentence.
    as_json
        Whether there are figures to print.
    model
        Which one is measured where none is named; None: one has to be named.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    installed = "installed package, or its folder" + (f" ({model})" if model else "")
    parser.add_argument("--model", required=model is None, default=model, metavar="NAME", help=installed)
    if as_json:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return parser


def report(
    measure: Callable[[], dict[str, Any]], show: Callable[[dict[str, Any]], None], *, as_json: bool
) -> int:
    """Measure, then print tables or the one JSON object; return the exit status.

    Parameters
    ----------
    measure
        Gives the figures; a `NodeError` of it is printed as it is.
    show
        Prints the tables.
    as_json
        Whether JSON is wanted.
    """
    try:
        figures = measure()
    except NodeError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    if as_json:
        output(figures)
    else:
        show(figures)
    return 0


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """Add ``--seeds``, of phantoms that are kept for measuring."""
    parser.add_argument("--seeds", type=_seeds, default=(1, 2, 3), metavar="1,2,3", help="of 1 to 20 (1,2,3)")


def at_least(lowest: int) -> Callable[[str], int]:
    """Return a check of whole numbers for an argument parser."""

    def number(text: str) -> int:
        if int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest}")
        return int(text)

    return number


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or not all(1 <= seed <= 20 for seed in seeds):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted numbers from 1 to 20 with commas between them")
    return seeds
