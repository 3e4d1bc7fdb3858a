"""Deletes everything of a patient: rows, images, results."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from config import Settings
from core.errors import NodeError
from core.uid import patient_digest
from custody.holdings import Holdings
from custody.ledger import Ledger, audit, merges
from custody.ledger.dialect import lock_series
from custody.ledger.forgetting import Known, delete_here, delete_series, jobs_of, known_of
from custody.spool import Spool
from lesionnode.paths import node_name, open_storage


class Forgetting:
    """One patient that is to be forgotten.

    Parameters
    ----------
    settings, ledger
        Of the node.
    digest
        `core.uid.patient_digest`; the identifiers themselves are not needed any more.
    """

    def __init__(self, settings: Settings, ledger: Ledger, digest: str) -> None:
        self._ledger = ledger
        self._spool = Spool(settings.node.data_folder)
        self._holdings = Holdings(self._spool, ledger, open_storage(settings))
        self._node = node_name(settings) if ledger.shared else None
        self._digest = digest
        with ledger.read() as connection:
            self.identities = merges.same_patient(connection, digest)

    def look(self) -> Known:
        """Return what is here of the patient."""
        with self._ledger.read() as connection:
            return known_of(connection, self.identities, self._node, time.time())

    def unrecorded(self) -> list[Path]:
        """Return the files of the patient that the ledger does not know."""
        return [path for path in self._spool.unrecorded.glob("*") if _digest_in(path) in self.identities]

    def forget(self, by: str, *, force: bool) -> Known:
        """Delete everything that lies here; return what there was.

        Each series goes in a transaction of its own, which is committed when its files are gone: what breaks
        off is finished by the next call. Of what lies on other nodes too the rows stay until they forget it.

        Raises
        ------
        NodeError
            Something is under way.
        """
        known = self.look()
        if known.under_way and not force:
            raise NodeError(
                f"still under way of this patient: {', '.join(known.under_way)}; wait, or use --force"
            )
        for series_id in known.series_ids:
            self._forget_series(series_id)
        strays = self.unrecorded()
        for path in strays:
            path.unlink(missing_ok=True)
        detail = {
            "series": len(known.series_ids),
            "images": known.images,
            "results": known.results,
            "unrecorded": len(strays),
            "elsewhere": list(known.elsewhere),
            "force": force,
        }
        with self._ledger.write() as connection:
            if not known.elsewhere:
                merges.forget(connection, self.identities)
            audit.record(connection, by, "forget", self._digest, detail, time.time())
        return known

    def _forget_series(self, series_id: str) -> None:
        with self._ledger.write() as connection:
            lock_series(connection, [series_id])
            if delete_here(connection, series_id, self._node):
                jobs = delete_series(connection, series_id)
                self._holdings.forget_series(series_id)
            else:
                jobs = jobs_of(connection, series_id)
            self._spool.drop_series(series_id)
            for job_id in jobs:
                self._spool.drop_results(job_id)
                self._holdings.forget_results(job_id)
                self._holdings.delete_time_point(job_id)


def _digest_in(path: Path) -> str:
    tags = ["PatientID", "IssuerOfPatientID"]
    with contextlib.suppress(OSError, InvalidDicomError, ValueError, AttributeError, KeyError):
        header = dcmread(path, stop_before_pixels=True, specific_tags=tags)
        return patient_digest(str(header.get("PatientID") or ""), str(header.get("IssuerOfPatientID") or ""))
    return ""


def merge_patients(ledger: Ledger, old: str, new: str, by: str) -> int:
    """Let what is under the old digest count as the new patient's; return how many identities are one now.

    Raises
    ------
    NodeError
        They are one already.
    """
    now = time.time()
    with ledger.write() as connection:
        merges.merge(connection, old, new, now)
        audit.record(connection, by, "patient_merge", new, {"old": old}, now)
        return len(merges.same_patient(connection, new))
