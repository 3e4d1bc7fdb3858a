"""From the last C-STORE response to the PACS's acceptance of the SR: seconds by stage, CPU and memory.

Sender, node and PACS are processes of their own, so that their CPU can be told apart. Two paces: a scanner's
(10 slices/s) and full blast.

    python -m benchmarks.turnaround [--model NAME] [--slices 300] [--repeat 3] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import psutil
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from lesionnode.demo.pacs import SmallPacs
from lesionnode.phantom.dicom import write_phantom
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.spec import PhantomSpec
from tests.helpers.running_node import AE_TITLE, RunningNode

SCANNER_PACE = 10.0
RESULTS = Path(__file__).with_name("results")


@dataclass
class Run:
    """What one series cost.

    Parameters
    ----------
    pace
        Slices per second, 0 for as fast as it goes.
    sending_s
        First C-STORE request to last response.
    turnaround_s
        Last response to the acceptance of the SR.
    stages_s
        Its parts, in order.
    cpu_s
        CPU seconds of each party, from the first request to the acceptance of the SR.
    peak_mb
        Largest resident set of the node's processes: their sum, and each by itself.
    """

    pace: float
    sending_s: float = 0.0
    turnaround_s: float = 0.0
    stages_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)


def pacs_process(folder: Path, pipe: Pipe) -> None:
    """Run the PACS; tell its port, then the wall time when the SR was accepted, for each one that comes."""
    with SmallPacs(folder) as pacs:
        pipe.send(pacs.port)
        seen = 0
        while True:
            arrivals = pacs.wait_for(seen + 1, timeout_s=3600)
            for arrival in arrivals[seen:]:
                if arrival.sop_class_uid == Comprehensive3DSRStorage:
                    pipe.send(time.time() - (time.monotonic() - arrival.accepted_at))
            seen = len(arrivals)


def sender_process(paths: list[Path], port: int, pace: float, pipe: Pipe) -> None:
    """Read everything first, wait for the word, send; tell start and end."""
    datasets = [dcmread(path) for path in paths]
    for dataset in datasets:
        _ = dataset.PixelData
    pipe.send("ready")
    pipe.recv()
    entity = AE(ae_title="SCANNER")
    entity.maximum_pdu_size = 1024 * 1024
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=AE_TITLE, max_pdu=1024 * 1024)
    started = time.time()
    for number, dataset in enumerate(datasets):
        if pace:
            time.sleep(max(0.0, started + number / pace - time.time()))
        answer = association.send_c_store(dataset)
        if answer.Status != 0:
            raise RuntimeError(f"status 0x{answer.Status:04X}")
    ended = time.time()
    association.release()
    pipe.send((started, ended))
    pipe.recv()


@contextmanager
def watched(node: RunningNode, run: Run) -> Iterator[None]:
    """Sample the node's memory while the block runs."""
    done = threading.Event()
    assert node.process is not None
    parent = psutil.Process(node.process.pid)

    def sample() -> None:
        while not done.wait(0.05):
            sizes = {"receiver and services": parent.memory_info().rss / 2**20}
            for child in parent.children():
                if child.pid in node.worker_pids():
                    sizes["worker"] = child.memory_info().rss / 2**20
            sizes["node in all"] = sum(sizes.values())
            for name, size in sizes.items():
                run.peak_mb[name] = max(run.peak_mb.get(name, 0.0), size)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def cpu_s(pid: int, *, children: bool = False) -> float:
    """Return the CPU seconds that a process has used, with its living children if wanted."""
    process = psutil.Process(pid)
    family = [process, *(process.children(recursive=True) if children else [])]
    return sum(sum(one.cpu_times()[:2]) for one in family)


