"""Independent programs that the interoperability tests talk to, and whether they may be absent.

In CI (`LESION_NODE_REQUIRE_INTEROP=1`) an absent program is a failure; elsewhere the test says what is
missing and skips.
"""

from __future__ import annotations

import os
import shutil

import pytest


def require_program(name: str, package: str) -> str:
    """Return the path of a program, or skip (fail in CI) with the package that holds it."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed (Debian package {package})"
        if os.environ.get("LESION_NODE_REQUIRE_INTEROP") == "1":
            pytest.fail(f"{reason}; interoperability tests must not be skipped here")
        pytest.skip(reason)
    return found
