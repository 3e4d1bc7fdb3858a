"""The node's own files: what was received and what is delivered, durable before anybody is told so.

Layout below the data folder::

    received/<series id>/<instance id>.dcm    what was received, named by our own ids, never by foreign UIDs
    received/<series id>/manifest-<generation>-<checksum>.json    what is sealed of it (`custody.manifest`)
    results/<job id>/<kind>.dcm               what is delivered
    results/<job id>/fhir.json                the same numbers for platforms that read no DICOM; not delivered
    copies/                                   brought from shared storage (`custody.holdings`)
    results/<job id>/result-set.json          what they are and how the job ended (`custody.result_set`)
    results/<job id>/receipts.jsonl           what became of their deliveries
    time-points/<job id>/time-point.zip       what later scans are compared with (`custody.time_points`)
    unrecorded/<time>-<name>                  complete files that the ledger did not know at start-up
    unflushed                                 there while some received files may be so (`custody.late_flush`)
    reserve                                   space that is freed when the disk is full (`custody.reserve`)
    *.part                                    writes that were cut off; deleted at start-up
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from core.errors import DiskUnderFloor, SpoolDamaged, SpoolError, SpoolFull
from custody.durable import Buffer, disk_is_full, flush_folder, write_durably, write_unflushed
from custody.ledger.files import COPIES
from custody.manifest import read_manifest
from custody.reserve import Reserve

_MOST_ENTERED = 10_000
#: Name of a time point's file.
TIME_POINT = "time-point.zip"
#: Files beside results that say which there are and what became of them.
_RECORDS = ("result-set.json", "corrected*.json", "receipts.jsonl")


class Spool:
    """The data folder's files.

    Parameters
    ----------
    data_folder
        Created where it does not exist.
    floor_bytes
        With less free space than this, nothing is received any more.
    flush_received
        Whether received files are flushed as they come; else `custody.late_flush` sees to it.

    Raises
    ------
    SpoolError
        The folder cannot be created or written.
    """

    def __init__(self, data_folder: Path, *, floor_bytes: int = 0, flush_received: bool = True) -> None:
        self.received = data_folder / "received"
        self.results = data_folder / "results"
        self.unrecorded = data_folder / "unrecorded"
        self.time_points = data_folder / "time-points"
        self.reserve = Reserve.beside(data_folder / "received")
        self.copies = data_folder / COPIES
        self._data_folder = data_folder
        self._floor_bytes = floor_bytes
        self._flush_received = flush_received
        #: Folders whose entry in their parent is on disk.
        self._entered: set[Path] = set()
        try:
            for folder in (self.received, self.results, self.unrecorded, self.time_points):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpoolError(f"the data folder {data_folder} cannot be used: {error.strerror}") from None

    def free_bytes(self) -> int:
        """Return the free space of the disk under the data folder."""
        return shutil.disk_usage(self._data_folder).free

    def require_space(self, incoming_bytes: int = 0) -> None:
        """Raise `DiskUnderFloor` where taking so many bytes would bring the disk under its floor."""
        free = self.free_bytes()
        if free - incoming_bytes < self._floor_bytes:
            raise DiskUnderFloor(
                f"{free // 2**20} MiB free on the disk of {self._data_folder}, the floor is "
                f"{self._floor_bytes // 2**20} MiB: free some space or lower reception.disk_floor_mb"
            )

    def keep_received(self, series_id: str, instance_id: str, parts: Iterable[Buffer]) -> Path:
        """Store one received instance, durably unless the spool flushes later.

        Parameters
        ----------
        series_id, instance_id
            Our own ids.
        parts
            Preamble with File Meta Information, then the raw data-set bytes.

        Returns
        -------
        Path
            The file. Unless the spool flushes later it survives a power cut when this returns.

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
        path = self.received / series_id / f"{instance_id}.dcm"
        return self._write(path, chunks, flush=self._flush_received)

    def move_aside(self, path: Path) -> None:
        """Move a received file to ``unrecorded``: nobody relies on it, and nobody deletes it."""
        path.replace(self.unrecorded / f"{path.parent.name}-{path.name}")

    def series_folder(self, series_id: str) -> Path:
        """Return where the files of a series are."""
        _require_own_names(series_id)
        return self.received / series_id

    def copy_of(self, path: Path) -> Path:
        """Return where a copy lies of what another machine has under this name."""
        if path.is_relative_to(self.copies):
            return path
        return self.copies / path.relative_to(self._data_folder)

    def results_folder(self, job_id: str) -> Path:
        """Return where the results of a job are."""
        _require_own_names(job_id)
        return self.results / job_id

    def keep_manifest(self, series_id: str, generation: int, sha256: str, content: bytes) -> Path:
        """Store the list of a series' instances durably, beside them."""
        name = f"manifest-{generation}-{sha256[:12]}"
        return self._write(self.series_folder(series_id) / f"{name}.json", [content])

    def keep_result(self, job_id: str, name: str, content: Buffer, *, ending: str = "dcm") -> Path:
        """Store one result durably; an earlier unrecorded write of the same name is replaced."""
        _require_own_names(job_id, name, ending)
        return self._write(self.results / job_id / f"{name}.{ending}", [content])

    def keep_time_point(self, job_id: str, content: Buffer) -> Path:
        """Store what later scans are compared with durably; one of an earlier attempt is replaced."""
        return self._write(self.time_point_folder(job_id) / TIME_POINT, [content])

    def time_point_folder(self, job_id: str) -> Path:
        """Return where the time point of a job is."""
        _require_own_names(job_id)
        return self.time_points / job_id

    def drop_time_point(self, job_id: str) -> None:
        """Delete the time point of a job."""
        _remove_folder(self.time_point_folder(job_id))

    def delete_received(self, series_id: str, names: Iterable[str]) -> int:
        """Delete received files of a series; return how many were there.

        Parameters
        ----------
        series_id
            Our own id.
        names
            As its manifest lists them. What lies elsewhere than in the spool is left alone.

        Raises
        ------
        SpoolError
            The file system does not let go of one.
        """
        folder = self.series_folder(series_id)
        gone = sum(self._deleted(folder / name) for name in names)
        if gone:
            flush_folder(folder)  # or a power cut could bring back what the ledger says is gone
        return gone

    def delete_results(self, job_id: str) -> int:
        """Delete the results of a job; return how many files there were.

        What says which results there were stays where it exists: the ledger could be made anew from it.
        """
        _require_own_names(job_id)
        folder = self.results / job_id
        gone = sum(self._deleted(path) for path in self.result_files(job_id))
        with contextlib.suppress(OSError):  # not empty, or not there
            folder.rmdir()
        if gone:
            flush_folder(folder if folder.is_dir() else self.results)
        return gone

    def has_results(self, job_id: str) -> bool:
        """Whether results of a job lie in this spool."""
        return bool(self.result_files(job_id))

    def result_files(self, job_id: str) -> list[Path]:
        """Return the result files of a job, without what says which there are."""
        _require_own_names(job_id)
        return [
            path for path in sorted((self.results / job_id).glob("*")) if not any(map(path.match, _RECORDS))
        ]

    def _deleted(self, path: Path) -> bool:
        if not path.resolve().is_relative_to(self._data_folder.resolve()):
            return False
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SpoolError(f"{path} cannot be deleted: {error.strerror}") from None
        return True

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
        for folder in _changed_folders((self.received, self.results, self.time_points), changed_since):
            for part in folder.glob("*.part"):
                part.unlink(missing_ok=True)
                parts += 1
            if folder.parent == self.received:
                strangers += self._move_strangers(folder, known | _listed(folder))
        return parts, strangers

    def _move_strangers(self, folder: Path, known: set[Path]) -> int:
        strangers = [path for path in folder.glob("*.dcm") if path.resolve() not in known]
        for stranger in strangers:
            self.move_aside(stranger)
        return len(strangers)

    def _write(self, path: Path, chunks: list[Buffer], *, flush: bool = True) -> Path:
        try:
            if not path.parent.is_dir():
                self._entered.discard(path.parent)  # new, or purged since
            if flush:
                write_durably(path, chunks, enter_folders=False)
                self._enter(path.parent)
            else:
                write_unflushed(path, chunks)
        except OSError as error:
            if disk_is_full(error):
                self.reserve.free()
                raise SpoolFull(f"the disk of {self._data_folder} is full: free some space") from None
            raise SpoolError(f"{path} cannot be written: {error.strerror}") from None
        return path

    def _enter(self, folder: Path) -> None:
        """Make the folder itself survive a power cut; who finds it there may have come before its flush."""
        if folder in self._entered:
            return
        flush_folder(folder.parent)
        if len(self._entered) >= _MOST_ENTERED:
            self._entered.clear()
        self._entered.add(folder)


def _remove_folder(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
        flush_folder(folder.parent)


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
