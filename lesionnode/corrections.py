"""Stored results under the identity that a PACS has given their patient since."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from core.domain import SOPInstanceUID
from custody.ledger import Ledger, deliveries, new_id
from custody.ledger.deliveries import StoredObject
from custody.spool import Spool
from sr_writer.correction import corrected, identity_digest


class Corrections:
    """Writes corrected results once, and finds them again for the next attempt.

    Parameters
    ----------
    ledger, spool
        Where results are recorded and kept.
    """

    def __init__(self, ledger: Ledger, spool: Spool) -> None:
        self._ledger = ledger
        self._spool = spool

    def __call__(self, originals: Sequence[StoredObject], filed: Dataset) -> Sequence[StoredObject]:
        """Return objects under the patient that a peer named, one for each original.

        Raises
        ------
        ResultEncodingError
            They cannot be written under that identity.
        SpoolError
            The disk does not take them.
        """
        identity = identity_digest(filed)
        known = deliveries.corrected_objects(self._ledger, originals, identity)
        if len(known) == len(originals):
            return known
        results = corrected([dcmread(one.path) for one in originals], filed)
        written = []
        for original, result in zip(originals, results, strict=True):
            content = BytesIO()
            result.save_as(content, enforce_file_format=True)
            uid = SOPInstanceUID(str(result.SOPInstanceUID))
            name = f"{original.path.stem}-{identity[:16]}"
            path = self._spool.keep_result(original.path.parent.name, name, content.getbuffer())
            new = replace(original, id=new_id(), path=path, sop_instance_uid=uid)
            written.append((original, new, hashlib.sha256(content.getbuffer()).hexdigest()))
        deliveries.keep_corrected(self._ledger, written, identity, time.time())
        return deliveries.corrected_objects(self._ledger, originals, identity)
