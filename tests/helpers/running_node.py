"""A real node as a process of its own, as IT staff start it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

AE_TITLE = "LESIONNODE"


@dataclass
class RunningNode:
    """One node with its configuration, data folder and log.

    Parameters
    ----------
    folder
        Holds everything of it.
    peers
        (name, AE title, port) of each destination.
    web_peers
        (name, URL) of each DICOMweb destination.
    callers
        AE titles that may send.
    options
        Further TOML, appended; sources take `source_options`, every peer `peer_options`, reception
        `reception_options`.
    quiet_s
        When a series is complete.
    wanted_port
        Where it listens; 0 for a free port, another one after each start.
    data_folder
        One of its own if left out.
    arguments, environment
        Further arguments of ``lesion-node run``, and variables that it gets.
    launcher
        Command line that the node's own is appended to; it has to become the node.
    """

    folder: Path
    peers: list[tuple[str, str, int]]
    callers: tuple[str, ...] = ("SCANNER", "STORESCU", "ECHOSCU")
    options: str = ""
    source_options: str = ""
    peer_options: str = ""
    reception_options: str = ""
    web_peers: tuple[tuple[str, str], ...] = ()
    quiet_s: float = 1.0
    wanted_port: int = 0
    data_folder: Path | None = None
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    launcher: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def _run_arguments(self) -> tuple[str, ...]:
        return ("run", "--config", str(self.config), *self.arguments)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "lesion-node.toml"

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.data_folder or self.folder / "data"

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every log event so far."""
        return events_in((self.folder / "node.log").read_text())

    def start(self) -> None:
        """Write the configuration, start the process and wait until it is ready."""
        before = self.launch()
        ready = self.wait(lambda: [one for one in self.log[before:] if one["event"] == "ready"], 90)
        self.port = int(ready[0].get("port", 0))

    def launch(self) -> int:
        """Write the configuration and start the process; return how many events the log held before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self._toml())
        with (self.folder / "node.log").open("ab") as log:
            log.write(b"\n")  # a killed process may have left half a line
            log.flush()
            before = len(self.log)
            self.process = subprocess.Popen(
                [*self.launcher, sys.executable, "-m", "lesionnode", *self._run_arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "COLUMNS": "200", **self.environment},
                start_new_session=True,  # so that it can be killed with its worker
            )
        return before

    def wait(self, look: Callable[[], Any], timeout_s: float) -> Any:
        """Return what `look` finds once it finds something; fail when the time is over or the node died."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the node ended:\n{(self.folder / 'node.log').read_text()[-3000:]}")
            time.sleep(0.1)
        raise AssertionError(f"nothing in {timeout_s} s:\n{(self.folder / 'node.log').read_text()[-3000:]}")

    def status(self) -> dict[str, Any]:
        """Return ``lesion-node status --json``."""
        run = subprocess.run(
            [sys.executable, "-m", "lesionnode", "status", "--json", "--config", str(self.config)],
            capture_output=True,
            check=True,
            timeout=60,
        )
        found: dict[str, Any] = json.loads(run.stdout)
        return found

    def kill(self) -> None:
        """Kill -9, the node and nothing else: its worker has to find out by itself."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def kill_all(self) -> None:
        """Kill -9, the node and its worker at once, as a power cut would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to stop as systemd does; return its exit status."""
        if self.process is None or self.process.poll() is not None:
            return -1
        self.process.terminate()
        return self.process.wait(60)

    def worker_pids(self) -> list[int]:
        """Return the child processes that own the model."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]

    def _toml(self) -> str:
        peers = "".join(
            f'[[peers]]\nname = "{name}"\nae_title = "{title}"\nhost = "127.0.0.1"\nport = {port}\n'
            f"{self.peer_options}\n"
            for name, title, port in self.peers
        )
        peers += "".join(
            f'[[peers]]\nname = "{name}"\nkind = "dicomweb"\nurl = "{url}"\n{self.peer_options}\n'
            for name, url in self.web_peers
        )
        names = ", ".join(f'"{name}"' for name, *_ in (*self.peers, *self.web_peers))
        callers = ", ".join(f'"{caller}"' for caller in self.callers)
        return (
            f'[node]\nae_title = "{AE_TITLE}"\nport = {self.wanted_port}\nlisten = "127.0.0.1"\n'
            f'data_folder = "{self.data}"\n'
            f"{peers}"
            f'[[sources]]\nname = "ct"\nae_titles = [{callers}]\nnetworks = ["127.0.0.0/8"]\n'
            f"send_to = [{names}]\n{self.source_options}\n"
            f"[reception]\nquiet_s = {self.quiet_s}\ndisk_floor_mb = 16\n"
            f"{self.reception_options}\n"
            f"[delivery]\nfirst_retry_s = 1\nlongest_retry_s = 2\n{self.options}\n"
        )


def events_in(text: str) -> list[dict[str, Any]]:
    """Return the events of a log; a line that a kill cut off is none."""
    events = []
    for line in text.splitlines():
        if line.startswith("{"):
            with contextlib.suppress(json.JSONDecodeError):
                events.append(json.loads(line))
    return events


@contextmanager
def running_node(folder: Path, peers: list[tuple[str, str, int]], **options: Any) -> Iterator[RunningNode]:
    """Run a node for the length of a block."""
    node = RunningNode(folder, peers, **options)
    node.start()
    try:
        yield node
    finally:
        node.stop()
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
