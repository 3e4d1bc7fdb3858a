"""The node as a service: startup, main loop, graceful shutdown."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from contextlib import ExitStack
from typing import IO

from config import PeerSettings, Settings
from core.errors import SpoolError
from core.log import get_logger
from custody.doorbell import ring
from custody.ledger import Ledger, deliveries, incidents, jobs, new_id, reception, services
from custody.ledger.clock import pull_back
from custody.ledger.incidents import IncidentKind
from custody.spool import Spool
from lesionnode import __version__
from lesionnode.clock_watch import ClockWatch
from lesionnode.corrections import Corrections
from lesionnode.installed_models import require_models
from lesionnode.loops import Loop
from lesionnode.paths import ledger_path, lock_path
from lesionnode.service_manager import notify, watchdog_interval_s
from lesionnode.supervisor import Supervisor
from scp.completion import Completion
from scp.courier import Courier, lane_name
from scp.receiver import COMPLETION_BELL, Receiver
from scp.reception import Reception

_COURIER_POLL_S = 2.0
#: A service that has not turned for so long hangs, and the watchdog is not fed any more. One turn may
#: take as long as a peer takes to answer.
_HANGS_AFTER_S = 900.0


class Node:
    """Everything that runs behind ``lesion-node run``.

    Parameters
    ----------
    settings
        Checked configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process = f"node-{new_id()[:12]}"
        self._stopping = threading.Event()
        self._lock: IO[str] | None = None
        self._loops: list[Loop] = []
        self._receiver: Receiver | None = None
        self._supervisor: Supervisor | None = None
        self._ledger: Ledger | None = None

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return self._receiver.port if self._receiver is not None else self._settings.node.port

    def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises
        ------
        ConfigurationError
            A configured model is absent, damaged or not licensed.
        SpoolError
            The data folder cannot be used, or another node uses it.
        ProviderUnavailable
            The execution policy cannot be met.
        OSError
            The port cannot be bound.
        """
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in previous:
            signal.signal(number, lambda _number, _frame: self._stopping.set())
        try:
            self._start()
            self._main_loop()
        finally:
            self._shut_down()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self) -> None:
        log = get_logger()
        log.info("starting", version=__version__, data_folder=str(self._settings.node.data_folder))
        require_models(self._settings)
        floor_bytes = self._settings.reception.disk_floor_mb * 2**20
        spool = Spool(self._settings.node.data_folder, floor_bytes=floor_bytes)
        self._lock = _lock(self._settings)
        self._ledger = Ledger(ledger_path(self._settings))
        self._ledger.migrate()
        _recover(self._ledger, spool, self._settings)
        self._supervisor = Supervisor(self._settings, self._ledger)
        self._supervisor.start()
        taking = Reception(spool, self._ledger)
        self._receiver = Receiver(self._settings, self._ledger, taking, self._process)
        self._receiver.start()
        self._loops = [self._completion_loop(self._ledger)]
        corrections = Corrections(self._ledger, Spool(self._settings.node.data_folder))
        self._loops += [self._courier_loop(self._ledger, peer, corrections) for peer in self._settings.peers]
        for loop in self._loops:
            loop.start()
        detail = {"port": self.port, "version": __version__}
        services.sign_of_life(self._ledger, "node", self._process, detail, time.time())
        log.info("ready", ae_title=self._settings.node.ae_title, port=self.port)
        notify("READY=1")

    def _main_loop(self) -> None:
        interval_s = min(watchdog_interval_s() or 1.0, 1.0)
        while not self._stopping.wait(interval_s):
            self._look_after_worker()
            if self._healthy():
                notify("WATCHDOG=1")

    def _look_after_worker(self) -> None:
        """A ledger that is busy or a process that cannot be made must not end reception."""
        try:
            if self._supervisor is not None:
                self._supervisor.look_after()
        except Exception:  # noqa: BLE001 - border: the main loop goes on
            get_logger().error("service_step_failed", service="supervisor", exc_info=True)

    def _healthy(self) -> bool:
        now = time.monotonic()
        turning = all(loop.alive and now - loop.last_turn < _HANGS_AFTER_S for loop in self._loops)
        return turning and self._receiver is not None and self._receiver.alive

    def _shut_down(self) -> None:
        """Stop in the order of the series' way, so that nothing is accepted that nobody takes on."""
        notify("STOPPING=1")
        # Called in reverse order, each one even where another fails: a worker left behind would keep the
        # process from ending.
        with ExitStack() as stack:
            stack.callback(get_logger().info, "stopped")
            if self._lock is not None:
                stack.callback(self._lock.close)
            if self._ledger is not None:
                stack.callback(self._ledger.close)
            if self._supervisor is not None:
                stack.callback(self._supervisor.stop, patience_s=20.0)
            for loop in reversed(self._loops):
                stack.callback(loop.stop, patience_s=5.0)
                stack.callback(ring, self._settings.node.data_folder, loop.name)
            if self._receiver is not None:
                stack.callback(self._receiver.stop)

    def _completion_loop(self, ledger: Ledger) -> Loop:
        completion = Completion(self._settings, ledger)
        clock = ClockWatch(ledger)
        return Loop(
            COMPLETION_BELL,
            self._settings.node.data_folder,
            lambda: clock.settled() and completion.step() > 0,
            completion.next_look_s,
        )

    def _courier_loop(self, ledger: Ledger, peer: PeerSettings, corrections: Corrections) -> Loop:
        courier = Courier(
            self._settings,
            peer,
            ledger,
            f"{self._process}-{peer.name}"[:64],
            correct=corrections,
        )
        return Loop(
            lane_name(peer.name),
            self._settings.node.data_folder,
            lambda: courier.step() > 0,
            lambda: _COURIER_POLL_S,
        )


