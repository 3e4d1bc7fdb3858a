"""Single values of headers that nobody vouches for, and the words for telling what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from core.errors import UnsupportedImage
from inference.series_files import PARSE_FAILURES

#: What helps, as the end of a sentence.
SEND_ORIGINAL = "send the original images of the scanner"
SEND_SERIES = "send the series again, complete"
SEND_ONE = "send one original axial reconstruction as a series of its own"


def finite_numbers(source: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """Return as many finite numbers as the attribute has to have.

    Raises
    ------
    UnsupportedImage
        The attribute is missing, is no number, or has another count.
    """
    try:
        value = source.get(keyword)
        if value is None or value == "":
            raise UnsupportedImage(f"{name_of(keyword)} is missing: {SEND_ORIGINAL}")
        values = tuple(map(float, value if isinstance(value, (list, MultiValue)) else [value]))
    except PARSE_FAILURES:
        raise UnsupportedImage(f"{name_of(keyword)} is unusable: {SEND_ORIGINAL}") from None
    if len(values) != count or not all(map(math.isfinite, values)):
        raise UnsupportedImage(f"{name_of(keyword)} is unusable: {SEND_ORIGINAL}")
    return values


def optional_number(source: Dataset, keyword: str) -> float | None:
    """Return a finite number, None where it is absent or unusable and nothing depends on it."""
    try:
        value = source.get(keyword)
        number = math.nan if value is None else float(value)
    except PARSE_FAILURES:
        return None
    return number if math.isfinite(number) else None


def int_value(source: Dataset, keyword: str, default: int) -> int:
    """Return a whole number, the default where it is absent.

    Raises
    ------
    UnsupportedImage
        It is there and is no whole number.
    """
    try:
        value = source.get(keyword)
        return default if value is None or value == "" else int(value)
    except PARSE_FAILURES:
        raise UnsupportedImage(f"{name_of(keyword)} is unusable: {SEND_ORIGINAL}") from None


def text_value(source: Dataset, keyword: str) -> str:
    """Return a value as stripped text, empty where it is absent.

    Raises
    ------
    UnsupportedImage
        It is there and unreadable.
    """
    try:
        value = source.get(keyword)
        return "" if value is None else str(value).strip()
    except PARSE_FAILURES:
        raise UnsupportedImage(f"{name_of(keyword)} is unusable: {SEND_ORIGINAL}") from None


def name_of(keyword: str) -> str:
    """Return an attribute's name and tag, as in ``Pixel Spacing (0028,0030)``."""
    tag = tag_for_keyword(keyword) or 0
    return f"{dictionary_description(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def text_of(values: Sequence[float]) -> str:
    """Return numbers as DICOM writes them, for messages."""
    return "\\".join(f"{value:g}" for value in values)
