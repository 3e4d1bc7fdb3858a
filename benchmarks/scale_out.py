"""Two receivers and two workers on one PostgreSQL and one shared storage, against one worker.

    python -m benchmarks.scale_out [--series 16] [--rounds 3] [--json]

Every machine is a node of its own: data folder, processes, roles. All series are received by two receivers
and published first; then the workers start, each with one thread on one CPU of its own. What is measured goes
from the first analysis begun to the last one recorded, so the start of a worker is not in it; reading the
package from the shared storage and publishing the results are. Rounds with one worker and with two take
turns. With --json, standard output is one object::

    machine        {cpus, processor, python}
    series         how many, of how many slices and pixels
    rounds         [{workers, seconds, series_per_minute, attempts_beyond_first}]
    ratio          medians of two workers by one
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks.arguments import at_least, report
from benchmarks.machine import machine
from benchmarks.tables import line, table
from core.errors import NodeError
from custody.ledger import Ledger
from custody.ledger.tables import job
from lesionnode.demo.pacs import SmallPacs, send
from lesionnode.phantom.dicom import write_phantom
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.spec import PhantomSpec
from tests.helpers.postgres import Postgres, running_postgres
from tests.helpers.running_node import AE_TITLE
from tests.helpers.site import Machine, Site, running_site

_SLICES, _PIXELS = 100, 256
_WITHIN_S = 900.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out", description="One worker and two")
    parser.add_argument("--series", type=at_least(2), default=16, help="in each round (16)")
    parser.add_argument("--rounds", type=at_least(1), default=3, help="with one worker and with two (3)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    return report(lambda: measure(options.series, options.rounds), print_figures, as_json=options.json)


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Measure; the result is described at the head of this module."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise NodeError("two workers with a CPU each need two CPUs")
    with tempfile.TemporaryDirectory() as name, running_postgres() as server:
        folder = Path(name)
        series = [_series(folder / "sent" / str(number), number) for number in range(count)]
        done = []
        for turn in range(rounds):
            for workers in (1, 2):
                where = folder / f"{turn}-{workers}"
                done.append(_round(where, server, series, cpus[:workers]))
    one, two = (
        statistics.median(each["series_per_minute"] for each in done if each["workers"] == workers)
        for workers in (1, 2)
    )
    return {
        "machine": machine(),
        "series": {"number": count, "slices": _SLICES, "pixels": _PIXELS},
        "rounds": done,
        "ratio": round(two / one, 2),
    }


def print_figures(figures: dict[str, Any]) -> None:
    """Print the rounds and the ratio."""
    rows = [
        [f"{each['workers']}", f"{each['seconds']:.1f}", f"{each['series_per_minute']:.1f}"]
        for each in figures["rounds"]
    ]
    table("Analyses", ("workers", "seconds", "series a minute"), rows)
    line(f"Two workers by one: {figures['ratio']:.2f}")


def _series(folder: Path, number: int) -> list[Path]:
    spec = PhantomSpec(
        shape_zyx=(_SLICES, _PIXELS, _PIXELS),
        spacing_zyx_mm=(300.0 / _SLICES, 350.0 / _PIXELS, 350.0 / _PIXELS),
    )
    header = StudyHeader(patient_id=f"SCALE-{number}", accession_number=f"S{number}")
    return write_phantom(folder, generate_phantom(spec), header)


def _round(folder: Path, server: Postgres, series: list[list[Path]], cpus: list[int]) -> dict[str, Any]:
    receivers = [Machine(f"receiver-{number}", "receive,deliver") for number in range(2)]
    workers = [Machine(f"worker-{cpu}", "analyse", ("taskset", "--cpu-list", str(cpu))) for cpu in cpus]
    url = server.fresh_database()
    (folder / "shared").mkdir(parents=True)
    with (
        SmallPacs(folder / "pacs") as pacs,
        running_site(
            folder,
            [*receivers, *workers],
            [("pacs", pacs.ae_title, pacs.port)],
            ledger_url=url,
            storage=f'shared = "{folder / "shared"}"',
            options="[models]\nthreads = 1\n",
        ) as site,
    ):
        _receive(site, [one.name for one in receivers], series)
        ledger = Ledger(url)
        try:
            _wait(ledger, "queued", len(series))
            for one in workers:
                site[one.name].launch()
            _wait(ledger, "analysed", len(series))
            seconds, repeated = _span(ledger)
        finally:
            ledger.close()
    return {
        "workers": len(cpus),
        "seconds": round(seconds, 2),
        "series_per_minute": round(60 * len(series) / seconds, 2),
        "attempts_beyond_first": repeated,
    }


def _receive(site: Site, receivers: list[str], series: list[list[Path]]) -> None:
    for name in receivers:
        site[name].start()
    for number, paths in enumerate(series):
        port = site[receivers[number % len(receivers)]].port
        if send(paths, port, calling="SCANNER", called=AE_TITLE) != len(paths):
            raise NodeError("an image was not acknowledged")


def _wait(ledger: Ledger, state: str, count: int) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        with ledger.read() as connection:
            found = select(func.count()).select_from(job).where(job.c.state == state)
            if connection.execute(found).scalar_one() == count:
                return
        time.sleep(0.2)
    raise NodeError(f"not every series was {state} after {_WITHIN_S:.0f} s")


def _span(ledger: Ledger) -> tuple[float, int]:
    with ledger.read() as connection:
        first, last, attempts, number = connection.execute(
            select(
                func.min(job.c.started_at),
                func.max(job.c.finished_at),
                func.sum(job.c.attempt),
                func.count(),
            )
        ).one()
    return float(last - first), int(attempts - number)


if __name__ == "__main__":
    sys.exit(main())
