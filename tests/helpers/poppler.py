"""Poppler's command-line tools as readers of PDF files."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.programs import require_program

#: What Poppler 22 says of every tagged file that keeps to the standard.
_WRONG_COMPLAINT = "Syntax Error: Suspects object is wrong type (boolean)"


@dataclass(frozen=True)
class EmbeddedFont:
    """What ``pdffonts`` says of one font."""

    name: str
    embedded: bool
    subset: bool
    to_unicode: bool


def text_of(path: Path, *, first_page: int = 1) -> list[str]:
    """Return the lines that a person selects, cells of a row on one line, gaps as one space."""
    output = _run("pdftotext", "-layout", "-enc", "UTF-8", "-f", str(first_page), str(path), "-")
    return [" ".join(line.split()) for line in output.splitlines() if line.strip()]


def fonts_of(path: Path) -> list[EmbeddedFont]:
    """Return the fonts of a file."""
    rows = [line.split() for line in _run("pdffonts", str(path)).splitlines()[2:]]
    return [EmbeddedFont(row[0], *(flag == "yes" for flag in row[-5:-2])) for row in rows]


def facts_of(path: Path) -> dict[str, str]:
    """Return what ``pdfinfo`` says of a file."""
    lines = (line.partition(":") for line in _run("pdfinfo", str(path)).splitlines())
    return {name: value.strip() for name, _, value in lines}


def pictures_of(path: Path, folder: Path) -> list[NDArray[np.uint8]]:
    """Return the pictures inside a file as they are stored, (y, x, 3) uint8."""
    _run("pdfimages", "-png", str(path), str(folder / "picture"))
    found = sorted(folder.glob("picture-*.png"))
    return [np.asarray(Image.open(one).convert("RGB"), np.uint8) for one in found]


def _run(program: str, *arguments: str) -> str:
    command = [require_program(program, "poppler-utils"), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    complaints = run.stderr.replace(_WRONG_COMPLAINT, "").strip()
    if run.returncode != 0 or complaints:
        raise AssertionError(f"{program} ended with {run.returncode}: {run.stderr[-1500:]}")
    return run.stdout
