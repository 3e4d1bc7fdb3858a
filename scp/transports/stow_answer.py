"""The Store Instances Response Module (PS3.18 I.2): what became of the object that was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from scp.status import DUPLICATE_SOP_INSTANCE, SUCCESS

_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_SEQUENCE = "00081199"
_OTHER_FAILURES_SEQUENCE = "0008119A"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
_WARNING_REASON = "00081196"
_FAILURE_REASON = "00081197"
#: Failure Reason of a widespread service for an object that it has already.
_ALREADY_STORED = 0xB00E


class Outcome:
    """What a STOW-RS answer says of one object.

    Parameters
    ----------
    stored
        Whether the peer has it now.
    status
        Warning or Failure Reason, 0x0000 where it was stored without remark; None where a failure has no
        reason.
    """

    __slots__ = ("status", "stored")

    def __init__(self, stored: bool, status: int | None) -> None:
        self.stored = stored
        self.status = status


def outcome_of(body: bytes, sop_instance_uid: str) -> Outcome | None:
    """Read an answer in DICOM JSON.

    Parameters
    ----------
    body
        Of the HTTP response.
    sop_instance_uid
        Of the object that was sent.

    Returns
    -------
    Outcome or None
        None where the answer is not legible or does not speak of the object. What is not said to be stored
        is not stored: a login page is answered with HTTP 200 too.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    modules = [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, dict)]
    for module in modules:
        for item in _items(module, _FAILED_SOP_SEQUENCE):
            if _text(item, _REFERENCED_SOP_INSTANCE_UID) in (sop_instance_uid, ""):
                reason = _number(item, _FAILURE_REASON)
                if reason in (DUPLICATE_SOP_INSTANCE, _ALREADY_STORED):
                    return Outcome(True, DUPLICATE_SOP_INSTANCE)
                return Outcome(False, reason)
        for item in _items(module, _REFERENCED_SOP_SEQUENCE):
            if _text(item, _REFERENCED_SOP_INSTANCE_UID) == sop_instance_uid:
                return Outcome(True, _number(item, _WARNING_REASON) or SUCCESS)
        for item in _items(module, _OTHER_FAILURES_SEQUENCE):
            return Outcome(False, _number(item, _FAILURE_REASON))
    return None


def _items(module: dict[str, Any], tag: str) -> Iterator[dict[str, Any]]:
    element = module.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    yield from (one for one in (values if isinstance(values, list) else []) if isinstance(one, dict))


def _value(item: dict[str, Any], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _text(item: dict[str, Any], tag: str) -> str:
    value = _value(item, tag)
    return value.strip(" \0") if isinstance(value, str) else ""


def _number(item: dict[str, Any], tag: str) -> int | None:
    value = _value(item, tag)
    return int(value) if isinstance(value, int | float) and 0 <= value <= 0xFFFF else None
