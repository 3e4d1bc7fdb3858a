"""How fast a model runs on this machine's CPU, and what memory it takes.

    python -m benchmarks.inference --model NAME [--runs 7] [--slices 300] [--json]

NAME is an installed package or the path of a package's folder. With --json, standard output is one object::

    model     name, version, sha256, provider, restriction
    machine   {cpus, processor, python}
    session   [{threads, ms_per_run, ms_per_slice, runs}]   medians, after a warm-up
    patch     {batch, zyx}                                  what one run takes; its slices are counted
    volume    {slices, spacing_zyx_mm, rows_columns, lungs_s, segment_s, lesion_percent,
               peak_mib}

`session` is the graph alone, on random values. `volume` is the node's own way, `Segmenter.segment`, on a
synthetic chest of 300 slices at 1 mm; its memory is the largest resident set of this process, volume and
model included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import at_least, model_parser
from benchmarks.machine import cpus, machine
from benchmarks.opened import OpenedModel, open_model
from benchmarks.tables import line, model_line, output, shown, table
from core.domain import CtVolume
from core.errors import NodeError
from core.geometry import Geometry
from inference.lungs import segment_lungs
from inference.session import ExecutionPolicy, open_session
from lesionnode.phantom import PhantomSpec, generate_phantom

_UNUSABLE = 2
_EDGE = 512
_IN_PLANE_MM = 0.7


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        model = open_model(options.model)
        # First, so that no other session than the node's counts as its memory.
        volume = volume_speed(model, options.slices)
        measured = {
            "model": model.described(),
            "machine": machine(),
            "session": [session_speed(model, threads, options.runs) for threads in _thread_counts()],
            "patch": {
                "batch": model.package.manifest.input.batch,
                "zyx": list(model.package.manifest.input.patch_zyx),
            },
            "volume": volume,
        }
    except NodeError as error:
        print(error, file=sys.stderr)
        return _UNUSABLE
    if options.json:
        output(measured)
    else:
        _print_tables(measured)
    return 0


def session_speed(model: OpenedModel, threads: int, runs: int) -> dict[str, Any]:
    """Time the graph alone.

    Parameters
    ----------
    model
        Which package.
    threads
        CPU threads.
    runs
        How many runs are timed, after two that are not.

    Returns
    -------
    dict
        Threads, median milliseconds of a run and of one slice of its patches, number of runs.
    """
    session = open_session(model.package, ExecutionPolicy.CPU, threads=threads)
    batch = np.random.default_rng(0).random(session.input_shape, dtype=np.float32)
    times_ms = []
    for number in range(runs + 2):
        start_s = time.perf_counter()
        session.run(batch)
        if number >= 2:
            times_ms.append(1000.0 * (time.perf_counter() - start_s))
    run_ms = statistics.median(times_ms)
    wanted = model.package.manifest.input
    slices = wanted.batch * wanted.patch_zyx[0]
    return {
        "threads": threads,
        "ms_per_run": round(run_ms, 2),
        "ms_per_slice": round(run_ms / slices, 2),
        "runs": runs,
    }


def volume_speed(model: OpenedModel, slices: int) -> dict[str, Any]:
    """Time the node's whole way from a volume and its lungs to lesions, on a synthetic chest of 300 mm."""
    spacing_zyx_mm = (300.0 / slices, _IN_PLANE_MM, _IN_PLANE_MM)
    volume = _synthetic_chest(slices, spacing_zyx_mm)
    start_s = time.perf_counter()
    lungs = segment_lungs(volume)
    lungs_s = time.perf_counter() - start_s
    start_s = time.perf_counter()
    found = model.segmenter.segment(volume, lungs)
    segment_s = time.perf_counter() - start_s
    lesion, lung = (int(np.count_nonzero(mask.labels_zyx)) for mask in (found.lesions, found.lungs))
    return {
        "slices": slices,
        "spacing_zyx_mm": list(spacing_zyx_mm),
        "rows_columns": [_EDGE, _EDGE],
        "lungs_s": round(lungs_s, 2),
        "segment_s": round(segment_s, 2),
        "lesion_percent": round(100.0 * lesion / max(lung, 1), 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _synthetic_chest(slices: int, spacing_zyx_mm: tuple[float, float, float]) -> CtVolume:
    """Make the volume in a process of its own, whose memory does not count."""
    with tempfile.TemporaryDirectory(prefix="lesion-node-bench-") as folder:
        path = Path(folder) / "chest.npz"
        maker = multiprocessing.get_context("spawn").Process(
            target=_write_chest, args=(path, slices, spacing_zyx_mm)
        )
        maker.start()
        maker.join()
        if maker.exitcode != 0:
            raise NodeError(f"The synthetic chest could not be made (exit status {maker.exitcode}).")
        with np.load(path) as chest:
            hu_zyx: NDArray[np.int16] = chest["hu_zyx"]
            affine = chest["affine_lps"]
    return CtVolume(hu_zyx, Geometry(affine, hu_zyx.shape, ""), (), ())


def _write_chest(path: Path, slices: int, spacing_zyx_mm: tuple[float, float, float]) -> None:
    phantom = generate_phantom(PhantomSpec(shape_zyx=(slices, _EDGE, _EDGE), spacing_zyx_mm=spacing_zyx_mm))
    np.savez(path, hu_zyx=phantom.hu_zyx, affine_lps=phantom.geometry.affine_lps)


def _thread_counts() -> list[int]:
    return sorted({1, cpus()})


def _print_tables(measured: dict[str, Any]) -> None:
    hardware, patch, volume = (measured[key] for key in ("machine", "patch", "volume"))
    edges = " × ".join(str(edge) for edge in patch["zyx"])
    line(model_line(measured["model"]))
    line(f"{hardware['cpus']} CPUs, {hardware['processor']}; Python {hardware['python']}")
    table(
        f"Patches of {edges}, {patch['batch']} a run",
        ("threads", "ms a run", "ms a slice", "runs"),
        (
            (str(one["threads"]), shown(one["ms_per_run"]), shown(one["ms_per_slice"]), str(one["runs"]))
            for one in measured["session"]
        ),
        left=0,
    )
    line(
        f"\n{volume['slices']} slices of {_EDGE} × {_EDGE}: lungs {volume['lungs_s']:.1f} s, "
        f"lesions {volume['segment_s']:.1f} s ({volume['lesion_percent']:.1f} % of lung); "
        f"peak memory {volume['peak_mib']} MiB"
    )


def _parser() -> argparse.ArgumentParser:
    parser = model_parser("inference", "Speed and memory of a model on this CPU.")
    parser.add_argument("--runs", type=at_least(1), default=7, help="timed runs of the graph (7)")
    parser.add_argument("--slices", type=at_least(1), default=300, help="slices of the synthetic chest (300)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
