"""What a judge has against an object, and which complaints are tolerated for a written reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

#: The one list of tolerated complaints.
TOLERATED_FILE = Path(__file__).parents[2] / "judges" / "tolerated.toml"


class Severity(StrEnum):
    """How grave a judge says that a complaint is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Tolerated:
    """A kind of complaint that stops nothing.

    Parameters
    ----------
    judge
        Who complains.
    pattern
        Found in the text of the complaint.
    reason
        Why it is no fault of the object.
    """

    judge: str
    pattern: re.Pattern[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that a judge has against an object.

    Parameters
    ----------
    judge
        Who complains.
    severity
        As the judge says.
    text
        In the judge's words.
    tolerated
        The entry of the list that it falls under, None for a complaint that counts.
    """

    judge: str
    severity: Severity
    text: str
    tolerated: Tolerated | None

    @classmethod
    def of(cls, judge: str, severity: Severity, text: str) -> Complaint:
        """Return a complaint, looked up in the list."""
        found = (one for one in tolerated() if one.judge == judge and one.pattern.search(text))
        return cls(judge, severity, text, next(found, None))

    @classmethod
    def of_line(cls, judge: str, line: str) -> Complaint:
        """Return the complaint of a line of output that says itself how grave it is."""
        grave = re.search(r"\b(error|E:|F:)", line, re.IGNORECASE) is not None
        warns = re.match(r"\s*(warning|W:)", line, re.IGNORECASE) is not None
        return cls.of(judge, Severity.ERROR if grave and not warns else Severity.WARNING, line)


@cache
def tolerated() -> tuple[Tolerated, ...]:
    """Return the list of tolerated complaints."""
    entries = tomllib.loads(TOLERATED_FILE.read_text(encoding="utf-8"))["tolerated"]
    return tuple(Tolerated(one["judge"], re.compile(one["pattern"]), one["reason"]) for one in entries)


def counting(complaints: Iterable[Complaint]) -> list[str]:
    """Return the texts of the complaints that nobody tolerates."""
    return [f"{one.judge}: {one.text}" for one in complaints if one.tolerated is None]
