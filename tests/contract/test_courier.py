"""The courier against scripted PACS: what counts as delivered, what is tried again, and with which reason."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from core.uid import derived_uid
from custody.ledger.report import status
from custody.spool import Spool
from lesionnode.loops import Loop
from scp.courier import Courier, lane_name
from tests.helpers.dicom_peers import LEAVES_SOCKETS, Arrived, ScriptedPacs, contexts_for
from tests.helpers.instances import (
    COMPREHENSIVE_3D_SR_STORAGE,
    SEGMENTATION_STORAGE,
    Clock,
    encoded,
    fresh_ledger,
    peer,
)
from tests.helpers.office import PLAIN, Office

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

OBJECTS = {kind: sop_class for kind, _, sop_class in PLAIN}
ALL = contexts_for(*OBJECTS.values())


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office without anything to deliver."""
    with fresh_ledger(tmp_path) as ledger:
        yield Office(tmp_path, ledger, Spool(tmp_path), Clock())


def data_set_of(path: Path) -> bytes:
    """Return the data-set bytes of a Part 10 file."""
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


def always(status: int) -> Callable[[int, Arrived], int]:
    """Return a script that answers every request with this status."""
    return lambda _number, _arrived: status


def for_class(statuses: Mapping[str, int]) -> Callable[[int, Arrived], int]:
    """Return a script that answers by SOP class, 0x0000 where none is given."""
    return lambda _number, arrived: statuses.get(arrived.sop_class_uid, 0x0000)


# --- delivered --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0x0111])
def test_stored_with_or_without_a_warning_is_delivered(office: Office, status: int) -> None:
    """Success, warnings (the PACS stored it) and "I have it already" all end the delivery."""
    office.finish_job()
    with ScriptedPacs(contexts=ALL, answer=always(status)) as pacs:
        assert office.courier(peer("pacs", pacs.port)).step() == 2
        assert office.courier(peer("pacs", pacs.port)).step() == 0
    assert office.states() == ["delivered", "delivered"]
    row = office.deliveries()["segmentation"]
    assert (row["status"], row["delivered_at"]) == (status, office.clock.now)
    noted = None if status in (0x0000, 0x0111) else f"stored with warning 0x{status:04X} ("
    assert row["reason"] == noted or str(row["reason"]).startswith(str(noted))


def test_the_bytes_on_the_wire_are_the_bytes_on_the_disk(office: Office) -> None:
    """Segmentation first, then the report, on one association, and not one byte is encoded anew."""
    files = office.finish_job()
    with ScriptedPacs(contexts=ALL) as pacs:
        office.courier(peer("pacs", pacs.port)).step()
    assert [one.sop_class_uid for one in pacs.arrived] == list(OBJECTS.values())
    assert [one.data for one in pacs.arrived] == [data_set_of(path) for path in files]
    assert len({one.association for one in pacs.arrived}) == 1


def test_a_peer_that_takes_implicit_vr_only_gets_implicit_vr(office: Office) -> None:
    """For such a PACS the same values are encoded anew; nothing else about the object changes."""
    (segmentation, _) = office.finish_job()
    contexts = contexts_for(*OBJECTS.values(), syntaxes=[ImplicitVRLittleEndian])
    with ScriptedPacs(contexts=contexts) as pacs:
        office.courier(peer("pacs", pacs.port)).step()
    assert office.states() == ["delivered", "delivered"]
    first = pacs.arrived[0]
    assert first.syntax == ImplicitVRLittleEndian
    assert first.data == encoded(dcmread(segmentation), ImplicitVRLittleEndian)


def test_a_peer_that_takes_both_gets_the_stored_bytes(office: Office) -> None:
    """Explicit VR is preferred, whatever the peer likes better."""
    files = office.finish_job()
    syntaxes = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    with ScriptedPacs(contexts=contexts_for(*OBJECTS.values(), syntaxes=syntaxes)) as pacs:
        office.courier(peer("pacs", pacs.port)).step()
    assert [one.data for one in pacs.arrived] == [data_set_of(path) for path in files]


