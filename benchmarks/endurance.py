"""Memory of a node over many series: it has to stay flat.

    python -m benchmarks.endurance [--series 200] [--model densitometry] [--json]

A real node receives series after series of a small chest (24 slices of 96 × 96 pixels, each a patient of its
own), analyses and delivers them; after each tenth the resident set of its two processes is read. The first
series load what is loaded once, so growth is counted from the tenth on. With --json, standard output is one
object::

    machine    {cpus, processor, python}
    model      name
    series     how many
    memory     [{series, receiver_mib, worker_mib}]
    growth     {receiver_mib, worker_mib}, from the tenth series to the last
    attempts   of all analyses together
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.arguments import at_least, report
from benchmarks.crash.series import make_series, small_chest
from benchmarks.crash.wire import Line
from benchmarks.machine import machine
from benchmarks.tables import line, table
from core.errors import NodeError
from lesionnode.demo.pacs import SmallPacs
from lesionnode.phantom.spec import Phantom
from tests.helpers.running_node import AE_TITLE, RunningNode, running_node

_EVERY = 10
_WITHIN_S = 300.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description="Memory over time")
    parser.add_argument("--series", type=at_least(2 * _EVERY), default=200, help="how many (200)")
    parser.add_argument("--model", default="densitometry", metavar="NAME", help="installed package")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(arguments)
    return report(lambda: measure(options.series, options.model), print_figures, as_json=options.json)


def measure(count: int, model: str) -> dict[str, Any]:
    """Measure; the result is described at the head of this module."""
    chest = small_chest()
    memory = []
    with tempfile.TemporaryDirectory() as name, SmallPacs(Path(name) / "pacs") as pacs:
        licence = '[models]\naccept_licence = "research"\n'
        with running_node(
            Path(name) / "node",
            [("pacs", pacs.ae_title, pacs.port)],
            source_options=f'model = "{model}"',
            options=licence,
            quiet_s=0.2,
        ) as node:
            for first in range(0, count, _EVERY):
                for number in range(first, min(first + _EVERY, count)):
                    _send(node, chest, number)
                memory.append(_when_done(node, min(first + _EVERY, count)))
            attempts = sum(event["event"] == "analysis_started" for event in node.log)
    return {
        "machine": machine(),
        "model": model,
        "series": count,
        "memory": memory,
        "growth": {key: round(memory[-1][key] - memory[0][key], 1) for key in ("receiver_mib", "worker_mib")},
        "attempts": attempts,
    }


def print_figures(figures: dict[str, Any]) -> None:
    """Print what each process had, and what it grew by."""
    rows = [
        [f"{one['series']}", f"{one['receiver_mib']:.0f}", f"{one['worker_mib']:.0f}"]
        for one in figures["memory"]
    ]
    table(f"Resident set, MiB ({figures['model']})", ("series", "receiver and services", "worker"), rows)
    growth = figures["growth"]
    line(
        f"From the tenth series to the last: receiver {growth['receiver_mib']:+.1f} MiB, worker "
        f"{growth['worker_mib']:+.1f} MiB; {figures['attempts']} analyses of {figures['series']} series"
    )


def _send(node: RunningNode, chest: Phantom, number: int) -> None:
    with Line(node.port, "SCANNER", AE_TITLE) as association:
        for image in make_series(chest, number, 0).images:
            if association.store(image.sop_instance_uid, image.data) != 0:
                raise NodeError("an image was not acknowledged")
        association.release()


def _when_done(node: RunningNode, count: int) -> dict[str, Any]:
    """Return the memory of both processes once so many series were analysed."""
    deadline = time.monotonic() + _WITHIN_S
    while sum(event["event"] == "analysis_ended" for event in node.log) < count:
        if time.monotonic() > deadline:
            raise NodeError(f"fewer than {count} series were analysed in time")
        time.sleep(0.2)
    assert node.process is not None
    (worker,) = node.worker_pids()
    return {
        "series": count,
        "receiver_mib": round(psutil.Process(node.process.pid).memory_info().rss / 2**20, 1),
        "worker_mib": round(psutil.Process(worker).memory_info().rss / 2**20, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
