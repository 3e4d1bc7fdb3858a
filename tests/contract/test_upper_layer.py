"""The upper layer under the node's associations: the same bytes and manners as pynetdicom's, no polling."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID, CTImageStorage
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from benchmarks import wire
from benchmarks.wire import Link, Messages
from custody.spool import Spool
from scp import upper_layer
from scp.receiver import Receiver
from scp.reception import Reception
from tests.helpers.dicom_peers import LEAVES_SOCKETS, Scanner
from tests.helpers.instances import ct_image, fresh_ledger, settings_for

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

P_DATA, ABORT = 0x04, 0x07


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver in this process that admits CT1."""
    settings = settings_for(tmp_path)
    with fresh_ledger(tmp_path) as ledger:
        running = Receiver(settings, ledger, Reception(Spool(tmp_path), ledger), "node-test")
        running.start()
        try:
            yield running
        finally:
            running.stop(patience_s=2.0)


@pytest.mark.parametrize("max_pdu", [4096, 16_382, 131_072, 0])
@pytest.mark.parametrize("piece", [1000, 2**20])
def test_an_image_arrives_whole_in_pdus_of_any_size(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_pdu: int, piece: int
) -> None:
    """However the image is cut on its way, its file holds the bytes that were sent."""
    monkeypatch.setattr(upper_layer, "_PIECE_BYTES", piece)
    link = Link.open(receiver.port, "CT1", "LESIONNODE")
    messages = Messages(max_pdu, first=10**20)
    for _ in range(2):
        link.store(messages.next())
    link.release()
    paths = sorted(tmp_path.glob("received/*/*.dcm"))
    first, second = (dcmread(path) for path in paths)
    assert {first.SOPInstanceUID, second.SOPInstanceUID} == {wire.uid(10**20 + 2), wire.uid(10**20 + 3)}
    assert first.PixelData == second.PixelData == bytes(range(256)) * (wire.EDGE**2 // 128)
    assert all(path.read_bytes().endswith(first.PixelData) for path in paths)


def test_an_answer_is_cut_for_a_sender_that_takes_little(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of 0x0000 keeps to the Maximum Length that the sender asked for."""
    monkeypatch.setattr(wire, "_MAX_PDU", 64)
    link = Link.open(receiver.port, "CT1", "LESIONNODE")
    link.connection.sendall(Messages(16_384, first=10**20).next())
    answer, control = b"", 0
    while not control & 0x02:
        kind, content = link.receive()
        assert kind == P_DATA
        assert len(content) <= 64
        control = content[5]
        answer += content[6:]
    assert wire._status_of(memoryview(answer)) == 0x0000
    link.release()


@pytest.mark.parametrize("length", [0, 1, 7, 2**32 - 1])
def test_a_value_longer_than_its_pdu_ends_the_association(receiver: Receiver, length: int) -> None:
    """A presentation data value whose length cannot be is answered with A-ABORT, and others are served."""
    link = Link.open(receiver.port, "CT1", "LESIONNODE")
    value = struct.pack(">LBB", length, 1, 0x03) + b"\0\0\0\0"
    link.connection.sendall(struct.pack(">BxL", P_DATA, len(value)) + value)
    kind, _ = link.receive()
    assert kind == ABORT
    link.connection.close()
    assert Scanner(receiver.port).send_images([ct_image()]) == [0x0000]


def test_the_short_way_of_saying_success_is_the_long_one() -> None:
    """Byte for byte what pynetdicom makes of the same response."""
    response = C_STORE()
    response.MessageID = response.MessageIDBeingRespondedTo = 7
    response.AffectedSOPClassUID = UID(CTImageStorage)
    response.AffectedSOPInstanceUID = UID("1.2.3")
    response.Status = 0x0000
    message = C_STORE_RSP()
    message.primitive_to_message(response)
    assert upper_layer._success(response) == encode(message.command_set, True, True)


@pytest.mark.parametrize("change", [{"Status": 0xA700}, {"MessageIDBeingRespondedTo": None}])
def test_every_other_answer_goes_the_long_way(change: dict[str, int | None]) -> None:
    """Failures have comments, which pynetdicom encodes."""
    response = C_STORE()
    response.MessageIDBeingRespondedTo = 7
    response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = UID(CTImageStorage), UID("1.2.3")
    response.Status = 0x0000
    for keyword, value in change.items():
        setattr(response, keyword, value)
    assert upper_layer._success(response) is None


def test_an_idle_association_sleeps(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing comes, each of the two threads looks about ten times a second and not a thousand."""
    looks: list[str] = []
    look, ask = upper_layer._UpperLayer._is_transport_event, upper_layer._Messages.get_msg

    def looking(layer: upper_layer._UpperLayer) -> bool:
        looks.append("network")
        return look(layer)

    def asking(messages: upper_layer._Messages, block: bool = False) -> object:
        looks.append("messages")
        return ask(messages, block)

    monkeypatch.setattr(upper_layer._UpperLayer, "_is_transport_event", looking)
    monkeypatch.setattr(upper_layer._Messages, "get_msg", asking)
    link = Link.open(receiver.port, "CT1", "LESIONNODE")
    before = len(looks)
    time.sleep(0.5)
    assert len(looks) - before < 40
    link.store(Messages(0, first=10**20).next())
    link.release()
    assert {"network", "messages"} <= set(looks)
