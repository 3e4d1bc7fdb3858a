"""Where packages lie: what the shared storage needs of a folder or of an object store, and the folder.

Paths are relative to the root of the storage, with ``/`` between their parts. Errors are those of
`core.errors`; `FileNotFoundError` alone passes as it is, because only the caller knows what is missing.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from core.errors import ConfigurationError, SpoolFull, StorageUnreachable
from custody.durable import Buffer, disk_is_full, flush_folder, write_durably


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the storage.

    Parameters
    ----------
    path
        Relative to the root.
    modified_s
        When it was written, Unix time by the clock of the storage.
    """

    path: str
    modified_s: float


@dataclass(frozen=True, slots=True)
class S3Access:
    """How an S3-compatible store is reached.

    Parameters
    ----------
    endpoint
        Its address, ``https://host:port``; Amazon's where empty.
    region
        Its region; ``us-east-1`` where empty, which stores outside Amazon do not look at.
    key, secret
        Access key; what the environment of the process offers (``AWS_ACCESS_KEY_ID``) where both are empty.
    ca_file
        PEM file of the authority that signed the endpoint's certificate; the system's where None.
    timeout_s
        Limit of one request.
    """

    endpoint: str = ""
    region: str = ""
    key: str = ""
    secret: str = field(default="", repr=False)
    ca_file: Path | None = None
    timeout_s: float = 30.0


class FileStore(Protocol):
    """A flat space of immutable files."""

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to `end`, fewer where the file ends before."""

    def size(self, path: str) -> int | None:
        """Return the length of a file, None where there is none."""

    def put(self, path: str, chunks: Iterable[Buffer]) -> None:
        """Store a file durably; it appears whole or not at all."""

    def create(self, path: str, content: bytes) -> bool:
        """Store a small file like `put`; return False, and change nothing, where the path is taken."""

    def remove(self, path: str) -> None:
        """Remove a file durably; nothing happens where there is none."""

    def find(self, below: str) -> Iterator[StoredFile]:
        """Yield all files below a path, "" for all; part files too."""

    def drop_unfinished(self, before_s: float) -> int:
        """Drop uploads begun before that time that `find` does not show; return how many."""

    def close(self) -> None:
        """Give connections back."""


class FolderStore:
    """A folder that all machines mount.

    Parameters
    ----------
    root
        Has to be there: were it made, a share that is not mounted would go unnoticed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def read(self, path: str, start: int, end: int) -> bytes:
        """See `FileStore`."""
        with self._in_our_words(), (self._root / path).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def size(self, path: str) -> int | None:
        """See `FileStore`."""
        try:
            with self._in_our_words():
                return (self._root / path).stat().st_size
        except FileNotFoundError:
            return None

    def put(self, path: str, chunks: Iterable[Buffer]) -> None:
        """See `FileStore`."""
        self._write(path, chunks, replace=True)

    def create(self, path: str, content: bytes) -> bool:
        """See `FileStore`."""
        try:
            self._write(path, [content], replace=False)
        except FileExistsError:
            return False
        return True

    def remove(self, path: str) -> None:
        """See `FileStore`; folders that become empty go too."""
        target = self._root / path
        with self._in_our_words(), contextlib.suppress(FileNotFoundError):
            self._require_root()
            target.unlink()
            folder = self._emptied(target.parent)
            flush_folder(folder)

    def find(self, below: str) -> Iterator[StoredFile]:
        """See `FileStore`."""
        with self._in_our_words():
            self._require_root()
            for folder, _folders, names in os.walk(self._root / below, onerror=_unless_gone):
                for name in names:
                    path = Path(folder) / name
                    with contextlib.suppress(FileNotFoundError):
                        modified_s = path.stat().st_mtime
                        yield StoredFile(path.relative_to(self._root).as_posix(), modified_s)

    def drop_unfinished(self, before_s: float) -> int:  # noqa: ARG002 - of the protocol
        """See `FileStore`; here unfinished files have names."""
        return 0

    def close(self) -> None:
        """See `FileStore`."""

    def _write(self, path: str, chunks: Iterable[Buffer], *, replace: bool) -> None:
        target = self._root / path
        # Two machines may write one path at once, so their part files differ.
        part = target.with_name(f"{uuid.uuid4().hex}.part")
        try:
            with self._in_our_words():
                self._require_root()
                write_durably(target, chunks, part=part, replace=replace)
        except FileNotFoundError:
            raise StorageUnreachable(
                f"a folder below {self._root} was removed while it was written to: try again"
            ) from None

    def _emptied(self, folder: Path) -> Path:
        """Remove empty folders from here upwards; return the first that stays."""
        with contextlib.suppress(OSError):
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent
        return folder

    def _require_root(self) -> None:
        if not self._root.is_dir():
            raise StorageUnreachable(f"the shared folder {self._root} is not there: is it mounted?")

    @contextlib.contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except FileNotFoundError:
            self._require_root()
            raise
        except OSError as error:
            if disk_is_full(error):
                raise SpoolFull(f"the shared folder {self._root} is full: free some space") from None
            raise StorageUnreachable(
                f"the shared folder {self._root} cannot be used: {error.strerror}"
            ) from None


def open_store(url: str, access: S3Access) -> FileStore:
    """Return the store behind a URL; see `SharedStorage.open`."""
    kind, divider, rest = url.partition("://")
    if not divider and url.startswith("/"):
        return FolderStore(Path(url))
    if kind == "file" and rest.startswith("/"):
        return FolderStore(Path(rest))
    bucket, _, prefix = rest.partition("/")
    if kind != "s3" or not bucket:
        raise ConfigurationError(
            [f'storage.shared: found "{url}", wanted a folder ("/mnt/x") or "s3://bucket/prefix"']
        )
    try:
        from custody.s3_store import S3Store  # takes half a second, and is an extra

        return S3Store(bucket, prefix.strip("/"), access)
    except ImportError:
        raise ConfigurationError(
            [
                f'storage.shared: "{url}" needs the package s3fs; requirements.lock has it '
                "(docs/installation.md)"
            ]
        ) from None


def _unless_gone(error: OSError) -> None:
    """Pass over a folder that was removed while the tree was walked; anything else hides packages."""
    if not isinstance(error, FileNotFoundError):
        raise error
