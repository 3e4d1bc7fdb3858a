"""Compares the whole ledger with the whole spool, both ways, while the node runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from sqlalchemy import Table

from custody.disagreement import Disagreement, Kind
from custody.ledger import Ledger, comparables
from custody.ledger.comparables import Holding
from custody.ledger.tables import job, series
from custody.result_check import ResultCheck
from custody.series_check import ARRIVING_S, SeriesCheck
from custody.spool import Spool

#: What does not agree is looked at once more after so long: the node may just have been moving it.
_SECOND_LOOK_S = 2.0
_BATCH = 500

#: Called with the share done, 0…1.
Progress = Callable[[float], None]


class Verification:
    """One comparison. Its memory does not grow with the spool, only with what does not agree.

    Parameters
    ----------
    ledger, spool
        What is compared.
    node
        Whose spool it is; matters only where several nodes share the ledger.
    quick
        Presence and size only; no content is read.
    now
        Clock, seconds since 1970 UTC.
    pause
        Called before the second look with the seconds to wait.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        node: str,
        *,
        quick: bool = False,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._node = node if ledger.shared else None
        self._quick = quick
        self._now = now
        self._pause = pause
        self.series = 0
        self.images = 0
        self.results = 0

    def run(self, progress: Progress = lambda _share: None) -> Iterator[Disagreement]:
        """Yield whatever does not agree, and still does not at a second look."""
        suspects: list[str] = []
        total = max(comparables.count_series(self._ledger), 1)
        for batch in comparables.batches(self._ledger):
            for held in batch:
                if any(True for _ in self._look(held)):
                    suspects.append(held.row.id)
                self._count(held)
                progress(min(self.series / total, 1.0))
        strangers = [
            *self._unknown_folders(self._spool.received, series),
            *self._unknown_folders(self._spool.results, job),
            *self._unknown_folders(self._spool.time_points, job),
        ]
        if suspects or strangers:
            self._pause(_SECOND_LOOK_S)
        for start in range(0, len(suspects), _BATCH):
            for held in comparables.of(self._ledger, suspects[start : start + _BATCH]):
                yield from self._look(held)
        for table, folder in strangers:
            if folder.is_dir() and not comparables.known(self._ledger, table, [folder.name]):
                files = sum(1 for _ in folder.iterdir())
                yield Disagreement(Kind.FOLDER_UNKNOWN, str(folder), "", f"{files} files in it")
        for entry in _entries(self._spool.unrecorded):
            yield Disagreement(Kind.UNRECORDED, entry.path, "", "")

    def _look(self, held: Holding) -> Iterator[Disagreement]:
        now = self._now()
        yield from SeriesCheck(self._spool.received, self._node, self._quick, now).look(held)
        results = ResultCheck(self._spool.results, self._node, self._quick, now)
        for one in held.jobs:
            yield from results.look(one)

    def _count(self, held: Holding) -> None:
        self.series += 1
        self.images += len(held.instances) + sum(row.instances for row in held.manifests)
        self.results += sum(len(one.objects) for one in held.jobs)

    def _unknown_folders(self, parent: Path, table: Table) -> Iterator[tuple[Table, Path]]:
        entries = _entries(parent)
        while batch := list(islice(entries, _BATCH)):
            known = comparables.known(self._ledger, table, [entry.name for entry in batch])
            for entry in batch:
                if entry.name not in known and self._is_settled(entry):
                    yield table, Path(entry.path)

    def _is_settled(self, entry: os.DirEntry[str]) -> bool:
        try:
            return self._now() - entry.stat().st_mtime > ARRIVING_S
        except OSError:
            return False  # it was there a moment ago


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        yield from found
