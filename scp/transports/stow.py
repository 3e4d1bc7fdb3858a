"""Delivery by STOW-RS (PS3.18 10.5): one request for each object, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID

from config import DicomwebPeerSettings, Settings
from core.errors import PeerRefused
from core.patient import IDENTIFICATION
from custody.ledger.deliveries import StoredObject
from scp.status import SUCCESS, Verdict, said_by, verdict_of
from scp.transports.http_words import http_words
from scp.transports.protocol import Negotiated
from scp.transports.stow_answer import outcome_of
from scp.transports.web_client import WebClient

#: PS3.18 table I.2-2: the peer does not take this transfer syntax.
_TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122
#: PS3.18 table 10.5.3-1: all stored, some, none; what became of each stands in the body.
_WITH_OUTCOMES = (200, 202, 409)


class StowTransport:
    """The way to a DICOMweb service by STOW-RS; it is asked by QIDO-RS.

    Parameters
    ----------
    settings, peer
        Time limits; where to call, and with which credentials.
    """

    def __init__(self, settings: Settings, peer: DicomwebPeerSettings) -> None:
        self._settings = settings
        self._peer = peer

    @property
    def address(self) -> str:
        """Its URL; credentials are never part of it."""
        return self._peer.url

    @contextmanager
    def session(self, offered: Sequence[StoredObject]) -> Iterator[StowSession]:
        """Open a session; nothing is sent yet, for there is no negotiation."""
        with self._client() as client:
            yield StowSession(client, frozenset(one.sop_class_uid for one in offered))

    def find_study(self, study_instance_uid: str) -> list[Dataset]:
        """Ask with QIDO-RS (PS3.18 10.6)."""
        filters = {"StudyInstanceUID": study_instance_uid}
        found = self._search(search_filters=filters, fields=list(IDENTIFICATION))
        try:
            return [_identified(one) for one in found]
        except Exception:  # noqa: BLE001 - border: whatever a foreign answer breaks in the library
            raise self._illegible() from None

    def echo(self) -> str:
        """Ask for any study with QIDO-RS."""
        self._search(limit=1)
        return f"{self.address} answers QIDO-RS and accepts us"

    def negotiate(
        self,
        sop_classes: Sequence[str],  # noqa: ARG002 - there is nobody to ask about them
        transfer_syntaxes: Sequence[str],  # noqa: ARG002
    ) -> Negotiated:
        """Find out whether it answers at all: STOW-RS has no negotiation."""
        try:
            self.echo()
        except PeerRefused:
            return Negotiated(None, answers_queries=False)
        return Negotiated(None, answers_queries=True)

    def _search(self, **keys: Any) -> list[dict[str, Any]]:
        with self._client() as client:
            found: list[dict[str, Any]] = []

            def search() -> None:
                found.extend(client.search_for_studies(**keys))

            try:
                answer = client.ask(search)
            except (ValueError, TypeError, AttributeError):  # what the library meets in a page of HTML
                raise self._illegible() from None
            if not 200 <= answer.status < 300:
                raise PeerRefused(http_words(answer.status, self._peer))
            if not all(isinstance(one, dict) for one in found):
                raise self._illegible()
            return found

    def _illegible(self) -> PeerRefused:
        return PeerRefused(
            f"{self._peer.name} ({self.address}) gave an answer to the query for studies that cannot be "
            "read: is url that of its DICOMweb service?"
        )

    @contextmanager
    def _client(self) -> Iterator[WebClient]:
        client = WebClient(self._settings, self._peer)
        try:
            yield client
        finally:
            client.close()


class StowSession:
    """Requests to one DICOMweb service.

    Parameters
    ----------
    client
        Of the service.
    accepted
        SOP classes that may be sent.
    """

    def __init__(self, client: WebClient, accepted: frozenset[str]) -> None:
        self._client = client
        self._accepted = accepted

    @property
    def accepted(self) -> Collection[str]:
        """Everything: what a service does not take, it says to the object."""
        return self._accepted

    def send(self, sent: StoredObject) -> int:
        """Send one object as it is stored; without compression where the peer cannot take that."""
        # The service is told nothing of the object beforehand, so a damaged file has to be found here.
        compressed = UID(read_file_meta_info(sent.path).TransferSyntaxUID).is_compressed
        try:
            return self._post(sent, sent.path.read_bytes())
        except PeerRefused as error:
            if error.status != _TRANSFER_SYNTAX_NOT_SUPPORTED or not compressed:
                raise
            return self._post(sent, _decompressed(sent.path))

    def _post(self, sent: StoredObject, content: bytes) -> int:
        peer = self._client.peer
        answer = self._client.ask(lambda: self._client.store_file(content))
        outcome = outcome_of(answer.body, sent.sop_instance_uid)
        if answer.status not in _WITH_OUTCOMES or (outcome is None and answer.status == 409):
            raise PeerRefused(http_words(answer.status, peer))
        if outcome is None:
            raise PeerRefused(
                f"{peer.name} ({peer.url}) answered HTTP {answer.status} but does not say that it stored the "
                "object: is url that of its DICOMweb service?"
            )
        if outcome.stored:
            return outcome.status or SUCCESS
        if outcome.status is None:
            raise PeerRefused(f"{peer.name} did not store the object and gave no reason")
        # A number from the range of warnings as the reason of a failure is still a failure.
        is_failure = verdict_of(outcome.status) is not Verdict.DELIVERED
        raise PeerRefused(said_by(peer.name, outcome.status), outcome.status if is_failure else None)


def _decompressed(path: Path) -> bytes:
    """Return a file with its pixels uncompressed: the same object, so under the same UID (PS3.5 10)."""
    result = dcmread(path)
    result.decompress(generate_instance_uid=False)
    buffer = BytesIO()
    dcmwrite(buffer, result, enforce_file_format=True)
    return buffer.getvalue()


def _identified(found: dict[str, Any]) -> Dataset:
    """Return an answer in DICOM JSON as a data set of bytes in UTF-8, as one from a DIMSE peer would be."""
    wanted = {"0020000D", *(f"{Tag(keyword):08X}" for keyword in IDENTIFICATION)}
    dataset = Dataset.from_json({tag: element for tag, element in found.items() if tag in wanted})
    dataset.SpecificCharacterSet = "ISO_IR 192"
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)
