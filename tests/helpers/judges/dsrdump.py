"""DCMTK's reader of structured reports."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.judges.complaints import Complaint, Severity
from tests.helpers.programs import require_program

NAME = "dsrdump"

#: It stops at an image of a SOP class that it does not know; what it says after that is the same complaint.
_UNKNOWN_CLASS = "Invalid or unknown image SOP class"


def dsrdump(path: Path) -> tuple[str, list[Complaint]]:
    """Return what ``dsrdump`` reads in a document, and what it has against it."""
    program = require_program("dsrdump", "dcmtk")
    run = subprocess.run(
        [program, str(path)], capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False
    )
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    stopped = [at for at, line in enumerate(lines) if _UNKNOWN_CLASS in line]
    if stopped:
        return run.stdout, [Complaint.of_line(NAME, line) for line in lines[: stopped[0] + 1]]
    complaints = [Complaint.of_line(NAME, line) for line in lines]
    if run.returncode:
        complaints.append(Complaint.of(NAME, Severity.ERROR, f"ended with {run.returncode}"))
    return run.stdout, complaints