def measure(node: RunningNode, pacs: Any, accepted: Pipe, paths: list[Path], pace: float) -> Run:
    """Send one series and wait for its SR."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    sender = context.Process(target=sender_process, args=(paths, node.port, pace, theirs))
    sender.start()
    ours.recv()
    assert node.process is not None
    run = Run(pace)
    before = {"pacs": cpu_s(pacs.pid), "node": cpu_s(node.process.pid, children=True)}
    before["sender"] = cpu_s(sender.pid)
    with watched(node, run):
        ours.send("go")
        started, ended = ours.recv()
        run.cpu_s["sender"] = cpu_s(sender.pid) - before["sender"]
        run.cpu_s["node while receiving"] = cpu_s(node.process.pid, children=True) - before["node"]
        at_pacs = accepted.recv()
        run.cpu_s["node in all"] = cpu_s(node.process.pid, children=True) - before["node"]
        run.cpu_s["pacs"] = cpu_s(pacs.pid) - before["pacs"]
    ours.send("done")
    sender.join()
    run.sending_s, run.turnaround_s = ended - started, at_pacs - ended
    node.wait(lambda: node.status()["series"][0]["state"] == "analysed", 30)
    job = node.status()["series"][0]
    timings = job["result"]["timings_s"]
    run.stages_s = {
        "completion": job["sealed_at"] - ended,
        "claim": job["started_at"] - job["sealed_at"],
        **timings,
        "other": job["finished_at"] - job["started_at"] - sum(timings.values()),
        "delivery": at_pacs - job["finished_at"],
    }
    return run


def main() -> None:
    """Measure and print; write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="densitometry")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, help="results/turnaround-MODEL.json if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lesion-node-bench-") as folder:
        runs = measure_all(Path(folder), options.model, options.slices, options.repeat)
    report(runs, options.slices)
    output = options.output or RESULTS / f"turnaround-{options.model}.json"
    output.parent.mkdir(exist_ok=True)
    machine = {"cpus": psutil.cpu_count(), "python": platform.python_version(), "slices": options.slices}
    content = {"model": options.model, "machine": machine, "runs": [asdict(run) for run in runs]}
    output.write_text(json.dumps(content, indent=2) + "\n")


def measure_all(folder: Path, model: str, slices: int, repeat: int) -> list[Run]:
    """Start PACS and node once and send a fresh series for every run."""
    spec = PhantomSpec(shape_zyx=(slices, 512, 512), spacing_zyx_mm=(300.0 / slices, 0.7, 0.7))
    print(f"making a phantom of {slices} slices ...", flush=True)
    phantom = generate_phantom(spec)
    context = multiprocessing.get_context("spawn")
    accepted, theirs = context.Pipe(duplex=False)
    pacs = context.Process(target=pacs_process, args=(folder / "pacs", theirs), daemon=True)
    pacs.start()
    port = accepted.recv()
    node = RunningNode(
        folder / "node",
        [("pacs", "SMALLPACS", port)],
        options='[models]\naccept_licence = "research"\n',
        source_options=f'model = "{model}"\n',
        quiet_s=3.0,
    )
    node.start()
    runs = []
    try:
        for pace in (0.0, SCANNER_PACE):
            for number in range(repeat):
                header = StudyHeader(accession_number=f"BENCH{int(pace)}{number}")
                paths = write_phantom(folder / f"series-{pace}-{number}", phantom, header)
                runs.append(measure(node, pacs, accepted, paths, pace))
                print(f"  pace {pace:g}/s: {runs[-1].turnaround_s:.1f} s", flush=True)
    finally:
        node.stop()
        pacs.kill()
    return runs


def report(runs: list[Run], slices: int) -> None:
    """Print medians as a table, one column for each pace."""
    paces = sorted({run.pace for run in runs}, reverse=True)
    columns = [[run for run in runs if run.pace == pace] for pace in paces]
    heads = [f"{pace:g}/s" if pace else "full blast" for pace in paces]
    print(f"\n{slices} slices of 512 x 512, median of {len(columns[0])} runs on {psutil.cpu_count()} CPUs")
    print(f"{'':38}" + "".join(f"{head:>14}" for head in heads))

    def row(name: str, values: list[list[float]]) -> None:
        print(f"{name:38}" + "".join(f"{statistics.median(one):14.2f}" for one in values))

    row("sending, s", [[run.sending_s for run in column] for column in columns])
    row("TURNAROUND, s", [[run.turnaround_s for run in column] for column in columns])
    row("  worst of them, s", [[max(run.turnaround_s for run in column)] for column in columns])
    for stage in columns[0][0].stages_s:
        row(f"  {stage}", [[run.stages_s[stage] for run in column] for column in columns])
    for name in columns[0][0].cpu_s:
        row(f"CPU of {name}, s", [[run.cpu_s[name] for run in column] for column in columns])
    for name in columns[0][0].peak_mb:
        row(f"peak memory, {name}, MiB", [[run.peak_mb[name] for run in column] for column in columns])


if __name__ == "__main__":
    main()
