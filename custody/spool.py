"""Files that must survive a power cut. Flushing and atomic renaming live here alone.

Layout below the data folder::

    received/<series id>/<instance id>.dcm    what was received, named by our own ids, never by foreign UIDs
    received/<series id>/manifest-<generation>-<checksum>.json    what is sealed of it (`custody.manifest`)
    results/<job id>/<kind>.dcm               what is delivered
    results/<job id>/fhir.json                the same numbers for platforms that read no DICOM; not delivered
    results/<job id>/result-set.json          what they are and how the job ended (`custody.result_set`)
    results/<job id>/receipts.jsonl           what became of their deliveries
    unrecorded/<time>-<name>                  complete files that the ledger did not know at start-up
    *.part                                    writes that were cut off; deleted at start-up
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from core.errors import SpoolDamaged, SpoolError, SpoolFull
from custody.manifest import read_manifest

Buffer: TypeAlias = bytes | bytearray | memoryview

_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT}


class Spool:
    """The data folder's files.

    Parameters
    ----------
    data_folder
        Created where it does not exist.
    floor_bytes
        With less free space than this, nothing is received any more.

    Raises
    ------
    SpoolError
        The folder cannot be created or written.
    """

    def __init__(self, data_folder: Path, *, floor_bytes: int = 0) -> None:
        self.received = data_folder / "received"
        self.results = data_folder / "results"
        self.unrecorded = data_folder / "unrecorded"
        self._data_folder = data_folder
        self._floor_bytes = floor_bytes
        try:
            for folder in (self.received, self.results, self.unrecorded):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpoolError(f"the data folder {data_folder} cannot be used: {error.strerror}") from None

    def free_bytes(self) -> int:
        """Return the free space of the disk under the data folder."""
        return shutil.disk_usage(self._data_folder).free

    def require_space(self, incoming_bytes: int = 0) -> None:
        """Raise `SpoolFull` where taking so many bytes would bring the disk under its floor."""
        free = self.free_bytes()
        if free - incoming_bytes < self._floor_bytes:
            raise SpoolFull(
                f"{free // 2**20} MiB free on the disk of {self._data_folder}, the floor is "
                f"{self._floor_bytes // 2**20} MiB: free some space or lower reception.disk_floor_mb"
            )

    def keep_received(self, series_id: str, instance_id: str, parts: Iterable[Buffer]) -> Path:
        """Store one received instance durably.

        Parameters
        ----------
        series_id, instance_id
            Our own ids.
        parts
            Preamble with File Meta Information, then the raw data-set bytes.

        Returns
        -------
        Path
            The file; it survives a power cut when this returns.

        Raises
        ------
        SpoolFull
            Under the floor, or the disk refused the write.
        SpoolError
            Any other failure of the file system.
        """
        _require_own_names(series_id, instance_id)
        chunks = list(parts)
        self.require_space(sum(len(chunk) for chunk in chunks))
        return self._write(self.received / series_id / f"{instance_id}.dcm", chunks)

    def series_folder(self, series_id: str) -> Path:
        """Return where the files of a series are."""
        _require_own_names(series_id)
        return self.received / series_id

    def keep_manifest(self, series_id: str, generation: int, sha256: str, content: bytes) -> Path:
        """Store the list of a series' instances durably, beside them."""
        name = f"manifest-{generation}-{sha256[:12]}"
        return self._write(self.series_folder(series_id) / f"{name}.json", [content])

    def keep_result(self, job_id: str, name: str, content: Buffer, *, ending: str = "dcm") -> Path:
        """Store one result durably; an earlier unrecorded write of the same name is replaced."""
        _require_own_names(job_id, name, ending)
        return self._write(self.results / job_id / f"{name}.{ending}", [content])

    def drop_results(self, job_id: str) -> None:
        """Delete every result of a job."""
        _require_own_names(job_id)
        _remove_folder(self.results / job_id)

    def drop_series(self, series_id: str) -> None:
        """Delete every received file of a series."""
        _remove_folder(self.series_folder(series_id))

    def sweep(self, recorded: Iterable[Path], changed_since: float = 0.0) -> tuple[int, int]:
        """Tidy up after a crash.

        Part files are deleted: they were never acknowledged. Complete files that neither the ledger nor a
        manifest beside them knows are moved to ``unrecorded``, not deleted: were the ledger itself lost, they
        would be all there is.

        Parameters
        ----------
        recorded
            Every received file that has a row of its own in the ledger.
        changed_since
            Folders in which nothing was added or removed since then are left alone, seconds since 1970 UTC;
            a start must not take longer the more the spool holds.

        Returns
        -------
        tuple of int
            Part files deleted, files moved aside.
        """
        known = {path.resolve() for path in recorded}
        parts = strangers = 0
        for folder in _changed_folders((self.received, self.results), changed_since):
            for part in folder.glob("*.part"):
                part.unlink(missing_ok=True)
                parts += 1
            if folder.parent == self.received:
                strangers += self._move_strangers(folder, known | _listed(folder))
        return parts, strangers

    def _move_strangers(self, folder: Path, known: set[Path]) -> int:
        strangers = [path for path in folder.glob("*.dcm") if path.resolve() not in known]
        for stranger in strangers:
            stranger.replace(self.unrecorded / f"{folder.name}-{stranger.name}")
        return len(strangers)

    def _write(self, path: Path, chunks: list[Buffer]) -> Path:
        part = path.with_suffix(".part")
        try:
            new_folder = not path.parent.is_dir()
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fdatasync(file.fileno())
            part.replace(path)
            _flush_folder(path.parent)
            if new_folder:
                _flush_folder(path.parent.parent)
        except OSError as error:
            part.unlink(missing_ok=True)
            if error.errno in _DISK_IS_FULL:
                raise SpoolFull(f"the disk of {self._data_folder} is full: free some space") from None
            raise SpoolError(f"{path} cannot be written: {error.strerror}") from None
        return path


def _remove_folder(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
        _flush_folder(folder.parent)


def _changed_folders(parents: Iterable[Path], since: float) -> list[Path]:
    found = [entry for parent in parents for entry in os.scandir(parent) if entry.is_dir()]
    return [Path(entry.path) for entry in found if entry.stat().st_mtime >= since]


def _listed(folder: Path) -> set[Path]:
    """Return the files that the manifests in a folder list."""
    listed: set[Path] = set()
    for path in folder.glob("manifest-*.json"):
        with contextlib.suppress(SpoolDamaged):
            listed |= {(folder / one.file).resolve() for one in read_manifest(path).instances}
    return listed


def _require_own_names(*names: str) -> None:
    """Refuse whatever could lead out of the data folder; our own ids are always of this form."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise SpoolError("a file name in the spool was not one of our own ids; nothing was written")


def _flush_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
