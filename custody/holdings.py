"""Where the files of a sealed series and of a result set are: on this machine, or to be brought to it.

With one machine everything is in its spool. Where several share a ledger, a receiver publishes what it has
sealed, a worker brings it, publishes what it made of it, and whoever delivers brings that. What was brought
lies below ``copies`` (`custody.ledger.files`), apart from what only this machine has, and goes when it has
not been needed for a day.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from core.errors import SpoolDamaged
from custody.ledger import Ledger
from custody.ledger.files import located
from custody.ledger.tables import job, manifest, result_object
from custody.manifest import read_manifest
from custody.shared_storage import PackageReceipt, SharedStorage
from custody.spool import TIME_POINT, Spool

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
        self._swept_at = 0.0

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

    def publish_results(self, job_id: str, name: str) -> str | None:
        """Publish every result file of a job under a name of its own; return how it is found again."""
        folder = self._spool.results_folder(job_id)
        files = {one.name: one for one in folder.glob("*") if one.is_file() and one.suffix != ".part"}
        if self._storage is None or not files:
            return None
        receipt = self._storage.publish(f"results/{job_id}/{name}", files)
        return f"{receipt.name} {receipt.sha256}"

    def bring_results(self, job_id: str) -> None:
        """Bring the result files of a job."""
        if self._storage is None:
            return
        written = select(result_object).where(
            result_object.c.job_id == job_id, result_object.c.corrected == ""
        )
        with self._ledger.read() as connection:
            rows = connection.execute(written).all()
            if all(self._is_the_recorded_one(connection, row) for row in rows):
                return
            package = connection.execute(
                select(job.c.results_package).where(job.c.id == job_id)
            ).scalar_one_or_none()
        if package is None:
            raise SpoolDamaged(f"the results of job {job_id} are on another machine and were never published")
        name, _, sha256 = package.partition(" ")
        folder = self._spool.copy_of(self._spool.results_folder(job_id))
        self._storage.fetch(PackageReceipt(name, sha256), folder)

    def publish_time_point(self, job_id: str, name: str) -> str | None:
        """Publish the time point of a job under a name of its own; return how it is found again."""
        folder = self._spool.time_point_folder(job_id)
        if self._storage is None:
            return None
        receipt = self._storage.publish(f"time-points/{job_id}/{name}", {TIME_POINT: folder / TIME_POINT})
        return f"{receipt.name} {receipt.sha256}"

    def bring_time_point(self, job_id: str, package: str | None) -> None:
        """Bring the time point of a job."""
        if self._storage is None or package is None:
            return
        name, _, sha256 = package.partition(" ")
        folder = self._spool.copy_of(self._spool.time_point_folder(job_id))
        self._storage.fetch(PackageReceipt(name, sha256), folder)

    def let_go_of_time_point(self, job_id: str) -> None:
        """Keep nothing here of a time point that was made and published here."""
        if self._storage is not None:
            self._spool.drop_time_point(job_id)

    def delete_time_point(self, job_id: str) -> None:
        """Delete the time point of a job, here and where it was published."""
        self._spool.drop_time_point(job_id)
        if self._storage is not None:
            for name in self._storage.names(f"time-points/{job_id}"):
                self._storage.delete(name)
            shutil.rmtree(self._spool.copy_of(self._spool.time_point_folder(job_id)), ignore_errors=True)

    def let_go_of_results(self, job_id: str) -> None:
        """Keep the results that were made and published here as a copy only.

        What says which results there are stays: nobody deletes it as a copy.
        """
        folder = self._spool.results_folder(job_id)
        if self._storage is not None and folder.is_dir():
            copy = self._spool.copy_of(folder)
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(parents=True, exist_ok=True)
            for path in self._spool.result_files(job_id):
                path.rename(copy / path.name)

    def drop_results(self, job_id: str) -> None:
        """Delete what was made here of a job that another machine has ended."""
        if self._storage is not None:
            self._spool.drop_results(job_id)

    def _is_the_recorded_one(self, connection: Connection, row: Any) -> bool:
        """Tell whether an object that lies here is the one that the ledger means.

        A machine that lost its claim may have left one of its own under the same name.
        """
        path = located(connection, row.path)
        try:
            with path.open("rb") as file:
                same = bool(hashlib.file_digest(file, "sha256").hexdigest() == row.sha256)
        except FileNotFoundError:
            return False
        if not same:
            path.unlink(missing_ok=True)
        return same

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
        """Delete copies that are a day old: they can be brought again. Return how many folders.

        Once a day what publishing that broke off has left on the storage goes too.
        """
        old = [
            folder for folder in self._spool.copies.glob("*/*") if now - folder.stat().st_mtime > _COPY_KEPT_S
        ]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        if self._storage is not None and now - self._swept_at > _COPY_KEPT_S:
            self._swept_at = now
            self._storage.sweep(_COPY_KEPT_S)
        return len(old)

    def _manifests(self, series_id: str) -> list[tuple[Any, Path]]:
        with self._ledger.read() as connection:
            rows = connection.execute(select(manifest).where(manifest.c.series_id == series_id)).all()
            return [(row, located(connection, row.path)) for row in rows]


def _series_name(series_id: str, sha256: str) -> str:
    return f"series/{series_id}/{sha256[:32]}"


def _manifest_name(series_id: str, sha256: str) -> str:
    return f"manifests/{series_id}/{sha256[:32]}"
