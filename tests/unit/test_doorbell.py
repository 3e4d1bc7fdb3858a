"""The doorbell: it wakes at once, it never blocks the ringer, and losing it costs one poll at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from structlog.testing import capture_logs

from custody.doorbell import Doorbell, ring
from lesionnode.loops import Loop


def woken_by_ring(bell: Doorbell, seconds: float = 20.0) -> bool:
    """Wait and tell whether it ended long before the time was over."""
    started = time.monotonic()
    bell.wait(seconds)
    return time.monotonic() - started < seconds / 2


def test_a_ring_wakes_the_listener(tmp_path: Path) -> None:
    """A ring from another thread ends the wait long before its time."""
    with Doorbell(tmp_path, "completion") as bell:
        threading.Timer(0.05, ring, (tmp_path, "completion")).start()
        assert woken_by_ring(bell)


def test_a_ring_before_the_wait_is_not_lost(tmp_path: Path) -> None:
    """Whoever rings while the service is at work is heard at its next wait."""
    with Doorbell(tmp_path, "completion") as bell:
        ring(tmp_path, "completion")
        assert woken_by_ring(bell)


def test_rings_that_came_together_count_once(tmp_path: Path) -> None:
    """A hundred rings wake once; the wait after that is a wait again."""
    with Doorbell(tmp_path, "completion") as bell:
        for _ in range(100):
            ring(tmp_path, "completion")
        assert woken_by_ring(bell)
        assert not woken_by_ring(bell, 0.05)


def test_ringing_where_nobody_listens_does_nothing(tmp_path: Path) -> None:
    """No listener, no error."""
    ring(tmp_path, "completion")


def test_a_full_doorbell_does_not_block_the_ringer(tmp_path: Path) -> None:
    """A service that hangs must not hold up the one that rings: this returns at all."""
    with Doorbell(tmp_path, "completion"):
        for _ in range(2000):
            ring(tmp_path, "completion")


def test_bells_are_told_apart_by_folder_and_name(tmp_path: Path) -> None:
    """Two nodes on one machine, and two services of a node, do not wake each other."""
    with Doorbell(tmp_path, "completion") as bell:
        ring(tmp_path, "worker")
        ring(tmp_path / "other", "completion")
        assert not woken_by_ring(bell, 0.05)


def test_a_second_listener_falls_back_to_polling(tmp_path: Path) -> None:
    """During a restart two may want the address; the second one waits by time and does not fail."""
    with Doorbell(tmp_path, "worker") as first, Doorbell(tmp_path, "worker") as second:
        ring(tmp_path, "worker")
        assert woken_by_ring(first)
        assert not woken_by_ring(second, 0.05)


# --- the loop that waits at it ----------------------------------------------------------------------------


def test_a_failing_step_does_not_end_its_service(tmp_path: Path) -> None:
    """A step that raises is logged with its service and tried again; the loop lives on."""
    turns: list[int] = []
    enough = threading.Event()

    def step() -> bool:
        turns.append(1)
        if len(turns) == 1:
            raise OSError("the disk is full")
        enough.set()
        return False

    with capture_logs() as logs:
        loop = Loop("completion", tmp_path, step, lambda: 20.0)
        loop.start()
        until(lambda: turns)
        ring(tmp_path, "completion")
        assert enough.wait(10)
        assert loop.alive
        ring(tmp_path, "completion")
        loop.stop(10)
    assert not loop.alive
    assert [(entry["event"], entry["service"]) for entry in logs] == [("service_step_failed", "completion")]


def test_a_loop_works_until_nothing_is_left_and_then_waits_for_the_bell(tmp_path: Path) -> None:
    """As long as there is work the step is called again at once; afterwards a ring calls it."""
    work = [True, True, True, False]
    done: list[bool] = []

    def step() -> bool:
        done.append(work[len(done)] if len(done) < len(work) else False)
        return done[-1]

    loop = Loop("worker", tmp_path, step, lambda: 20.0)
    loop.start()
    until(lambda: len(done) == 4)
    ring(tmp_path, "worker")
    until(lambda: len(done) == 5)
    loop.stop(0.0)
    ring(tmp_path, "worker")
    until(lambda: not loop.alive)


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; fail where it does not come true."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
