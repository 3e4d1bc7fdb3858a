"""DIMSE statuses: what each error is answered with, and what each answer of a peer means."""

from __future__ import annotations

from dataclasses import dataclass
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
    """What a peer's answer to one of our objects means for its delivery."""

    DELIVERED = "delivered"
    TRY_AGAIN = "try again"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status says.

    Parameters
    ----------
    verdict
        What follows for the delivery.
    words
        The standard's, for people.
    """

    verdict: Verdict
    words: str


_STORED, _AGAIN, _NEVER = Verdict.DELIVERED, Verdict.TRY_AGAIN, Verdict.NEVER

#: First and last status, and what they mean as the answer to an object of ours: C-STORE (PS3.4 B.2.3, PS3.7
#: 9.1.1.1.9 and C) and STOW-RS (PS3.18 I.2). NEVER stands only where neither a person at the PACS nor time
#: can change the answer. What follows each row is why. Bytes of ours never change, so a wrong NEVER loses a
#: result and a wrong TRY_AGAIN costs an attempt an hour: in doubt it is tried again.
_MEANINGS: tuple[tuple[int, int, Meaning], ...] = (
    (0x0000, 0x0000, Meaning(_STORED, "success")),
    # The class "warning" of PS3.7 C: the operation was done, and something is to be said about it.
    (0x0001, 0x0001, Meaning(_STORED, "optional attributes are not supported")),
    (0x0107, 0x0107, Meaning(_STORED, "attribute list error")),
    (0x0116, 0x0116, Meaning(_STORED, "attribute value out of range")),
    (0xB000, 0xB000, Meaning(_STORED, "data elements were changed")),
    (0xB006, 0xB006, Meaning(_STORED, "data elements were discarded")),
    (0xB007, 0xB007, Meaning(_STORED, "the data set does not match its SOP Class")),
    (0xB000, 0xBFFF, Meaning(_STORED, "warning")),
    # The same UID is only ever used for the same content, so what the peer has is this.
    (0x0111, 0x0111, Meaning(_STORED, "it has this object already")),
    # A UID that breaks the rules in the peer's eyes will break them tomorrow.
    (0x0117, 0x0117, Meaning(_NEVER, "it takes the SOP Instance UID for invalid")),
    # What is built into a PACS or licensed for it. Another encoding is tried first (`scp.courier`).
    (0x0118, 0x0118, Meaning(_NEVER, "it does not know this SOP Class")),
    (0x0122, 0x0122, Meaning(_NEVER, "it does not store objects of this SOP Class")),
    # Attributes that a PACS misses: its administrator can ask for fewer.
    (0x0105, 0x0106, Meaning(_AGAIN, "it does not like an attribute")),
    (0x0114, 0x0115, Meaning(_AGAIN, "it does not like an argument")),
    (0x0120, 0x0121, Meaning(_AGAIN, "it misses an attribute")),
    # A full disk, a database that is away, a bug: what PACS say of any trouble.
    (0x0110, 0x0110, Meaning(_AGAIN, "processing failure")),
    (0x0112, 0x0112, Meaning(_AGAIN, "no such object")),
    # Another object of another class has this UID there; somebody can delete it.
    (0x0119, 0x0119, Meaning(_AGAIN, "it has the UID with another SOP Class")),
    # Somebody can give us the right.
    (0x0124, 0x0124, Meaning(_AGAIN, "not authorized")),
    # Faults of the protocol, seen when a PACS is overloaded or restarts.
    (0x0210, 0x0212, Meaning(_AGAIN, "it did not understand the request")),
    (0x0213, 0x0213, Meaning(_AGAIN, "out of resources")),
    (0xA700, 0xA7FF, Meaning(_AGAIN, "out of resources")),
    # PACS say these of locked and verified studies and of database trouble too.
    (0xA900, 0xA9FF, Meaning(_AGAIN, "the data set does not match its SOP Class, or the study is locked")),
    (0xC000, 0xCFFF, Meaning(_AGAIN, "it cannot process the object, or the study is locked")),
    # No final answers (PS3.7 C.3): a peer that says these has lost its way.
    (0xFE00, 0xFE00, Meaning(_AGAIN, "cancelled")),
    (0xFF00, 0xFF01, Meaning(_AGAIN, "pending")),
)
_UNKNOWN = Meaning(_AGAIN, "")
#: After these another encoding of the object, which is of another SOP Class, may be taken.
SOP_CLASS_NOT_SUPPORTED = frozenset({0x0118, 0x0122})


def meaning_of(status: int) -> Meaning:
    """Return what a status means as the answer to one of our objects; unknown ones are tried again."""
    return next((meaning for first, last, meaning in _MEANINGS if first <= status <= last), _UNKNOWN)


def verdict_of(status: int) -> Verdict:
    """Judge the status of the answer to one of our objects."""
    return meaning_of(status).verdict


def said_by(peer: str, status: int, comment: str = "") -> str:
    """Return in words what a peer answered: the number, what it means, and its own comment."""
    remarks = "; ".join(one for one in (meaning_of(status).words, comment) if one)
    return f"{peer} answered 0x{status:04X}{f' ({remarks})' if remarks else ''}"


def warning_in(status: int) -> str:
    """Return what is to be noted of an object that was stored; empty where there is nothing."""
    if status in (SUCCESS, DUPLICATE_SOP_INSTANCE):
        return ""
    return f"stored with warning 0x{status:04X} ({meaning_of(status).words})"
