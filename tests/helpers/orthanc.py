"""Orthanc as the PACS: a real process on loopback ports."""

from __future__ import annotations

import email
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from lesionnode.demo.pacs import free_port
from tests.helpers.dicom_peers import Scanner, Store, store
from tests.helpers.programs import require_file, require_program

AE_TITLE = "ORTHANC"
#: Who may call: the node, and DCMTK's query tool.
_CALLERS = ("LESIONNODE", "FINDSCU")
_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


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

    @property
    def dicomweb(self) -> str:
        """Root of its DICOMweb service."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def get(self, path: str) -> Any:
        """Return the JSON behind a path of its REST interface."""
        return json.loads(self.download(path))

    def download(self, path: str) -> bytes:
        """Return the bytes behind a path of its REST interface."""
        content: bytes = self._request(path).read()
        return content

    def delete(self, path: str) -> None:
        """Delete a resource of its REST interface."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()

    def send_json(self, method: str, path: str, body: Any) -> Any:
        """PUT or POST a value to a path of its REST interface; return the JSON of the answer, if any."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}", json.dumps(body).encode(), method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = answer.read()
        return json.loads(said) if said else None

    def _request(self, path: str, **headers: str) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", headers=headers)
        return urllib.request.urlopen(request, timeout=30)

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

    def store(self, *files: Path) -> None:
        """Send files with C-STORE as they are; each has to be answered with success."""
        requests = [Store.of(dcmread(path)) for path in files]
        contexts = {one.sop_class_uid: (one.sop_class_uid, (one.syntax,)) for one in requests}
        scanner = Scanner(self.dicom_port, calling="LESIONNODE", called=AE_TITLE)
        with scanner.association(tuple(contexts.values())) as association:
            statuses = [store(association, one) for one in requests]
        if set(statuses) != {0x0000}:
            raise AssertionError(f"C-STORE was answered with {[f'0x{one:04X}' for one in statuses]}")

    def every_instance(self) -> dict[str, bytes]:
        """Return the file of every instance, by its SOP Instance UID."""
        tags = {one: self.get(f"/instances/{one}/tags?simplify") for one in self.get("/instances")}
        return {tag["SOPInstanceUID"]: self.download(f"/instances/{one}/file") for one, tag in tags.items()}

    def search_studies(self, **keys: str) -> list[dict[str, Any]]:
        """Return the studies that DICOMweb (QIDO-RS) finds, as DICOM JSON."""
        found: list[dict[str, Any]] = self.get(f"/dicom-web/studies?{urllib.parse.urlencode(keys)}")
        return found

    def metadata(self, dataset: Dataset) -> dict[str, Any]:
        """Return what DICOMweb (WADO-RS) says of an instance: DICOM JSON, bulk data left out."""
        (found,) = json.loads(self.download(f"{self._dicomweb(dataset)}/metadata"))
        said: dict[str, Any] = found
        return said

    def retrieve(self, dataset: Dataset) -> bytes:
        """Return the file of an instance as DICOMweb (WADO-RS) hands it out."""
        kind = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        answer = self._request(self._dicomweb(dataset), Accept=kind)
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode("ascii")
        (part,) = email.message_from_bytes(head + answer.read()).get_payload()
        content: bytes = part.get_payload(decode=True)
        return content

    @staticmethod
    def _dicomweb(dataset: Dataset) -> str:
        return (
            f"/dicom-web/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
            f"/instances/{dataset.SOPInstanceUID}"
        )

    def study_uid_of(self, modality: str) -> set[str]:
        """Return the Study Instance UIDs that hold instances of a modality."""
        studies = {one["ParentStudy"] for one in self.series(modality)}
        return {self.get(f"/studies/{one}")["MainDicomTags"]["StudyInstanceUID"] for one in studies}


@contextmanager
def running_orthanc(folder: Path, *, dicomweb: bool = False, **settings: Any) -> Iterator[Orthanc]:
    """Run an Orthanc for the length of a block, with DICOMweb if wanted; skips where it is not installed."""
    program = require_program("Orthanc", "orthanc")
    plugin = require_file(_DICOMWEB, "Debian package orthanc-dicomweb") if dicomweb else None
    folder.mkdir(parents=True, exist_ok=True)
    orthanc = Orthanc(settings.get("DicomPort") or free_port(), free_port())
    config = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": AE_TITLE,
        "DicomPort": orthanc.dicom_port,
        "HttpPort": orthanc.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        # It cannot be told to listen on one interface only, so it refuses callers from other machines.
        "DicomAlwaysAllowStore": False,
        "DicomAlwaysAllowEcho": False,
        "DicomCheckModalityHost": True,
        "DicomModalities": {title.lower(): [title, "127.0.0.1", 104] for title in _CALLERS},
        "DefaultEncoding": "Utf8",
        "Plugins": [str(plugin)] if plugin else [],
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
        # Its storage is thrown away, and an orderly end takes seconds.
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
