"""The least of DICOM's upper layer that sending and answering C-STORE takes, over plain sockets (PS3.8 9.3).

Whatever can be made before the clock starts is made before: a message is one block of PDUs in which only the
UIDs change. What is left of a sender is the kernel's copying.
"""

from __future__ import annotations

import itertools
import socket
import struct
from dataclasses import dataclass
from typing import Self

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.helpers.instances import ct_image, encoded

EDGE = 512
#: Scanners write that many, and more.
_PRIVATE_ELEMENTS = 100
#: What the sender would take itself; nothing is sent to it but short answers.
_MAX_PDU = 1 << 20
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_IMPLEMENTATION = "2.25.190146791043182537444806132342625375407"
_CONTEXT_ID, _MESSAGE_ID = 1, 1
_RQ, _AC, _P_DATA, _RELEASE_RQ, _RELEASE_RP = 0x01, 0x02, 0x04, 0x05, 0x06
_COMMAND, _LAST = 0x01, 0x02
_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001
_STATUS = (0x0000, 0x0900)
_TIMEOUT_S = 60.0


class PeerError(Exception):
    """A peer did not do what the measurement needs."""


def uid(number: int) -> str:
    """Return a UID that is as long as all others made here."""
    return f"2.25.1{number:030d}"


_INSTANCE, _SERIES, _STUDY = (uid(int(str(digit) * 30)) for digit in (7, 8, 9))


@dataclass(slots=True)
class Link:
    """An association with a Storage SCP.

    Parameters
    ----------
    connection
        The socket.
    max_pdu
        Maximum length of what the peer receives, 0 for no limit (PS3.8 D.1).
    """

    connection: socket.socket
    max_pdu: int = 0

    @classmethod
    def open(cls, port: int, calling: str, called: str) -> Self:
        """Associate with a peer on the loopback interface, for CT in explicit VR little endian."""
        connection = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = cls(connection)
        connection.sendall(_associate_rq(calling, called))
        kind, content = link.receive()
        if kind != _AC:
            raise PeerError(f"the association was not accepted: PDU type {kind}")
        link.max_pdu = _max_pdu_of(content)
        return link

    def receive(self) -> tuple[int, memoryview]:
        """Return type and content of the next PDU."""
        head = bytearray(6)
        self.fill(memoryview(head))
        kind, length = struct.unpack(">BxL", head)
        content = memoryview(bytearray(length))
        self.fill(content)
        return kind, content

    def store(self, message: bytearray) -> None:
        """Send a C-STORE and wait for its answer, which has to be 0x0000."""
        self.connection.sendall(message)
        kind, content = self.receive()
        if kind != _P_DATA:
            raise PeerError(f"no answer but PDU type {kind}")
        status = _status_of(content[6:])
        if status != 0x0000:
            raise PeerError(f"status 0x{status:04X}")

    def release(self) -> None:
        """Release the association and close the connection."""
        self.connection.sendall(_pdu(_RELEASE_RQ, b"\0" * 4))
        self.receive()
        self.connection.close()

    def fill(self, buffer: memoryview) -> None:
        """Receive as many bytes as the buffer holds."""
        while buffer:
            # Or a peer that answers in two pieces would wait 40 ms between them for our acknowledgement.
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            count = self.connection.recv_into(buffer)
            if not count:
                raise PeerError("the peer closed the connection")
            buffer = buffer[count:]


class Messages:
    """C-STORE requests of one sender: a fresh SOP Instance UID each, a fresh series now and then.

    Parameters
    ----------
    max_pdu
        Maximum length of the peer's PDUs.
    first
        UIDs are made of this number and the following ones.
    per_series
        Instances of a series.
    """

    def __init__(self, max_pdu: int, first: int, per_series: int = 100) -> None:
        self._numbers = itertools.count(first)
        self._per_series = per_series
        self._sent = 0
        self._wire = bytearray(_store_rq(max_pdu))
        self._instance_at = _every(self._wire, _INSTANCE)
        self._series_at = _every(self._wire, _SERIES)
        self._put(_every(self._wire, _STUDY), uid(next(self._numbers)))

    def next(self) -> bytearray:
        """Return the next request; the buffer is used again."""
        if self._sent % self._per_series == 0:
            self._put(self._series_at, uid(next(self._numbers)))
        self._put(self._instance_at, uid(next(self._numbers)))
        self._sent += 1
        return self._wire

    def _put(self, places: list[int], text: str) -> None:
        for place in places:
            self._wire[place : place + len(text)] = text.encode("ascii")


def accept(link: Link) -> None:
    """Accept whatever association is asked for: the null sink's side."""
    _, request = link.receive()
    link.connection.sendall(
        _pdu(
            _AC,
            bytes(request[:68])
            + _item(0x10, _APPLICATION_CONTEXT.encode())
            + _item(0x21, bytes((_CONTEXT_ID, 0, 0, 0)) + _item(0x40, ExplicitVRLittleEndian.encode()))
            + _user_information(),
        )
    )


