"""Files that survive a power cut. Flushing to the disk and putting a file in place happen here alone."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

_DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT}
#: Answers of file systems that know no hard links (some SMB and FUSE mounts).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def write_durably(
    path: Path,
    chunks: Iterable[Buffer],
    *,
    part: Path | None = None,
    replace: bool = True,
    enter_folders: bool = True,
) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    The bytes go to a part file and are flushed; then the file gets its name, and the folder is flushed, with
    the parents of every folder that had to be made.

    Parameters
    ----------
    path
        The file. Missing folders are made.
    chunks
        The content, taken one after the other.
    part
        Name until the bytes are flushed, on the same file system; the path with the ending ``.part`` where
        absent. Nobody else may use it meanwhile.
    replace
        Whether a file of that name is replaced.
    enter_folders
        Whether the parents of new folders are flushed. Where several threads write into one new folder, one
        may find it there before another has flushed its parent; then the caller sees to it.

    Raises
    ------
    FileExistsError
        There is such a file, and it is not to be replaced.
    OSError
        The file system refused. Whatever is raised, also by the chunks, no part file is left.
    """
    new = _put(path, chunks, part or path.with_suffix(".part"), replace=replace, flush=True)
    flush_folder(path.parent)
    for folder in new if enter_folders else ():
        flush_folder(folder.parent)


def write_unflushed(path: Path, chunks: Iterable[Buffer]) -> None:
    """Write a file so that it is there whole or not at all, as long as the power stays.

    After a power cut it may be absent, shorter, or hold something else, until file and folder were flushed.

    Raises
    ------
    OSError
        The file system refused; no part file is left.
    """
    _put(path, chunks, path.with_suffix(".part"), replace=True, flush=False)


def flush_file(descriptor: int) -> None:
    """Make what was written to an open file survive a power cut, with its length."""
    os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Make what was named, renamed or removed inside the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_is_full(error: OSError) -> bool:
    """Return whether the disk, or the quota on it, is used up."""
    return error.errno in _DISK_IS_FULL


def _put(path: Path, chunks: Iterable[Buffer], part: Path, *, replace: bool, flush: bool) -> list[Path]:
    """Write the part file and give it its name; return the folders that had to be made."""
    new: list[Path] = []
    try:
        try:
            descriptor = _create(part)
        except FileNotFoundError:
            new = list(itertools.takewhile(lambda folder: not folder.is_dir(), path.parents))
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _create(part)
        try:
            for chunk in chunks:
                _write_whole(descriptor, chunk)
            if flush:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if replace:
            part.replace(path)
        else:
            _name_once(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return new


def _create(part: Path) -> int:
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)


def _write_whole(descriptor: int, chunk: Buffer) -> None:
    """Write everything; a single call may write less than it was asked to."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _name_once(part: Path, path: Path) -> None:
    """Give the part file its name unless that is taken: a link refuses what a rename would replace."""
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Two writers at the same moment are not told apart here; whoever writes once reads back.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        part.replace(path)
    else:
        part.unlink()