@pytest.mark.parametrize(("configured", "expected"), [(None, "LESIONNODE"), ("AI_TO_PACS", "AI_TO_PACS")])
def test_the_calling_title_is_the_one_of_the_peer(
    office: Office, configured: str | None, expected: str
) -> None:
    """A PACS may want another calling AE title than the node's own."""
    office.finish_job()
    with ScriptedPacs(contexts=ALL) as pacs:
        office.courier(peer("pacs", pacs.port, calling_ae_title=configured)).step()
    assert {one.calling for one in pacs.arrived} == {expected}


def test_each_job_has_an_association_of_its_own(office: Office) -> None:
    """Two jobs are sent in two steps, the older one first."""
    office.finish_job(name="1")
    office.clock.advance(1)
    office.finish_job(name="2")
    with ScriptedPacs(contexts=ALL) as pacs:
        courier = office.courier(peer("pacs", pacs.port))
        assert [courier.step(), courier.step(), courier.step()] == [2, 2, 0]
    assert [one.sop_instance_uid for one in pacs.arrived][::2] == [
        derived_uid(name, "segmentation", "binary") for name in "12"
    ]
    assert len({one.association for one in pacs.arrived}) == 2


# --- tried again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0110, 0x0124])
def test_a_failure_is_tried_again_later(office: Office, status: int) -> None:
    """Every failure status keeps the object due, with its status, its reason and a time for the next try."""
    office.finish_job()
    with ScriptedPacs(contexts=ALL, answer=always(status)) as pacs:
        courier = office.courier(peer("pacs", pacs.port))
        assert courier.step() == 2
        assert courier.step() == 0
        row = office.deliveries()["segmentation"]
        assert (row["state"], row["status"], row["attempt"]) == ("due", status, 1)
        assert row["reason"].startswith(f"pacs answered 0x{status:04X} (")
        wait = row["due_at"] - office.clock.now
        assert 24.0 <= wait <= 36.0
        assert office.deliveries()["measurement_report"]["due_at"] == row["due_at"]
        pacs.answer = always(0x0000)
        office.clock.advance(wait - 0.5)
        assert courier.step() == 0
        office.clock.advance(0.5)
        assert courier.step() == 2
    assert office.states() == ["delivered", "delivered"]


