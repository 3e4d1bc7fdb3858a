"""DIMSE statuses: what each error is answered with, and what each answer of a peer means."""

from __future__ import annotations

from enum import Enum

from pydicom.dataset import Dataset

from core.errors import Draining, NodeError, SopClassMismatch, SpoolError, UnparsableDataSet

# PS3.4 table B.2-1 and PS3.7 C
SUCCESS = 0x0000
REFUSED_NOT_AUTHORIZED = 0x0124
DUPLICATE_SOP_INSTANCE = 0x0111
PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000

_OF_ERROR: tuple[tuple[type[Exception], int], ...] = (
    (SpoolError, OUT_OF_RESOURCES),
    (Draining, OUT_OF_RESOURCES),
    (SopClassMismatch, DATA_SET_DOES_NOT_MATCH_SOP_CLASS),
    (UnparsableDataSet, CANNOT_UNDERSTAND),
)


def status_of(error: NodeError) -> int:
    """Return the C-STORE status with which an error is answered."""
    return next((status for kind, status in _OF_ERROR if isinstance(error, kind)), PROCESSING_FAILURE)


def response(status: int, comment: str = "") -> Dataset:
    """Return a C-STORE response; the Error Comment (0000,0902) tells the sender's operator why."""
    answer = Dataset()
    answer.Status = status
    if comment:
        answer.ErrorComment = comment.encode("ascii", "replace").decode()[:64]
    return answer


class Verdict(Enum):
    """What a peer's answer to our C-STORE means for the delivery."""

    DELIVERED = "delivered"
    TRY_AGAIN = "try again"


def verdict_of(status: int) -> Verdict:
    """Judge the status of a C-STORE response to one of our results.

    Warnings (0xBxxx) mean stored. A duplicate means stored, because the same UID is only ever used for the
    same content. PACS answer 0xC000 or 0xA9xx for locked studies and database trouble alike, so every failure
    is worth another attempt.
    """
    if status in (SUCCESS, DUPLICATE_SOP_INSTANCE) or status & 0xF000 == 0xB000:
        return Verdict.DELIVERED
    return Verdict.TRY_AGAIN
