"""A PACS that is away: few attempts, everything in order when it is back, and nobody else is held up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from config import PeerSettings
from core.uid import derived_uid
from custody.ledger.states import Lane
from custody.ledger.tables import delivery
from custody.spool import Spool
from lesionnode.loops import Loop
from scp.courier import Courier, lane_name
from tests.helpers.dicom_peers import LEAVES_SOCKETS, Arrived, ScriptedPacs, contexts_for
from tests.helpers.instances import Clock, fresh_ledger, peer, web_peer
from tests.helpers.office import PLAIN, Office
from tests.helpers.web_peers import Reply, ScriptedWebPacs, listening, stored

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

ALL = contexts_for(*(sop_class for _, _, sop_class in PLAIN))
DAY_S = 86400.0
SHORT_S = 0.5


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office without anything to deliver."""
    with fresh_ledger(tmp_path) as ledger:
        yield Office(tmp_path, ledger, Spool(tmp_path), Clock())


def lane(office: Office, to: PeerSettings, **limits: Any) -> Courier:
    """Return the lane of a peer, with limits of time."""
    settings = office.settings(to)
    rules = settings.delivery.model_copy(update=limits)
    settings = settings.model_copy(update={"delivery": rules})
    return Courier(settings, to, office.ledger, "lane", office.clock, office.corrections)


def finish_jobs(office: Office, count: int) -> list[str]:
    """Finish jobs one second apart, of every lane and with more or less disease.

    Returns
    -------
    list of str
        The UIDs of their segmentations in the order of urgency: lanes, then severity, then age.
    """
    urgency = []
    for number in range(count):
        lane, triage = Lane(number % 3), number * 7 % 25
        office.finish_job(name=str(number), lane=lane, triage=triage)
        urgency.append((lane, -triage, number))
        office.clock.advance(1)
    return [derived_uid(str(number), "segmentation", "binary") for *_, number in sorted(urgency)]


def rows(office: Office) -> list[dict[str, Any]]:
    """Return every delivery."""
    with office.ledger.read() as connection:
        return [dict(row) for row in connection.execute(select(delivery)).mappings()]


def hang_up(connection: socket.socket) -> None:
    """Take the connection and end it."""
    connection.close()


def run_until(office: Office, courier: Courier, until: float) -> int:
    """Turn the lane as its loop does, every 10 s by its clock; return how often it attempted anything."""
    attempts = 0
    while office.clock.now < until:
        attempts += courier.step() > 0
        office.clock.advance(10.0)
    return attempts


def deliver_all(office: Office, courier: Courier) -> None:
    """Turn the lane until nothing is due any more; within little more than the longest wait."""
    latest = office.clock.now + 1.2 * 3600 + 60
    while {row["state"] for row in rows(office)} != {"delivered"}:
        assert office.clock.now < latest
        while courier.step():
            pass
        office.clock.advance(10.0)


def check_rest(office: Office, attempts: int) -> None:
    """About one attempt an hour in three days; every delivery says why it waits and until when."""
    assert 3 * 24 / 1.2 <= attempts <= 3 * 24 / 0.8 + 10
    waiting = rows(office)
    assert len(waiting) == 80
    assert {row["state"] for row in waiting} == {"due"}
    assert all(office.clock.now - 10 <= row["due_at"] <= office.clock.now + 1.2 * 3600 for row in waiting)
    assert all(row["reason"] for row in waiting)


def test_three_days_away_with_forty_jobs_waiting(office: Office) -> None:
    """About one association request an hour for all of them; then everything arrives, most urgent first.

    Each job has an association of its own, and none is open when the next one begins.
    """
    segmentations = finish_jobs(office, 40)
    with listening(hang_up) as (port, connections):
        courier = lane(office, peer("pacs", port))
        attempts = run_until(office, courier, office.clock.now + 3 * DAY_S)
    assert attempts == len(connections)
    check_rest(office, attempts)
    with ScriptedPacs(contexts=ALL, listen_on=port) as pacs:
        deliver_all(office, courier)
    assert [one.sop_instance_uid for one in pacs.arrived][::2] == segmentations
    assert pacs.associations == 40
    assert pacs.most_at_once == 1


def test_three_days_out_of_service_with_forty_jobs_waiting(office: Office) -> None:
    """The same by STOW-RS: about one request an hour, then one object after the other."""
    segmentations = finish_jobs(office, 40)
    with ScriptedWebPacs(lambda *_: Reply(503)) as pacs:
        courier = lane(office, web_peer("pacs", pacs.port))
        attempts = run_until(office, courier, office.clock.now + 3 * DAY_S)
        assert attempts == len(pacs.requests)
        check_rest(office, attempts)
        pacs.answer = lambda _number, request: stored(request)
        deliver_all(office, courier)
    came = [str(one.dataset.SOPInstanceUID) for one in pacs.requests[attempts:]]
    assert came[::2] == segmentations
    assert pacs.most_at_once == 1


