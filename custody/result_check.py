"""Compares what the ledger says of a job with what lies in the folder of its results."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from core.errors import SpoolDamaged
from custody.disagreement import Disagreement, Kind
from custody.ledger.comparables import HeldJob
from custody.ledger.states import JobState
from custody.result_set import RECEIPTS, RESULT_SET, ResultSet, read_corrected, read_receipts, read_result_set
from custody.series_check import ARRIVING_S

_ENDED = {one.value for one in (JobState.ANALYSED, JobState.REFUSED, JobState.FAILED)}
_RESULT = (Kind.RESULT_MISSING, Kind.RESULT_DAMAGED)
_TIME_POINT = (Kind.TIME_POINT_MISSING, Kind.TIME_POINT_DAMAGED)


@dataclass(slots=True)
class ResultCheck:
    """How to look.

    Parameters
    ----------
    results
        Folder of all results.
    node
        Whose files are here; None for a ledger of our own, where all of them are.
    quick
        Presence and size only.
    now
        Seconds since 1970 UTC.
    """

    results: Path
    node: str | None
    quick: bool
    now: float

    def look(self, held: HeldJob) -> Iterator[Disagreement]:
        """Yield what does not agree about a job's results, and about what later scans are compared with."""
        kept = held.time_point
        if kept is not None and (self.node is None or Path(kept.path).exists()):
            yield from self._file(held.row.series_id, kept, _TIME_POINT)
        yield from self._look_at_results(held)

    def _look_at_results(self, held: HeldJob) -> Iterator[Disagreement]:
        row, folder = held.row, self.results / held.row.id
        made_here = self.node is None or str(row.owner or "").startswith(f"{self.node}-") or folder.is_dir()
        if row.state not in _ENDED or row.results_purged_at is not None or not made_here:
            return
        for one in held.objects:
            yield from self._file(row.series_id, one, _RESULT)
        try:
            found = read_result_set(folder)
        except SpoolDamaged:
            yield from self._without_result_set(held, folder)
            return
        yield from self._differs(held, found)
        for file in found.files:
            beside = SimpleNamespace(path=folder / file.file, size_bytes=file.size_bytes, sha256=file.sha256)
            yield from self._file(row.series_id, beside, _RESULT)
        yield from self._undelivered(held, found, folder)
        yield from self._strangers(held, found, folder)

    def _without_result_set(self, held: HeldJob, folder: Path) -> Iterator[Disagreement]:
        path = folder / f"{RESULT_SET}.json"
        if path.exists():
            yield Disagreement(Kind.RESULT_SET_DAMAGED, str(path), held.row.series_id, "")
        elif held.row.state != JobState.FAILED.value:  # what broke each attempt left no set
            yield Disagreement(Kind.RESULT_SET_MISSING, str(path), held.row.series_id, "")

    def _differs(self, held: HeldJob, found: ResultSet) -> Iterator[Disagreement]:
        row = held.row
        mine = [
            (one.kind, one.variant, one.sop_instance_uid, one.sha256)
            for one in held.objects
            if not one.corrected
        ]
        said = [(one.kind, one.variant, one.sop_instance_uid, one.sha256) for one in found.objects]
        subject = str(self.results / row.id / f"{RESULT_SET}.json")
        if (found.series_id, found.generation, found.state) != (row.series_id, row.generation, row.state):
            detail = f"it says {found.state}, generation {found.generation}; the ledger says {row.state}, "
            detail += f"generation {row.generation}"
            yield Disagreement(Kind.RESULT_SET_DIFFERS, subject, row.series_id, detail)
        elif mine != said:
            detail = f"it lists {len(said)} objects; the ledger has {len(mine)}, or others"
            yield Disagreement(Kind.RESULT_SET_DIFFERS, subject, row.series_id, detail)

    def _undelivered(self, held: HeldJob, found: ResultSet, folder: Path) -> Iterator[Disagreement]:
        owed = {(one.peer, one.kind) for one in found.owed}
        owed |= {(one.peer, one.kind) for one in read_receipts(folder)}
        for peer, kind in sorted(owed - {(one.peer, one.kind) for one in held.deliveries}):
            subject = f"{kind} of job {held.row.id} to {peer}"
            yield Disagreement(Kind.DELIVERY_MISSING, subject, held.row.series_id, "")

    def _strangers(self, held: HeldJob, found: ResultSet, folder: Path) -> Iterator[Disagreement]:
        known = {Path(one.path).name for one in held.objects} | {one.file for one in found.files}
        known |= {f"{RESULT_SET}.json", RECEIPTS}
        for corrected in read_corrected(folder):
            known |= {f"{corrected.name}.json", *(one.file for one in corrected.objects)}
        for path in sorted(folder.iterdir()):
            try:
                young = self.now - path.stat().st_mtime <= ARRIVING_S
            except OSError:
                continue
            if path.name not in known and not young:
                yield Disagreement(Kind.FILE_UNKNOWN, str(path), held.row.series_id, "")

    def _file(self, series_id: str, wanted: Any, kinds: tuple[Kind, Kind]) -> Iterator[Disagreement]:
        """Compare a file with its `path`, `size_bytes` and `sha256`; `kinds`: for one gone, for one wrong."""
        path, (missing, damaged) = Path(wanted.path), kinds
        try:
            found = path.stat().st_size
            if wanted.size_bytes and found != wanted.size_bytes:
                detail = f"{found} bytes instead of {wanted.size_bytes}"
                yield Disagreement(damaged, str(path), series_id, detail)
            elif not self.quick and _sha256(path) != wanted.sha256:
                yield Disagreement(damaged, str(path), series_id, "other content than was written")
        except FileNotFoundError:
            yield Disagreement(missing, str(path), series_id, "")
        except OSError as error:
            detail = f"it cannot be read ({error.strerror})"
            yield Disagreement(damaged, str(path), series_id, detail)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
