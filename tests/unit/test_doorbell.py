"""The doorbell: it wakes at once, it never blocks the ringer, and losing it costs one poll at most."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from custody.doorbell import Doorbell, ring


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
