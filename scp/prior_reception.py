"""Images that a PACS sends because this node asked for them: kept like others, but of a source of their own.

So nobody gets results of them, and the analysis of an earlier scan asks for no earlier one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from config import Settings
from core.errors import DataSetError
from core.uid import patient_digest
from custody.ledger import Ledger, new_id, prior_arrivals, reception
from custody.ledger.prior_arrivals import Arriving
from custody.ledger.prior_waits import PRIORS_SOURCE
from custody.ledger.reception import Caller
from scp.answer_values import text_of
from scp.dataset_walk import walk
from scp.reception import StoreRequest

_TAGS = frozenset(
    int(Tag(keyword))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID", "IssuerOfPatientID")
)


class PriorReception:
    """Tells images that were asked for from others.

    Parameters
    ----------
    settings, ledger
        The node's.
    process
        Identity of this process in the ledger.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, process: str, now: Callable[[], float] = time.time
    ) -> None:
        self._ledger = ledger
        self._process = process
        self._now = now
        peers = settings.prior_peers
        self._asks = bool(peers)
        self._own_titles = {str(peer.calling_ae_title or settings.node.ae_title) for peer in peers}
        self._asked_titles = {str(peer.ae_title) for peer in peers}
        self._beside: dict[Any, Caller] = {}
        self._lock = threading.Lock()

    def caller_of(self, association: Any, caller: Caller, request: StoreRequest) -> Caller | None:
        """Return as whom an image is to be kept; None where its sender may send only what was asked for.

        A sender that is a source may send anything. What it sends is an earlier scan where the command names
        this node and one of its requests as move originator, and the image is of the series of that request.
        From a PACS that is no source, the series has to be one that was asked for; some name no originator.
        """
        is_source = caller.source != PRIORS_SOURCE
        if is_source and not (self._asks and self._may_be_an_answer(caller, request)):
            return caller
        image = self._arriving(request, is_source=is_source)
        if image is None or not prior_arrivals.is_expected(self._ledger, image, self._now()):
            if image is not None and not is_source:
                prior_arrivals.tell_of_stranger(self._ledger, image)
            return caller if is_source else None
        return self._as_prior(association, caller) if is_source else caller

    def _may_be_an_answer(self, caller: Caller, request: StoreRequest) -> bool:
        originator = request.move_originator_ae_title
        if originator is None:
            return caller.calling_ae_title in self._asked_titles
        return originator in {*self._own_titles, caller.calling_ae_title}

    def _arriving(self, request: StoreRequest, *, is_source: bool) -> Arriving | None:
        """Describe an image as one that may have been asked for; None where it says too little."""
        header = header_of(request)
        uids = None if header is None else uids_in(header)
        if header is None or uids is None:
            return None
        originator = request.move_originator_ae_title
        # The standard wants our title there, and only this node can have asked under it. Some PACS name
        # themselves, and may have been asked by others too; some name nobody.
        named_itself = originator is not None and originator not in self._own_titles
        return Arriving(
            *uids,
            patient_digest(text_of(header, "PatientID"), text_of(header, "IssuerOfPatientID")),
            message_id=request.move_originator_message_id if named_itself and is_source else None,
            only_now=is_source and originator is None,
        )

    def closed(self, association: Any, ended: str) -> None:
        """Take note that an association ended."""
        with self._lock:
            beside = self._beside.pop(association, None)
        if beside is not None:
            reception.close_association(self._ledger, beside.association_id, ended, self._now())

    def open_now(self) -> list[str]:
        """Return the ids of the associations that were recorded here."""
        with self._lock:
            return [caller.association_id for caller in self._beside.values()]

    def _as_prior(self, association: Any, caller: Caller) -> Caller:
        """Return a second caller on an association on which both kinds of images may come."""
        with self._lock:
            known = self._beside.get(association)
            if known is not None:
                return known
            beside = replace(caller, association_id=new_id(), source=PRIORS_SOURCE)
            reception.open_association(self._ledger, beside, self._process, self._now())
            self._beside[association] = beside
            return beside


def header_of(request: StoreRequest) -> Dataset | None:
    """Read what tells of which series and patient a data set is; None where that is not legible."""
    try:
        walked = walk(request.data, request.transfer_syntax_uid, _TAGS)
        return read_dataset(BytesIO(walked.wanted), walked.implicit_vr, walked.little_endian)
    except (DataSetError, ValueError, OSError, EOFError):
        return None


def uids_in(header: Dataset) -> tuple[str, str] | None:
    """Return Study and Series Instance UID; None where one is missing."""
    uids = text_of(header, "StudyInstanceUID"), text_of(header, "SeriesInstanceUID")
    return uids if all(uids) else None
