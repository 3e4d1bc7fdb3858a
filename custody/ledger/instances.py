"""What the ledger and the manifests together know of the instances of a series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from core.domain import AETitle, ReceivedInstance, SealedSeries, SOPInstanceUID
from core.errors import SpoolDamaged
from core.log import get_logger
from custody.ledger.engine import Ledger
from custody.ledger.files import COPIES, located
from custody.ledger.jobs import ClaimedJob
from custody.ledger.tables import (
    association,
    instance,
    manifest,
)
from custody.manifest import KeptInstance, read_manifest


def of_series(connection: Connection, series_id: str) -> list[KeptInstance]:
    """Return the instances of a series whose files are here, in the order in which they came."""
    # Rows first: while this runs on PostgreSQL, rows may move into a manifest, never out of one.
    found = {one.id: one for one in rows_of(connection, series_id)}
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
    found = {one.id: one for one in rows_of(connection, series_id)}
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


def rows_of(connection: Connection, series_id: str, node: str | None = None) -> Iterable[KeptInstance]:
    """Return the instances of a series that have rows of their own, of one node or of all."""
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
