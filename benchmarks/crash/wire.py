"""A C-STORE client on a bare socket: it sends bytes as they are, and notices a killed node at once."""

from __future__ import annotations

import socket
import struct
from io import BytesIO
from types import TracebackType
from typing import Self

from pydicom.filereader import read_dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from core.uid import IMPLEMENTATION_CLASS_UID

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_CONTEXT_ID = 1
_MAX_PDU = 16384
#: PDU types, PS3.8 9.3.
_ACCEPTED, _DATA, _RELEASED = 0x02, 0x04, 0x06


class BrokenOff(Exception):
    """The association ended, or none came about: what was not acknowledged has to be sent again."""


class Line:
    """One association for CT images in explicit VR little endian.

    Parameters
    ----------
    port
        Of the node, on the loopback interface.
    calling, called
        AE titles.
    timeout_s
        For each answer.

    Raises
    ------
    BrokenOff
        No association.
    """

    def __init__(self, port: int, calling: str, called: str, timeout_s: float = 20.0) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        except OSError as error:
            raise BrokenOff(str(error)) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._send(_association_request(calling, called))
            kind, _ = self._receive()
            if kind != _ACCEPTED:
                raise BrokenOff(f"the association was answered with PDU type {kind}")
        except BrokenOff:
            self._socket.close()
            raise

    def store(self, sop_instance_uid: str, data: bytes) -> int:
        """Send one data set; return the status of the answer.

        Raises
        ------
        BrokenOff
            No answer came.
        """
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID = CTImageStorage
        request.AffectedSOPInstanceUID = UID(sop_instance_uid)
        request.DataSet = BytesIO(data)
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        for fragment in message.encode_msg(_CONTEXT_ID, _MAX_PDU):
            pdu = P_DATA_TF()
            pdu.from_primitive(fragment)
            self._send(pdu.encode())
        kind, body = self._receive()
        if kind != _DATA:
            raise BrokenOff(f"C-STORE was answered with PDU type {kind}")
        # Item length, context id and message control header come first, PS3.8 9.3.5.1 and annex E.
        return int(read_dataset(BytesIO(body[6:]), is_implicit_VR=True, is_little_endian=True).Status)

    def release(self) -> None:
        """End in order; all was acknowledged before, so it does not matter whether the answer comes."""
        try:
            self._send(A_RELEASE_RQ().encode())
            self._receive()
        except BrokenOff:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _send(self, pdu: bytes) -> None:
        try:
            self._socket.sendall(pdu)
        except OSError as error:
            raise BrokenOff(str(error)) from None

    def _receive(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBL", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            try:
                chunk = self._socket.recv(count - len(received))
            except OSError as error:
                raise BrokenOff(str(error)) from None
            if not chunk:
                raise BrokenOff("the connection was closed")
            received += chunk
        return received


def _association_request(calling: str, called: str) -> bytes:
    """Encode an A-ASSOCIATE-RQ, PS3.8 9.3.2."""
    context = build_context(CTImageStorage, ExplicitVRLittleEndian)
    context.context_id = _CONTEXT_ID
    longest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    longest.maximum_length_received = _MAX_PDU
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    request = A_ASSOCIATE()
    request.application_context_name = UID(_APPLICATION_CONTEXT)
    request.calling_ae_title, request.called_ae_title = calling, called
    request.presentation_context_definition_list = [context]
    request.user_information = [longest, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return bytes(pdu.encode())
