"""Writes the result sets that an earlier version did not write, or that are damaged, from the ledger."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from core.errors import SpoolDamaged
from custody.ledger import Ledger, comparables
from custody.ledger.comparables import HeldJob, Holding
from custody.ledger.destinations import Destinations
from custody.ledger.jobs import ClaimedJob, JobEnd, StoredResult
from custody.ledger.result_sets import result_set_of
from custody.ledger.states import DeliveryState, JobState
from custody.result_set import (
    RECEIPTS,
    RESULT_SET,
    KeptFile,
    Owed,
    Receipt,
    append_receipt,
    read_receipts,
    read_result_set,
)
from custody.spool import Spool


def complete_result_sets(ledger: Ledger, spool: Spool, destinations: Destinations) -> int:
    """Write what is missing of the jobs whose results are here; return how many were written."""
    return sum(
        _complete(ledger, spool, destinations, held, one)
        for batch in comparables.batches(ledger)
        for held in batch
        for one in held.jobs
    )


def _complete(ledger: Ledger, spool: Spool, to: Destinations, held: Holding, one: HeldJob) -> bool:
    row, folder = one.row, spool.results / one.row.id
    ended = row.state in (JobState.ANALYSED.value, JobState.REFUSED.value) and row.results_purged_at is None
    if not ended or (one.objects and not folder.is_dir()):
        return False
    try:
        read_result_set(folder)
    except SpoolDamaged:
        beside = _beside(folder)
        end = JobEnd(JobState(row.state), row.reason, row.result, _stored(one), row.triage, files=beside)
        described = result_set_of(ledger, _claimed(held, row), end, to, {}, row.finished_at)
        owed = tuple(Owed(sent.peer, sent.kind, sent.variant) for sent in one.deliveries)
        spool.keep_result(row.id, RESULT_SET, replace(described, owed=owed).encoded(), ending="json")
        _write_receipts(one, folder)
        return True
    return False


def _beside(folder: Path) -> list[KeptFile]:
    """Return what is in the folder and not sent."""
    if not folder.is_dir():
        return []
    ours = {f"{RESULT_SET}.json", RECEIPTS}
    found = [path for path in sorted(folder.iterdir()) if path.suffix not in (".dcm", ".part")]
    return [
        KeptFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in found
        if path.name not in ours and not path.name.startswith("corrected-")
    ]


def _write_receipts(one: HeldJob, folder: Path) -> None:
    known = {(receipt.peer, receipt.kind) for receipt in read_receipts(folder)}
    for row in one.deliveries:
        under_way = row.state in (DeliveryState.DUE.value, DeliveryState.SENDING.value)
        if not under_way and (row.peer, row.kind) not in known:
            names = ("peer", "kind", "variant", "sop_instance_uid", "state", "reason", "status", "attempt")
            values = {name: getattr(row, name) for name in names}
            ended_at = row.delivered_at or row.due_at
            receipt = Receipt(**values, identity=row.corrected, created_at=row.created_at, ended_at=ended_at)
            append_receipt(folder, receipt)


def _stored(one: HeldJob) -> list[StoredResult]:
    return [
        StoredResult(
            kind=row.kind,
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            path=Path(row.path),
            sha256=row.sha256,
            variant=row.variant,
            size_bytes=row.size_bytes or _size(Path(row.path)),
        )
        for row in one.objects
        if not row.corrected
    ]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _claimed(held: Holding, row: object) -> ClaimedJob:
    of = held.row
    key = SeriesKey(
        StudyInstanceUID(of.study_instance_uid), SeriesInstanceUID(of.series_instance_uid), of.patient_digest
    )
    names = ("id", "attempt", "model", "sealed_at", "series_id", "generation", "calling_ae_title", "evidence")
    values = {name: getattr(row, name) for name in names}
    return ClaimedJob(owner=str(getattr(row, "owner", "")), key=key, **values)
