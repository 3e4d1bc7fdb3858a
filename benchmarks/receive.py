"""Reception beside DCMTK's storescp and Orthanc: instances per second over one to sixteen associations.

    python -m benchmarks.receive [--json FILE] [--quick]

A lean sender (`benchmarks.lean_sender`) in a process of its own sends CT images of 512 × 512 pixels, 16 bits,
that it encoded before; each has a SOP Instance UID of its own, every hundred make a series. Each association
has one C-STORE under way, and each answer has to be 0x0000. The receivers are real processes with their
services, measured in turn, in several rounds; every round starts them afresh on an empty disk folder, and
what they left unwritten is written (sync) before the next one's turn. The JSON object::

    machine       {cpus, processor, python}
    instance      bytes of one data set
    seconds, rounds
    associations  [1, 2, 4, 8, 16]
    receivers     [{name, flushes, runs: [{associations, per_s, cpu_ms, sender_cpu, served, left_s, rounds}]}]
    ratios        [{associations, storescp, orthanc}]: node by peer, medians of the rounds' ratios

`per_s` is the median of the rounds, and `rounds` the single figures; `cpu_ms` the CPU of the receiver's
processes for one instance; `sender_cpu` the CPUs that the sender kept busy; `served` how many associations
got an answer while time was taken; `left_s` how long writing took afterwards what was answered but not on
disk. "node, late" is the node with ``reception.durability = "seal"``. The null sink keeps nothing: what it
reaches is the limit of the sender on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arguments import UNUSABLE, at_least
from benchmarks.lean_sender import Sender
from benchmarks.machine import machine
from benchmarks.receivers import LATE, NODE, ORTHANC, SINK, STORESCP, Receiver, Running, cpu_s
from benchmarks.tables import line, shown, table
from benchmarks.wire import PeerError, instance_bytes

ASSOCIATIONS = (1, 2, 4, 8, 16)
#: Sent before the clock starts, so that every association has a request under way when it does.
_LEAD_S = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """One receiver with so many associations, once."""

    per_s: float
    cpu_ms: float
    sender_cpu: float
    served: int
    left_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)
    receivers = [one for one in (NODE, LATE, STORESCP, ORTHANC, SINK) if one.installed]
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    try:
        figures = measure(receivers, rounds, seconds)
    except PeerError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    print_figures(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def measure(receivers: Sequence[Receiver], rounds: int, seconds: float) -> dict[str, Any]:
    """Measure all receivers in turn; the result is described at the head of this module."""
    runs: dict[tuple[str, int], list[Run]] = {}
    for _ in range(rounds):
        for (name, associations), run in one_round(receivers, seconds):
            runs.setdefault((name, associations), []).append(run)
    return {
        "machine": machine(),
        "instance": instance_bytes(),
        "seconds": seconds,
        "rounds": rounds,
        "associations": list(ASSOCIATIONS),
        "receivers": [
            {
                "name": one.name,
                "flushes": one.flushes,
                "runs": [_medians(count, runs[one.name, count]) for count in ASSOCIATIONS],
            }
            for one in receivers
        ],
        "ratios": [_ratios(count, runs, receivers) for count in ASSOCIATIONS],
    }


def one_round(receivers: Sequence[Receiver], seconds: float) -> Iterable[tuple[tuple[str, int], Run]]:
    """Start all receivers and measure them in turn with each number of associations."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lesion-node-receive-")))
        running = {one.name: stack.enter_context(one.run(folder / one.name)) for one in receivers}
        for associations in ASSOCIATIONS:
            for name, receiver in running.items():
                os.sync()
                yield (name, associations), one_run(receiver, associations, seconds)
                receiver.clear()


def one_run(receiver: Running, associations: int, seconds: float) -> Run:
    """Send for a while, and look at clock and CPU in the middle of it."""
    sender = Sender(receiver.port, receiver.called, associations)
    sender.begin()
    time.sleep(_LEAD_S)
    busy_s, sending_s, began = receiver.cpu_s(), cpu_s(sender.pid), time.monotonic()
    time.sleep(seconds)
    busy_s, sending_s, ended = receiver.cpu_s() - busy_s, cpu_s(sender.pid) - sending_s, time.monotonic()
    sent = sender.end()
    if sent.errors:
        raise PeerError(f"{len(sent.errors)} associations failed: {sent.errors[0]}")
    answered = sum(began < moment <= ended for moment in sent.answered_at)
    if not answered:
        raise PeerError("nothing was answered")
    unwritten = time.monotonic()
    os.sync()
    return Run(
        per_s=answered / (ended - began),
        cpu_ms=1000 * busy_s / answered,
        sender_cpu=sending_s / (ended - began),
        served=sent.served,
        left_s=time.monotonic() - unwritten,
    )


def _medians(associations: int, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "associations": associations,
        "per_s": _median((one.per_s for one in runs), 1),
        "cpu_ms": _median((one.cpu_ms for one in runs), 2),
        "sender_cpu": _median((one.sender_cpu for one in runs), 2),
        "served": min(one.served for one in runs),
        "left_s": _median((one.left_s for one in runs), 2),
        "rounds": [round(one.per_s, 1) for one in runs],
    }


def _ratios(
    associations: int, runs: Mapping[tuple[str, int], Sequence[Run]], receivers: Sequence[Receiver]
) -> dict[str, Any]:
    """Return node by peer; the two of one round were measured next to each other."""
    own = runs[NODE.name, associations]
    peers = [one for one in receivers if one in (STORESCP, ORTHANC)]
    ratios = {
        peer.name.lower(): _median(
            (mine.per_s / its.per_s for mine, its in zip(own, runs[peer.name, associations], strict=True)), 2
        )
        for peer in peers
    }
    return {"associations": associations, **ratios}


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print the tables."""
    hardware = figures["machine"]
    line(f"{hardware['cpus']} CPUs, {hardware['processor']}; Python {hardware['python']}")
    line(
        f"Instances of {figures['instance'] / 1e6:.2f} MB, medians of {figures['rounds']} rounds of "
        f"{figures['seconds']:g} s"
    )
    counts = [str(count) for count in figures["associations"]]
    for title, key, digits in (
        ("Instances per second, by number of associations", "per_s", 0),
        ("CPU of the receiver for an instance, ms", "cpu_ms", 1),
        ("CPUs that the sender kept busy", "sender_cpu", 2),
        ("Associations that were served at once", "served", 0),
        ("Seconds to write afterwards what was answered", "left_s", 2),
    ):
        rows = (
            (one["name"], *(shown(run[key], digits) for run in one["runs"])) for one in figures["receivers"]
        )
        table(title, ("receiver", *counts), rows)
    for peer in (STORESCP, ORTHANC):
        found = [one.get(peer.name.lower()) for one in figures["ratios"]]
        line(f"node by {peer.name}: " + ", ".join(shown(ratio, 2) for ratio in found))
    for one in figures["receivers"]:
        line(f"{one['name']} has on disk at the answer: {one['flushes']}")


def _median(values: Iterable[float], digits: int) -> float:
    return round(statistics.median(values), digits)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.receive", description="Reception beside storescp and Orthanc."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--quick", action="store_true", help="one round of a second each: does it run?")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="of all receivers (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
