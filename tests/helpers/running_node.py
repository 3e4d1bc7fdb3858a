"""A real node as a process of its own, as IT staff start it."""

from __future__ import annotations

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
    callers
        AE titles that may send.
    options
        Further TOML, appended; sources take `source_options`, every peer `peer_options`.
    launcher
        Command line that the node's own is appended to; it has to become the node.
    """

    folder: Path
    peers: list[tuple[str, str, int]]
    callers: tuple[str, ...] = ("SCANNER", "STORESCU", "ECHOSCU")
    options: str = ""
    source_options: str = ""
    peer_options: str = ""
    quiet_s: float = 1.0
    launcher: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "lesion-node.toml"

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def log(self) -> list[dict[str, Any]]:
        """Every log event so far."""
        lines = (self.folder / "node.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def start(self) -> None:
        """Write the configuration, start the process and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self._toml())
        before = len(self.log) if (self.folder / "node.log").exists() else 0
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.launcher, sys.executable, "-m", "lesionnode", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "COLUMNS": "200"},
            )
        ready = self.wait(lambda: [one for one in self.log[before:] if one["event"] == "ready"], 90)
        self.port = int(ready[0]["port"])

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
        names = ", ".join(f'"{name}"' for name, _, _ in self.peers)
        callers = ", ".join(f'"{caller}"' for caller in self.callers)
        return (
            f'[node]\nae_title = "{AE_TITLE}"\nport = 0\nlisten = "127.0.0.1"\ndata_folder = "{self.data}"\n'
            f"{peers}"
            f'[[sources]]\nname = "ct"\nae_titles = [{callers}]\nnetworks = ["127.0.0.0/8"]\n'
            f"send_to = [{names}]\n{self.source_options}\n"
            f"[reception]\nquiet_s = {self.quiet_s}\ndisk_floor_mb = 16\n"
            f"[delivery]\nfirst_retry_s = 1\nlongest_retry_s = 2\n{self.options}\n"
        )


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
