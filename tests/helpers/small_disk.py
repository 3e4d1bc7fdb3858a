"""Disks that fill: a small file system of its own where it may be mounted, else one that pretends.

And a spool and a ledger inside the test process whose disk is full when the test says so: they fail where the
real ones do, with the system's own errors.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from custody.ledger import Ledger
from custody.spool import Spool

SIZE_MB = 64

#: Loaded by every Python process that starts with the folder in PYTHONPATH, also by a spawned worker.
_PRETENDED = """
import errno, os, shutil
from pathlib import Path
_mark = Path(os.environ["SMALL_DISK_MARK"])
_flush, _usage = os.fdatasync, shutil.disk_usage
def _free():
    return int(_mark.read_text()) if _mark.exists() else {size}
def fdatasync(descriptor):
    if _free() == 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _flush(descriptor)
def disk_usage(path):
    return _usage(path)._replace(free=_free())
os.fdatasync, shutil.disk_usage = fdatasync, disk_usage
"""


@dataclass
class SmallDisk:
    """A folder whose disk the test fills and empties.

    Parameters
    ----------
    folder
        On that disk.
    environment
        What processes need that use it.
    mark
        Where the disk only pretends: the file that says how much is free.
    """

    folder: Path
    environment: dict[str, str]
    mark: Path | None = None

    def fill(self, leave_bytes: int = 0) -> None:
        """Leave so much free space."""
        if self.mark is not None:
            self.mark.write_text(str(leave_bytes))
            return
        piece = 2**20
        with (self.folder / "filler").open("ab") as file:
            while piece >= 4096 and (over := self._free_bytes() - leave_bytes) > 0:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, min(piece, over))
                except OSError:  # somebody else took the last of it
                    piece //= 2

    def _free_bytes(self) -> int:
        usage = os.statvfs(self.folder)
        return usage.f_bavail * usage.f_frsize

    def empty(self) -> None:
        """Give the space back."""
        if self.mark is not None:
            self.mark.unlink(missing_ok=True)
        (self.folder / "filler").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Give a folder a disk of `SIZE_MB` for the length of a block."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if mounted:
        try:
            yield SmallDisk(folder, {})
        finally:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
        return
    module = folder.parent / "pretended"
    module.mkdir()
    (module / "sitecustomize.py").write_text(_PRETENDED.format(size=SIZE_MB * 2**20))
    paths = [str(module), *filter(None, [os.environ.get("PYTHONPATH")])]
    mark = module / "free"
    environment = {"PYTHONPATH": os.pathsep.join(paths), "SMALL_DISK_MARK": str(mark)}
    yield SmallDisk(folder, environment, mark)


class FullSpool(Spool):
    """A spool whose disk is full as long as the test says so: the flush fails."""

    full = False

    def keep_received(self, *arguments: object, **options: object) -> Path:
        with self._disk():
            return super().keep_received(*arguments, **options)  # type: ignore[arg-type]

    def keep_manifest(self, *arguments: object, **options: object) -> Path:
        with self._disk():
            return super().keep_manifest(*arguments, **options)  # type: ignore[arg-type]

    def keep_result(self, *arguments: object, **options: object) -> Path:
        with self._disk():
            return super().keep_result(*arguments, **options)  # type: ignore[arg-type]

    @contextmanager
    def _disk(self) -> Iterator[None]:
        flush = os.fdatasync

        def no_space(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        os.fdatasync = no_space if self.full else flush
        try:
            yield
        finally:
            os.fdatasync = flush


class FullLedger(Ledger):
    """A ledger whose disk is full as long as the test says so: the commit fails, everything is undone."""

    full = False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            if self.full:
                raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))
