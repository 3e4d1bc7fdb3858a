"""What the ledger and the manifests together know of the instances of a series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from core.domain import AETitle, ReceivedInstance, SealedSeries, SeriesKey, SOPInstanceUID
from core.errors import SpoolDamaged
from core.log import get_logger
from custody.ledger.dialect import lock_series
from custody.ledger.engine import Ledger, new_id
from custody.ledger.files import COPIES, located, recorded
from custody.ledger.jobs import ClaimedJob
from custody.ledger.states import JobState
from custody.ledger.tables import (
    acquisition,
    association,
    instance,
    job,
    manifest,
    series,
    series_source,
)
from custody.manifest import KeptInstance, Manifest, Sealing, read_manifest


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


def of_series(connection: Connection, series_id: str) -> list[KeptInstance]:
    """Return the instances of a series whose files are here, in the order in which they came."""
    # Rows first: while this runs on PostgreSQL, rows may move into a manifest, never out of one.
    found = {one.id: one for one in _rows(connection, series_id)}
    found |= {one.id: one for one in shelved(connection, series_id)}
    return sorted(found.values(), key=lambda one: (one.received_at, one.id))


def shelved(connection: Connection, series_id: str) -> Iterator[KeptInstance]:
    """Yield the instances that the manifests of a series list and whose files are here.

    A manifest that cannot be read counts as empty: what it held is stored again if it comes again.
    """
    for path, one in _readable(connection, series_id):
        yield _absolute(one, path)


def contents_under(
    connection: Connection, series_id: str, sop_instance_uid: str
) -> Iterator[tuple[str, str | None]]:
    """Yield what the manifests have under a SOP Instance UID: digest, and why it was set aside.

    What is gone from this spool is left out: it has to be stored again if it comes again. What another
    machine has listed lies there, and on the shared storage.
    """
    for path, one in _readable(connection, series_id):
        if one.sop_instance_uid != sop_instance_uid:
            continue
        if COPIES in path.parts or (path.parent / one.file).exists():
            yield one.sha256, one.set_aside


def deleted_images(connection: Connection, series_id: str) -> list[KeptInstance]:
    """Return the images of a series that were sealed with it and whose files retention has deleted."""
    return [
        one
        for _, one in _readable(connection, series_id, deleted=True)
        if one.set_aside is None and one.generation is not None
    ]


def of_generation(connection: Connection, series_id: str, generation: int) -> list[KeptInstance]:
    """Return the instances that are to be analysed together, in the order in which they came.

    Raises
    ------
    SpoolDamaged
        A manifest is gone or damaged; an analysis of the rest could be wrong.
    """
    found = {one.id: one for one in _rows(connection, series_id)}
    for listed in _manifests(connection, series_id):
        path = located(connection, listed.path)
        known = read_manifest(path, listed.sha256).instances
        found |= {one.id: _absolute(one, path) for one in known}
    chosen = [
        one
        for one in found.values()
        if one.set_aside is None and one.generation is not None and one.generation <= generation
    ]
    # The same image is here twice where two machines took it, each not knowing of the other's, or where its
    # file was lost and it was sent again: the newest has the file.
    newest = {
        (one.sop_instance_uid, one.sha256): one
        for one in sorted(chosen, key=lambda one: (one.received_at, one.id))
    }
    return sorted(newest.values(), key=lambda one: (one.received_at, one.id))


def sealed_series(ledger: Ledger, claimed: ClaimedJob) -> SealedSeries:
    """Return what a claimed job is to analyse.

    Raises
    ------
    SpoolDamaged
        A manifest is gone or damaged.
    """
    with ledger.read() as connection:
        kept = of_generation(connection, claimed.series_id, claimed.generation)
    return SealedSeries(
        key=claimed.key,
        generation=claimed.generation,
        calling_ae_title=AETitle(claimed.calling_ae_title),
        instances=tuple(
            ReceivedInstance(
                path=Path(one.file),
                sop_class_uid=one.sop_class_uid,
                sop_instance_uid=SOPInstanceUID(one.sop_instance_uid),
                transfer_syntax_uid=one.transfer_syntax_uid,
                sha256=one.sha256,
            )
            for one in kept
        ),
        evidence=claimed.evidence,
    )


def sealed_rows(connection: Connection, *, node: str, quiet_before: float, limit: int = 64) -> list[Sealed]:
    """Return what is sealed, or set aside and quiet, and not in a manifest yet.

    Parameters
    ----------
    connection
        A transaction.
    node
        Whose files.
    quiet_before
        What was set aside has to be this old, seconds since 1970 UTC: more of its series may come.
    limit
        Most series at a time.
    """
    is_sealed = instance.c.generation.is_not(None)
    is_aside = and_(instance.c.set_aside.is_not(None), series.c.last_received_at < quiet_before)
    ids = connection.execute(
        select(instance.c.series_id)
        .join_from(instance, series)
        .where(or_(is_sealed, is_aside), instance.c.node == node)
        .distinct()
        .limit(limit)
    ).scalars()
    result = []
    for series_id in ids.all():
        one = connection.execute(select(series).where(series.c.id == series_id)).one()
        movable = [
            kept
            for kept in _rows(connection, series_id, node)
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


def count(connection: Connection, since: float) -> tuple[int, int]:
    """Return how many instances came, and how many of them were set aside.

    Those that are not in a manifest yet, and those of the manifests written since then: what was received in
    all the years would cost more to count the longer the node runs.
    """
    here = connection.execute(select(func.count(), func.count(instance.c.set_aside))).one()
    listed = connection.execute(
        select(
            func.coalesce(func.sum(manifest.c.instances), 0),
            func.coalesce(func.sum(manifest.c.set_aside), 0),
        ).where(manifest.c.written_at >= since)
    ).one()
    return int(listed[0]) + int(here[0]), int(listed[1]) + int(here[1])


def _rows(connection: Connection, series_id: str, node: str | None = None) -> Iterable[KeptInstance]:
    mine = [instance.c.series_id == series_id, *([instance.c.node == node] if node is not None else [])]
    rows = connection.execute(
        select(instance, association.c.source, association.c.calling_ae_title)
        .join_from(instance, association, association.c.id == instance.c.association_id)
        .where(*mine)
        .order_by(instance.c.received_at, instance.c.id)
    )
    return [_kept(row) for row in rows]


def _kept(row: Any) -> KeptInstance:
    return KeptInstance(
        id=row.id,
        file=row.path,
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        received_at=row.received_at,
        source=row.source,
        calling_ae_title=row.calling_ae_title,
        generation=row.generation,
        set_aside=row.set_aside,
        move_originator_ae_title=row.move_originator_ae_title,
        move_originator_message_id=row.move_originator_message_id,
        facts=row.facts,
    )


def _readable(
    connection: Connection, series_id: str, *, deleted: bool = False
) -> Iterator[tuple[Path, KeptInstance]]:
    """Yield what the manifests of a series list; one that cannot be read counts as empty."""
    for listed in _manifests(connection, series_id, deleted=deleted):
        path = located(connection, listed.path)
        try:
            known = read_manifest(path, listed.sha256).instances
        except SpoolDamaged as error:
            get_logger().error("manifest_unreadable", series=series_id, reason=str(error))
            continue
        for one in known:
            yield path, one


def _manifests(connection: Connection, series_id: str, *, deleted: bool = False) -> Sequence[Any]:
    """Return the manifests of a series whose files are here, or those whose files were deleted."""
    purged = manifest.c.purged_at
    return connection.execute(
        select(manifest.c.path, manifest.c.sha256)
        .where(manifest.c.series_id == series_id, purged.is_not(None) if deleted else purged.is_(None))
        .order_by(manifest.c.generation, manifest.c.written_at)
    ).all()


def _absolute(one: KeptInstance, manifest_path: Path) -> KeptInstance:
    return replace(one, file=str(manifest_path.parent / one.file))