def swallow(link: Link) -> None:
    """Answer every C-STORE with 0x0000 and keep nothing, until the association is released."""
    success = _store_rsp()
    buffer = memoryview(bytearray(_MAX_PDU))
    head = memoryview(bytearray(6))
    while True:
        link.fill(head)
        kind, length = struct.unpack(">BxL", head)
        link.fill(buffer[:length])
        if kind == _RELEASE_RQ:
            link.connection.sendall(_pdu(_RELEASE_RP, b"\0" * 4))
            return
        if buffer[5] == _LAST:
            link.connection.sendall(success)


def instance_bytes() -> int:
    """Return the size of a data set as it travels."""
    return len(_data_set())


def _data_set() -> bytes:
    pixels = bytes(range(256)) * (EDGE * EDGE * 2 // 256)
    image = ct_image(Rows=EDGE, Columns=EDGE, PixelData=pixels)
    image.SOPInstanceUID, image.SeriesInstanceUID, image.StudyInstanceUID = _INSTANCE, _SERIES, _STUDY
    block = image.private_block(0x0019, "LESION-NODE BENCHMARK", create=True)
    for number in range(_PRIVATE_ELEMENTS):
        block.add_new(number, "LO", f"value {number}")
    return encoded(image, ExplicitVRLittleEndian)


def _store_rq(max_pdu: int) -> bytes:
    elements = (
        (0x0002, _text(CTImageStorage)),
        (0x0100, _us(_C_STORE_RQ)),
        (0x0110, _us(_MESSAGE_ID)),
        (0x0700, _us(0)),  # Priority: medium
        (0x0800, _us(1)),  # Command Data Set Type: there is one
        (0x1000, _text(_INSTANCE)),
    )
    room = (max_pdu or _MAX_PDU) - 6
    data = _data_set()
    starts = range(0, len(data), room)
    return _pdv(_command(elements), _COMMAND | _LAST) + b"".join(
        _pdv(data[at : at + room], _LAST if at == starts[-1] else 0) for at in starts
    )


def _store_rsp() -> bytes:
    elements = ((0x0002, _text(CTImageStorage)), (0x0100, _us(_C_STORE_RSP)), (0x0120, _us(_MESSAGE_ID)))
    return _pdv(_command((*elements, (0x0800, _us(0x0101)), (0x0900, _us(0)))), _COMMAND | _LAST)


def _associate_rq(calling: str, called: str) -> bytes:
    context = _item(0x30, CTImageStorage.encode()) + _item(0x40, ExplicitVRLittleEndian.encode())
    return _pdu(
        _RQ,
        struct.pack(">Hxx16s16s32x", 1, called.ljust(16).encode(), calling.ljust(16).encode())
        + _item(0x10, _APPLICATION_CONTEXT.encode())
        + _item(0x20, bytes((_CONTEXT_ID, 0, 0, 0)) + context)
        + _user_information(),
    )


def _user_information() -> bytes:
    return _item(0x50, _item(0x51, struct.pack(">L", _MAX_PDU)) + _item(0x52, _IMPLEMENTATION.encode()))


def _max_pdu_of(accepted: memoryview) -> int:
    """Return the Maximum Length of an A-ASSOCIATE-AC; fail where the presentation context was refused."""
    items = dict(_items(accepted[68:]))
    if items[0x21][2] != 0:
        raise PeerError("the presentation context was refused")
    return int(struct.unpack(">L", dict(_items(items[0x50]))[0x51])[0])


def _items(data: memoryview) -> list[tuple[int, memoryview]]:
    found = []
    while data:
        kind, length = struct.unpack_from(">BxH", data)
        found.append((kind, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def _status_of(command: memoryview) -> int:
    while command:
        group, element, length = struct.unpack_from("<HHL", command)
        if (group, element) == _STATUS:
            return int(struct.unpack_from("<H", command, 8)[0])
        command = command[8 + length :]
    raise PeerError("an answer without Status")


def _pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(content)) + content


def _pdv(fragment: bytes, control: int) -> bytes:
    return _pdu(_P_DATA, struct.pack(">LBB", len(fragment) + 2, _CONTEXT_ID, control) + fragment)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _command(elements: tuple[tuple[int, bytes], ...]) -> bytes:
    body = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _text(value: str) -> bytes:
    return value.encode("ascii") + b"\0" * (len(value) % 2)


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _every(wire: bytearray, text: str) -> list[int]:
    """Return every place of a UID; one that lay across two PDUs would not be found."""
    places, at = [], wire.find(text.encode("ascii"))
    while at >= 0:
        places.append(at)
        at = wire.find(text.encode("ascii"), at + 1)
    return places
