"""Files that must survive a power cut. Flushing and atomic renaming live here alone.

Layout below the data folder::

    received/<series id>/<instance id>.dcm    what was received, named by our own ids, never by foreign UIDs
    results/<job id>/<kind>.dcm               what is delivered
    results/<job id>/fhir.json                the same numbers for platforms that read no DICOM; not delivered
    unrecorded/<time>-<name>                  complete files that the ledger did not know at start-up
    *.part                                    writes that were cut off; deleted at start-up
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from core.errors import SpoolError, SpoolFull

Buffer: TypeAlias = bytes | bytearray | memoryview

_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT}
_MOST_ENTERED = 10_000


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
        #: Folders whose entry in their parent is on disk.
        self._entered: set[Path] = set()
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

    def keep_result(self, job_id: str, name: str, content: Buffer, *, ending: str = "dcm") -> Path:
        """Store one result durably; an earlier unrecorded write of the same name is replaced."""
        _require_own_names(job_id, name, ending)
        return self._write(self.results / job_id / f"{name}.{ending}", [content])

    def sweep(self, recorded: Iterable[Path]) -> tuple[int, int]:
        """Tidy up after a crash.

        Part files are deleted: they were never acknowledged. Complete files that the ledger does not know
        are moved to ``unrecorded``, not deleted: were the ledger itself lost, they would be all there is.

        Parameters
        ----------
        recorded
            Every received file that the ledger knows.

        Returns
        -------
        tuple of int
            Part files deleted, files moved aside.
        """
        known = {path.resolve() for path in recorded}
        parts = list(self._data_folder.glob("re*/*/*.part"))
        for part in parts:
            part.unlink(missing_ok=True)
        strangers = [path for path in self.received.glob("*/*.dcm") if path.resolve() not in known]
        for stranger in strangers:
            stranger.replace(self.unrecorded / f"{stranger.parent.name}-{stranger.name}")
        return len(parts), len(strangers)

    def _write(self, path: Path, chunks: list[Buffer]) -> Path:
        part = path.with_suffix(".part")
        try:
            descriptor = self._create(part)
            try:
                _write_all(descriptor, chunks)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            part.replace(path)
            _flush_folder(path.parent)
            self._enter(path.parent)
        except OSError as error:
            part.unlink(missing_ok=True)
            if error.errno in _DISK_IS_FULL:
                raise SpoolFull(f"the disk of {self._data_folder} is full: free some space") from None
            raise SpoolError(f"{path} cannot be written: {error.strerror}") from None
        return path

    def _create(self, part: Path) -> int:
        """Create a part file, and its folder where it is not there (any more); return the descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            return os.open(part, flags, 0o666)
        except FileNotFoundError:
            self._entered.discard(part.parent)
            part.parent.mkdir(parents=True, exist_ok=True)
            return os.open(part, flags, 0o666)

    def _enter(self, folder: Path) -> None:
        """Make the folder itself survive a power cut; who finds it there may have come before its flush."""
        if folder in self._entered:
            return
        _flush_folder(folder.parent)
        if len(self._entered) >= _MOST_ENTERED:
            self._entered.clear()
        self._entered.add(folder)


def _write_all(descriptor: int, chunks: list[Buffer]) -> None:
    """Write everything; a single call may write less than it was asked to."""
    rest = [memoryview(chunk) for chunk in chunks if len(chunk)]
    while rest:
        written = os.writev(descriptor, rest)
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]


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
