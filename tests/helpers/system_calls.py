"""The system calls of a process and all its threads, as strace saw them."""

from __future__ import annotations

import re
import time
from ast import literal_eval
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: What writes, flushes, renames and sends.
TRACED = (
    "mkdir,mkdirat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,"
    "rename,renameat,renameat2,link,linkat,sendto,sendmsg"
)
#: Bytes of each buffer that are kept: more than a page of the ledger.
_KEPT_BYTES = 5000

_LINE = re.compile(r"(\d+)\s+[\d.]+ (.*)", re.DOTALL)
_WHOLE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+).*", re.DOTALL)
_BEGUN = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)\)\s+= (-?\d+).*", re.DOTALL)
_DESCRIPTOR = re.compile(r"-?\d+<(.*?)>(?:, |$)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that succeeded.

    Parameters
    ----------
    name
        As in section 2 of the manual.
    arguments
        As strace shows them.
    began, ended
        Places in the trace: a call that ended before another began was really before it.
    """

    name: str
    arguments: str
    began: int
    ended: int

    @property
    def file(self) -> str:
        """What the descriptor in the first argument stands for: a path, or the two ends of a connection."""
        found = _DESCRIPTOR.match(self.arguments)
        return found.group(1) if found else ""

    @property
    def texts(self) -> list[bytes]:
        """The buffers and paths among the arguments."""
        return [literal_eval(f'b"{text}"') for text in _QUOTED.findall(self.arguments)]

    @property
    def paths(self) -> list[str]:
        """The paths among the arguments."""
        return [text.decode() for text in self.texts]


def tracing(program: str, output: Path) -> tuple[str, ...]:
    """Return the command line under which a process is traced; it keeps its process id."""
    options = ("-D", "-f", "-q", "--seccomp-bpf", "-ttt", "-yy", "-s", str(_KEPT_BYTES))
    return (program, *options, "-e", "signal=none", "-e", f"trace={TRACED}", "-o", str(output))


def wait_for_end(output: Path, pid: int, timeout_s: float = 20.0) -> None:
    """Wait until the trace holds the end of the process."""
    deadline = time.monotonic() + timeout_s
    while (
        f"\n{pid} " not in (tail := output.read_text()[-4000:]) or "+++ exited" not in tail.splitlines()[-1]
    ):
        if time.monotonic() > deadline:
            raise AssertionError("the trace does not end")
        time.sleep(0.05)


def calls_in(lines: Iterable[str]) -> list[Call]:
    """Return the successful calls of a trace in the order in which they began."""
    return sorted(_calls(lines), key=lambda call: call.began)


def _calls(lines: Iterable[str]) -> Iterator[Call]:
    begun: dict[str, tuple[int, str]] = {}
    for at, line in enumerate(lines):
        found = _LINE.fullmatch(line.rstrip("\n"))
        if found is None:
            continue
        thread, text = found.groups()
        if (start := _BEGUN.fullmatch(text)) is not None:
            begun[thread] = (at, start.group(2))
        elif (end := _RESUMED.fullmatch(text)) is not None and thread in begun:
            began, first = begun.pop(thread)
            if int(end.group(3)) >= 0:
                yield Call(end.group(1), first + end.group(2), began, at)
        elif (whole := _WHOLE.fullmatch(text)) is not None and int(whole.group(3)) >= 0:
            yield Call(whole.group(1), whole.group(2), at, at)
