"""Scripted DICOM peers on real sockets: a sender of bytes as they are, a PACS that answers as told."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import Any, Self

import pydicom.config
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from core.ct_header import CT_IMAGE_STORAGE
from scp.requestor import send_at_once
from tests.helpers.instances import encoded

#: One presentation context for CT in the plainest encoding.
CT_CONTEXT = ((CT_IMAGE_STORAGE, (str(ExplicitVRLittleEndian),)),)


@dataclass(frozen=True, slots=True)
class Store:
    """A C-STORE request, byte for byte.

    Parameters
    ----------
    data
        The encoded data set.
    sop_instance_uid, sop_class_uid
        Of the command; they need not be those of the data set, nor be UIDs.
    syntax
        Transfer syntax of the presentation context to use.
    originator
        Move Originator AE title and message id.
    """

    data: bytes
    sop_instance_uid: str
    sop_class_uid: str = CT_IMAGE_STORAGE
    syntax: str = ExplicitVRLittleEndian
    originator: tuple[str, int] | None = None

    @classmethod
    def of(cls, ds: Dataset, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> Store:
        """Return the request that a faithful sender makes for a data set."""
        values = {"sop_instance_uid": str(ds.SOPInstanceUID), "sop_class_uid": str(ds.SOPClassUID)}
        return cls(**{"data": encoded(ds, syntax), **values, "syntax": syntax, **changes})


@dataclass(frozen=True, slots=True)
class Scanner:
    """Where and as whom a sender calls."""

    port: int
    calling: str = "CT1"
    called: str = "LESIONNODE"
    host: str = "127.0.0.1"

    def request(self, contexts: Sequence[tuple[str, Sequence[str]]] = CT_CONTEXT) -> Any:
        """Request an association and return it, established or not."""
        entity = AE(ae_title=self.calling)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 20
        for abstract, transfer in contexts:
            entity.add_requested_context(abstract, list(transfer))
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, send_at_once)]
        return entity.associate(self.host, self.port, ae_title=self.called, evt_handlers=handlers)

    @contextmanager
    def association(self, contexts: Sequence[tuple[str, Sequence[str]]] = CT_CONTEXT) -> Iterator[Any]:
        """Open an association and release it at the end."""
        association = self.request(contexts)
        if not association.is_established:
            raise ConnectionError("the node did not accept the association")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def send(self, *requests: Store) -> list[int]:
        """Send on an association of its own; return the statuses, −1 where no answer came."""
        contexts = dict.fromkeys((one.sop_class_uid, (one.syntax,)) for one in requests)
        with self.association(tuple(contexts)) as association:
            return [store(association, one) for one in requests]

    def send_images(self, datasets: Sequence[Dataset]) -> list[int]:
        """Send data sets in explicit VR little endian on an association of its own."""
        return self.send(*(Store.of(ds) for ds in datasets))


def store(association: Any, request: Store) -> int:
    """Send one C-STORE and return its status, −1 where the association ended instead."""
    return int(getattr(answer_to(association, request), "Status", -1))


def answer_to(association: Any, request: Store) -> Any:
    """Send one C-STORE and return the response primitive, None where none came."""
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.0005)
    association.dimse.send_msg(_primitive(request), _context_id(association, request))
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return answer


def break_off(association: Any, request: Store, *, after_pdus: int) -> None:
    """Send the first PDUs of a C-STORE and then abort."""
    message = C_STORE_RQ()
    message.primitive_to_message(_primitive(request))
    context_id = _context_id(association, request)
    for number, pdata in enumerate(message.encode_msg(context_id, 4096)):
        if number == after_pdus:
            break
        association.dul.send_pdu(pdata)
    else:
        raise ValueError("the data set is too small to be broken off there")
    association.abort()


def _primitive(request: Store) -> C_STORE:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 1, 2
    primitive.AffectedSOPClassUID = request.sop_class_uid
    # Past the library's checks: a broken or hostile sender makes none.
    primitive._affected_sop_instance_uid = UID(request.sop_instance_uid, validation_mode=0)
    if request.originator is not None:
        title, message_id = request.originator
        primitive.MoveOriginatorApplicationEntityTitle = title
        primitive.MoveOriginatorMessageID = message_id
    primitive.DataSet = BytesIO(request.data)
    return primitive


def _context_id(association: Any, request: Store) -> int:
    for context in association.accepted_contexts:
        same = context.abstract_syntax == request.sop_class_uid
        if same and context.transfer_syntax[0] == request.syntax:
            return int(context.context_id)
    raise ValueError("no accepted presentation context fits the request")


@dataclass(frozen=True, slots=True)
class Arrived:
    """One C-STORE as the scripted PACS got it."""

    sop_class_uid: str
    sop_instance_uid: str
    syntax: str
    data: bytes
    calling: str
    association: int


def _says_success(_number: int, _arrived: Arrived) -> int:
    return 0x0000


@dataclass(eq=False)
class ScriptedPacs:
    """A Storage SCP that does what its script says.

    Parameters
    ----------
    ae_title
        What it is called.
    contexts
        What it accepts.
    answer
        Status for the n-th request (from 0); −1 aborts the association instead.
    reject
        A-ASSOCIATE-RJ result, source and reason for every caller, None to accept.
    listen_on
        Its port; 0 for any free one.
    associations, most_at_once
        How many there were, and the most that were open at the same moment.
    """

    ae_title: str = "PACS"
    contexts: Sequence[PresentationContext] = ()
    answer: Callable[[int, Arrived], int] = _says_success
    reject: tuple[int, int, int] | None = None
    listen_on: int = 0
    associations: int = 0
    most_at_once: int = 0
    _open: set[int] = field(default_factory=set)
    arrived: list[Arrived] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: Any = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.socket.getsockname()[1])

    def __enter__(self) -> Self:
        entity = AE(ae_title=self.ae_title)
        entity.supported_contexts = list(self.contexts)
        self._server = entity.start_server(
            ("127.0.0.1", self.listen_on),
            block=False,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_ACCEPTED, self._accepted),
                (evt.EVT_RELEASED, self._ended),
                (evt.EVT_ABORTED, self._ended),
                (evt.EVT_C_STORE, self._store),
            ],
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()

    def _requested(self, event: Any) -> None:
        if self.reject is not None:
            event.assoc.acse.send_reject(*self.reject)
            event.assoc.kill()

    def _accepted(self, event: Any) -> None:
        with self._lock:
            self.associations += 1
            self._open.add(id(event.assoc))
            self.most_at_once = max(self.most_at_once, len(self._open))

    def _ended(self, event: Any) -> None:
        with self._lock:
            self._open.discard(id(event.assoc))

    def _store(self, event: Any) -> int:
        one = Arrived(
            str(event.request.AffectedSOPClassUID),
            str(event.request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
            event.request.DataSet.getvalue(),
            str(event.assoc.requestor.ae_title).strip(),
            id(event.assoc),
        )
        with self._lock:
            self.arrived.append(one)
            number = len(self.arrived) - 1
        status = self.answer(number, one)
        if status < 0:
            event.assoc.abort()
            return 0xC000
        return status


#: pynetdicom does not close the socket of a connection that the other side ended first; it leaves it to the
#: garbage collector, which warns. A module with network tests bears this mark and collects at its end.
LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def network_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the libraries' global switches back for a test, and let servers stop at once."""
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    monkeypatch.setattr(_config, "LOG_HANDLER_LEVEL", _config.LOG_HANDLER_LEVEL)
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", False)
    monkeypatch.setattr(pydicom.config.settings, "_reading_validation_mode", None)
    serve = socketserver.BaseServer.serve_forever
    monkeypatch.setattr(socketserver.BaseServer, "serve_forever", lambda server: serve(server, 0.02))


def contexts_for(*sop_classes: str, syntaxes: Sequence[str] = (ExplicitVRLittleEndian,)) -> list[Any]:
    """Return presentation contexts that a PACS accepts."""
    return [build_context(sop_class, list(syntaxes)) for sop_class in sop_classes]
