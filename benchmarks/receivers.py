"""The receivers that `benchmarks.receive` measures, each started as its users would start it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks.lean_sender import CALLERS, null_sink
from benchmarks.wire import PeerError
from lesionnode.demo.pacs import free_port
from tests.helpers.orthanc import AE_TITLE as ORTHANC_TITLE
from tests.helpers.orthanc import running_orthanc
from tests.helpers.running_node import AE_TITLE, running_node

#: The largest PDU that DCMTK receives, and Orthanc with it; the defaults of 16 KiB are slower.
_DCMTK_MAX_PDU = 131_072
#: No series is complete before the measurement is over, so that the worker stays out of its way.
_QUIET_S = 36_000.0


@dataclass(frozen=True, slots=True)
class Running:
    """A receiver that listens.

    Parameters
    ----------
    port, called
        Where and as whom it is called.
    pid
        Its process; children belong to it.
    litter
        What it stores there may be deleted between two runs: at its rate it would fill the disk.
    """

    port: int
    called: str
    pid: int
    litter: Path | None = None

    def clear(self) -> None:
        """Delete what was stored, where that may be."""
        for path in self.litter.iterdir() if self.litter is not None else ():
            path.unlink()

    def cpu_s(self) -> float:
        """Return the CPU seconds of it and its living children."""
        return cpu_s(self.pid)


@dataclass(frozen=True, slots=True)
class Receiver:
    """One that can be measured.

    Parameters
    ----------
    name
        In tables.
    flushes
        What it has on disk when it answers 0x0000, in words.
    run
        Starts it in an empty folder for the length of a block.
    program
        Has to be installed; None for what comes with this repository.
    """

    name: str
    flushes: str
    run: Callable[[Path], AbstractContextManager[Running]]
    program: str | None = None

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        return self.program is None or shutil.which(self.program) is not None


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its living children."""
    process = psutil.Process(pid)
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += sum(one.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


@contextmanager
def _node(folder: Path, durability: str = "ack") -> Iterator[Running]:
    nowhere = [("pacs", "NOWHERE", free_port())]
    options = f'durability = "{durability}"'
    with running_node(folder, nowhere, callers=CALLERS, quiet_s=_QUIET_S, reception_options=options) as node:
        if node.process is None:
            raise PeerError("the node did not start")
        yield Running(node.port, AE_TITLE, node.process.pid)


@contextmanager
def _storescp(folder: Path) -> Iterator[Running]:
    stored = folder / "stored"
    stored.mkdir(parents=True)
    port = free_port()
    command = ["storescp", "--fork", "--bit-preserving", "--max-pdu", str(_DCMTK_MAX_PDU)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "-od", str(stored), str(port)], stdout=log, stderr=log)
    try:
        _wait_for(port)
        yield Running(port, "STORESCP", process.pid, stored)
    finally:
        process.kill()
        process.wait()


@contextmanager
def _orthanc(folder: Path) -> Iterator[Running]:
    callers = {title.lower(): [title, "127.0.0.1", 104] for title in CALLERS}
    with running_orthanc(folder, DicomModalities=callers, MaximumPduLength=_DCMTK_MAX_PDU) as orthanc:
        listening = (
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == orthanc.dicom_port
        )
        yield Running(orthanc.dicom_port, ORTHANC_TITLE, int(next(listening) or 0))


@contextmanager
def _sink(_folder: Path) -> Iterator[Running]:
    with null_sink() as (port, pid):
        yield Running(port, "SINK", pid)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise PeerError(f"nothing listens on port {port}")


NODE = Receiver("node", "file, its name and its row", _node)
LATE = Receiver("node, late", "its row, but not the file", partial(_node, durability="seal"))
STORESCP = Receiver("storescp", "nothing", _storescp, "storescp")
ORTHANC = Receiver("Orthanc", "file, but not its name nor its row", _orthanc, "Orthanc")
SINK = Receiver("null sink", "keeps nothing", _sink)
