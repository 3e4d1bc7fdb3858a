"""Deletes what is finished once its days are over, or earlier where the disk needs the room."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.errors import SpoolDamaged, SpoolError
from core.log import get_logger
from custody.disk_watch import DiskWatch
from custody.holdings import Holdings
from custody.ledger import Ledger, purging, retention, services
from custody.ledger.dialect import lock_series
from custody.ledger.purging import Unfinished
from custody.ledger.retention import BEGINNING, Kind, Place
from custody.manifest import Manifest, read_manifest
from custody.spool import Spool

#: Rows that are looked at, and series or results that are deleted, in one step: others want the disk too.
_PAGE = 200
_MOST = 50
#: However full the disk is, what came or ended within this time stays: somebody may be sending it again.
_NEVER_BEFORE_S = 3600.0
_PAUSE_S = 5.0
_PAUSE_BETWEEN_PAGES_S = 1.0
_BETWEEN_PASSES_S = 600.0
_BETWEEN_PASSES_FOR_ROOM_S = 60.0


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long what is kept; seconds, infinite for what goes only when room is needed.

    Parameters
    ----------
    received_s, set_aside_s, quarantine_s, results_s
        Of the kinds of things.
    make_room_below_bytes
        With less free space the oldest goes earlier; 0 for never.
    floor_bytes
        With less free space nothing is received.
    reserve_bytes
        What is kept allocated for a full disk.
    owed_to
        Names of the sources that are configured.
    kept_for_good
        Names of the sources whose images are never deleted.
    node
        Whose spool it is.
    """

    received_s: float
    set_aside_s: float
    quarantine_s: float
    results_s: float
    make_room_below_bytes: int = 0
    floor_bytes: int = 0
    reserve_bytes: int = 0
    owed_to: frozenset[str] = frozenset()
    kept_for_good: frozenset[str] = frozenset()
    node: str = ""

    def keeps_s(self, kind: Kind) -> float:
        """Return how long the files of a series are kept."""
        if kind is Kind.RECEIVED:
            return self.received_s
        return self.set_aside_s if kind is Kind.SET_ASIDE else self.quarantine_s

    @property
    def shortest_s(self) -> float:
        """What is younger than this need not be looked at."""
        return min(self.received_s, self.set_aside_s, self.quarantine_s)


@dataclass(slots=True)
class _Walk:
    """A walk through all that is kept, the oldest first, a page at a time: first images, then results.

    What is held stays where it is, and the walk goes past it. None says that an end is reached.
    """

    series: Place | None = BEGINNING
    results: Place | None = BEGINNING
    next_at: float = 0.0
    held: Counter[str] = field(default_factory=Counter)

    @property
    def ended(self) -> bool:
        return self.series is None and self.results is None


