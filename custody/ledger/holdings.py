"""Where the instances are that a sender names by their SOP Instance UIDs alone.

Requests for storage commitment name neither study nor series, and the ledger has no index of single
instances: they would be hundreds of millions. So the series of that sender are looked through, newest first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select

from core.errors import SpoolDamaged
from custody.ledger import instances
from custody.ledger.engine import Ledger
from custody.ledger.files import located
from custody.ledger.tables import instance, manifest, series, series_source
from custody.manifest import KeptInstance, may_list, read_manifest


@dataclass(frozen=True, slots=True)
class Holding:
    """An instance that a sender sent.

    Parameters
    ----------
    series_id, study_instance_uid, series_instance_uid
        The series.
    kept
        What was noted about it.
    node
        Whose spool has the file.
    purged
        Whether its file was deleted by rule.
    """

    series_id: str
    study_instance_uid: str
    series_instance_uid: str
    kept: KeptInstance
    node: str
    purged: bool


def find(
    ledger: Ledger, source: str, calling_ae_title: str, sop_instance_uids: Collection[str], *, since: float
) -> Mapping[str, list[Holding]]:
    """Return what is known of instances that a caller sent.

    Parameters
    ----------
    ledger, source, calling_ae_title
        Whose series are looked through.
    sop_instance_uids
        Which instances.
    since
        Series that began earlier are not looked through.

    Returns
    -------
    Mapping
        By SOP Instance UID every content of it in the newest series that has it; a series that came under two
        Patient IDs counts as two.
    """
    missing = set(sop_instance_uids)
    found: dict[str, list[Holding]] = {}
    with ledger.read() as connection:
        candidates = connection.execute(
            select(series.c.id, series.c.study_instance_uid, series.c.series_instance_uid)
            .join_from(series, series_source)
            .where(
                series_source.c.source == source,
                series_source.c.calling_ae_title == calling_ae_title,
                series.c.first_received_at >= since,
            )
            .order_by(series.c.first_received_at.desc())
        ).all()
    for candidate in candidates:
        if not missing:
            break
        with ledger.read() as connection:
            of_series = [
                one
                for one in _of_series(connection, candidate, missing)
                if one.kept.sop_instance_uid in missing
            ]
        for one in of_series:
            found.setdefault(one.kept.sop_instance_uid, []).append(one)
        missing -= {one.kept.sop_instance_uid for one in of_series}
    return found


def _of_series(connection: Connection, candidate: Any, wanted: Set[str]) -> Iterator[Holding]:
    where = (candidate.id, candidate.study_instance_uid, candidate.series_instance_uid)
    rows = select(instance.c.id, instance.c.node).where(instance.c.series_id == candidate.id)
    nodes = {row.id: row.node for row in connection.execute(rows)}
    if nodes:
        for one in instances.of_series(connection, candidate.id):
            if one.id in nodes:
                yield Holding(*where, kept=one, node=nodes[one.id], purged=False)
    listed = connection.execute(select(manifest).where(manifest.c.series_id == candidate.id))
    for row in listed.all():
        path = located(connection, row.path)
        if not may_list(path, wanted):
            continue
        try:
            kept = read_manifest(path, row.sha256).instances
        except SpoolDamaged:
            continue  # nobody knows any more what the files should hold, so nobody vouches for them
        for one in kept:
            file = str(path.parent / one.file)
            yield Holding(*where, replace(one, file=file), row.node, row.purged_at is not None)
