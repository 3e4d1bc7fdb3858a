"""JSON files that say by themselves whether they are whole: format, checksum, body."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from core.errors import SpoolDamaged

#: Plain fields of dataclasses, as they are annotated, and what JSON may have for them.
_PLAIN: dict[str, tuple[type[Any], ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "float | None": (float, int, type(None)),
}


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


def plain_fields(kind: type[Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of a dataclass as they were read, once each plain field has what it must.

    Raises
    ------
    ValueError, AttributeError
        A plain field is absent, of another type, or no finite number.
    """
    for one in fields(kind):
        value, wanted = values.get(one.name), _PLAIN.get(str(one.type))
        if wanted is None:
            continue
        if type(value) not in wanted or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"no {one.name}")
    return values


def unreadable(what: str, path: Path, error: Exception) -> SpoolDamaged:
    """Return the error about such a file that is gone or damaged."""
    if isinstance(error, FileNotFoundError):
        return SpoolDamaged(f"the {what} {path} is gone: run `lesion-node verify`")
    return SpoolDamaged(
        f"the {what} {path} cannot be read ({type(error).__name__}): run `lesion-node verify`"
    )