class Retention:
    """Keeps the disk free, and says what it deleted.

    First the ledger says that files go, then they go, then it says that they are gone. A crash in between
    leaves files that the ledger does not count on any more: an image that comes again is stored again, and
    the next step deletes the rest. The other way round it would answer such an image as one that it has.

    Parameters
    ----------
    ledger, spool, holdings
        What is kept, and where; on this machine, and where machines share it.
    rules
        For how long.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        holdings: Holdings,
        rules: RetentionRules,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._holdings = holdings
        self._rules = rules
        self._now = now
        self._disk = DiskWatch(ledger, spool, rules.floor_bytes, rules.reserve_bytes)
        self._by_age = _Walk()
        self._for_room = _Walk()
        self.pause_s = _PAUSE_S

    def step(self) -> int:
        """Delete a little of what may go; return of how many series and jobs."""
        now = self._now()
        self._disk.look(now)
        self._delete_marked(now)
        missing = self._rules.make_room_below_bytes - self._spool.free_bytes()
        walk = self._for_room if missing > 0 and now >= self._for_room.next_at else self._by_age
        if now < walk.next_at <= now + _BETWEEN_PASSES_S:  # later than that: the clock was set back
            self.pause_s = _PAUSE_S
            return 0
        marked = self._walk_on(walk, missing if walk is self._for_room else None, now)
        self._delete_marked(now)
        if walk.ended:
            self._end(walk, now)
        self.pause_s = _PAUSE_S if walk.ended else _PAUSE_BETWEEN_PAGES_S
        return marked

    def _walk_on(self, walk: _Walk, missing: int | None, now: float) -> int:
        """Look at one page; `missing` is how many bytes are to be freed, None where days count."""
        if walk.series is not None:
            age_s = self._rules.shortest_s if missing is None else _NEVER_BEFORE_S
            with self._ledger.read() as connection:
                page = retention.oldest_series(connection, self._rules.node, walk.series, now - age_s, _PAGE)
            walk.series, marked = self._judge(page, self._mark_series, walk, missing, now)
        else:
            age_s = self._rules.results_s if missing is None else _NEVER_BEFORE_S
            with self._ledger.read() as connection:
                page = retention.oldest_jobs(connection, walk.results or BEGINNING, now - age_s, _PAGE)
            walk.results, marked = self._judge(page, self._mark_results, walk, missing, now)
        return marked

    def _judge(
        self,
        page: Sequence[tuple[Place, str]],
        mark: Callable[[str, bool, float], int | str],
        walk: _Walk,
        missing: int | None,
        now: float,
    ) -> tuple[Place | None, int]:
        """Mark what may go of a page; return where the walk goes on, None at the end, and how many were."""
        marked = freed = 0
        seen: set[str] = set()
        for place, subject in page:
            if subject in seen:
                continue
            seen.add(subject)
            outcome = mark(subject, missing is not None, now)
            if isinstance(outcome, str):
                if outcome:
                    walk.held[outcome] += 1
                continue
            marked += 1
            freed += outcome
            if marked == _MOST or (missing is not None and freed >= missing):
                return place, marked
        return (page[-1][0] if len(page) == _PAGE else None), marked

    def _mark_series(self, series_id: str, for_room: bool, now: float) -> int | str:
        """Mark the files of a series; return their bytes, or why they stay (empty: their days)."""
        rules = self._rules
        with self._ledger.read() as connection:
            kept = retention.look_at_series(
                connection, series_id, rules.node, rules.owed_to, rules.kept_for_good
            )
        waits_s = _NEVER_BEFORE_S if for_room else rules.keeps_s(kept.kind)
        if now - kept.last_used_at < waits_s or (for_room and kept.kind is Kind.FAILED):
            return ""
        if kept.held_by is not None:
            return kept.held_by
        try:
            listed = [read_manifest(path) for path in kept.paths]
        except SpoolDamaged as error:
            get_logger().error("purge_impossible", series=series_id, reason=str(error))
            return "its manifest is damaged"
        because = self._because(for_room, f"{kept.kind.value}, {waits_s / 86400:g} days")
        with self._ledger.write() as connection:
            lock_series(connection, [series_id])
            # Anything may have come meanwhile; what is read now stands until the end of the transaction.
            again = retention.look_at_series(
                connection, series_id, rules.node, rules.owed_to, rules.kept_for_good
            )
            if again != kept:
                return "more of it is coming in"
            if _names(listed) & retention.awaited_instances(connection):
                return "a sender waits for commitment to it"
            purging.mark_series(connection, kept, because, now)
        get_logger().info(
            "purged",
            series=series_id,
            what=kept.kind.value,
            because=because,
            files=kept.files,
            bytes=kept.size_bytes,
        )
        return kept.size_bytes

    def _mark_results(self, job_id: str, for_room: bool, now: float) -> int | str:
        """Mark the results of a job; return their bytes, or why they stay."""
        owed_to = self._rules.owed_to
        with self._ledger.read() as connection:
            kept = retention.look_at_results(connection, job_id, owed_to)
        if kept.held_by is not None:
            return kept.held_by
        if kept.objects and self._are_elsewhere(job_id):
            return ""
        if for_room and not self._spool.has_results(job_id):
            return ""  # nothing would become free here
        because = self._because(for_room, f"results, {self._rules.results_s / 86400:g} days")
        with self._ledger.write() as connection:
            lock_series(connection, [kept.series_id])
            if retention.look_at_results(connection, job_id, owed_to) != kept:
                return "more of it is coming in"
            purging.mark_results(connection, kept, because, now)
        if kept.objects:
            get_logger().info(
                "purged",
                job=job_id,
                what="results",
                because=because,
                files=kept.objects,
                bytes=kept.size_bytes,
            )
        return kept.size_bytes

    def _are_elsewhere(self, job_id: str) -> bool:
        """Tell whether results are on another machine alone, which deletes them."""
        return self._ledger.shared and not self._holdings.shared and not self._spool.has_results(job_id)

    def _because(self, for_room: bool, days: str) -> str:
        if not for_room:
            return f"its days are over ({days})"
        return f"less than {self._rules.make_room_below_bytes // 2**20} MiB were free"

    def _delete_marked(self, now: float) -> None:
        """Delete the files of what is marked, also by an earlier run that broke off."""
        with self._ledger.read() as connection:
            manifests = purging.unfinished_manifests(connection, self._rules.node, 2 * _MOST)
            jobs = purging.unfinished_results(connection, 2 * _MOST)
        gone = [one.id for one in manifests if self._deleted(one)]
        emptied = [job_id for job_id in jobs if self._results_deleted(job_id)]
        if gone or emptied:
            with self._ledger.write() as connection:
                purging.files_are_gone(connection, gone, emptied, now)

    def _deleted(self, one: Unfinished) -> bool:
        try:
            listed = read_manifest(one.path, one.sha256).instances
            self._spool.delete_received(one.series_id, [kept.file for kept in listed])
            self._holdings.delete_series(one.series_id, one.sha256)
        except SpoolError as error:
            get_logger().error("purge_impossible", series=one.series_id, reason=str(error))
            return False
        return True

    def _results_deleted(self, job_id: str) -> bool:
        if self._are_elsewhere(job_id):
            return False
        try:
            self._spool.delete_results(job_id)
            self._holdings.delete_results(job_id)
        except (SpoolError, OSError) as error:
            get_logger().error("purge_impossible", job=job_id, reason=str(error))
            return False
        return True

    def _end(self, walk: _Walk, now: float) -> None:
        """Say what a whole walk had to leave, and begin another one later."""
        for_room = walk is self._for_room
        if not for_room:
            name = f"{self._rules.node}-retention" if self._ledger.shared else "retention"
            services.sign_of_life(self._ledger, name, self._rules.node, {"held": dict(walk.held)}, now)
        pause_s = _BETWEEN_PASSES_FOR_ROOM_S if for_room else _BETWEEN_PASSES_S
        fresh = _Walk(next_at=now + pause_s)
        if for_room:
            self._for_room = fresh
        else:
            self._by_age = fresh


def _names(listed: Sequence[Manifest]) -> frozenset[str]:
    return frozenset(one.sop_instance_uid for each in listed for one in each.instances)
