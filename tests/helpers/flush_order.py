"""What has to be on disk before an instance may be answered with 0x0000, looked for in a trace.

A write that was not flushed is lost in a power cut, and so is a name whose folder was not flushed. Each step
has to end before the next one begins.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from tests.helpers.system_calls import Call

#: Status (0000,0900), success, in implicit VR little endian (PS3.7 E.1).
_SUCCESS = struct.pack("<HHLH", 0x0000, 0x0900, 2, 0x0000)
_FLUSHES = frozenset({"fsync", "fdatasync"})
_RENAMES = frozenset({"rename", "renameat", "renameat2"})
_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2"})


@dataclass(frozen=True, slots=True)
class Step:
    """Something that has to be done, in words, and which calls do it."""

    name: str
    does: Callable[[Call], bool]


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the trace shows that an instance went.

    Parameters
    ----------
    part, final
        Its file while it was written, and when it was whole.
    written
        When the last byte of it was written.
    new_folder
        Whether it is the first in its folder.
    """

    part: str
    final: str
    written: int
    new_folder: bool

    @classmethod
    def of(cls, calls: Sequence[Call], sop_instance_uid: str) -> Kept:
        """Find the file of an instance: the one that its UID was written to."""
        uid = sop_instance_uid.encode()
        writes = [call for call in calls if call.name in _WRITES and "/received/" in call.file]
        part = next(call.file for call in writes if any(uid in text for text in call.texts))
        folder = str(PurePath(part).parent)
        earliest = min(call.began for call in writes if call.file.startswith(f"{folder}/"))
        written = [call for call in writes if call.file == part]
        return cls(
            part=part,
            final=str(PurePath(part).with_suffix(".dcm")),
            written=max(call.ended for call in written),
            new_folder=min(call.began for call in written) == earliest,
        )


def steps_of(kept: Kept, sop_instance_uid: str) -> list[Step]:
    """Return what has to happen once the bytes of an instance are written, in this order."""
    folder = PurePath(kept.final).parent
    parent = [Step("flush of the parent folder", _flush_of(str(folder.parent)))] if kept.new_folder else []
    return [
        Step("flush of the file", _flush_of(kept.part)),
        Step("rename", lambda call: call.name in _RENAMES and call.paths == [kept.part, kept.final]),
        Step("flush of the folder", _flush_of(str(folder))),
        *parent,
        Step("write of the ledger's row", lambda call: _writes_row(call, sop_instance_uid)),
        Step("flush of the ledger", lambda call: call.name in _FLUSHES and call.file.endswith("-wal")),
        Step("answer 0x0000", lambda call: is_success(call, sop_instance_uid)),
    ]


def is_success(call: Call, sop_instance_uid: str) -> bool:
    """Tell whether a call sends the C-STORE response for an instance, and that says success."""
    sent = b"".join(call.texts) if "TCP" in call.file and call.name in {"sendto", "sendmsg", "write"} else b""
    return sent[:1] == b"\x04" and _SUCCESS in sent and sop_instance_uid.encode() in sent


def missing_steps(calls: Sequence[Call], sop_instance_uid: str) -> list[str]:
    """Return the steps that were not done in their order before the answer left; none is as it should be."""
    kept = Kept.of(calls, sop_instance_uid)
    answered = min((call.began for call in calls if is_success(call, sop_instance_uid)), default=None)
    in_time = [call for call in calls if answered is None or call.ended < answered or call.began == answered]
    done, missing = kept.written, []
    for step in steps_of(kept, sop_instance_uid):
        ends = [call.ended for call in in_time if call.began > done and step.does(call)]
        if not ends:
            missing.append(step.name)
        else:
            # A row is in the table and in its indexes; its flush has to come after all of them.
            done = max(ends) if "write" in step.name else min(ends)
    return missing


def _writes_row(call: Call, sop_instance_uid: str) -> bool:
    in_log = call.name in _WRITES and call.file.endswith("-wal")
    return in_log and any(sop_instance_uid.encode() in text for text in call.texts)


def _flush_of(path: str) -> Callable[[Call], bool]:
    return lambda call: call.name in _FLUSHES and call.file == path
