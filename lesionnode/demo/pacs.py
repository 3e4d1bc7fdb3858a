"""A small PACS that keeps what it is sent, and a scanner that sends a folder; for demo and benchmarks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from scp.requestor import send_at_once


@dataclass(frozen=True, slots=True)
class Arrival:
    """One object that the PACS accepted.

    Parameters
    ----------
    sop_class_uid
        What it is.
    path
        Where the PACS put it.
    accepted_at
        Monotonic seconds when 0x0000 was answered.
    """

    sop_class_uid: str
    path: Path
    accepted_at: float


class SmallPacs:
    """A Storage SCP on the loopback interface.

    Parameters
    ----------
    folder
        Where objects are kept; created where it does not exist.
    ae_title
        What it is called.
    port
        Where it listens; 0 for a free port.
    """

    def __init__(self, folder: Path, ae_title: str = "SMALLPACS", port: int = 0) -> None:
        self.ae_title = ae_title
        self._wanted_port = port
        self._folder = folder
        self._arrived = threading.Condition()
        self._arrivals: list[Arrival] = []
        self._server: Any = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.socket.getsockname()[1])

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        entity = AE(ae_title=self.ae_title)
        entity.maximum_pdu_size = 1024 * 1024
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(Verification)
        self._server = entity.start_server(
            ("127.0.0.1", self._wanted_port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()

    def wait_for(self, count: int, timeout_s: float) -> list[Arrival]:
        """Return the arrivals once there are so many, or those there are when the time is over."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._arrivals) >= count, timeout_s)
            return list(self._arrivals)

    def _store(self, event: Any) -> int:
        path = self._folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
        path.write_bytes(event.encoded_dataset())
        with self._arrived:
            sop_class = str(event.request.AffectedSOPClassUID)
            self._arrivals.append(Arrival(sop_class, path, time.monotonic()))
            self._arrived.notify_all()
        return 0x0000


def free_port() -> int:
    """Return a port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send(paths: Iterable[Path], port: int, *, calling: str, called: str) -> int:
    """Send files as a scanner does, over one association on the loopback interface.

    Returns
    -------
    int
        How many were answered with success.

    Raises
    ------
    ConnectionError
        No association.
    """
    entity = AE(ae_title=calling)
    entity.maximum_pdu_size = 1024 * 1024
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate(
        "127.0.0.1",
        port,
        ae_title=called,
        max_pdu=1024 * 1024,
        evt_handlers=[(evt.EVT_CONN_OPEN, send_at_once)],
    )
    if not association.is_established:
        raise ConnectionError(f"{called} on port {port} does not accept an association from {calling}")
    try:
        answers: list[Dataset] = [association.send_c_store(dcmread(path)) for path in paths]
    finally:
        association.release()
    return sum("Status" in answer and answer.Status == 0 for answer in answers)