def test_the_wait_doubles_up_to_an_hour_and_ends_after_days(office: Office) -> None:
    """30 s, 60 s, 120 s … 1 h, each a fifth more or less; after seven days the delivery is failed, with its
    last reason, and rests."""
    office.finish_job()
    waits = []
    with ScriptedPacs(contexts=ALL, answer=always(0xA700)) as pacs:
        courier = office.courier(peer("pacs", pacs.port))
        for _ in range(11):
            assert courier.step() == 2
            waits.append(office.deliveries()["segmentation"]["due_at"] - office.clock.now)
            office.clock.advance(waits[-1])
        plain = [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
        assert all(0.8 * one <= wait <= 1.2 * one for one, wait in zip(plain, waits, strict=True))
        assert len({wait / one for one, wait in zip(plain, waits, strict=True)}) == len(plain)
        office.clock.advance(7 * 86400)
        courier.step()
        office.clock.advance(86400)
        assert courier.step() == 0
    assert office.states() == ["failed", "failed"]
    assert office.deliveries()["segmentation"]["reason"] == "pacs answered 0xA700 (out of resources)"
    given_up = [one for one in status(office.ledger)["incidents"] if one["kind"] == "delivery_given_up"]
    assert len(given_up) == 2
    assert {one["reason"] for one in given_up} == {"pacs answered 0xA700 (out of resources)"}


def test_only_what_failed_is_sent_again(office: Office) -> None:
    """The report was stored, the segmentation was not: the next association carries the segmentation only."""
    office.finish_job()
    with ScriptedPacs(contexts=ALL, answer=for_class({SEGMENTATION_STORAGE: 0xA700})) as pacs:
        courier = office.courier(peer("pacs", pacs.port))
        courier.step()
        assert office.states() == ["due", "delivered"]
        pacs.answer = always(0x0000)
        office.clock.advance(36.0)
        assert courier.step() == 1
    assert office.states() == ["delivered", "delivered"]
    assert [one.sop_class_uid for one in pacs.arrived].count(COMPREHENSIVE_3D_SR_STORAGE) == 1


def test_a_pacs_without_segmentations_still_gets_the_report(office: Office) -> None:
    """The other object is delivered; the one that the peer cannot take is left out, and that is told."""
    office.finish_job()
    with ScriptedPacs(contexts=contexts_for(COMPREHENSIVE_3D_SR_STORAGE)) as pacs:
        office.courier(peer("pacs", pacs.port)).step()
        assert office.courier(peer("pacs", pacs.port)).step() == 0
    assert office.states() == ["left_out", "delivered"]
    row = office.deliveries()["segmentation"]
    assert row["reason"] == "Segmentation Storage is not accepted by the peer"
    assert row["status"] is None
    (told,) = [one for one in status(office.ledger)["incidents"] if one["kind"] == "object_left_out"]
    assert (told["subject"], told["reason"]) == ("pacs: segmentation", row["reason"])


@pytest.mark.parametrize(
    "contexts",
    [
        contexts_for("1.2.840.10008.5.1.4.1.1.2"),
        contexts_for(*OBJECTS.values(), syntaxes=[JPEG2000Lossless, ExplicitVRBigEndian]),
    ],
    ids=["other classes", "other transfer syntaxes"],
)
def test_a_pacs_that_accepts_nothing_is_told_apart_from_one_that_is_down(
    office: Office, contexts: list[Any]
) -> None:
    """No accepted presentation context: the reason speaks of kinds of object, not of the network."""
    office.finish_job()
    with ScriptedPacs(contexts=contexts) as pacs:
        office.courier(peer("pacs", pacs.port)).step()
    assert office.states() == ["due", "due"]
    assert "accepted none of the proposed kinds of object" in office.deliveries()["segmentation"]["reason"]


@pytest.mark.parametrize(
    ("reject", "words"),
    [
        ((1, 1, 3), 'it does not know our AE title: admit "LESIONNODE" there'),
        ((1, 1, 7), 'it is not called "PACS": correct the peer\'s ae_title'),
        ((2, 3, 1), "it is busy"),
        ((2, 3, 2), "it has too many associations open"),
        ((1, 1, 1), "it gave no reason"),
    ],
)
def test_a_rejection_says_what_to_do(office: Office, reject: tuple[int, int, int], words: str) -> None:
    """The A-ASSOCIATE-RJ is put into words that IT staff can act on, for both objects."""
    office.finish_job()
    with ScriptedPacs(contexts=ALL, reject=reject) as pacs:
        office.courier(peer("pacs", pacs.port)).step()
        port = pacs.port
    for row in office.deliveries().values():
        assert row["state"] == "due"
        assert row["reason"] == f"pacs (PACS at 127.0.0.1:{port}) rejected the association: {words}"


def test_where_nothing_listens_the_reason_says_so(office: Office) -> None:
    """Connection refused: firewall or wrong port, not a question of AE titles."""
    office.finish_job()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        office.courier(peer("pacs", free.getsockname()[1])).step()
    assert office.states() == ["due", "due"]
    assert "nothing listens there" in office.deliveries()["segmentation"]["reason"]


def test_something_that_is_no_dicom_node_is_recognised(office: Office) -> None:
    """A web server or a firewall takes the connection and hangs up: the reason says that, too."""
    office.finish_job()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            caller, _ = listener.accept()
            caller.recv(100)
            caller.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        office.courier(peer("pacs", listener.getsockname()[1])).step()
        thread.join()
    assert office.states() == ["due", "due"]
    assert "is it a DICOM node?" in office.deliveries()["segmentation"]["reason"]


def test_an_abort_in_the_middle_keeps_what_was_confirmed(office: Office) -> None:
    """The segmentation was answered, then the PACS aborts: only the report is tried again."""
    office.finish_job()
    with ScriptedPacs(contexts=ALL, answer=for_class({COMPREHENSIVE_3D_SR_STORAGE: -1})) as pacs:
        courier = office.courier(peer("pacs", pacs.port))
        courier.step()
        assert office.states() == ["delivered", "due"]
        assert "no answer to C-STORE" in office.deliveries()["measurement_report"]["reason"]
        pacs.answer = always(0x0000)
        office.clock.advance(36.0)
        assert courier.step() == 1
    assert office.states() == ["delivered", "delivered"]


def test_an_abort_at_the_first_object_leaves_both_due(office: Office) -> None:
    """Nothing was confirmed, so everything is tried again, with a reason each."""
    office.finish_job()
    with ScriptedPacs(contexts=ALL, answer=always(-1)) as pacs:
        office.courier(peer("pacs", pacs.port)).step()
    assert office.states() == ["due", "due"]
    assert all(row["reason"] for row in office.deliveries().values())


@pytest.mark.parametrize("damage", ["gone", "empty", "not DICOM"])
def test_a_damaged_result_file_does_not_hold_up_the_rest(office: Office, damage: str) -> None:
    """The object whose file is damaged keeps its reason and is tried again; its companion is delivered."""
    (segmentation, _) = office.finish_job()
    if damage == "gone":
        segmentation.unlink()
    else:
        segmentation.write_bytes(b"" if damage == "empty" else b"x" * 500)
    with ScriptedPacs(contexts=ALL) as pacs:
        office.courier(peer("pacs", pacs.port)).step()
    assert office.states() == ["due", "delivered"]
    assert "segmentation-binary.dcm cannot be sent" in office.deliveries()["segmentation"]["reason"]


def test_a_lane_whose_claim_was_lost_records_nothing(office: Office) -> None:
    """A courier that was held up beyond its lease cannot overwrite what its successor recorded."""
    office.finish_job()

    def be_slow(_number: int, _arrived: Arrived) -> int:
        office.clock.advance(700)
        return 0xA700

    with ScriptedPacs(contexts=ALL) as good, ScriptedPacs(contexts=ALL, answer=be_slow) as slow:
        to_good, to_slow = peer("pacs", good.port), peer("pacs", slow.port)
        successor = Courier(office.settings(to_good), to_good, office.ledger, "other lane", office.clock)
        record = slow.answer

        def then_taken_over(number: int, arrived: Arrived) -> int:
            status = record(number, arrived)
            if number == 1:
                successor.step()
            return status

        slow.answer = then_taken_over
        office.courier(to_slow).step()
    assert office.states() == ["delivered", "delivered"]


def test_a_hanging_peer_does_not_delay_another(office: Office) -> None:
    """Two lanes: while one peer keeps its answer back, the other one gets everything."""
    office.finish_job(("pacs", "archive"))
    release = threading.Event()

    def hang(_number: int, _arrived: Arrived) -> int:
        release.wait(20)
        return 0x0000

    with ScriptedPacs(contexts=ALL, answer=hang) as stuck, ScriptedPacs(contexts=ALL) as good:
        lanes = []
        delivered = threading.Event()
        for name, port in (("pacs", stuck.port), ("archive", good.port)):
            courier = office.courier(peer(name, port, ae_title="PACS"))

            def step(courier: Courier = courier, name: str = name) -> bool:
                sent = courier.step() > 0
                if sent and name == "archive":
                    delivered.set()
                return sent

            lanes.append(Loop(lane_name(name), office.folder, step, lambda: 0.05))
        for lane in lanes:
            lane.start()
        assert delivered.wait(15)
        assert len(good.arrived) == 2
        release.set()
        for lane in lanes:
            lane.stop(15)
            assert not lane.alive
