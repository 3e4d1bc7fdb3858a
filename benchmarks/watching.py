"""What a stretch of this process costs, and which writer costs it while `write_results` runs.

Writers are not listed anywhere: whatever function of `sr_writer` runs outermost is one. Encoding an object
and verifying it counts for the writer before it.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from sr_writer.results import write_results

_WRITERS, _ENTRANCE, _ENCODING = "sr_writer.", write_results.__module__, "_encoded"
#: CPU seconds between two looks at what runs; most kernels make some milliseconds of it.
_LOOK_S = 0.001


@dataclass(slots=True)
class Cost:
    """What a stretch cost.

    Parameters
    ----------
    cpu_s
        CPU seconds of all threads.
    peak_mib
        The most that the resident set grew.
    """

    cpu_s: float = 0.0
    peak_mib: float = 0.0


@contextmanager
def measured(cost: Cost) -> Iterator[None]:
    """Put what the block costs into `cost`."""
    start_s, held_mib = time.process_time(), _forget_peak()
    yield
    cost.cpu_s = time.process_time() - start_s
    cost.peak_mib = _resident_mib("VmHWM") - held_mib


@contextmanager
def cpu_by_writer() -> Iterator[dict[str, float]]:
    """Fill a dictionary with the CPU seconds of each writer while the block runs; in the main thread only.

    Every few milliseconds it looks what runs and adds the time since the last look: this costs next to
    nothing, and a long call of compiled code counts in full.
    """
    cpu_s: dict[str, float] = {}
    looked_s, running = time.process_time(), ""

    def look(_number: int, frame: FrameType | None) -> None:
        nonlocal looked_s, running
        name = _outermost(frame)
        running = running if name == _ENCODING else name
        now_s = time.process_time()
        if running:
            cpu_s[running] = cpu_s.get(running, 0.0) + now_s - looked_s
        looked_s = now_s

    before = signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, _LOOK_S, _LOOK_S)
    try:
        yield cpu_s
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def peak_by_writer() -> Iterator[dict[str, float]]:
    """Fill a dictionary with what the resident set grew by in each writer, MiB; this slows the block down."""
    peak_mib: dict[str, float] = {}
    watched: FrameType | None = None
    running, held_mib = "", 0.0

    def called(frame: FrameType, _event: str, _argument: object) -> Any:
        nonlocal watched, running, held_mib
        name = "" if watched is not None else _writer(frame)
        if not name:
            return None
        watched, held_mib = frame, _forget_peak()
        running = running if name == _ENCODING else name
        frame.f_trace_lines = False
        return returned

    def returned(_frame: FrameType, event: str, _value: object) -> Any:
        nonlocal watched
        if event == "return":
            grown_mib = _resident_mib("VmHWM") - held_mib
            peak_mib[running] = max(peak_mib.get(running, 0.0), grown_mib)
            watched = None
        return returned

    sys.settrace(called)
    try:
        yield peak_mib
    finally:
        sys.settrace(None)


def _outermost(frame: FrameType | None) -> str:
    """Return the writer that runs in a frame or above it; nothing outside `write_results`."""
    name = ""
    while frame is not None:
        name = _writer(frame) or name
        frame = frame.f_back
    return name


def _writer(frame: FrameType) -> str:
    """Return the name of a frame's function if it is a writer or the encoding, else nothing."""
    module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
    if module == _ENTRANCE:
        return name if name == _ENCODING else ""
    return name if module.startswith(_WRITERS) else ""


def _forget_peak() -> float:
    """Let the peak of the resident set count anew (proc(5)); return the set's size, MiB.

    What was freed goes back to the system first (malloc_trim(3)), or the next stretch would use it unseen.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _resident_mib("VmRSS")


def _resident_mib(name: str) -> float:
    """Return a size of this process that Linux tells in kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
