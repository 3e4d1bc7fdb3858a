"""Keeps the worker process alive, and gives its claims back when it dies."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess

from config import Settings
from core.errors import ProviderUnavailable, SpoolError
from core.log import get_logger
from custody.doorbell import ring
from custody.ledger import Ledger, incidents, jobs, new_id, services
from custody.ledger.incidents import IncidentKind
from lesionnode.paths import owner_prefix
from lesionnode.roles import Role
from lesionnode.worker_process import worker_main
from scp.completion import WORKER_BELL

#: A worker that lives shorter than this is restarted with a growing pause.
_SOUND_AFTER_S = 60.0
_LONGEST_PAUSE_S = 60.0
#: A worker that works renews its lease every few seconds; one that let it run out for so long hangs.
_LAPSED_FOR_S = 30.0
_LEASE_LOOK_S = 5.0


class Supervisor:
    """The parent's side of the worker.

    Parameters
    ----------
    settings, ledger
        Of the node.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._context = multiprocessing.get_context("spawn")
        self._process: BaseProcess | None = None
        self._ready: Pipe | None = None
        self._owner = ""
        self._started_at = 0.0
        self._pause_s = 0.0
        self._restart_at: float | None = None
        self._look_at_lease_at = 0.0
        self._lapsed_since: float | None = None

    @property
    def alive(self) -> bool:
        """Whether a worker runs."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Spawn the worker; `wait_until_ready` says how that went."""
        self._spawn()

    def wait_until_ready(self) -> Mapping[str, str]:
        """Wait until the worker's models are warm.

        Returns
        -------
        mapping
            Model name to the execution provider that really runs it.

        Raises
        ------
        ProviderUnavailable
            The models cannot run here; the message says why.
        """
        answer = self._answer()
        if isinstance(answer, str):
            raise ProviderUnavailable(answer)
        get_logger().info("worker_ready", models=dict(answer))
        return dict(answer)

    def _spawn(self) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        self._owner = f"{owner_prefix(self._settings, Role.ANALYSE)}{new_id()[:12]}"
        process = self._context.Process(
            target=worker_main, args=(self._settings, self._owner, theirs), name="lesion-node-worker"
        )
        process.start()
        self._process = process
        self._started_at = time.monotonic()
        theirs.close()
        self._ready = ours

    def _answer(self) -> Mapping[str, str] | str:
        """Wait for what the worker says once its models are warm, or why they are not."""
        ready, self._ready = self._ready, None
        if ready is None:
            return "the worker was not started"
        try:
            answer: Mapping[str, str] | str = ready.recv()
        except EOFError:
            answer = "the worker process ended at its start"
        finally:
            ready.close()
        return answer

    def look_after(self) -> None:
        """Restart a worker that died; called again and again."""
        if self._ready is not None and self._ready.poll():
            answer = self._answer()
            if isinstance(answer, str):
                self._tell(answer)
            else:
                get_logger().info("worker_ready", models=dict(answer))
        now = time.monotonic()
        if self.alive:
            self._end_hanging(now)
            return
        if self._restart_at is None:
            code = self._process.exitcode if self._process is not None else None
            released = jobs.release_owners(self._ledger, self._owner, time.time())
            lived_s = now - self._started_at
            self._pause_s = (
                0.0 if lived_s > _SOUND_AFTER_S else min(max(1.0, 2 * self._pause_s), _LONGEST_PAUSE_S)
            )
            self._restart_at = now + self._pause_s
            get_logger().error(
                "worker_died", exit_status=code, jobs_released=released, restart_in_s=self._pause_s
            )
        if now >= self._restart_at:
            self._restart_at = None
            self._spawn()

    def _tell(self, reason: str) -> None:
        """Say in log and status that images are received and none is analysed."""
        kind = IncidentKind.WORKER_CANNOT_START
        get_logger().error(kind.value, reason=reason)
        with self._ledger.write() as connection:
            incidents.note(connection, kind, "worker", reason, time.time())

    def _end_hanging(self, now: float) -> None:
        """Kill a worker that lives but does not renew its lease: stopped, or stuck inside a driver."""
        if now < self._look_at_lease_at:
            return
        self._look_at_lease_at = now + _LEASE_LOOK_S
        if not jobs.lease_lapsed(self._ledger, self._owner, time.time()):
            self._lapsed_since = None
        elif self._lapsed_since is None:
            self._lapsed_since = now  # after a step of the clock it is renewed within seconds
        elif not self._ledger_takes_writes():
            self._lapsed_since = now  # nobody could renew it: the worker waits, with its result in its hands
        elif now - self._lapsed_since >= _LAPSED_FOR_S and self._process is not None:
            get_logger().error("worker_hangs")
            self._lapsed_since = None
            self._process.kill()

    def _ledger_takes_writes(self) -> bool:
        try:
            services.sign_of_life(self._ledger, "supervisor", self._owner, {}, time.time())
        except SpoolError as error:
            get_logger().error("lease_not_renewed", reason=str(error))
            return False
        return True

    def stop(self, patience_s: float) -> None:
        """Let the worker end its job, kill it after a while, and give its claim back uncounted."""
        process = self._process
        if process is None:
            return
        if process.is_alive():
            process.terminate()
            ring(self._settings.node.data_folder, WORKER_BELL)
            process.join(patience_s)
        if process.is_alive():
            process.kill()
            process.join()
        try:
            jobs.give_back(self._ledger, self._owner, time.time())
        except SpoolError as error:  # the next start releases the claim; the attempt counts then
            get_logger().error("lease_not_released", reason=str(error))
