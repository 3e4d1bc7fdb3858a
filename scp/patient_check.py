"""Whether a peer still files a study under the patient that the results name.

An examination may begin under an emergency name or a mistyped Patient ID and be corrected in the PACS while
it is analysed here. Results under the old identity would open a second patient there, or be filed with a
wrong one. So a site may have the PACS asked before each delivery.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from scp.answer_values import whole_text_of
from scp.transports import Transport

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


def filed_otherwise(transport: Transport, peer: str, results: Iterable[Path]) -> Misfiled | None:
    """Ask a peer under which patient it files the study of some results.

    Parameters
    ----------
    transport, peer
        The way to it, and its name.
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
        No session for queries with the peer.
    PeerRefused
        The peer did not answer the query with success, or not legibly.
    """
    own = _own_identity(results)
    if own is None:
        return None
    study = str(own.StudyInstanceUID)
    # A peer may answer with more than was asked for; what is of another study says nothing.
    studies = [one for one in transport.find_study(study) if whole_text_of(one, "StudyInstanceUID") == study]
    patients = {
        (whole_text_of(one, "PatientID"), whole_text_of(one, "IssuerOfPatientID")): one for one in studies
    }
    if all(_same_patient(one, own) for one in patients.values()):
        return None
    if len(patients) > 1:
        return Misfiled(f"{peer} files this study under several patients: correct it there", None)
    return Misfiled(
        f"{peer} files this study under another Patient ID or issuer than its images had here: have the "
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
    issuers = {whole_text_of(one, "IssuerOfPatientID") for one in (filed, own)} - {""}
    return whole_text_of(filed, "PatientID") == whole_text_of(own, "PatientID") and len(issuers) < 2
