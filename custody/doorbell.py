"""A lossy wake-up between the node's processes: it saves the poll's latency, the ledger stays the truth."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from pathlib import Path
from types import TracebackType
from typing import Self


def _address(data_folder: Path, name: str) -> str:
    """Return an abstract Unix socket address: no file to clean up, no path that could be too long."""
    digest = hashlib.sha256(str(data_folder.resolve()).encode()).hexdigest()[:24]
    return f"\0lesion-node-{digest}-{name}"


class Doorbell:
    """One listener; it also wakes when nobody rang, so a lost ring costs one poll interval at most.

    Parameters
    ----------
    data_folder
        Tells nodes on one machine apart.
    name
        Of the service that listens.
    """

    def __init__(self, data_folder: Path, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Another process may hold the address for a moment during a restart; then polling has to do.
        with contextlib.suppress(OSError):
            self._socket.bind(_address(data_folder, name))

    def wait(self, seconds: float) -> None:
        """Return when somebody rings, or after so many seconds."""
        self._socket.settimeout(max(seconds, 0.001))
        with contextlib.suppress(TimeoutError):
            self._socket.recv(1)
            self._socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._socket.recv(1)  # rings that came together count once

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ring(data_folder: Path, name: str) -> None:
    """Wake a service; does nothing where it does not listen."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
    ):
        sender.sendto(b"!", _address(data_folder, name))