def test_new_results_wait_with_the_others(office: Office) -> None:
    """A job that comes while the lane rests makes no attempt of its own."""
    finish_jobs(office, 1)
    with listening(hang_up) as (port, connections):
        courier = lane(office, peer("pacs", port))
        assert courier.step() == 2
        office.finish_job(name="later")
        assert courier.step() == 0
        office.clock.advance(20.0)
        assert courier.step() == 0
    assert len(connections) == 1


def test_after_a_restart_a_peer_that_is_back_gets_everything_at_once(office: Office) -> None:
    """What the earlier process postponed for an hour is due as soon as anything is delivered."""
    finish_jobs(office, 3)
    with listening(hang_up) as (port, _):
        run_until(office, lane(office, peer("pacs", port)), office.clock.now + DAY_S)
    office.finish_job(name="new")
    with ScriptedPacs(contexts=ALL) as pacs:
        courier = lane(office, peer("pacs", pacs.port))
        assert [courier.step() for _ in range(5)] == [2, 2, 2, 2, 0]


def test_an_object_that_breaks_every_association_does_not_hold_up_the_others(office: Office) -> None:
    """The lane rests once, then the other jobs go first; the culprit comes again after them."""
    poison, *others = finish_jobs(office, 4)

    def abort_on_poison(_number: int, arrived: Arrived) -> int:
        return -1 if arrived.sop_instance_uid == poison else 0x0000

    with ScriptedPacs(contexts=ALL, answer=abort_on_poison) as pacs:
        courier = lane(office, peer("pacs", pacs.port))
        assert [courier.step(), courier.step()] == [2, 0]
        office.clock.advance(36.0)
        assert [courier.step() for _ in range(4)] == [2, 2, 2, 0]
    came = [one.sop_instance_uid for one in pacs.arrived if one.sop_class_uid == PLAIN[0][2]]
    assert came == [poison, *others]


def reset(connection: socket.socket) -> None:
    """Break the connection off with a reset as soon as anything comes."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()


def hang(_connection: socket.socket) -> None:
    """Take the connection and say nothing."""


@pytest.mark.parametrize("behave", [hang, reset, hang_up])
def test_a_peer_that_misbehaves_costs_its_own_lane_one_attempt(
    office: Office, behave: Callable[[socket.socket], None]
) -> None:
    """Within the limit of time the attempt is over, with a reason, and the lane rests."""
    finish_jobs(office, 2)
    with listening(behave) as (port, connections):
        courier = lane(office, peer("pacs", port), timeout_s=SHORT_S, answer_timeout_s=SHORT_S)
        started = time.monotonic()
        assert [courier.step(), courier.step()] == [2, 0]
        assert time.monotonic() - started < 10
        assert len(connections) == 1
    assert "did not answer the association request" in office.deliveries()["segmentation"]["reason"]


@pytest.mark.parametrize("make", [peer, web_peer], ids=["dimse", "dicomweb"])
def test_a_peer_that_answers_too_late_does_not_delay_another(
    office: Office, make: Callable[..., PeerSettings]
) -> None:
    """One peer keeps every answer back beyond the limit; the other lane is through before that."""
    office.finish_job(("pacs", "archive"))
    release = threading.Event()

    def late(_number: int, _arrived: Arrived) -> int:
        release.wait(20)
        return 0x0000

    with (
        ScriptedPacs(contexts=ALL, answer=late) as stuck,
        listening(hang) as (port, _),
        ScriptedPacs(contexts=ALL) as good,
    ):
        slow = make("pacs", stuck.port if make is peer else port)
        lanes = {
            "pacs": lane(office, slow, timeout_s=1.0, answer_timeout_s=1.0),
            "archive": lane(office, peer("archive", good.port, ae_title="PACS")),
        }
        ended = {name: threading.Event() for name in lanes}
        order: list[str] = []

        def turn(name: str) -> bool:
            sent = lanes[name].step() > 0
            if sent:
                order.append(name)
                ended[name].set()
            return sent

        loops = [
            Loop(lane_name(name), office.folder, lambda name=name: turn(name), lambda: 0.05)  # type: ignore[misc]
            for name in lanes
        ]
        for loop in loops:
            loop.start()
        assert all(event.wait(15) for event in ended.values())
        release.set()
        for loop in loops:
            loop.stop(15)
        assert order == ["archive", "pacs"]
        assert len(good.arrived) == 2
    states = {(row["peer"], row["state"]) for row in rows(office)}
    assert states == {("archive", "delivered"), ("pacs", "due")}
