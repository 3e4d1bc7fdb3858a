"""Which instances of a series an archive lists: C-FIND, Study Root, IMAGE level (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from config import DimsePeerSettings, Settings
from core.errors import PeerRefused, PeerUnreachable
from scp.requestor import open_association

_MODEL = StudyRootQueryRetrieveInformationModelFind
_PENDING = (0xFF00, 0xFF01)
_WHAT = "C-FIND for the images of a series"


def listed(
    settings: Settings, peer: DimsePeerSettings, series: list[tuple[str, str]]
) -> Iterator[tuple[tuple[str, str], dict[str, str]]]:
    """Ask an archive for the instances of series, one after the other on one association.

    Parameters
    ----------
    settings, peer
        Own AE title and time limits; whom to ask.
    series
        Study and Series Instance UID of each.

    Yields
    ------
    tuple
        The series, and what the archive has of it: SOP Class UID by SOP Instance UID, an empty class where it
        does not tell. Nothing that it says is out of reach is among it.

    Raises
    ------
    PeerUnreachable
        No association for queries, or no answer in time.
    PeerRefused
        A query did not end with success: then what was listed before proves nothing.
    """
    contexts = [(_MODEL, ExplicitVRLittleEndian), (_MODEL, ImplicitVRLittleEndian)]
    try:
        with open_association(settings, peer, contexts) as association:
            for study_uid, series_uid in series:
                found = list(_matches(association, peer, study_uid, series_uid))
                yield (study_uid, series_uid), dict(found)
    except RuntimeError:  # pynetdicom's word for an association that ended
        raise PeerUnreachable(f"{peer.name} ended the association during {_WHAT}") from None


def _matches(
    association: Any, peer: DimsePeerSettings, study_uid: str, series_uid: str
) -> Iterator[tuple[str, str]]:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID = study_uid, series_uid
    query.SOPInstanceUID = query.SOPClassUID = query.InstanceAvailability = ""
    ended = False
    for answer, identifier in association.send_c_find(query, _MODEL):
        if "Status" not in answer:
            raise PeerUnreachable(f"{peer.name} gave no answer to {_WHAT}")
        if answer.Status in _PENDING:
            if identifier is None:
                raise PeerRefused(f"{peer.name} gave an answer to {_WHAT} that cannot be read")
            match = _match(identifier, study_uid, series_uid)
            if match is not None:
                yield match
        elif answer.Status == 0x0000:
            ended = True
        else:
            raise PeerRefused(f"{peer.name} answered {_WHAT} with 0x{answer.Status:04X}", int(answer.Status))
    if not ended:
        raise PeerUnreachable(f"{peer.name} did not end its answer to {_WHAT}")


def _match(identifier: Dataset, study_uid: str, series_uid: str) -> tuple[str, str] | None:
    """Return instance and class of an answer that is of this series and names what can be had there."""
    of_series = _text(identifier, "StudyInstanceUID") in ("", study_uid) and _text(
        identifier, "SeriesInstanceUID"
    ) in ("", series_uid)
    uid = _text(identifier, "SOPInstanceUID")
    if not of_series or not uid or _text(identifier, "InstanceAvailability") == "UNAVAILABLE":
        return None
    return uid, _text(identifier, "SOPClassUID")


def _text(dataset: Dataset, keyword: str) -> str:
    """Return a value without padding; empty where it is absent or damaged."""
    try:
        return str(dataset.get(keyword) or "").strip(" \0")
    except Exception:  # noqa: BLE001 - pydicom raises many kinds of errors on damaged data
        return ""
