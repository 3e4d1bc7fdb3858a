"""The node under test: its processes, how they are killed and started, and what they log."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from tests.helpers.running_node import AE_TITLE, RunningNode, events_in

#: More than one process may have to be started, one after the other on a busy machine.
_READY_WITHIN_S = 120.0
_LOOK_S = 0.01


class Kill(StrEnum):
    """What is killed."""

    NODE = "node"
    """Node and worker at once."""
    PARENT = "parent"
    """The node; its worker has to find out by itself, while the next node starts already."""
    WORKER = "worker"
    """The worker; the node goes on."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What every process of a deployment is told.

    Parameters
    ----------
    folder
        Holds configuration, data folder and logs.
    port
        Where it listens.
    pacs
        Name, AE title and port of the destination.
    ledger_url
        Of a PostgreSQL database; empty for the SQLite file in the data folder.
    """

    folder: Path
    port: int
    pacs: tuple[str, str, int]
    ledger_url: str = ""

    def node(self, name: str = "node", *arguments: str) -> RunningNode:
        """Return a node that is not started yet; all of them share one data folder."""
        url = f'[ledger]\nurl = "{self.ledger_url}"\n' if self.ledger_url else ""
        return RunningNode(
            self.folder / name,
            [self.pacs],
            quiet_s=0.5,
            wanted_port=self.port,
            arguments=arguments,
            data_folder=self.folder / "data",
            # Long enough for the scanner to come back after a restart; a real one takes minutes.
            reception_options="cut_off_quiet_s = 6.0\n",
            # A campaign kills one series more often than any hospital would.
            options=f"commitment_wait_s = 4.0\n[models]\nmax_attempts = 20\n{url}",
            peer_options="storage_commitment = true",
        )


class Log:
    """The events in a node's log, read as they come."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self._path = path
        self._read = 0
        self._before_start = 0

    def look(self) -> None:
        """Read on."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new.rfind(b"\n") + 1
        self._read += whole
        found = events_in(new[:whole].decode(errors="replace"))
        self.events += found
        self.counts.update(event["event"] for event in found)

    def mark(self) -> None:
        """Take what is there for the words of an earlier process."""
        self.look()
        self._before_start = len(self.events)

    @property
    def ready(self) -> bool:
        """Whether the process said that it is ready."""
        self.look()
        return any(event["event"] == "ready" for event in self.events[self._before_start :])


class Deployment(ABC):
    """Node processes that serve one ledger.

    Parameters
    ----------
    settings
        What they are told.
    """

    called = AE_TITLE

    def __init__(self, settings: Settings) -> None:
        self.nodes = self._nodes(settings)
        self.logs = [Log(node.folder / "node.log") for node in self.nodes]
        self.start_seconds: list[float] = []
        self._launched_at = 0.0
        self._orphans: list[psutil.Process] = []

    @abstractmethod
    def _nodes(self, settings: Settings) -> list[RunningNode]:
        """Return the processes, not started yet."""

    @property
    def data_folders(self) -> list[Path]:
        """Where files are kept."""
        return list(dict.fromkeys(node.data for node in self.nodes))

    def events(self) -> list[dict[str, Any]]:
        """Return every event so far, of all processes."""
        for log in self.logs:
            log.look()
        return [event for log in self.logs for event in log.events]

    def count_of(self, event: str) -> int:
        """Return how often an event was logged so far."""
        for log in self.logs:
            log.look()
        return sum(log.counts[event] for log in self.logs)

    def launch(self) -> None:
        """Start whatever does not run."""
        self._launched_at = time.monotonic()
        for node, log in zip(self.nodes, self.logs, strict=True):
            if node.process is None or node.process.poll() is not None:
                log.mark()
                node.launch()

    def wait_until_ready(self) -> None:
        """Wait until every process says that it is ready.

        Raises
        ------
        AssertionError
            One ended, or takes too long.
        """
        for node, log in zip(self.nodes, self.logs, strict=True):
            while not log.ready:
                if node.process is None or node.process.poll() is not None:
                    raise AssertionError(f"the node ended at its start: see {node.folder / 'node.log'}")
                if time.monotonic() - self._launched_at > _READY_WITHIN_S:
                    raise AssertionError(f"the node does not get ready: see {node.folder / 'node.log'}")
                time.sleep(_LOOK_S)
        self.start_seconds.append(time.monotonic() - self._launched_at)

    def kill(self, what: Kill, choices: random.Random) -> None:
        """Kill -9: the worker; or one of the processes, or all of them at once."""
        if what is Kill.WORKER:
            for worker in self._workers(self.nodes):
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
            return
        for node in choices.choice([*([one] for one in self.nodes), self.nodes]):
            if what is Kill.NODE:
                node.kill_all()
            else:
                self._orphans += self._workers([node])
                node.kill()

    def orphans(self) -> list[int]:
        """Return the workers that still run although the node that started them was killed."""
        return [worker.pid for worker in self._orphans if worker.is_running()]

    def stop(self) -> list[int]:
        """Stop in order; return the exit statuses."""
        return [node.stop() for node in self.nodes]

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        for node in self.nodes:
            if node.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(node.process.pid, signal.SIGKILL)
                node.process.wait(10)

    @staticmethod
    def _workers(nodes: list[RunningNode]) -> list[psutil.Process]:
        workers = []
        for node in nodes:
            with contextlib.suppress(psutil.Error):
                workers += [psutil.Process(pid) for pid in node.worker_pids()]
        return workers


class OneProcess(Deployment):
    """The usual node: it receives, analyses and delivers."""

    def _nodes(self, settings: Settings) -> list[RunningNode]:
        return [settings.node()]


class TwoProcesses(Deployment):
    """One process receives and delivers, another one analyses; the ledger is all that they share."""

    def _nodes(self, settings: Settings) -> list[RunningNode]:
        return [
            settings.node("node", "--roles", "receive,deliver"),
            settings.node("analysing", "--roles", "analyse"),
        ]
