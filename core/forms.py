"""In which form a peer gets results: encodings of one content that not every PACS takes.

Each encoding of an object is another object with UIDs of its own, because one SOP Instance UID names one
content, and a report refers to the segmentation of its own form. So forms are written as whole sets, and a
peer gets all its objects from one of them. Transfer syntaxes are no forms: they carry the same object and are
chosen when it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from pydicom.uid import UID

from core.domain import ResultKind

#: Label Map Segmentation Storage (Supplement 243); the library's dictionary does not have it yet.
LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"


def sop_class_name(uid: str) -> str:
    """Return the name of a SOP Class (PS3.6 A), the UID where it has none."""
    if uid == LABEL_MAP_SEGMENTATION_STORAGE:
        return "Label Map Segmentation Storage"
    return UID(uid).name


class SegmentationEncoding(StrEnum):
    """Segmentation Type (0062,0001)."""

    BINARY = "binary"
    LABELMAP = "labelmap"


class ReportClass(StrEnum):
    """SOP Class of the measurement report."""

    COMPREHENSIVE_3D = "comprehensive-3d"
    COMPREHENSIVE = "comprehensive"


@dataclass(frozen=True, slots=True)
class ResultForm:
    """One set of encodings.

    Parameters
    ----------
    segmentation
        One bit per pixel and segment, or one label per pixel (Supplement 243).
    empty_frames
        Whether a segmentation has a frame for every slice: some viewers count frames instead of reading
        where they are.
    report
        SOP Class of the report.
    """

    segmentation: SegmentationEncoding = SegmentationEncoding.BINARY
    empty_frames: bool = False
    report: ReportClass = ReportClass.COMPREHENSIVE_3D

    def variant(self, kind: ResultKind) -> str:
        """Return the name of this form's encoding of a kind of object; empty where a kind has only one."""
        if kind is ResultKind.SEGMENTATION:
            return f"{self.segmentation.value}{'-all-frames' if self.empty_frames else ''}"
        if kind is ResultKind.MEASUREMENT_REPORT:
            return f"{self.report.value} of {self.variant(ResultKind.SEGMENTATION)}"
        return ""

    def alternatives(self) -> tuple[ResultForm, ...]:
        """Return this form, then what is sent instead where a peer refuses one of its SOP Classes."""
        segmentations = dict.fromkeys((self.segmentation, SegmentationEncoding.BINARY))
        reports = dict.fromkeys((self.report, ReportClass.COMPREHENSIVE))
        return tuple(
            replace(self, segmentation=segmentation, report=report)
            for segmentation in segmentations
            for report in reports
        )


def note_variant(peer: str) -> str:
    """Return the name of the rejection note for a peer: each is about what that peer has."""
    return f"for {peer}"


def every_form() -> tuple[ResultForm, ...]:
    """Return every form that there is."""
    combinations = product(SegmentationEncoding, (False, True), ReportClass)
    return tuple(ResultForm(*one) for one in combinations)


def forms_to_write(wanted: Iterable[ResultForm]) -> tuple[ResultForm, ...]:
    """Return every form that is wanted or may be needed instead, each once, the wanted ones first."""
    wishes = tuple(wanted)
    others = (form for wish in wishes for form in wish.alternatives())
    return tuple(dict.fromkeys((*wishes, *others)))
