"""DCMTK's command-line tools as the scanner, and as a reader of documents."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.helpers.judges import dsrdump as judges_dsrdump
from tests.helpers.judges.complaints import counting
from tests.helpers.programs import require_program
from tests.helpers.running_node import AE_TITLE


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


def findscu(port: int, called: str, folder: Path, **keys: str) -> list[Path]:
    """Query studies with ``findscu``, in UTF-8; return each answer as a file."""
    program = require_program("findscu", "dcmtk")
    wanted = {"QueryRetrieveLevel": "STUDY", "SpecificCharacterSet": "ISO_IR 192", **keys}
    folder.mkdir(parents=True)
    command = [program, "-S", "-aec", called, "-X", "-od", str(folder)]
    command += [part for key, value in wanted.items() for part in ("-k", f"{key}={value}")]
    command += ["127.0.0.1", str(port)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if run.returncode != 0 or "aborted" in run.stderr:
        raise AssertionError(f"findscu ended with {run.returncode}: {run.stderr[-1500:]}")
    return sorted(folder.iterdir())


def dcmdump(path: Path, keyword: str) -> str:
    """Return a text of a file as ``dcmdump`` reads and shows it, in whatever character set it is stored."""
    program = require_program("dcmdump", "dcmtk")
    command = [program, "+U8", "+P", keyword, str(path)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)
    if run.returncode != 0:
        raise AssertionError(f"dcmdump ended with {run.returncode}: {run.stderr[-1500:]}")
    return run.stdout.partition("[")[2].rpartition("]")[0]


def dsrdump(path: Path) -> str:
    """Return what ``dsrdump`` reads in a structured report or a key object selection; it may not complain."""
    text, complaints = judges_dsrdump.dsrdump(path)
    if counting(complaints):
        raise AssertionError("\n".join(counting(complaints)))
    return text


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
