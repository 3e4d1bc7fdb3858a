"""JSON files that say by themselves whether they are whole: format, checksum, body."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import SpoolDamaged


def encode(form: str, body: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return the content of a file, and its checksum."""
    sha256 = checksum(body)
    return json.dumps({"format": form, "sha256": sha256, "body": body}).encode(), sha256


def decode(content: bytes, form: str, sha256: str | None = None) -> dict[str, Any]:
    """Return the body of a file.

    Raises
    ------
    ValueError, KeyError, TypeError
        It is damaged, of another form, or another one than the checksum means.
    """
    outer = json.loads(content)
    body: dict[str, Any] = outer["body"]
    found = checksum(body)
    if outer["format"] != form or outer["sha256"] != found or sha256 not in (None, found):
        raise ValueError("checksum")
    return body


def checksum(body: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a body, however its JSON is laid out."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def unreadable(what: str, path: Path, error: Exception) -> SpoolDamaged:
    """Return the error about such a file that is gone or damaged."""
    if isinstance(error, FileNotFoundError):
        return SpoolDamaged(f"the {what} {path} is gone: run `lesion-node verify`")
    return SpoolDamaged(
        f"the {what} {path} cannot be read ({type(error).__name__}): run `lesion-node verify`"
    )
