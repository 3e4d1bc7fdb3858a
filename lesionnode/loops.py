"""A service: one step after the other in a thread of its own, woken by a doorbell or by time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from core.errors import LedgerUnavailable, SpoolFull
from core.log import get_logger
from custody.doorbell import Doorbell, ring

#: After a failed step, so that a broken disk does not turn into a busy loop.
_PAUSE_AFTER_FAILURE_S = 1.0


class Loop:
    """Runs a step until stopped. A failing step is logged and tried again; the loop never dies of it.

    Parameters
    ----------
    name
        Of the thread, and of the doorbell.
    data_folder
        Where the doorbell hangs.
    step
        Does a piece of work and returns whether there was any; it is then called again at once.
    wait_s
        Longest wait between two steps without work, asked anew each time.
    """

    def __init__(
        self, name: str, data_folder: Path, step: Callable[[], bool], wait_s: Callable[[], float]
    ) -> None:
        self.name = name
        self._data_folder = data_folder
        self._step = step
        self._wait_s = wait_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.last_turn = time.monotonic()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, patience_s: float) -> None:
        """Ask the loop to end and wait for it a while."""
        self._stopping.set()
        ring(self._data_folder, self.name)
        self._thread.join(patience_s)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        with Doorbell(self._data_folder, self.name) as bell:
            while not self._stopping.is_set():
                self.last_turn = time.monotonic()
                try:
                    busy = self._step()
                    wait_s = 0.0 if busy else self._wait_s()
                except (SpoolFull, LedgerUnavailable) as error:
                    get_logger().error("service_waits_for_ledger", service=self.name, reason=str(error))
                    wait_s = _PAUSE_AFTER_FAILURE_S
                except Exception:  # noqa: BLE001 - border: a service's loop
                    get_logger().error("service_step_failed", service=self.name, exc_info=True)
                    wait_s = _PAUSE_AFTER_FAILURE_S
                if wait_s:
                    bell.wait(wait_s)
