"""What a package is: an index, and one tar archive whose every byte follows from it.

::

    <name>/index.json          names, sizes and SHA-256 of the files; there exactly as long as the package is
    <name>/<32 digits>.tar     the files, one after the other in the order of their names

The archive is plain GNU tar, so that ``tar xf`` opens it where this product is not at hand. Its headers hold
nothing but name and size. A reader who knows the index therefore knows every byte that is no file's content,
and the files' own checksums are all it takes to find any damage.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import PackageDamaged, SpoolError
from custody.durable import Buffer

#: Bytes that are read at a time from local files.
CHUNK_BYTES = 2**20

_FORMAT = 1
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,95}")
_ARCHIVE_NAME = re.compile(r"[0-9a-f]{32}\.tar")
_PACKAGE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,7}")


@dataclass(frozen=True, slots=True, order=True)
class PackageFile:
    """One file of a package.

    Parameters
    ----------
    name
        Without folders.
    size_bytes
        Length.
    sha256
        Hexadecimal.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PackageIndex:
    """What a package holds.

    Parameters
    ----------
    name
        Of the package.
    archive
        File name of the archive, new for every attempt to publish.
    files
        In the order of their names.
    """

    name: str
    archive: str
    files: tuple[PackageFile, ...]

    @property
    def archive_bytes(self) -> int:
        """Length of the archive."""
        return sum(_BLOCK + one.size_bytes + _padding(one) for one in self.files) + len(_END)

    def encode(self) -> bytes:
        """Return the bytes of the index; the same values always give the same bytes."""
        content = {
            "format": _FORMAT,
            "name": self.name,
            "archive": self.archive,
            "files": [{"name": one.name, "size": one.size_bytes, "sha256": one.sha256} for one in self.files],
        }
        return json.dumps(content, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, content: bytes) -> PackageIndex:
        """Read an index.

        Raises
        ------
        ValueError
            The bytes are no index that this version could have written.
        """
        try:
            values: Any = json.loads(content)
            files = tuple(PackageFile(one["name"], one["size"], one["sha256"]) for one in values["files"])
            index = cls(values["name"], values["archive"], files)
            names = [one.name for one in files]
            sound = (
                bool(_PACKAGE_NAME.fullmatch(index.name) and _ARCHIVE_NAME.fullmatch(index.archive))
                and all(_FILE_NAME.fullmatch(name) for name in names)
                and names == sorted(set(names))
                and all(type(one.size_bytes) is int and one.size_bytes >= 0 for one in files)
                # Whatever else may be wrong (another format, keys unknown here) is encoded differently.
                and index.encode() == content
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            sound = False
        if not sound:
            raise ValueError("not the index of a package")
        return index


def require_package_name(name: str) -> None:
    """Refuse whatever could lead out of the storage; our own names are always of this form."""
    if not _PACKAGE_NAME.fullmatch(name):
        raise SpoolError("the name of a package was not made of our own ids; nothing was written or read")


def measured(files: Mapping[str, Path]) -> tuple[PackageFile, ...]:
    """Return sizes and checksums of local files, in the order of their names.

    Raises
    ------
    SpoolError
        There is none, one cannot be read, or a name is not one of ours.
    """
    if not files:
        raise SpoolError("a package needs at least one file; nothing was published")
    found = []
    for name in sorted(files):
        if not _FILE_NAME.fullmatch(name):
            raise SpoolError("the name of a file in a package was not one of our own; nothing was published")
        size, digest = 0, hashlib.sha256()
        for chunk in _content(files[name]):
            size += len(chunk)
            digest.update(chunk)
        found.append(PackageFile(name, size, digest.hexdigest()))
    return tuple(found)


def archive_of(index: PackageIndex, sources: Mapping[str, Path]) -> Iterator[Buffer]:
    """Yield the archive's bytes.

    Raises
    ------
    SpoolError
        A file cannot be read, or is not any more what the index says.
    """
    for one in index.files:
        yield _header(one)
        size, digest = 0, hashlib.sha256()
        for chunk in _content(sources[one.name]):
            size += len(chunk)
            digest.update(chunk)
            yield chunk
        if (size, digest.hexdigest()) != (one.size_bytes, one.sha256):
            raise SpoolError(f"{sources[one.name]} changed while it was published; nothing was published")
        yield bytes(_padding(one))
    yield _END


def unpack(index: PackageIndex, archive: Iterator[bytes], folder: Path | None) -> None:
    """Check every byte of an archive, and write the files.

    Parameters
    ----------
    index
        What the archive has to hold.
    archive
        Its bytes; nothing may follow.
    folder
        Where the files go, without flushing; None to check only.

    Raises
    ------
    PackageDamaged
        A byte differs, is missing or is one too many.
    OSError
        The local disk refused a file.
    """
    stream = _Stream(archive)
    for one in index.files:
        damaged = PackageDamaged(
            f"the file {one.name} of the package {index.name} is damaged on the shared storage: it is not "
            "what was published"
        )
        if stream.take(_BLOCK) != _header(one):
            raise damaged
        digest = hashlib.sha256()
        _write(folder / one.name if folder else None, _hashed(stream.pieces(one.size_bytes), digest))
        padding = _padding(one)
        if digest.hexdigest() != one.sha256 or stream.take(padding) != bytes(padding):
            raise damaged
    if stream.take(len(_END) + 1) != _END:
        raise PackageDamaged(f"the archive of the package {index.name} is damaged at its end")


def is_whole(path: Path, wanted: PackageFile) -> bool:
    """Return whether a local file is what the index says."""
    try:
        if path.stat().st_size != wanted.size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256
    except OSError:
        return False


class _Stream:
    """Bytes that come in chunks of any length, taken in pieces of wanted lengths."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def pieces(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes, fewer where there are no more."""
        while count:
            while not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._rest = memoryview(chunk)
            piece = self._rest[:count]
            self._rest = self._rest[len(piece) :]
            count -= len(piece)
            yield piece

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes in one."""
        return b"".join(self.pieces(count))


def _write(path: Path | None, pieces: Iterator[memoryview]) -> None:
    if path is None:
        for _piece in pieces:
            pass
        return
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)


def _hashed(pieces: Iterable[memoryview], digest: hashlib._Hash) -> Iterator[memoryview]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _content(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise SpoolError(f"{path} cannot be read: {error.strerror}; nothing was published") from None


def _header(one: PackageFile) -> bytes:
    """Return the block before a file: no owner, no time, so that it follows from the index alone."""
    entry = tarfile.TarInfo(one.name)
    entry.size = one.size_bytes
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padding(one: PackageFile) -> int:
    return -one.size_bytes % _BLOCK
