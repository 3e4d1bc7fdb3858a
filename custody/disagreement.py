"""Where ledger and spool tell different stories, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What does not agree."""

    IMAGE_MISSING = "image_missing"
    IMAGE_DAMAGED = "image_damaged"
    MANIFEST_MISSING = "manifest_missing"
    MANIFEST_DAMAGED = "manifest_damaged"
    MANIFEST_DIFFERS = "manifest_differs"
    MANIFEST_UNKNOWN = "manifest_unknown"
    RESULT_MISSING = "result_missing"
    RESULT_DAMAGED = "result_damaged"
    RESULT_SET_MISSING = "result_set_missing"
    RESULT_SET_DAMAGED = "result_set_damaged"
    RESULT_SET_DIFFERS = "result_set_differs"
    TIME_POINT_MISSING = "time_point_missing"
    TIME_POINT_DAMAGED = "time_point_damaged"
    JOB_MISSING = "job_missing"
    SENDER_MISSING = "sender_missing"
    DELIVERY_MISSING = "delivery_missing"
    FILE_UNKNOWN = "file_unknown"
    FOLDER_UNKNOWN = "folder_unknown"
    UNRECORDED = "unrecorded"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that does not agree.

    Parameters
    ----------
    kind
        What.
    subject
        The file or folder, or what is missing from the ledger.
    series_id
        Our id of the series, empty where none is known.
    detail
        What was found.
    """

    kind: Kind
    subject: str
    series_id: str = ""
    detail: str = ""


_SEND_AGAIN = (
    "find out what deletes or changes files there; have the series sent again: what is gone is stored anew"
)
_ANEW = (
    "the ledger has lost rows: stop the node, then `lesion-node ledger rebuild --add` takes them from the "
    "spool, or `lesion-node ledger rebuild` makes all of it anew"
)

_NOT_COMPARED = (
    "restore it from a backup of the data folder; without it later scans of the patient are not compared "
    "with this one, and nothing else depends on it"
)

#: What to do about each kind.
ADVICE: dict[Kind, str] = {
    Kind.IMAGE_MISSING: _SEND_AGAIN,
    Kind.IMAGE_DAMAGED: "check the disk; delete the file, then have the series sent again: it is stored anew",
    Kind.MANIFEST_MISSING: (
        "restore it from a backup of the data folder, or stop the node and `lesion-node ledger rebuild`: it "
        "takes up the images themselves; until then an image that is sent again is stored again"
    ),
    Kind.MANIFEST_DAMAGED: (
        "check the disk; restore the file from a backup, or stop the node and `lesion-node ledger rebuild`, "
        "which takes up the images themselves"
    ),
    Kind.MANIFEST_DIFFERS: _ANEW,
    Kind.MANIFEST_UNKNOWN: _ANEW,
    Kind.RESULT_MISSING: (
        "find out what deletes files there; what was delivered is in the PACS; otherwise restore it from a "
        "backup; `lesion-node reproduce --keep` makes the same object again"
    ),
    Kind.RESULT_DAMAGED: (
        "check the disk; do not resend it; `lesion-node reproduce --keep` makes the same object again"
    ),
    Kind.RESULT_SET_MISSING: (
        "harmless until the ledger is lost (an earlier version wrote none): `lesion-node verify --complete` "
        "writes it from the ledger"
    ),
    Kind.RESULT_SET_DAMAGED: "check the disk; `lesion-node verify --complete` writes it anew from the ledger",
    Kind.RESULT_SET_DIFFERS: _ANEW,
    Kind.TIME_POINT_MISSING: _NOT_COMPARED,
    Kind.TIME_POINT_DAMAGED: f"check the disk; {_NOT_COMPARED}",
    Kind.JOB_MISSING: _ANEW,
    Kind.SENDER_MISSING: _ANEW,
    Kind.DELIVERY_MISSING: _ANEW,
    Kind.FILE_UNKNOWN: (
        "nobody's: of a crash before the image was acknowledged, or put there by hand; the next start moves "
        "images to unrecorded/; look at it, then delete it (patient data)"
    ),
    Kind.FOLDER_UNKNOWN: _ANEW,
    Kind.UNRECORDED: (
        "never acknowledged, or of a time after the ledger's backup: have it sent again where it is needed, "
        "then delete it (patient data)"
    ),
}
