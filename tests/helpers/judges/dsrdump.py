"""DCMTK's reader of structured reports."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.judges.complaints import Complaint, Severity
from tests.helpers.programs import require_program

NAME = "dsrdump"


def dsrdump(path: Path) -> tuple[str, list[Complaint]]:
    """Return what ``dsrdump`` reads in a document, and what it has against it."""
    program = require_program("dsrdump", "dcmtk")
    run = subprocess.run(
        [program, str(path)], capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False
    )
    complaints = [Complaint.of_line(NAME, line) for line in run.stderr.splitlines() if line.strip()]
    if run.returncode:
        complaints.append(Complaint.of(NAME, Severity.ERROR, f"ended with {run.returncode}"))
    return run.stdout, complaints
