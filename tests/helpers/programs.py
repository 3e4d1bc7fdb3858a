"""Independent programs that the interoperability tests talk to, and whether they may be absent.

In CI (`LESION_NODE_REQUIRE_INTEROP=1`) an absent program is a failure; elsewhere the test says what is
missing and skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


def require_program(name: str, package: str) -> str:
    """Return the path of a program, or skip (fail in CI) with the package that holds it."""
    found = shutil.which(name)
    if found is None:
        _absent(f"{name} is not installed (Debian package {package})")
    return found


def require_file(path: Path, remedy: str) -> Path:
    """Return the path of a file or folder that a program needs, or skip (fail in CI) with the remedy."""
    if not path.exists():
        _absent(f"{path} is not there ({remedy})")
    return path


def require_tracer() -> str:
    """Return the path of strace, or skip (fail in CI) where there is none or it may not trace."""
    program = require_program("strace", "strace")
    run = subprocess.run(
        [program, "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        _absent(f"processes may not be traced here (ptrace): {run.stderr.strip()[-200:]}")
    return program


def _absent(reason: str) -> NoReturn:
    if os.environ.get("LESION_NODE_REQUIRE_INTEROP") == "1":
        pytest.fail(f"{reason}; interoperability tests must not be skipped here")
    pytest.skip(reason)
