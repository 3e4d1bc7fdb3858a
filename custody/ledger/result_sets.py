"""From the ledger to the result sets beside the objects (`custody.result_set`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from custody.ledger.destinations import Destinations, planned
from custody.ledger.engine import Ledger
from custody.ledger.jobs import ClaimedJob, JobEnd
from custody.ledger.manifests import scan_of
from custody.ledger.states import NOT_TOLD
from custody.ledger.tables import job, series, series_source
from custody.result_set import KeptObject, ResultSet, Sender


def result_set_of(
    ledger: Ledger,
    claimed: ClaimedJob,
    end: JobEnd,
    destinations: Destinations,
    made_by: Mapping[str, Any],
    now: float,
) -> ResultSet:
    """Describe the end of a job, which is about to be recorded.

    Parameters
    ----------
    ledger, claimed, end, destinations, now
        As for `jobs.finish`.
    made_by
        What the bytes of the objects depend on besides the images.
    """
    with ledger.read() as connection:
        row = connection.execute(select(job).where(job.c.id == claimed.id)).one()
        of = connection.execute(select(series).where(series.c.id == row.series_id)).one()
        senders = _senders(connection, row.series_id, destinations)
        scan = scan_of(connection, row.acquisition_id)
    objects = tuple(
        KeptObject(
            one.kind,
            one.variant,
            one.sop_class_uid,
            one.sop_instance_uid,
            one.path.name,
            one.sha256,
            one.size_bytes,
        )
        for one in end.objects
    )
    sources = [one.source for one in senders if one.told]
    return ResultSet(
        job_id=claimed.id,
        series_id=row.series_id,
        key=SeriesKey(
            StudyInstanceUID(of.study_instance_uid),
            SeriesInstanceUID(of.series_instance_uid),
            of.patient_digest,
        ),
        modality=of.modality,
        generation=row.generation,
        state=end.state.value,
        reason=end.reason,
        evidence=row.evidence,
        model=row.model,
        calling_ae_title=row.calling_ae_title,
        lane=row.lane,
        triage=end.triage,
        attempt=claimed.attempt,
        sealed_at=row.sealed_at,
        started_at=row.started_at,
        finished_at=now,
        first_received_at=of.first_received_at,
        last_received_at=of.last_received_at,
        acquisition=scan,
        senders=senders,
        owed=tuple(planned(sources, [(one.kind, one.variant) for one in objects], destinations)),
        result=end.result,
        objects=objects,
        files=tuple(end.files),
        predecessors=tuple(end.predecessors),
        made_by=made_by,
        compared_with=tuple(end.compared_with),
        notes=tuple(end.notes),
        purpose=row.purpose,
    )


def _senders(connection: Connection, series_id: str, destinations: Destinations) -> tuple[Sender, ...]:
    rows = connection.execute(
        select(series_source.c.source, series_source.c.calling_ae_title, series_source.c.settled)
        .where(series_source.c.series_id == series_id)
        .order_by(series_source.c.source, series_source.c.calling_ae_title)
    )
    known = destinations.peers_of_source
    return tuple(
        Sender(row.source, row.calling_ae_title, row.source in known, row.settled != NOT_TOLD) for row in rows
    )
