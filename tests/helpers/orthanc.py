"""Orthanc as the PACS: a real process on loopback ports."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionnode.demo.pacs import free_port
from tests.helpers.programs import require_program

AE_TITLE = "ORTHANC"


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Parameters
    ----------
    dicom_port, http_port
        On the loopback interface.
    """

    dicom_port: int
    http_port: int

    @property
    def peer(self) -> tuple[str, str, int]:
        """Name, AE title and port, as a node's peer."""
        return ("orthanc", AE_TITLE, self.dicom_port)

    def get(self, path: str) -> Any:
        """Return the JSON behind a path of its REST interface."""
        return json.loads(self.download(path))

    def download(self, path: str) -> bytes:
        """Return the bytes behind a path of its REST interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            content: bytes = answer.read()
        return content

    def delete(self, path: str) -> None:
        """Delete a resource of its REST interface."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()

    def series(self, modality: str) -> list[dict[str, Any]]:
        """Return every series of a modality with its instances and parent study."""
        found = [self.get(f"/series/{one}") for one in self.get("/series")]
        return [one for one in found if one["MainDicomTags"].get("Modality") == modality]

    def instances(self, modality: str) -> list[str]:
        """Return Orthanc's ids of every instance of a modality."""
        return [instance for series in self.series(modality) for instance in series["Instances"]]

    def fetch(self, modality: str, folder: Path) -> list[Path]:
        """Download every instance of a modality as Orthanc would hand it to a viewer."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for instance in self.instances(modality):
            path = folder / f"{modality}-{instance}.dcm"
            path.write_bytes(self.download(f"/instances/{instance}/file"))
            paths.append(path)
        return paths

    def study_uid_of(self, modality: str) -> set[str]:
        """Return the Study Instance UIDs that hold instances of a modality."""
        studies = {one["ParentStudy"] for one in self.series(modality)}
        return {self.get(f"/studies/{one}")["MainDicomTags"]["StudyInstanceUID"] for one in studies}


@contextmanager
def running_orthanc(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """Run an Orthanc for the length of a block; skips where it is not installed."""
    program = require_program("Orthanc", "orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    orthanc = Orthanc(free_port(), free_port())
    config = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": AE_TITLE,
        "DicomPort": orthanc.dicom_port,
        "HttpPort": orthanc.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DefaultEncoding": "Utf8",
        "Plugins": [],
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(config))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(path)], stdout=log, stderr=log)
    try:
        _wait_until_up(orthanc, process, folder / "orthanc.log")
        yield orthanc
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(orthanc: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"Orthanc ended:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            orthanc.get("/system")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError("Orthanc did not start")
