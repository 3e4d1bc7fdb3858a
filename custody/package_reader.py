"""Reading packages: nothing is handed on that is not, to the last byte, what was published."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from core.errors import PackageDamaged, PackageMissing, SpoolError, SpoolFull
from custody.durable import disk_is_full
from custody.file_store import FileStore
from custody.package import PackageIndex, is_whole, unpack

INDEX_NAME = "index.json"

#: The index as it was fetched, beside the files; no file of a package can have this name.
_FETCHED_INDEX = ".index.json"
_STAGING = ".fetching-"
_STAGING_IS_OLD_S = 86400.0
_INDEX_LIMIT = 16 * 2**20
_RANGE_BYTES = 8 * 2**20
_RANGES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class PackageReceipt:
    """Which package, and what it holds to the last byte.

    Parameters
    ----------
    name
        Of the package.
    sha256
        Of its index, which holds the checksums of the files.
    """

    name: str
    sha256: str


class PackageReader:
    """Reads what a store holds."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    def fetch(self, package: PackageReceipt, into: Path) -> list[Path]:
        """See `SharedStorage.fetch`."""
        with _local_faults(into):
            index = _fetched_index(package, into)
            if index is not None and all(is_whole(into / one.name, one) for one in index.files):
                return [into / one.name for one in index.files]
            try:
                return self._fetch_anew(package, into)
            except PackageDamaged:
                # Bytes that were changed on the way look like damage too.
                return self._fetch_anew(package, into)

    def verify(self, package: PackageReceipt) -> None:
        """See `SharedStorage.verify`."""
        index = PackageIndex.decode(self._index_of(package))
        with contextlib.closing(self._archive(index)) as archive:
            unpack(index, archive, None)

    def stored_index(self, name: str) -> bytes | None:
        """Return the index under a name as it lies there."""
        try:
            return self._store.read(f"{name}/{INDEX_NAME}", 0, _INDEX_LIMIT)
        except FileNotFoundError:
            return None

    def understood(self, name: str, content: bytes) -> PackageIndex:
        """Read the index of a package; raise `PackageDamaged` where that cannot be done."""
        try:
            index = PackageIndex.decode(content)
            if index.name != name:
                raise ValueError("of another package")
        except ValueError:
            raise PackageDamaged(
                f"the index of the package {name} on {self._store} is damaged: delete the package and "
                "publish it again"
            ) from None
        return index

    def missing(self, name: str) -> PackageMissing:
        """Return the error that says so."""
        return PackageMissing(
            f"there is no package {name} on {self._store}: it was deleted or never published"
        )

    def _fetch_anew(self, package: PackageReceipt, into: Path) -> list[Path]:
        content = self._index_of(package)
        index = PackageIndex.decode(content)
        into.mkdir(parents=True, exist_ok=True)
        _remove_old_staging(into)
        staging = into / f"{_STAGING}{uuid.uuid4().hex}"
        staging.mkdir()
        try:
            with contextlib.closing(self._archive(index)) as archive:
                unpack(index, archive, staging)
            (staging / _FETCHED_INDEX).write_bytes(content)
            paths = [(staging / one.name).replace(into / one.name) for one in index.files]
            (staging / _FETCHED_INDEX).replace(into / _FETCHED_INDEX)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return paths

    def _index_of(self, package: PackageReceipt) -> bytes:
        """Return the index that the receipt names, checked to its last byte."""
        stored = self.stored_index(package.name)
        if stored is None:
            raise self.missing(package.name)
        if hashlib.sha256(stored).hexdigest() != package.sha256:
            raise PackageDamaged(
                f"the index of the package {package.name} on {self._store} is damaged, or of another package"
            )
        self.understood(package.name, stored)
        return stored

    def _archive(self, index: PackageIndex) -> Generator[bytes, None, None]:
        """Yield the archive, a few ranges ahead of whoever takes them."""
        path = f"{index.name}/{index.archive}"
        end = index.archive_bytes + 1  # one more than there should be
        reading: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(_RANGES_AT_ONCE) as pool:
            try:
                for start in range(0, end, _RANGE_BYTES):
                    reading.append(pool.submit(self._store.read, path, start, min(start + _RANGE_BYTES, end)))
                    if len(reading) == _RANGES_AT_ONCE:
                        yield reading.popleft().result()
                while reading:
                    yield reading.popleft().result()
            except FileNotFoundError:
                raise self._without_archive(index.name) from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _without_archive(self, name: str) -> SpoolError:
        """Return what is wrong where an archive is missing: it may have been deleted this moment."""
        if self._store.size(f"{name}/{INDEX_NAME}") is None:
            return self.missing(name)
        return PackageDamaged(f"the archive of the package {name} is missing on {self._store}")


def _fetched_index(package: PackageReceipt, folder: Path) -> PackageIndex | None:
    """Return the index of a package that was fetched into this folder before."""
    try:
        content = (folder / _FETCHED_INDEX).read_bytes()
        if hashlib.sha256(content).hexdigest() == package.sha256:
            return PackageIndex.decode(content)
    except (OSError, ValueError):
        pass
    return None


def _remove_old_staging(folder: Path) -> None:
    """Remove what a fetch has left whose process was killed."""
    for staging in folder.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError):
            if time.time() - staging.stat().st_mtime > _STAGING_IS_OLD_S:
                shutil.rmtree(staging)


@contextlib.contextmanager
def _local_faults(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            raise SpoolFull(f"the disk of {folder} is full: free some space") from None
        raise SpoolError(f"{folder} cannot be written: {error.strerror}") from None
