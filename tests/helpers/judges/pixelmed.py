"""PixelMed's validator of structured reports and their templates (Debian package pixelmed-apps)."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.judges.complaints import Complaint, Severity
from tests.helpers.programs import require_file, require_program

NAME = "PixelMed"

_JAR = Path("/usr/share/java/pixelmed.jar")
_LAUNCHER = Path(__file__).parents[2] / "judges" / "SrValidator.java"
# Its rules are larger than Java's limits for style sheets, which are meant for foreign ones.
_OPTIONS = [f"-Djdk.xml.xpath{limit}Limit=0" for limit in ("ExprOp", "ExprGrp", "TotalOp")]
# A document that it does not know at all is passed over without a word; these lines tell that it was judged.
_JUDGED = ("Found Root Template", "Root Template Validation Complete", "IOD validation complete")


def pixelmed(paths: Sequence[Path]) -> list[list[Complaint]]:
    """Return what the validator has against each of some documents.

    One virtual machine judges them all: its rules take seven seconds to load, a document less than two.
    """
    if not paths:
        return []
    java = require_program("java", "default-jdk-headless")
    require_program("javac", "default-jdk-headless")
    jar = require_file(_JAR, "Debian package pixelmed-apps")
    command = [java, "-XX:+UseSerialGC", *_OPTIONS, "-cp", str(jar), str(_LAUNCHER)]
    run = subprocess.run(
        [*command, *map(str, paths)],
        capture_output=True,
        check=False,
        timeout=280,
        encoding="utf-8",
        errors="replace",
    )
    parts = run.stdout.split("=== ")[1:]
    if run.returncode or len(parts) != len(paths):
        raise AssertionError(f"PixelMed's validator ended with {run.returncode}: {run.stderr[-1500:]}")
    return [_complaints(part) for part in parts]


def _complaints(output: str) -> list[Complaint]:
    lines = output.splitlines()[1:]
    found = [
        Complaint.of(NAME, Severity.ERROR if line.startswith("Error") else Severity.WARNING, line)
        for line in lines
        if line.startswith(("Error", "Warning"))
    ]
    found += [
        Complaint.of(NAME, Severity.ERROR, f"did not say: {wanted}")
        for wanted in _JUDGED
        if not any(line.startswith(wanted) for line in lines)
    ]
    return found
