"""Delivery by C-STORE (PS3.4 B): an association for each job, with every encoding of its objects proposed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from config import DimsePeerSettings, Settings
from core.errors import DeliveryError, PeerRefused, TransferBroken
from core.patient import IDENTIFICATION
from custody.ledger.deliveries import StoredObject
from scp.limited import FIND_CONTEXTS, FIND_MODEL, TimeLimit, find_all, limited_association
from scp.requestor import open_association
from scp.status import SUCCESS, Verdict, said_by, verdict_of
from scp.transports.protocol import Negotiated

#: A peer that lists more was not asked for them: it does not match by Study Instance UID.
_MOST_STUDIES = 10_000


class DimseTransport:
    """The way to a PACS by C-STORE; it is asked by C-FIND and C-ECHO.

    Parameters
    ----------
    settings, peer
        Own AE title and time limits; where to call.
    """

    def __init__(self, settings: Settings, peer: DimsePeerSettings) -> None:
        self._settings = settings
        self._peer = peer
        # The stored bytes are sent as they are, not decoded and encoded again; the switch is global.
        _config.STORE_SEND_CHUNKED_DATASET = True

    @property
    def address(self) -> str:
        """AE title, host and port."""
        return f"{self._peer.ae_title} at {self._peer.host}:{self._peer.port}"

    @contextmanager
    def session(self, offered: Sequence[StoredObject]) -> Iterator[DimseSession]:
        """Open an association on which the objects may be sent."""
        with open_association(self._settings, self._peer, self._contexts(offered)) as association:
            yield DimseSession(association, self._peer.name)

    def find_study(self, study_instance_uid: str) -> Sequence[Dataset]:
        """Ask with C-FIND (PS3.4 C.4.1, Study Root, STUDY level)."""
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyInstanceUID = study_instance_uid
        for keyword in IDENTIFICATION:
            setattr(query, keyword, "")
        within_s = self._settings.delivery.longest_answer_s
        # Connecting and the answer to the association request have limits of their own.
        limit = TimeLimit(2 * self._settings.delivery.timeout_s + within_s)
        with limited_association(self._settings, self._peer, FIND_CONTEXTS, limit) as association:
            return find_all(
                association,
                self._peer.name,
                query,
                TimeLimit(within_s),
                at_most=_MOST_STUDIES,
                what="C-FIND for the study's patient",
            )

    def echo(self) -> str:
        """Send C-ECHO."""
        contexts = [(Verification, ImplicitVRLittleEndian)]
        with open_association(self._settings, self._peer, contexts) as association:
            answer = association.send_c_echo()
        if "Status" not in answer:
            raise DeliveryError(f"{self._peer.name} accepted the association but gave no answer")
        if answer.Status != SUCCESS:
            raise DeliveryError(f"{self._peer.name} answered C-ECHO with 0x{answer.Status:04X}")
        return f"{self.address} answers and knows our AE title"

    def negotiate(self, sop_classes: Sequence[str], transfer_syntaxes: Sequence[str]) -> Negotiated:
        """Open an association for everything, and look at what was accepted."""
        contexts = [(sop_class, transfer) for sop_class in sop_classes for transfer in transfer_syntaxes]
        accepted: dict[str, set[str]] = {}
        with open_association(self._settings, self._peer, [*contexts, *FIND_CONTEXTS]) as association:
            for context in association.accepted_contexts:
                syntaxes = accepted.setdefault(str(context.abstract_syntax), set())
                syntaxes.add(str(context.transfer_syntax[0]))
        return Negotiated(
            {uid: frozenset(syntaxes) for uid, syntaxes in accepted.items() if uid != FIND_MODEL},
            FIND_MODEL in accepted,
        )

    def _contexts(self, offered: Sequence[StoredObject]) -> list[tuple[str, str]]:
        deflated = (DeflatedExplicitVRLittleEndian,) if self._peer.deflated else ()
        contexts = [
            (one.sop_class_uid, str(transfer))
            for one in offered
            for transfer in (
                *deflated,
                _stored_syntax(one.path),
                ExplicitVRLittleEndian,
                ImplicitVRLittleEndian,
            )
        ]
        return list(dict.fromkeys(contexts))


class DimseSession:
    """An association with a PACS.

    Parameters
    ----------
    association
        Established.
    peer
        Its name.
    """

    def __init__(self, association: Any, peer: str) -> None:
        self._association = association
        self._peer = peer
        self._syntaxes: dict[str, set[str]] = {}
        for context in association.accepted_contexts:
            known = self._syntaxes.setdefault(str(context.abstract_syntax), set())
            known.add(str(context.transfer_syntax[0]))

    @property
    def accepted(self) -> Collection[str]:
        """SOP classes of the accepted presentation contexts."""
        return self._syntaxes.keys()

    def send(self, sent: StoredObject) -> int:
        """Send C-STORE."""
        ended = f"{self._peer} ended the association in the middle of the transfer"
        if not self._association.is_established:
            raise TransferBroken(ended)
        payload = _payload(sent.path, self._syntaxes.get(sent.sop_class_uid, ()))
        try:
            answer = self._association.send_c_store(payload)
        except RuntimeError:  # pynetdicom's word for an association that ended since the check above
            raise TransferBroken(ended) from None
        if "Status" not in answer:
            raise TransferBroken(f"{self._peer} gave no answer to C-STORE")
        status = int(answer.Status)
        if verdict_of(status) is not Verdict.DELIVERED:
            comment = str(answer.get("ErrorComment", "")).strip()
            raise PeerRefused(said_by(self._peer, status, comment), status)
        return status


def _payload(path: Path, accepted: Collection[str]) -> Any:
    """Return the object in the best transfer syntax that the peer accepted for it.

    Deflated is accepted only where it was proposed. A path is sent as it is stored; a data set is encoded by
    the library for the context of its transfer syntax, Implicit VR where that is all that is left.
    """
    stored = _stored_syntax(path)
    compressed = UID(stored).is_compressed
    if str(DeflatedExplicitVRLittleEndian) in accepted and not compressed:
        result = dcmread(path)
        result.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        return result
    if stored in accepted:
        return path
    result = dcmread(path)
    if compressed:
        result.decompress(generate_instance_uid=False)  # it is the same object
    return result


def _stored_syntax(path: Path) -> str:
    """Return the transfer syntax of a stored object; that of most where the file cannot be read."""
    try:
        return str(read_file_meta_info(path).TransferSyntaxUID)
    except (OSError, InvalidDicomError, AttributeError, ValueError, KeyError):
        return str(ExplicitVRLittleEndian)  # sending it will say what is wrong with the file