def _lock(settings: Settings) -> IO[str]:
    """Make sure that no other node uses the data folder; the lock ends with the process."""
    path = lock_path(settings)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise SpoolError(
            f"another lesion-node runs on {settings.node.data_folder}: stop it, or give this one a "
            "data folder of its own"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _recover(ledger: Ledger, spool: Spool, settings: Settings) -> None:
    """Take up the state that an earlier run left behind, however it ended."""
    now = time.time()
    pull_back(ledger, now)
    lost = reception.close_dead_associations(ledger, alive_since=now, now=now)
    running = jobs.release_every_owner(ledger, now)
    sending = deliveries.release_every_owner(ledger, now)
    recorded = list(reception.recorded_paths(ledger))
    parts, strangers = spool.sweep(recorded)
    if strangers:
        where = f"{strangers} files that the ledger does not know were moved to {spool.unrecorded}"
        _note(ledger, IncidentKind.FILES_UNRECORDED, "data folder", where)
    missing = [path for path in recorded if not path.exists()]
    if missing:
        reception.mark_missing(ledger, missing)
        what = f"{len(missing)} received files are gone from the spool: have their series sent again"
        _note(ledger, IncidentKind.FILES_MISSING, "data folder", what)
    _note_unknown_destinations(ledger, settings)
    get_logger().info(
        "recovered",
        associations_lost=lost,
        jobs_released=running,
        deliveries_released=sending,
        part_files_deleted=parts,
        files_unrecorded=strangers,
        files_missing=len(missing),
    )


def _note_unknown_destinations(ledger: Ledger, settings: Settings) -> None:
    """Results for a peer that was renamed or removed wait for ever; somebody has to know."""
    for peer in sorted(deliveries.peers_with_deliveries(ledger) - {peer.name for peer in settings.peers}):
        what = f'results wait for peer "{peer}", which is not configured any more: add [[peers]] of that name'
        _note(ledger, IncidentKind.DESTINATION_UNKNOWN, peer, what)


def _note(ledger: Ledger, kind: IncidentKind, subject: str, reason: str) -> None:
    get_logger().warning(kind.value, subject=subject, reason=reason)
    with ledger.write() as connection:
        incidents.note(connection, kind, subject, reason, time.time())
