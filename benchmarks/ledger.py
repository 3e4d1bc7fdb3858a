"""What a large ledger costs: the same operations on an empty one and on one of many years.

    python -m benchmarks.ledger [--series 200000] [--turns 40] [--postgresql] [--json]

The large ledger holds so many series that went the whole way (series, source, scan, manifest, job, three
objects, three deliveries, two associations each): sealed ones keep their instances in manifests, of which
the ledger has a row each. Every operation runs in turn on both ledgers; medians are compared, so that what
else the machine does weighs on both. With --json, standard output is one object::

    machine     {cpus, processor, python}
    series      how many the large ledger holds
    databases   [{database, filled_s, size_mib, operations: [{operation, empty_ms, large_ms, ratio}]}]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.arguments import at_least, report
from benchmarks.ledger_rows import KINDS, fill
from benchmarks.machine import machine
from benchmarks.tables import table
from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from custody.holdings import Holdings
from custody.ledger import (
    Ledger,
    completion,
    deliveries,
    jobs,
    new_id,
    purging,
    reception,
    retention,
)
from custody.ledger import report as ledger_report
from custody.ledger.completion import KnownAcquisition, Sealing
from custody.ledger.deliveries import Attempted
from custody.ledger.destinations import Destinations, settle_late_sources
from custody.ledger.jobs import JobEnd, StoredResult
from custody.ledger.reception import Caller, NewInstance
from custody.ledger.states import DeliveryState, JobState
from custody.shelving import Shelving
from custody.spool import Spool
from tests.helpers.postgres import running_postgres

_INSTANCES = 12
_OLDER_THAN_ALL_S = 10 * 365 * 86_400.0
_PEERS = Destinations({"scanner": ("pacs",)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ledger", description="An empty and a large ledger"
    )
    parser.add_argument("--series", type=at_least(100), default=200_000, help="in the large one (200000)")
    parser.add_argument("--turns", type=at_least(3), default=40, help="of every operation (40)")
    parser.add_argument("--postgresql", action="store_true", help="measure PostgreSQL too")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    options = parser.parse_args(arguments)
    return report(
        lambda: measure(options.series, options.turns, postgresql=options.postgresql),
        print_figures,
        as_json=options.json,
    )


def measure(count: int, turns: int, *, postgresql: bool) -> dict[str, Any]:
    """Measure every database; the result is described at the head of this module."""
    databases = [_sqlite(count, turns)]
    if postgresql:
        databases.append(_postgresql(count, turns))
    return {"machine": machine(), "series": count, "databases": databases}


def print_figures(figures: dict[str, Any]) -> None:
    """Print one table for each database."""
    for one in figures["databases"]:
        title = f"{one['database']}: {figures['series']} series, {one['size_mib']} MiB"
        rows = [
            (two["operation"], *(f"{two[key]:.2f}" for key in ("empty_ms", "large_ms", "ratio")))
            for two in one["operations"]
        ]
        table(title, ("operation", "empty, ms", "large, ms", "ratio"), rows)


def _sqlite(count: int, turns: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / one for one in ("empty", "large")]
        for folder in folders:
            folder.mkdir()
        with ExitStack() as stack:
            benches = [stack.enter_context(_bench(one / "ledger.sqlite", one)) for one in folders]
            figures = _compared("SQLite", benches[0], benches[1], count, turns)
        return figures | {"size_mib": round((folders[1] / "ledger.sqlite").stat().st_size / 2**20)}


def _postgresql(count: int, turns: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, running_postgres() as server, ExitStack() as stack:
        folders = [Path(name) / one for one in ("empty", "large")]
        benches = [stack.enter_context(_bench(server.fresh_database(), one)) for one in folders]
        figures = _compared("PostgreSQL", benches[0], benches[1], count, turns)
        with benches[1].ledger.read() as connection:
            size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        return figures | {"size_mib": round(size / 2**20)}


def _compared(name: str, empty: Bench, large: Bench, count: int, turns: int) -> dict[str, Any]:
    start = time.perf_counter()
    fill(large.ledger, count)
    filled_s = time.perf_counter() - start
    times: dict[str, tuple[list[float], list[float]]] = {}
    for turn in range(turns + 1):
        for at, bench in enumerate((empty, large)):
            for operation, seconds in bench.turn():
                if turn:  # the first turn warms up
                    times.setdefault(operation, ([], []))[at].append(seconds * 1000)
    operations = []
    for operation, (of_empty, of_large) in times.items():
        before, after = statistics.median(of_empty), statistics.median(of_large)
        operations.append(
            {
                "operation": operation,
                "empty_ms": round(before, 2),
                "large_ms": round(after, 2),
                "ratio": round(after / before, 2),
            }
        )
    return {"database": name, "filled_s": round(filled_s), "operations": operations}


@dataclass(slots=True)
class Bench:
    """One ledger, and what the services of a node do with it."""

    ledger: Ledger
    shelving: Shelving
    folder: Path
    number: int = 0

    def turn(self) -> Iterator[tuple[str, float]]:
        """Take one series the whole way; yield each operation and its seconds."""
        self.number += 1
        now = time.time()
        caller = Caller(new_id(), "scanner", "CT1", "127.0.0.1")
        key = SeriesKey(
            StudyInstanceUID(f"2.25.{self.number}"), SeriesInstanceUID(f"2.26.{self.number}"), "patient"
        )
        yield self._timed(
            "open an association", lambda: reception.open_association(self.ledger, caller, "node", now)
        )
        series_id, seconds = _timed(lambda: reception.series_id_of(self.ledger, key, "CT", now))
        yield "enter a series", seconds
        news = [_instance(self.folder, number) for number in range(_INSTANCES)]
        yield self._timed("receive 12 instances", lambda: self._receive(series_id, caller, news, now))
        reception.close_association(self.ledger, caller.association_id, "released", now)
        yield self._timed("seal", lambda: self._seal(key, now))
        yield self._timed("look for late senders", lambda: settle_late_sources(self.ledger, _PEERS, now))
        yield self._timed("shelve", self.shelving.step)
        yield self._timed("receive a known instance", lambda: self._receive(series_id, caller, news[:1], now))
        claimed, seconds = _timed(
            lambda: jobs.claim(self.ledger, "w", lease_s=60, max_attempts=5, now=time.time())
        )
        yield "claim a job", seconds
        if claimed is None:
            raise RuntimeError("no job was there to be claimed")
        yield self._timed("end a job", lambda: jobs.finish(self.ledger, claimed, _end(), _PEERS, time.time()))
        due, seconds = _timed(
            lambda: deliveries.claim_for_peer(self.ledger, "pacs", "c", lease_s=60, now=time.time())
        )
        yield "claim deliveries", seconds
        outcomes = [Attempted(one, one.object, DeliveryState.DELIVERED, None, 0, time.time()) for one in due]
        yield self._timed("record deliveries", lambda: deliveries.record(self.ledger, outcomes, time.time()))
        yield self._timed("status", lambda: ledger_report.status(self.ledger))
        yield self._timed("look for what is old", self._look_for_old)
        yield self._timed("delete a series", lambda: self._delete(series_id))

    def _look_for_old(self) -> None:
        with self.ledger.read() as connection:
            retention.oldest_series(connection, "", retention.BEGINNING, time.time() - _OLDER_THAN_ALL_S, 200)
            retention.oldest_jobs(connection, retention.BEGINNING, time.time() - _OLDER_THAN_ALL_S, 200)

    def _delete(self, series_id: str) -> None:
        with self.ledger.write() as connection:
            kept = retention.look_at_series(connection, series_id, "", ("scanner",))
            if kept.held_by is not None:
                raise RuntimeError(kept.held_by)
            purging.mark_series(connection, kept, "measured", time.time())
        with self.ledger.write() as connection:
            purging.files_are_gone(connection, kept.manifest_ids, [], time.time())

    def _timed(self, operation: str, work: Callable[[], Any]) -> tuple[str, float]:
        return operation, _timed(work)[1]

    def _receive(self, series_id: str, caller: Caller, news: Sequence[NewInstance], now: float) -> None:
        for new in news:
            reception.known_contents(self.ledger, series_id, new.sop_instance_uid)
            reception.record_instance(self.ledger, series_id, caller, new, now)

    def _seal(self, key: SeriesKey, now: float) -> None:
        with self.ledger.write() as connection:
            completion.lock_sealing(connection)
            completion.busy_callers(connection, now - 30)
            (one,) = completion.open_series(connection)
            completion.facts_of(connection, one.series_id)
            completion.sources_of(connection, one.series_id)
            completion.acquisitions_of(connection, key.study_instance_uid, key.patient_digest)
            known = KnownAcquisition(new_id(), "1", "1", None, None)
            completion.keep_acquisition(connection, key.study_instance_uid, key.patient_digest, known)
            completion.analysed_series_of(connection, known.id)
            sealing = Sealing(one, known.id, JobState.QUEUED, None, "quiet", "densitometry")
            completion.seal(connection, sealing, now)


@contextmanager
def _bench(location: Path | str, folder: Path) -> Iterator[Bench]:
    folder.mkdir(exist_ok=True)
    ledger = Ledger(location, folder)
    ledger.migrate()
    spool = Spool(folder)
    try:
        yield Bench(ledger, Shelving(ledger, spool, Holdings(spool, ledger)), folder)
    finally:
        ledger.close()


def _instance(folder: Path, number: int) -> NewInstance:
    own = new_id()
    path = folder / f"{own}.dcm"
    path.touch()  # what is known has to be there
    return NewInstance(
        id=own,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"2.27.{number}",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sha256=f"{number:064d}",
        size_bytes=500_000,
        path=path,
        modality="CT",
        move_originator_ae_title=None,
        move_originator_message_id=None,
        set_aside=None,
        facts={"frame_of_reference_uid": "1"},
    )


def _end() -> JobEnd:
    objects = [
        StoredResult(
            kind, "1.2.840.10008.5.1.4.1.1.66.4", f"2.25.{new_id()[:8]}", Path(f"/x/{kind}"), "0" * 64
        )
        for kind in KINDS
    ]
    return JobEnd(JobState.ANALYSED, None, {"burden": {}}, objects, 1)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    outcome = work()
    return outcome, time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
