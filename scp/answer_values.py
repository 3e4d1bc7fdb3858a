"""Values of a PACS's answers, which may be absent, damaged or of any length: they read as empty then."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_LONGEST = 256


def texts_of(answer: Dataset, keyword: str) -> tuple[str, ...]:
    """Return every value without padding; nothing where it is absent or damaged."""
    value = _value(answer, keyword)
    values = value if isinstance(value, list | MultiValue) else [value]
    texts = (str(one if one is not None else "").strip(" \0")[:_LONGEST] for one in values)
    return tuple(text for text in texts if text)


def text_of(answer: Dataset, keyword: str) -> str:
    """Return a single value; empty where it is absent, damaged, or where there are several."""
    texts = texts_of(answer, keyword)
    return texts[0] if len(texts) == 1 else ""


def whole_text_of(answer: Dataset, keyword: str) -> str:
    """Return all values as one text (PS3.5 6.2), to compare by; empty where there is none or it is damaged.

    What has several values is not taken for what has none.
    """
    return "\\".join(texts_of(answer, keyword))


def number_of(answer: Dataset, keyword: str) -> int | None:
    """Return a whole number that is not negative; None where there is none."""
    text = text_of(answer, keyword)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def studied_at(answer: Dataset) -> datetime | None:
    """Return Study Date and Time; midnight where only the date is there, None where that is not."""
    date = text_of(answer, "StudyDate")
    time = text_of(answer, "StudyTime").partition(".")[0].ljust(6, "0")
    for text in (f"{date}{time}", f"{date}000000"):
        try:
            if date.isdigit() and len(date) == 8:
                return datetime.strptime(text, "%Y%m%d%H%M%S")
        except ValueError:
            continue
    return None


def _value(answer: Dataset, keyword: str) -> Any:
    try:
        return answer.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds of errors on damaged data
        return None
