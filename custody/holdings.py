"""Where the files of a sealed series and of a result set are: on this machine, or to be brought to it.

With one machine everything is in its spool. Where several share a ledger, a receiver publishes what it has
sealed, a worker brings it, publishes what it made of it, and whoever delivers brings that. What was brought
lies below ``copies`` (`custody.ledger.files`), apart from what only this machine has, and goes when it has
not been needed for a day.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.errors import SpoolDamaged
from custody.ledger import Ledger
from custody.ledger.files import located
from custody.ledger.tables import job, manifest, result_object
from custody.manifest import read_manifest
from custody.shared_storage import PackageReceipt, SharedStorage
from custody.spool import Spool

_COPY_KEPT_S = 86_400.0


class Holdings:
    """Publishes and brings files; does nothing where there is no shared storage.

    Every method that reads or writes the storage raises `StorageUnreachable` where it cannot be used now.

    Parameters
    ----------
    spool, ledger
        Of this machine; what is where.
    storage
        What the machines share, None where there is one.
    """

    def __init__(self, spool: Spool, ledger: Ledger, storage: SharedStorage | None = None) -> None:
        self._spool = spool
        self._ledger = ledger
        self._storage = storage

    @property
    def shared(self) -> bool:
        """Whether what is sealed here has to be published before others can see it."""
        return self._storage is not None

    def publish_series(self, series_id: str, manifest_path: Path, sha256: str) -> str | None:
        """Publish the images that a manifest lists for analysis, and the manifest; return a checksum."""
        if self._storage is None:
            return None
        listed = read_manifest(manifest_path, sha256)
        wanted = [one for one in listed.instances if one.set_aside is None]
        self._storage.publish(_manifest_name(series_id, sha256), {manifest_path.name: manifest_path})
        if not wanted:
            return None
        files = {f"{one.id}.dcm": manifest_path.parent / one.file for one in wanted}
        return self._storage.publish(_series_name(series_id, sha256), files).sha256

    def bring_manifests(self, series_id: str) -> None:
        """Bring what other machines have listed of a series, so that its images are known here.

        Also of what is deleted: what comes of it again is compared with that.
        """
        if self._storage is None:
            return
        for row, path in self._manifests(series_id):
            if not path.exists():
                receipt = self._storage.receipt(_manifest_name(series_id, row.sha256))
                self._storage.fetch(receipt, self._spool.copy_of(path).parent)

    def bring_series(self, series_id: str, generation: int) -> None:
        """Bring the images of a series up to a generation."""
        if self._storage is None:
            return
        self.bring_manifests(series_id)
        for row, path in self._manifests(series_id):
            if row.generation > generation or row.package_sha256 is None or row.purged_at is not None:
                continue
            listed = read_manifest(path, row.sha256).instances
            if all((path.parent / one.file).exists() for one in listed if one.set_aside is None):
                continue
            package = PackageReceipt(_series_name(series_id, row.sha256), row.package_sha256)
            self._storage.fetch(package, self._spool.copy_of(path).parent)

    def publish_results(self, job_id: str, attempt: int) -> str | None:
        """Publish every result file of a job; return how it is found again, for the ledger."""
        folder = self._spool.results_folder(job_id)
        files = {one.name: one for one in folder.glob("*") if one.is_file() and one.suffix != ".part"}
        if self._storage is None or not files:
            return None
        receipt = self._storage.publish(f"results/{job_id}/{attempt}", files)
        return f"{receipt.name} {receipt.sha256}"

    def bring_results(self, job_id: str) -> None:
        """Bring the result files of a job."""
        if self._storage is None:
            return
        written = select(result_object.c.path).where(
            result_object.c.job_id == job_id, result_object.c.corrected == ""
        )
        with self._ledger.read() as connection:
            if all(located(connection, path).exists() for path in connection.execute(written).scalars()):
                return
            package = connection.execute(
                select(job.c.results_package).where(job.c.id == job_id)
            ).scalar_one_or_none()
        if package is None:
            raise SpoolDamaged(f"the results of job {job_id} are on another machine and were never published")
        name, _, sha256 = package.partition(" ")
        folder = self._spool.copy_of(self._spool.results_folder(job_id))
        self._storage.fetch(PackageReceipt(name, sha256), folder)

    def let_go_of_results(self, job_id: str) -> None:
        """Keep the results that were made and published here as a copy only."""
        folder = self._spool.results_folder(job_id)
        if self._storage is not None and folder.is_dir():
            copy = self._spool.copy_of(folder)
            shutil.rmtree(copy, ignore_errors=True)
            copy.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(copy)

    def delete_series(self, series_id: str, sha256: str) -> None:
        """Delete what was published of a manifest's images; the manifest stays."""
        if self._storage is not None:
            self._storage.delete(_series_name(series_id, sha256))

    def delete_results(self, job_id: str) -> None:
        """Delete what was published of a job's results, of every attempt."""
        if self._storage is not None:
            for name in self._storage.names(f"results/{job_id}"):
                self._storage.delete(name)

    def forget_series(self, series_id: str) -> None:
        """Delete what was published of a series, its manifests too, and what was brought of it."""
        if self._storage is None:
            return
        for name in [
            *self._storage.names(f"series/{series_id}"),
            *self._storage.names(f"manifests/{series_id}"),
        ]:
            self._storage.delete(name)
        shutil.rmtree(self._spool.copy_of(self._spool.series_folder(series_id)), ignore_errors=True)

    def forget_results(self, job_id: str) -> None:
        """Delete what was published of a job's results, and what was brought of them."""
        if self._storage is None:
            return
        self.delete_results(job_id)
        shutil.rmtree(self._spool.copy_of(self._spool.results_folder(job_id)), ignore_errors=True)

    def tidy(self, now: float) -> int:
        """Delete copies that are a day old: they can be brought again. Return how many folders."""
        old = [
            folder for folder in self._spool.copies.glob("*/*") if now - folder.stat().st_mtime > _COPY_KEPT_S
        ]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        return len(old)

    def _manifests(self, series_id: str) -> list[tuple[Any, Path]]:
        with self._ledger.read() as connection:
            rows = connection.execute(select(manifest).where(manifest.c.series_id == series_id)).all()
            return [(row, located(connection, row.path)) for row in rows]


def _series_name(series_id: str, sha256: str) -> str:
    return f"series/{series_id}/{sha256[:32]}"


def _manifest_name(series_id: str, sha256: str) -> str:
    return f"manifests/{series_id}/{sha256[:32]}"
