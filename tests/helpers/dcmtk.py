"""DCMTK's command-line tools as the scanner, and as a reader of documents."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.programs import require_program
from tests.helpers.running_node import AE_TITLE

#: What DCMTK 3.6.7 says of every document that names its template.
_NOT_CHECKED = "W: Check for template constraints not yet supported"


def storescu(port: int, *what: Path, calling: str = "SCANNER", options: tuple[str, ...] = ()) -> None:
    """Send files or folders with ``storescu -R``; every instance has to be answered with success."""
    program = require_program("storescu", "dcmtk")
    command = [program, "-R", "-aet", calling, "-aec", AE_TITLE, *options]
    command += ["+sd", "+r"] if any(path.is_dir() for path in what) else []
    command += ["127.0.0.1", str(port), *(str(path) for path in what)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    if run.returncode != 0:
        raise AssertionError(f"storescu ended with {run.returncode}: {run.stderr[-1500:]}")


def echoscu(
    port: int, *, calling: str = "ECHOSCU", called: str = AE_TITLE
) -> subprocess.CompletedProcess[str]:
    """Send C-ECHO."""
    program = require_program("echoscu", "dcmtk")
    command = [program, "-v", "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def dsrdump(path: Path) -> str:
    """Return what ``dsrdump`` reads in a structured report or a key object selection; it may not complain."""
    program = require_program("dsrdump", "dcmtk")
    run = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60, check=False)
    complaints = run.stderr.replace(_NOT_CHECKED, "")
    if run.returncode != 0 or "E:" in complaints or "W:" in complaints:
        raise AssertionError(f"dsrdump ended with {run.returncode}: {run.stderr[-1500:]}")
    return run.stdout


def dcm2pdf(path: Path, folder: Path) -> bytes:
    """Return the file that ``dcm2pdf`` takes out of an Encapsulated PDF."""
    program = require_program("dcm2pdf", "dcmtk")
    out = folder / "extracted.pdf"
    run = subprocess.run(
        [program, str(path), str(out)], capture_output=True, text=True, timeout=60, check=False
    )
    if run.returncode != 0 or "E:" in run.stderr or "W:" in run.stderr:
        raise AssertionError(f"dcm2pdf ended with {run.returncode}: {run.stderr[-1500:]}")
    return out.read_bytes()
