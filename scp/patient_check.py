"""Whether a peer still files a study under the patient that the results name.

An examination may begin under an emergency name or a mistyped Patient ID and be corrected in the PACS while
it is analysed here. Results under the old identity would open a second patient there, or be filed with a
wrong one. So a site may have the PACS asked before each delivery.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from config import PeerSettings, Settings
from core.errors import PeerRefused, PeerUnreachable
from core.patient import IDENTIFICATION
from scp.requestor import open_association

_PENDING = (0xFF00, 0xFF01)
_OWN_IDENTITY = ["SpecificCharacterSet", "StudyInstanceUID", "PatientID", "IssuerOfPatientID"]


@dataclass(frozen=True, slots=True, eq=False)
class Misfiled:
    """A study that a peer files under another patient.

    Parameters
    ----------
    reason
        For people; holds no patient identifiers.
    filed
        The patient's identification there, as it answered; None where it named several.
    """

    reason: str
    filed: Dataset | None


def filed_otherwise(settings: Settings, peer: PeerSettings, results: Iterable[Path]) -> Misfiled | None:
    """Ask a peer under which patient it files the study of some results.

    Parameters
    ----------
    settings, peer
        Own AE title and time limits; whom to ask.
    results
        Part 10 files of one job; the first one that can be read says whose study it is.

    Returns
    -------
    Misfiled or None
        None where the peer files the study under the same Patient ID, or does not know the study; also
        where no file can be read, so that none can be sent either.

    Raises
    ------
    PeerUnreachable
        No association for queries with the peer.
    PeerRefused
        The peer did not answer the query with success, or not legibly.
    """
    own = _own_identity(results)
    if own is None:
        return None
    studies = _studies(settings, peer, str(own.StudyInstanceUID))
    patients = {(_text(one, "PatientID"), _text(one, "IssuerOfPatientID")): one for one in studies}
    if all(_same_patient(one, own) for one in patients.values()):
        return None
    if len(patients) > 1:
        return Misfiled(f"{peer.name} files this study under several patients: correct it there", None)
    return Misfiled(
        f"{peer.name} files this study under another Patient ID or issuer than its images had here: have the "
        "corrected series sent to this node again, or correct the study there",
        studies[0],
    )


def _own_identity(results: Iterable[Path]) -> Dataset | None:
    for path in results:
        with contextlib.suppress(OSError, InvalidDicomError, ValueError, AttributeError, KeyError):
            own = dcmread(path, stop_before_pixels=True, specific_tags=_OWN_IDENTITY)
            if own.get("StudyInstanceUID"):
                return own
    return None


def _same_patient(filed: Dataset, own: Dataset) -> bool:
    """Compare Patient ID, and its issuer where both name one."""
    issuers = {_text(one, "IssuerOfPatientID") for one in (filed, own)} - {""}
    return _text(filed, "PatientID") == _text(own, "PatientID") and len(issuers) < 2


def _studies(settings: Settings, peer: PeerSettings, study_instance_uid: str) -> Sequence[Dataset]:
    """Return what C-FIND (PS3.4 C.4.1, Study Root, STUDY level) finds of a study."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_instance_uid
    for keyword in IDENTIFICATION:
        setattr(query, keyword, "")
    model = StudyRootQueryRetrieveInformationModelFind
    contexts = [(model, ExplicitVRLittleEndian), (model, ImplicitVRLittleEndian)]
    found: list[Dataset] = []
    what = "C-FIND for the study's patient"
    try:
        with open_association(settings, peer, contexts) as association:
            for status, identifier in association.send_c_find(query, model):
                if "Status" not in status:
                    raise PeerUnreachable(f"{peer.name} gave no answer to {what}")
                if status.Status in _PENDING:
                    if identifier is None:
                        raise PeerRefused(f"{peer.name} gave an answer to {what} that cannot be read")
                    found.append(identifier)
                elif status.Status != 0x0000:
                    raise PeerRefused(
                        f"{peer.name} answered {what} with 0x{status.Status:04X}", int(status.Status)
                    )
    except RuntimeError:  # pynetdicom's word for an association that ended
        raise PeerUnreachable(f"{peer.name} ended the association during {what}") from None
    # A peer may answer with more than was asked for; what is of another study says nothing.
    return [one for one in found if str(one.get("StudyInstanceUID", "")).strip() == study_instance_uid]


def _text(dataset: Dataset, keyword: str) -> str:
    """Return a value without padding, empty where it is absent."""
    return str(dataset.get(keyword) or "").strip(" \0")
