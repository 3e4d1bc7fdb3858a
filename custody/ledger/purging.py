"""Deleting in three steps: marked in the ledger, deleted on the disk, recorded as gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, update

from custody.ledger import audit
from custody.ledger.files import located
from custody.ledger.retention import KeptResults, KeptSeries
from custody.ledger.states import FINAL_JOB_STATES
from custody.ledger.tables import job, manifest

#: Who deletes, in the audit.
ACTOR = "retention"


class Unfinished(NamedTuple):
    """A manifest whose files are to go."""

    id: str
    series_id: str
    path: Path
    sha256: str


def mark_series(connection: Connection, kept: KeptSeries, because: str, now: float) -> None:
    """Decide that the files of a series go: from now on the ledger does not count on them any more."""
    connection.execute(
        update(manifest)
        .where(manifest.c.id.in_(kept.manifest_ids))
        .values(purged_at=now, purged_because=because)
    )
    detail = {
        "what": kept.kind.value,
        "because": because,
        "files": kept.files,
        "bytes": kept.size_bytes,
    }
    audit.record(connection, ACTOR, "purge", f"series {kept.series_id}", detail, now)


def mark_results(connection: Connection, kept: KeptResults, because: str, now: float) -> None:
    """Decide that the results of a job go; a job without any is passed over from now on."""
    connection.execute(update(job).where(job.c.id == kept.job_id).values(results_purged_at=now))
    if kept.objects:
        detail = {"what": "results", "because": because, "files": kept.objects, "bytes": kept.size_bytes}
        audit.record(connection, ACTOR, "purge", f"job {kept.job_id}", detail, now)


def unfinished_manifests(connection: Connection, node: str, limit: int) -> Sequence[Unfinished]:
    """Return the manifests whose files were to be deleted, and may not all be gone."""
    rows = connection.execute(
        select(manifest.c.id, manifest.c.series_id, manifest.c.path, manifest.c.sha256)
        .where(manifest.c.files_gone_at.is_(None), manifest.c.purged_at > 0, manifest.c.node == node)
        .order_by(manifest.c.purged_at)
        .limit(limit)
    )
    return [Unfinished(row.id, row.series_id, located(connection, row.path), row.sha256) for row in rows]


def unfinished_results(connection: Connection, limit: int) -> Sequence[str]:
    """Return the jobs whose results were to be deleted, and may not all be gone."""
    found = (
        select(job.c.id)
        .where(
            job.c.results_gone_at.is_(None), job.c.results_purged_at > 0, job.c.state.in_(FINAL_JOB_STATES)
        )
        .order_by(job.c.results_purged_at)
        .limit(limit)
    )
    return connection.execute(found).scalars().all()


def files_are_gone(
    connection: Connection, manifest_ids: Collection[str], job_ids: Collection[str], now: float
) -> None:
    """Record that no file of these is left."""
    connection.execute(
        update(manifest).where(manifest.c.id.in_(list(manifest_ids))).values(files_gone_at=now)
    )
    connection.execute(update(job).where(job.c.id.in_(list(job_ids))).values(results_gone_at=now))


def kept(connection: Connection, since: float) -> dict[str, Any]:
    """Return for ``status`` how far back files are kept, and what was deleted since then."""
    oldest = select(func.min(manifest.c.written_at)).where(manifest.c.purged_at.is_(None))
    oldest_ended = select(func.min(job.c.finished_at)).where(job.c.results_purged_at.is_(None))
    purged = select(func.count(), func.coalesce(func.sum(manifest.c.size_bytes), 0)).where(
        manifest.c.purged_at >= since
    )
    results = select(func.count()).select_from(job).where(job.c.results_purged_at >= since)
    manifests, size = connection.execute(purged).one()
    return {
        "oldest_received_at": connection.execute(oldest).scalar_one(),
        "oldest_results_at": connection.execute(oldest_ended).scalar_one(),
        "purged_manifests": int(manifests),
        "purged_bytes": int(size),
        "purged_results": int(connection.execute(results).scalar_one()),
    }
