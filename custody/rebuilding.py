"""Makes a ledger anew from what lies in the spool: manifests, images, result sets, receipts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, select

from core.domain import SeriesKey
from core.errors import SpoolDamaged
from custody.late_flush import MARK
from custody.ledger import Ledger, anew, anew_results, time_points
from custody.ledger.reception import OTHER_CONTENT, NewInstance, known_in
from custody.ledger.tables import instance
from custody.manifest import Manifest, reread_manifest
from custody.result_set import RESULT_SET, read_corrected, read_receipts, read_result_set
from custody.spool import TIME_POINT, Spool
from custody.time_points import described

_BATCH = 50
_IMAGES_GONE = "they were gone when the ledger was made anew"


@dataclass(frozen=True, slots=True)
class Reread:
    """What a received file says of itself.

    Parameters
    ----------
    key, modality, calling_ae_title
        From its header and File Meta Information.
    received_at
        When the file was written, seconds since 1970 UTC.
    new
        The row.
    """

    key: SeriesKey
    modality: str
    calling_ae_title: str
    received_at: float
    new: NewInstance


@dataclass(slots=True)
class Rebuilt:
    """What was found, and what could not be read."""

    series: int = 0
    manifests: int = 0
    images_listed: int = 0
    images_open: int = 0
    results: int = 0
    faults: list[str] = field(default_factory=list)


class Rebuilding:
    """One pass over a spool. Rows that are there already are left alone, so it can be repeated.

    Parameters
    ----------
    ledger, spool
        To, from.
    node
        Whose spool it is.
    reread
        Reads one received file.
    source_of
        From a calling AE title to the name of its source.
    now
        Clock, seconds since 1970 UTC.
    committing
        Names of the peers that are asked for storage commitment.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        node: str,
        reread: Callable[[Path, str], Reread],
        source_of: Callable[[str], str],
        now: Callable[[], float] = time.time,
        committing: Collection[str] = (),
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._node = node
        self._reread = reread
        self._source_of = source_of
        self._now = now
        self._committing = committing
        self._rebuilt = Rebuilt()

    def run(self, progress: Callable[[float], None] = lambda _share: None) -> Rebuilt:
        """Take everything in; results first, so that no series with a result becomes a job again."""
        total = max(sum(1 for parent in self._parents() for _ in os.scandir(parent)), 1)
        done = 0
        for parent, take in zip(self._parents(), (self._take_results, self._take_images), strict=True):
            folders = _folders(parent)
            while batch := list(islice(folders, _BATCH)):
                with self._ledger.write() as connection:
                    for folder in batch:
                        take(connection, folder)
                done += len(batch)
                progress(min(done / total, 1.0))
        with self._ledger.write() as connection:
            anew_results.close_gaps(connection, self._committing, self._now())
            self._rebuilt.series = anew.count_series(connection)
        if self._rebuilt.images_open and (self._spool.received.parent / MARK).exists():
            self._rebuilt.faults.append(
                f"{self._rebuilt.images_open} images may never have been flushed "
                '(reception.durability = "seal"), and no digest says whether they are whole: '
                "after a power cut have their series sent again"
            )
        return self._rebuilt

    def _parents(self) -> tuple[Path, Path]:
        return self._spool.results, self._spool.received

    def _take_results(self, connection: Connection, folder: Path) -> None:
        if not any(folder.iterdir()):
            return
        try:
            found = read_result_set(folder)
        except SpoolDamaged as error:
            if any(folder.glob("*.dcm")):
                self._rebuilt.faults.append(
                    f"{error}; its series is analysed again where its images are here"
                )
            return
        here = not found.objects or any((folder / one.file).exists() for one in found.objects)
        purged_at = None if here else (folder / f"{RESULT_SET}.json").stat().st_mtime
        corrected, receipts = list(read_corrected(folder)), list(read_receipts(folder))
        if anew_results.take_result_set(connection, folder, found, corrected, receipts, purged_at):
            self._rebuilt.results += 1
        self._take_time_point(connection, found.job_id)

    def _take_time_point(self, connection: Connection, job_id: str) -> None:
        """Enter what later scans are compared with, which stays longer than the results."""
        path = self._spool.time_point_folder(job_id) / TIME_POINT
        if not path.exists() or not time_points.is_wanted(connection, job_id):
            return
        try:
            time_points.enter(connection, job_id, described(path), path.stat().st_mtime)
        except SpoolDamaged as error:
            self._rebuilt.faults.append(f"{path}: {error}; later scans are not compared with this one")

    def _take_images(self, connection: Connection, folder: Path) -> None:
        listed: set[str] = set()
        for path, found in self._manifests(folder):
            ids = {one.id for one in found.instances}
            if ids and ids <= listed:
                continue  # a crash left it behind: another one took its place
            listed |= ids
            gone = bool(found.instances) and not any((folder / one.file).exists() for one in found.instances)
            purged = (folder.stat().st_mtime, _IMAGES_GONE) if gone else None
            if anew.take_manifest(connection, path, found, self._node, purged):
                self._rebuilt.manifests += 1
                self._rebuilt.images_listed += len(ids)
        loose = [path for path in folder.glob("*.dcm") if path.stem not in listed]
        for one in sorted(self._described(loose), key=lambda one: (one.received_at, one.new.id)):
            self._take_loose(connection, folder.name, one)

    def _manifests(self, folder: Path) -> list[tuple[Path, Manifest]]:
        found = []
        for path in folder.glob("manifest-*.json"):
            try:
                found.append((path, reread_manifest(path)))
            except SpoolDamaged as error:
                self._rebuilt.faults.append(f"{error}; its images are taken up one by one")
        return sorted(found, key=lambda one: (one[1].generation, -len(one[1].instances)))

    def _described(self, paths: list[Path]) -> Iterator[Reread]:
        for path in paths:
            try:
                yield self._reread(path, self._node)
            except SpoolDamaged as error:
                self._rebuilt.faults.append(f"{error}; the next start moves it to unrecorded/")

    def _take_loose(self, connection: Connection, series_id: str, one: Reread) -> None:
        source = self._source_of(one.calling_ae_title)
        if connection.execute(select(instance.c.id).where(instance.c.id == one.new.id)).first():
            return
        known = known_in(connection, series_id, one.new.sop_instance_uid)
        if one.new.set_aside is None and None in known.values() and one.new.sha256 not in known:
            one = replace(one, new=replace(one.new, set_aside=OTHER_CONTENT, facts=None))
        taken = anew.Taken(series_id, one.key, one.modality, source, one.calling_ae_title, one.received_at)
        anew.take_instance(connection, taken, one.new)
        self._rebuilt.images_open += 1


def _folders(parent: Path) -> Iterator[Path]:
    with os.scandir(parent) as entries:
        for entry in entries:
            if entry.is_dir():
                yield Path(entry.path)
