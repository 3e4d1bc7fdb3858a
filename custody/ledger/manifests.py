"""Rows of sealed instances give way to manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, delete, or_, select, update

from core.domain import SeriesKey
from custody.ledger.dialect import lock_series
from custody.ledger.engine import Ledger, new_id
from custody.ledger.files import recorded
from custody.ledger.instances import rows_of
from custody.ledger.states import JobState
from custody.ledger.tables import acquisition, instance, job, manifest, series, series_source
from custody.manifest import Manifest, Sealing


@dataclass(frozen=True, slots=True)
class Sealed:
    """Instances of a series whose place is in a manifest from now on.

    Parameters
    ----------
    manifest
        To be written beside them.
    row_ids
        Ids of their rows in the ledger, which it replaces.
    """

    manifest: Manifest
    row_ids: tuple[str, ...]


def sealed_rows(
    connection: Connection, *, node: str, quiet_before: float, after: str = "", limit: int = 64
) -> list[Sealed]:
    """Return what is sealed, or set aside and quiet, and not in a manifest yet.

    Parameters
    ----------
    connection
        A transaction.
    node
        Whose files.
    quiet_before
        What was set aside has to be this old, seconds since 1970 UTC: more of its series may come.
    after
        Our id of the last series that was tried: one that cannot be shelved must not hold up the others.
    limit
        Most series at a time.
    """
    is_sealed = instance.c.generation.is_not(None)
    is_aside = and_(instance.c.set_aside.is_not(None), series.c.last_received_at < quiet_before)
    ids = connection.execute(
        select(instance.c.series_id)
        .join_from(instance, series)
        .where(or_(is_sealed, is_aside), instance.c.node == node, instance.c.series_id > after)
        .distinct()
        .order_by(instance.c.series_id)
        .limit(limit)
    ).scalars()
    result = []
    for series_id in ids.all():
        one = connection.execute(select(series).where(series.c.id == series_id)).one()
        movable = [
            kept
            for kept in rows_of(connection, series_id, node)
            if kept.generation is not None or (kept.set_aside and one.last_received_at < quiet_before)
        ]
        # Each generation in a manifest of its own; what was set aside goes with the newest.
        for generation in sorted({kept.generation or one.generation for kept in movable}):
            mine = [kept for kept in movable if (kept.generation or one.generation) == generation]
            key = SeriesKey(one.study_instance_uid, one.series_instance_uid, one.patient_digest)
            sealing = _sealing(connection, series_id, generation)
            listed = Manifest(series_id, key, one.modality, generation, node, tuple(mine), sealing)
            result.append(Sealed(listed, tuple(kept.id for kept in mine)))
    return result


def _sealing(connection: Connection, series_id: str, generation: int) -> Sealing | None:
    """Return what was decided about a generation; None for one that is not sealed."""
    row = connection.execute(
        select(job).where(job.c.series_id == series_id, job.c.generation == generation)
    ).one_or_none()
    if row is None:
        return None
    chosen = row.state != JobState.NOT_SELECTED.value
    return Sealing(
        job_id=row.id,
        state=(JobState.QUEUED if chosen else JobState.NOT_SELECTED).value,
        reason=None if chosen else row.reason,
        evidence=row.evidence,
        model=row.model,
        calling_ae_title=row.calling_ae_title,
        lane=row.lane,
        sealed_at=row.sealed_at,
        acquisition=scan_of(connection, row.acquisition_id),
        purpose=row.purpose,
    )


def scan_of(connection: Connection, acquisition_id: str) -> dict[str, Any]:
    """Return what is known of a scan."""
    row = connection.execute(select(acquisition).where(acquisition.c.id == acquisition_id)).one()
    return dict(row._mapping)


def record_manifest(
    ledger: Ledger, sealed: Sealed, path: Path, sha256: str, package_sha256: str | None, now: float
) -> bool:
    """Let a manifest that is on the disk take the place of rows; False where another one did already.

    A job that waited for its images to be published is queued with the last of them.
    """
    with ledger.write() as connection:
        series_id = sealed.manifest.series_id
        lock_series(connection, [series_id])
        gone = connection.execute(delete(instance).where(instance.c.id.in_(sealed.row_ids))).rowcount
        if gone == 0:
            return False
        connection.execute(
            manifest.insert().values(
                id=new_id(),
                series_id=series_id,
                generation=sealed.manifest.generation,
                node=sealed.manifest.node,
                path=recorded(connection, path),
                sha256=sha256,
                instances=len(sealed.manifest.instances),
                set_aside=sum(one.set_aside is not None for one in sealed.manifest.instances),
                size_bytes=sealed.manifest.size_bytes,
                package_sha256=package_sha256,
                written_at=now,
            )
        )
        _queue_published(connection, series_id)
        if sealed.manifest.generation == 0:  # there will be no results to send to anybody
            mine = series_source.c.series_id == series_id
            connection.execute(update(series_source).where(mine).values(settled=1))
        return True


def _queue_published(connection: Connection, series_id: str) -> None:
    unpublished = select(instance.c.generation).where(
        instance.c.series_id == series_id, instance.c.generation.is_not(None)
    )
    waiting = connection.execute(unpublished).scalars().all()
    connection.execute(
        update(job)
        .where(
            job.c.series_id == series_id,
            job.c.state == JobState.PUBLISHING.value,
            *([job.c.generation < min(waiting)] if waiting else []),
        )
        .values(state=JobState.QUEUED.value)
    )
