"""Stored results under the identity that a PACS has given their patient since."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import TypeAlias

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from core.domain import SOPInstanceUID
from core.errors import ResultEncodingError
from custody.ledger import Ledger, corrected_results, deliveries, new_id
from custody.ledger.corrected_results import Corrected
from custody.ledger.deliveries import StoredObject
from custody.result_set import CorrectedSet, KeptObject
from custody.spool import Spool
from sr_writer.correction import PatientAtPeer, corrected

#: The original, what was made of it, its SHA-256 and its size.
_Written: TypeAlias = tuple[StoredObject, StoredObject, str, int]


class Corrections:
    """Writes the corrected objects of a job once, and finds them again for every later delivery.

    Parameters
    ----------
    ledger, spool
        Where results are recorded and kept.
    """

    def __init__(self, ledger: Ledger, spool: Spool) -> None:
        self._ledger = ledger
        self._spool = spool
        # Lanes of several peers may want the same objects at the same moment.
        self._one_at_a_time = threading.Lock()

    def __call__(self, job_id: str, filed: Dataset) -> Corrected:
        """Return the objects of a job under the patient that a peer named.

        Parameters
        ----------
        job_id
            Whose objects.
        filed
            The peer's answer to C-FIND.

        Raises
        ------
        ResultEncodingError
            They cannot be written under that identity.
        SpoolError
            The disk does not take them.
        """
        patient = PatientAtPeer.of(filed)
        with self._one_at_a_time:
            originals = deliveries.objects_of_job(self._ledger, job_id)
            known = deliveries.objects_of_job(self._ledger, job_id, patient.digest)
            if len(known) != len(originals):
                self._record(self._write(originals, patient), patient)
                known = deliveries.objects_of_job(self._ledger, job_id, patient.digest)
            elif not all(one.path.exists() for one in known):
                self._write(originals, patient)  # they were made on another machine; the same bytes come out
                known = deliveries.objects_of_job(self._ledger, job_id, patient.digest)
            return Corrected(patient.digest, known)

    def _write(self, originals: Sequence[StoredObject], patient: PatientAtPeer) -> list[_Written]:
        try:
            results = [dcmread(one.path) for one in originals]
        except (OSError, InvalidDicomError) as error:
            raise ResultEncodingError("A stored result is gone or damaged: none is corrected.") from error
        written = []
        for original, content in zip(originals, corrected(results, patient), strict=True):
            name = f"{original.path.stem}-{patient.digest[:16]}"
            path = self._spool.keep_result(original.path.parent.name, name, content)
            new_uid = SOPInstanceUID(_instance_uid(content))
            new = replace(original, id=new_id(), path=path, sop_instance_uid=new_uid)
            written.append((original, new, hashlib.sha256(content).hexdigest(), len(content)))
        return written

    def _record(self, written: Sequence[_Written], patient: PatientAtPeer) -> None:
        now = time.time()
        self._list(written, patient.digest, now)
        corrected_results.keep_corrected(self._ledger, written, patient.digest, now)

    def _list(self, written: Sequence[_Written], identity: str, now: float) -> None:
        """Say beside the objects what they are, for a ledger that has to be made anew."""
        listed = tuple(
            KeptObject(
                one.kind, one.variant, one.sop_class_uid, one.sop_instance_uid, one.path.name, sha256, size
            )
            for _original, one, sha256, size in written
        )
        job_id = written[0][1].path.parent.name
        found = CorrectedSet(job_id, identity, listed, now)
        self._spool.keep_result(job_id, found.name, found.encoded(), ending="json")


def _instance_uid(content: bytes) -> str:
    return str(
        dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID
    )
