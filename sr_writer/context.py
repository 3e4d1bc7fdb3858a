"""What the writers have to know besides the analysis: who writes, when, and from which bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core.domain import Language, Predecessor, ResultKind, SOPInstanceUID
from core.errors import ResultEncodingError

# Longest value of the data elements that these fields become (PS3.5 6.2): LO 64, SH 16.
_LONGEST = {
    "node_name": 64,
    "manufacturer": 64,
    "software_version": 64,
    "device_serial_number": 64,
    "station_name": 16,
}

#: Series Number of each kind of result, counted from `ResultContext.series_number_base`.
_SERIES_NUMBER_OFFSET = {
    ResultKind.SEGMENTATION: 1,
    ResultKind.MEASUREMENT_REPORT: 2,
    ResultKind.FILM: 3,
    ResultKind.KEY_OBJECTS: 4,
    ResultKind.DOCUMENT: 5,
    ResultKind.OVERLAY: 6,
    ResultKind.REJECTION_NOTE: 9,
}


@dataclass(frozen=True, slots=True)
class ResultContext:
    """Circumstances of one run of the writers.

    Parameters
    ----------
    node_name
        Name of this node, for people (Device Observer Name).
    manufacturer, software_version, device_serial_number
        Of this product and installation; General Equipment module.
    station_name
        Station Name (0008,1010): the AE title of the node, at most 16 characters.
    generation
        Generation of the sealed series, from 1.
    source_digests
        SHA-256 of every received source instance, hexadecimal. UIDs of results are derived from them, so
        that a study sent again with other content never reuses a UID.
    settings_digest
        SHA-256 of the settings that influence results, hexadecimal.
    provider
        ONNX Runtime execution provider that ran the model.
    content_datetime_utc
        When the results were computed; aware.
    series_number_base
        Results get Series Numbers from this one on.
    language
        Of what people read on pictures.
    predecessors
        Objects of the earlier result of this series that were sent; this result replaces them.
    lesions_from_ml
        Single lesions from this volume on get a segment and a measurement group of their own.

    Raises
    ------
    ResultEncodingError
        Where a text is not plain ASCII, empty or too long for its data element, or the time is naive: text
        of our own has to be the same in every character set.
    """

    node_name: str
    manufacturer: str
    software_version: str
    device_serial_number: str
    station_name: str
    generation: int
    source_digests: Mapping[SOPInstanceUID, str]
    settings_digest: str
    provider: str
    content_datetime_utc: datetime
    series_number_base: int = 9000
    language: Language = Language.ENGLISH
    predecessors: tuple[Predecessor, ...] = ()
    lesions_from_ml: float = 1.0

    def __post_init__(self) -> None:
        for name, longest in _LONGEST.items():
            text = getattr(self, name)
            if not is_plain_text(text) or not 0 < len(text) <= longest:
                raise ResultEncodingError(
                    f"{name} is {text!r}; results need 1 to {longest} printable ASCII characters without "
                    "backslash. Correct the node's configuration."
                )
        if self.content_datetime_utc.tzinfo is None:
            raise ResultEncodingError("The time of the analysis has no time zone; pass it in UTC.")

    def predecessor(self, kind: ResultKind, variant: str) -> Predecessor | None:
        """Return the earlier object that a new one replaces: the same encoding, or else another one."""
        same_kind = [one for one in self.predecessors if one.kind is kind]
        same = [one for one in same_kind if one.variant == variant]
        return next(iter(same or same_kind), None)

    def series_number(self, kind: ResultKind) -> int:
        """Return the fixed Series Number of a kind of result."""
        return self.series_number_base + _SERIES_NUMBER_OFFSET[kind]


def plain_text(text: str) -> str:
    """Return text of our own without the signs that are not the same in every DICOM character set."""
    return "".join(sign if is_plain_text(sign) else "?" for sign in text.replace("\n", " "))


def is_plain_text(text: str) -> bool:
    """Tell whether text reads the same in every DICOM character set.

    The backslash is excluded because it separates values.
    """
    return text.isascii() and text.isprintable() and "\\" not in text
