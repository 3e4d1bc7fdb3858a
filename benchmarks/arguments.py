"""The command line that all measurements of a model share."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def model_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with ``--model`` and ``--json``.

    Parameters
    ----------
    name
        Of the measurement.
    description
        One sentence.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--model", required=True, metavar="NAME", help="installed package, or its folder")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return parser


def at_least(lowest: int) -> Callable[[str], int]:
    """Return a check of whole numbers for an argument parser."""

    def number(text: str) -> int:
        if int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest}")
        return int(text)

    return number
