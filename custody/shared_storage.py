"""Storage that several machines share: immutable, checksummed packages in a folder or an S3 store.

A package is there if and only if its index is, and the index is written last, once. Everything before that
can break off at any point and leaves only files that nothing names; `SharedStorage.sweep` removes them later.
See docs/adr/0019.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import PackageDiffers, StorageUnreachable
from custody.file_store import FileStore, S3Access, open_store
from custody.package import PackageIndex, archive_of, measured, require_package_name
from custody.package_reader import INDEX_NAME, PackageReader, PackageReceipt

__all__ = ["PackageReceipt", "S3Access", "SharedStorage"]

_PROBE = b"probe"
_LEFTOVER = re.compile(r"[0-9a-f]{32}\.(tar|part|probe)")


class SharedStorage:
    """Packages that every machine of the site can fetch.

    It can be used by several threads at once. Every method raises `StorageUnreachable` where the storage
    cannot be used now (on S3 after bounded waiting and three attempts), and may be called again later.

    Parameters
    ----------
    store
        Where the packages lie; `SharedStorage.open` makes it.
    """

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._reader = PackageReader(store)

    @classmethod
    def open(cls, url: str, access: S3Access | None = None) -> SharedStorage:
        """Return the storage behind a URL. Nothing is connected yet.

        Parameters
        ----------
        url
            A folder (``/mnt/lesion-node``, ``file:///mnt/lesion-node``) or ``s3://bucket/prefix``.
        access
            How the store is reached; for ``s3`` only.

        Raises
        ------
        ConfigurationError
            The URL names neither, or s3fs is not installed.
        """
        return cls(open_store(url, access or S3Access()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give connections back; the storage can be used again afterwards."""
        self._store.close()

    def check(self) -> list[str]:
        """Write, read and remove a small file, for whoever configures the storage.

        Returns
        -------
        list of str
            What works, but less safely than it should.

        Raises
        ------
        SpoolFull, StorageUnreachable
            One of that did not work.
        """
        path = f"{uuid.uuid4().hex}.probe"
        try:
            written = self._store.create(path, _PROBE)
            whole = self._store.read(path, 0, len(_PROBE) + 1) == _PROBE
            refused = not self._store.create(path, _PROBE)
        except FileNotFoundError:
            raise self._forgetful() from None
        self._store.remove(path)
        if not (written and whole):
            raise self._forgetful()
        if refused:
            return []
        return [
            f"{self._store} replaces files that are to be written once (it does not know If-None-Match): two "
            "machines that publish one package at the same moment could damage it"
        ]

    def publish(self, name: str, files: Mapping[str, Path]) -> PackageReceipt:
        """Store files as a package. When this returns, it is durable and every machine can fetch it.

        The same files under the same name again change nothing; an archive that is gone or cut short is
        written anew.

        Parameters
        ----------
        name
            Up to eight of our own ids with ``/`` between.
        files
            Local files by their names in the package.

        Returns
        -------
        PackageReceipt
            The same for the same content as long as the package is not deleted.

        Raises
        ------
        PackageDiffers
            Other content has this name already.
        PackageDamaged
            The index under this name cannot be read.
        SpoolFull
            The storage is full.
        SpoolError
            A local file cannot be read or was changed meanwhile; nothing is published.
        """
        require_package_name(name)
        wanted = measured(files)
        stored = self._reader.stored_index(name)
        if stored is None:
            stored = self._publish_first(PackageIndex(name, f"{uuid.uuid4().hex}.tar", wanted), files)
        index = self._reader.understood(name, stored)
        if index.files != wanted:
            raise PackageDiffers(
                f"other files are published as {name} on {self._store} already; packages never change"
            )
        if self._store.size(f"{name}/{index.archive}") != index.archive_bytes:
            self._put_archive(index, files)
        return PackageReceipt(name, hashlib.sha256(stored).hexdigest())

    def receipt(self, name: str) -> PackageReceipt:
        """Return the receipt of a package as it is stored, for whoever has lost it.

        Raises
        ------
        PackageMissing, PackageDamaged
            There is none, or its index cannot be read.
        """
        require_package_name(name)
        stored = self._reader.stored_index(name)
        if stored is None:
            raise self._reader.missing(name)
        self._reader.understood(name, stored)
        return PackageReceipt(name, hashlib.sha256(stored).hexdigest())

    def fetch(self, package: PackageReceipt, into: Path) -> list[Path]:
        """Bring a package's files into a local folder.

        Every byte is checked before a file gets its name, and nothing is flushed: the folder is scratch. A
        package that is there already, whole, is not fetched again; the storage is not even asked. Other files
        in the folder are left alone, unless they have the name of one of the package's.

        Parameters
        ----------
        package
            What `publish` returned.
        into
            Made where it does not exist.

        Returns
        -------
        list of Path
            The files, in the order of their names.

        Raises
        ------
        PackageMissing, PackageDamaged
            Nothing is left in the folder. A package that seems damaged is read a second time first.
        SpoolFull
            The local disk is full.
        SpoolError
            The local folder cannot be written.
        """
        require_package_name(package.name)
        return self._reader.fetch(package, into)

    def verify(self, package: PackageReceipt) -> None:
        """Read a package to its last byte and keep nothing.

        Raises
        ------
        PackageMissing, PackageDamaged
            As of `fetch`.
        """
        require_package_name(package.name)
        self._reader.verify(package)

    def delete(self, name: str) -> None:
        """Remove a package: first the index, so that it is gone as a whole, then the files.

        Nothing happens where there is none. Nobody may publish under the name meanwhile.
        """
        require_package_name(name)
        self._store.remove(f"{name}/{INDEX_NAME}")
        for path in [one.path for one in self._store.find(name)]:
            folder, file_name = _parted(path)
            if folder == name and _LEFTOVER.fullmatch(file_name):
                self._store.remove(path)

    def names(self, below: str = "") -> list[str]:
        """Return the names of all packages, or of those below a name, in order."""
        if below:
            require_package_name(below)
        parted = (_parted(one.path) for one in self._store.find(below))
        return sorted(folder for folder, name in parted if name == INDEX_NAME)

    def sweep(self, older_than_s: float) -> int:
        """Remove what publishing that broke off has left.

        Parameters
        ----------
        older_than_s
            Younger files stay: somebody may be publishing them. Longer than any upload takes, and than the
            clocks of machines and storage may differ; a day is a good value.

        Returns
        -------
        int
            Files and unfinished uploads removed.
        """
        before_s = time.time() - older_than_s
        found = [(*_parted(one.path), one) for one in self._store.find("")]
        archives = Counter(folder for folder, name, _ in found if name.endswith(".tar"))
        packages = {folder for folder, name, _ in found if name == INDEX_NAME}
        removed = 0
        for folder, name, one in found:
            if one.modified_s >= before_s or not _LEFTOVER.fullmatch(name):
                continue
            # The only archive of a package is its own; reading every index to see that would take long.
            own = folder in packages and archives[folder] == 1
            if name.endswith(".tar") and (own or self._is_named(folder, name)):
                continue
            self._store.remove(one.path)
            removed += 1
        return removed + self._store.drop_unfinished(before_s)

    def _publish_first(self, index: PackageIndex, files: Mapping[str, Path]) -> bytes:
        """Publish under a name that was free; return the index that lies there then."""
        self._put_archive(index, files)
        self._store.create(f"{index.name}/{INDEX_NAME}", index.encode())
        # Read back: another machine may have been first, and not every store can refuse the second.
        stored = self._reader.stored_index(index.name)
        if stored is None:
            raise self._forgetful()
        if stored != index.encode():
            self._store.remove(f"{index.name}/{index.archive}")
        return stored

    def _put_archive(self, index: PackageIndex, files: Mapping[str, Path]) -> None:
        path = f"{index.name}/{index.archive}"
        try:
            self._store.put(path, archive_of(index, files))
        except FileNotFoundError:
            raise StorageUnreachable(f"{self._store} discarded an upload: try again") from None
        if self._store.size(path) != index.archive_bytes:
            raise self._forgetful()

    def _forgetful(self) -> StorageUnreachable:
        return StorageUnreachable(f"{self._store} does not give back what was written to it")

    def _is_named(self, package: str, archive: str) -> bool:
        """Return whether the index names the archive, or cannot tell."""
        stored = self._reader.stored_index(package)
        if stored is None:
            return False
        try:
            return PackageIndex.decode(stored).archive == archive
        except ValueError:
            return True


def _parted(path: str) -> tuple[str, str]:
    """Return folder and name."""
    folder, _, name = path.rpartition("/")
    return folder, name
