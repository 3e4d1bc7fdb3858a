"""DCMTK's ``dcmqrscp`` as the PACS: a real process on a loopback port."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tests.helpers.dicom_peers import Scanner
from tests.helpers.programs import require_program

AE_TITLE = "QRSCP"


@contextmanager
def running_dcmqrscp(
    folder: Path, images: Sequence[Dataset], destinations: Mapping[str, int], port: int
) -> Iterator[None]:
    """Run a ``dcmqrscp`` that holds these images for the length of a block.

    Parameters
    ----------
    folder
        Holds everything of it.
    images
        Sent to it by C-STORE.
    destinations
        Port on the loopback interface by AE title: where C-MOVE may send to.
    port
        Where it listens.
    """
    program = require_program("dcmqrscp", "dcmtk")
    storage = folder / "storage"
    storage.mkdir(parents=True)
    hosts = [f"host{at} = ({title}, localhost, {to})" for at, (title, to) in enumerate(destinations.items())]
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{chr(10).join(hosts)}\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{AE_TITLE} {storage} RW (100, 1024mb) ANY\nAETable END\n"
    )
    with (folder / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
    try:
        _wait_until_up(port, process)
        scanner = Scanner(port, calling="LESIONNODE", called=AE_TITLE)
        if set(scanner.send_images(images)) != {0x0000}:
            raise AssertionError("dcmqrscp did not store the images")
        yield
    finally:
        process.kill()
        process.wait()


def _wait_until_up(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        entity = AE("LESIONNODE")
        entity.connection_timeout = 2
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", port, ae_title=AE_TITLE)
        if association.is_established:
            association.release()
            return
        if process.poll() is not None:
            raise AssertionError("dcmqrscp ended")
        time.sleep(0.1)
    raise AssertionError("dcmqrscp did not start")
