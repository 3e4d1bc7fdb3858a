"""pynetdicom's upper layer for the node's own associations, without its polling and most of its copying.

pynetdicom 3.0 reads a PDU in pieces of 4 KiB, copies its content five times, and looks every millisecond, in
two threads for each association, whether something has come. For CT images that was more than half of what
reception cost (docs/performance.md). Here a thread sleeps until there is something to do, and a PDU is read
in one piece. State machine, other PDUs than P-DATA-TF and messages are pynetdicom's own. Only subclasses are
used; `tests/contract/test_upper_layer.py` holds what they rely on.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, cast

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_items import PresentationDataValueItem
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler

#: Timers and ends of other threads are looked at so often, s; whatever comes from the network wakes at once.
_LOOK_S = 0.1
#: Memory is taken for so much at once: a peer may announce 4 GiB and send nothing.
_PIECE_BYTES = 2**20
_P_DATA_TF = 0x04
#: Message Control Header, PS3.8 E.2.
_LAST_OF_COMMAND = b"\x03"
#: Values of Command Field and Command Data Set Type, PS3.7 E.1.
_C_STORE_RSP, _NO_DATA_SET = 0x8001, 0x0101


class QuietRequestHandler(RequestHandler):
    """Gives every accepted connection the classes of this module."""

    def _create_association(self) -> Any:
        association: Any = super()._create_association()
        # None of its threads runs yet, and nothing was read.
        association.dimse = _Messages(association)
        association.dul = _UpperLayer(association)
        association.acse_timeout = association.ae.acse_timeout
        association.network_timeout = association.ae.network_timeout
        association.set_socket(_WholePdus(association, client_socket=self.request))
        return association


class _WholePdus(AssociationSocket):
    """Reads as much as it is asked for with as few calls as possible."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, or fewer where the connection ended."""
        connection = cast(socket.socket, self.socket)
        content, at = bytearray(min(nr_bytes, _PIECE_BYTES)), 0
        while at < nr_bytes:
            if at == len(content):
                content.extend(bytes(min(nr_bytes - at, _PIECE_BYTES)))
            with memoryview(content) as whole, whole[at:] as rest:
                count = connection.recv_into(rest, 0, socket.MSG_WAITALL)
            if not count:
                break
            at += count
        del content[at:]
        return content


class _DataPdu(P_DATA_TF):
    """A P-DATA-TF PDU (PS3.8 9.3.5) whose values lie where they were received."""

    def decode(self, bytestream: bytes | bytearray) -> None:
        """Find the presentation data values.

        Raises
        ------
        ValueError, struct.error
            The lengths do not fit.
        """
        content = memoryview(bytestream)
        at = 6
        while at < len(content):
            length, context_id = struct.unpack_from(">LB", content, at)
            if length < 2 or at + 4 + length > len(content):
                raise ValueError(f"a presentation data value of {length} bytes does not fit into its PDU")
            item: Any = PresentationDataValueItem()
            item.presentation_context_id = context_id
            item.presentation_data_value = content[at + 5 : at + 4 + length]
            self.presentation_data_value_items.append(item)
            at += 4 + length


class _UpperLayer(DULServiceProvider):
    """Waits for the network, for what is to be sent and for the end, instead of looking for them."""

    def __init__(self, assoc: Any) -> None:
        super().__init__(assoc)
        self._run_loop_delay = 0.0
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        self.to_user_queue = _TellingQueue(assoc.dimse.look_up)

    def run_reactor(self) -> None:
        """Run until the association is over."""
        try:
            super().run_reactor()
        finally:
            self._woken.close()
            self._waking.close()

    def send_pdu(self, primitive: Any) -> None:
        """Have a primitive sent."""
        super().send_pdu(primitive)
        self._wake()

    def kill_dul(self) -> None:
        """End the thread."""
        super().kill_dul()
        self._wake()

    def stop_dul(self) -> bool:
        """End the thread and wait for it where the association is over; tell whether it is."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join()
        return True

    def _is_transport_event(self) -> bool:
        if super()._is_transport_event():
            return True
        if self.event_queue.empty():
            self._wait()
        return False

    def _decode_pdu(self, bytestream: bytearray) -> tuple[Any, str]:
        # Nothing listens to pynetdicom's events about single PDUs and bytes; of the others they are told.
        if bytestream[0] != _P_DATA_TF:
            return super()._decode_pdu(bytestream)
        pdu = _DataPdu()
        pdu.decode(bytestream)
        return pdu, "Evt10"

    def _wait(self) -> None:
        connection = self.socket.socket if self.socket is not None else None
        watched = [self._woken] if connection is None else [self._woken, connection]
        try:
            ready, _, _ = select.select(watched, [], [], _LOOK_S)
        except (OSError, ValueError):  # the connection was closed by another thread; the next look finds out
            time.sleep(0.001)
            return
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                while self._woken.recv(4096):
                    pass

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: the thread has ended
            self._waking.send(b"!")


class _Messages(DIMSEServiceProvider):
    """Lets the association's own loop wait for a message instead of asking for it again and again."""

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message, or (None, None) where none came."""
        if block:
            return super().get_msg(block=True)
        try:
            return self.msg_queue.get(timeout=_LOOK_S)
        except queue.Empty:
            return None, None

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; the answer that nearly every C-STORE gets is not built element by element."""
        answer = _success(primitive) if isinstance(primitive, C_STORE) else None
        if answer is None or 0 < self.maximum_pdu_size < len(answer) + 6:
            super().send_msg(primitive, context_id)
            return
        data = P_DATA()
        data.presentation_data_value_list.append((context_id, _LAST_OF_COMMAND + answer))
        self.dul.send_pdu(data)

    def look_up(self) -> None:
        """End a wait: a release or an abort came, which is no message."""
        self.msg_queue.put((None, None))


def _success(response: C_STORE) -> bytes | None:
    """Encode the command set of a C-STORE response with status 0x0000 (PS3.7 9.3.1.2); None for any other."""
    sop_class, instance = response.AffectedSOPClassUID, response.AffectedSOPInstanceUID
    message_id = response.MessageIDBeingRespondedTo
    if response.Status != 0x0000 or message_id is None or not sop_class or not instance:
        return None
    elements = (
        (0x0002, _uid(sop_class)),
        (0x0100, struct.pack("<H", _C_STORE_RSP)),
        (0x0120, struct.pack("<H", message_id)),
        (0x0800, struct.pack("<H", _NO_DATA_SET)),
        (0x0900, struct.pack("<H", 0x0000)),
        (0x1000, _uid(instance)),
    )
    body = b"".join(struct.pack("<HHL", 0x0000, number, len(value)) + value for number, value in elements)
    return struct.pack("<HHLL", 0x0000, 0x0000, 4, len(body)) + body


def _uid(value: str) -> bytes:
    encoded = value.encode("ascii")
    return encoded + b"\0" * (len(encoded) % 2)


class _TellingQueue(queue.Queue[Any]):
    """A queue that tells when something was put."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put and tell."""
        super().put(item, block, timeout)
        self._tell()
