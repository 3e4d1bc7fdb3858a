"""The node as a service: startup, main loop, graceful shutdown."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack

from config import DimsePeerSettings, PeerSettings, Settings
from core.log import get_logger
from custody.doorbell import ring
from custody.holdings import Holdings
from custody.late_flush import LateFlush
from custody.ledger import Ledger, new_id, services
from custody.shelving import Shelving
from custody.spool import Spool
from lesionnode import __version__
from lesionnode.clock_watch import ClockWatch
from lesionnode.corrections import Corrections
from lesionnode.installed_models import require_models
from lesionnode.locks import take_lock
from lesionnode.loops import Loop
from lesionnode.paths import node_name, open_ledger, open_storage, owner_prefix
from lesionnode.recovery import recover
from lesionnode.retaining import retention_loop
from lesionnode.roles import EVERY_ROLE, Role
from lesionnode.service_manager import notify, watchdog_interval_s
from lesionnode.supervisor import Supervisor
from scp import commitment_scu
from scp.commitment_answers import CommitmentDesk
from scp.commitment_reports import ANSWER_BELL
from scp.commitment_scu import CommitmentAsker
from scp.completion import SHELVING_BELL, Completion
from scp.courier import Courier, lane_name
from scp.prior_rules import seeking_lane
from scp.prior_seeker import PriorSeeker
from scp.prior_settling import SETTLING_LANE, PriorSettling
from scp.receiver import COMPLETION_BELL, Receiver
from scp.reception import Reception

_COURIER_POLL_S = 2.0
_SHELVING_POLL_S = 5.0
_TIDYING_POLL_S = 600.0
#: A service that has not turned for so long hangs, and the watchdog is not fed any more. One turn may
#: take as long as a peer takes to answer.
_HANGS_AFTER_S = 900.0


class Node:
    """Everything that runs behind ``lesion-node run``.

    Parameters
    ----------
    settings
        Checked configuration.
    roles
        What this process does; others on the same ledger do the rest.
    """

    def __init__(self, settings: Settings, roles: Collection[Role] = EVERY_ROLE) -> None:
        self._settings = settings
        self._roles = frozenset(roles)
        self._id = new_id()[:12]
        self._stopping = threading.Event()
        self._held = ExitStack()
        self._loops: list[Loop] = []
        self._receiver: Receiver | None = None
        self._supervisor: Supervisor | None = None

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
            The data folder cannot be used, or another node uses it; or the ledger cannot be used.
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
        names = sorted(role.value for role in self._roles)
        log.info(
            "starting", version=__version__, data_folder=str(self._settings.node.data_folder), roles=names
        )
        if Role.ANALYSE in self._roles:
            require_models(self._settings)
        limits = self._settings.reception
        spool = Spool(
            self._settings.node.data_folder,
            floor_bytes=limits.disk_floor_mb * 2**20,
            flush_received=not limits.flushes_late,
        )
        for role in sorted(self._roles):
            self._held.callback(take_lock(self._settings, role).close)
        ledger = open_ledger(self._settings)
        self._held.callback(ledger.close)
        ledger.migrate()
        recover(ledger, spool, self._settings, self._roles)
        holdings = Holdings(spool, ledger, open_storage(self._settings))
        if Role.ANALYSE in self._roles:
            self._supervisor = Supervisor(self._settings, ledger)
            self._supervisor.start()
        if Role.RECEIVE in self._roles:
            self._start_receiving(ledger, spool, holdings)
        if Role.DELIVER in self._roles:
            self._start_delivering(ledger, holdings)
        if holdings.shared:
            self._loops.append(self._loop("tidying", lambda: holdings.tidy(time.time()) < 0, _TIDYING_POLL_S))
        for loop in self._loops:
            loop.start()
        if self._supervisor is not None:
            self._supervisor.wait_until_ready()  # meanwhile images are received
        self._say_that_it_runs(ledger)
        log.info("ready", ae_title=self._settings.node.ae_title, port=self.port)
        notify("READY=1")

    def _start_receiving(self, ledger: Ledger, spool: Spool, holdings: Holdings) -> None:
        node = node_name(self._settings)
        taking = Reception(spool, ledger, node, bring_manifests=holdings.bring_manifests)
        self._receiver = Receiver(self._settings, ledger, taking, self._process(Role.RECEIVE))
        self._receiver.start()
        flush = self._flushing(ledger, spool)
        shelving = Shelving(ledger, spool, holdings, node, flush=flush)
        self._loops.append(self._completion_loop(ledger, holdings, flush))
        self._loops.append(self._loop(SHELVING_BELL, lambda: shelving.step() > 0, _SHELVING_POLL_S))
        self._loops.append(retention_loop(self._settings, ledger, spool, holdings))
        if self._settings.answers_commitment:
            self._loops.append(self._answer_loop(ledger))
        for peer in self._settings.prior_peers:
            owner = f"{self._process(Role.RECEIVE)}-{peer.name}"[:64]
            seeker = PriorSeeker(self._settings, peer, ledger, holdings, taking, owner)
            self._loops.append(self._loop(seeking_lane(peer.name), _busy(seeker.step), _COURIER_POLL_S))
        if self._settings.prior_peers:
            settling = PriorSettling(self._settings, ledger)
            self._loops.append(self._loop(SETTLING_LANE, _busy(settling.step), _COURIER_POLL_S))

    def _flushing(self, ledger: Ledger, spool: Spool) -> Callable[[str], bool]:
        """Return what is to be done before the images of a series are relied upon."""
        if not self._settings.reception.flushes_late:
            return lambda _: True
        reason = 'reception.durability = "seal": a power cut loses images of series that are not sealed yet'
        get_logger().warning("acknowledged_before_flushed", reason=reason)
        return LateFlush(ledger, spool, node_name(self._settings)).flush

    def _start_delivering(self, ledger: Ledger, holdings: Holdings) -> None:
        corrections = Corrections(ledger, Spool(self._settings.node.data_folder))
        for peer in self._settings.peers:
            self._loops.append(self._courier_loop(ledger, peer, corrections, holdings))
        for asked in self._settings.committing_peers:
            self._loops.append(self._commitment_loop(ledger, asked))

    def _process(self, role: Role) -> str:
        """Return the identity of this process in the ledger."""
        return f"{owner_prefix(self._settings, role)}{self._id}"

    def _say_that_it_runs(self, ledger: Ledger) -> None:
        detail = {"port": self.port, "version": __version__, "roles": sorted(self._roles)}
        role = min(self._roles)
        name = "node" if not ledger.shared else f"{node_name(self._settings)}-{role.value}"
        services.sign_of_life(ledger, name, self._process(role), detail, time.time())

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
        receiving = self._receiver is not None and self._receiver.alive
        return turning and (receiving or Role.RECEIVE not in self._roles)

    def _shut_down(self) -> None:
        """Stop in the order of the series' way, so that nothing is accepted that nobody takes on."""
        notify("STOPPING=1")
        # Called in reverse order, each one even where another fails: a worker left behind would keep the
        # process from ending.
        with ExitStack() as stack:
            stack.callback(get_logger().info, "stopped")
            stack.callback(self._held.close)
            if self._supervisor is not None:
                stack.callback(self._supervisor.stop, patience_s=20.0)
            for loop in reversed(self._loops):
                stack.callback(loop.stop, patience_s=5.0)
                stack.callback(ring, self._settings.node.data_folder, loop.name)
            if self._receiver is not None:
                stack.callback(self._receiver.stop)

    def _loop(self, name: str, step: Callable[[], bool], poll_s: float) -> Loop:
        return Loop(name, self._settings.node.data_folder, step, lambda: poll_s)

    def _completion_loop(self, ledger: Ledger, holdings: Holdings, flush: Callable[[str], bool]) -> Loop:
        completion = Completion(self._settings, ledger, holdings, flush=flush)
        clock = ClockWatch(ledger)
        return Loop(
            COMPLETION_BELL,
            self._settings.node.data_folder,
            lambda: clock.settled() and completion.step() > 0,
            completion.next_look_s,
        )

    def _courier_loop(
        self, ledger: Ledger, peer: PeerSettings, corrections: Corrections, holdings: Holdings
    ) -> Loop:
        courier = Courier(
            self._settings,
            peer,
            ledger,
            f"{self._process(Role.DELIVER)}-{peer.name}"[:64],
            correct=corrections,
            bring=holdings.bring_results,
        )
        return self._loop(lane_name(peer.name), lambda: courier.step() > 0, _COURIER_POLL_S)

    def _commitment_loop(self, ledger: Ledger, peer: DimsePeerSettings) -> Loop:
        owner = f"{self._process(Role.DELIVER)}-{peer.name}"[:64]
        asker = CommitmentAsker(self._settings, peer, ledger, owner)
        return self._loop(commitment_scu.lane_name(peer.name), lambda: asker.step() > 0, _COURIER_POLL_S)

    def _answer_loop(self, ledger: Ledger) -> Loop:
        desk = CommitmentDesk(self._settings, ledger, node_name(self._settings), self._process(Role.RECEIVE))
        return self._loop(ANSWER_BELL, lambda: desk.step() > 0, _COURIER_POLL_S)


def _busy(step: Callable[[], int]) -> Callable[[], bool]:
    """Return a service's step that tells whether it did anything."""
    return lambda: step() > 0
