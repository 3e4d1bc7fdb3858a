"""What the ledger knows of kept time points: whose they are, where their files lie, what may go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, delete, select, update

from custody.ledger import audit, merges
from custody.ledger.engine import new_id
from custody.ledger.files import located, recorded
from custody.ledger.states import FINAL_JOB_STATES
from custody.ledger.tables import job, time_point

#: Who deletes, in the audit (as `custody.ledger.purging` calls it, which imports what imports this).
_ACTOR = "retention"


@dataclass(frozen=True, slots=True)
class NewTimePoint:
    """A time point whose file lies where it belongs, about to be recorded with the end of its job.

    Parameters
    ----------
    path, sha256, size_bytes
        Its file.
    patient_digest, person_digest, study_instance_uid
        Whose it is (`core.uid.patient_digest`, `core.patient.Person.digest`), and of which study.
    scanned_at
        By the scanner's own clock, no time zone; None where unknown.
    digest
        `core.time_point.TimePoint.digest`.
    package
        How its package on shared storage is found; None where there is none.
    """

    path: Path
    sha256: str
    size_bytes: int
    patient_digest: str
    person_digest: str
    study_instance_uid: str
    scanned_at: datetime | None
    digest: str
    package: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A recorded time point.

    Parameters
    ----------
    job_id, series_id, generation
        Of which analysis.
    patient_digest, person_digest, study_instance_uid, scanned_at, digest
        As of `NewTimePoint`; the time as ISO 8601.
    path, size_bytes, sha256, package
        Where it is.
    """

    job_id: str
    series_id: str
    generation: int
    patient_digest: str
    person_digest: str
    study_instance_uid: str
    scanned_at: str | None
    digest: str
    path: Path
    size_bytes: int
    sha256: str
    package: str | None


def enter(connection: Connection, job_id: str, new: NewTimePoint, now: float) -> None:
    """Record the time point of a job that ends; one of an earlier end of the same job is replaced."""
    connection.execute(delete(time_point).where(time_point.c.job_id == job_id))
    connection.execute(
        time_point.insert().values(
            id=new_id(),
            job_id=job_id,
            patient_digest=new.patient_digest,
            person_digest=new.person_digest,
            study_instance_uid=new.study_instance_uid,
            scanned_at=None if new.scanned_at is None else new.scanned_at.isoformat(),
            digest=new.digest,
            path=recorded(connection, new.path),
            sha256=new.sha256,
            size_bytes=new.size_bytes,
            written_at=now,
            package=new.package,
        )
    )


def is_wanted(connection: Connection, job_id: str) -> bool:
    """Tell whether the ledger has this job and nothing about its time point."""
    has_job = connection.execute(select(job.c.id).where(job.c.id == job_id)).first()
    has_point = connection.execute(select(time_point.c.id).where(time_point.c.job_id == job_id)).first()
    return has_job is not None and has_point is None


def of_patient(connection: Connection, patient_digest: str) -> list[Kept]:
    """Return the time points of a patient under every identity, the oldest scan first.

    Of a series that was analysed more than once the newest generation is left. Scans without a date come
    first.
    """
    digests = list(merges.same_patient(connection, patient_digest))
    found = _kept(connection, time_point.c.patient_digest.in_(digests))
    newest: dict[str, Kept] = {}
    for one in sorted(found, key=lambda kept: kept.generation):
        newest[one.series_id] = one
    return sorted(newest.values(), key=lambda kept: (kept.scanned_at or "", kept.series_id))


def of_digests(connection: Connection, digests: Collection[str]) -> list[Kept]:
    """Return the time points with these contents, for whoever makes an old result again."""
    return _kept(connection, time_point.c.digest.in_(list(digests)))


def of_jobs(connection: Connection, job_ids: Collection[str]) -> list[Kept]:
    """Return the time points of some jobs."""
    return _kept(connection, time_point.c.job_id.in_(list(job_ids)))


def purge(connection: Connection, before: float, because: str, most: int, now: float) -> dict[str, int]:
    """Mark what was written before a time as to be deleted; return the bytes that go, by job."""
    due = (
        select(time_point.c.id, time_point.c.job_id, time_point.c.size_bytes)
        .where(time_point.c.purged_at.is_(None), time_point.c.written_at < before)
        .order_by(time_point.c.written_at)
        .limit(most)
    )
    rows = connection.execute(due).all()
    for row in rows:
        connection.execute(update(time_point).where(time_point.c.id == row.id).values(purged_at=now))
        detail = {"what": "time point", "because": because, "files": 1, "bytes": row.size_bytes}
        audit.record(connection, _ACTOR, "purge", f"job {row.job_id}", detail, now)
    return {row.job_id: row.size_bytes for row in rows}


def purged(connection: Connection, most: int) -> list[str]:
    """Return the jobs whose time points are to be deleted."""
    found = select(time_point.c.job_id).where(time_point.c.purged_at.is_not(None)).limit(most)
    return list(connection.execute(found).scalars())


def gone(connection: Connection, job_ids: Sequence[str]) -> None:
    """Record that files of these jobs are deleted; one that a job was given anew meanwhile stays."""
    connection.execute(
        delete(time_point).where(time_point.c.job_id.in_(list(job_ids)), time_point.c.purged_at.is_not(None))
    )


def unwanted(connection: Connection, job_ids: Collection[str]) -> set[str]:
    """Return which of these jobs have ended without a time point: a file of theirs is a leftover.

    What the ledger does not know at all is none: were the ledger lost, its file would be all there is.
    """
    ended = select(job.c.id).where(job.c.id.in_(list(job_ids)), job.c.state.in_(FINAL_JOB_STATES))
    wanted = select(time_point.c.job_id).where(time_point.c.job_id.in_(list(job_ids)))
    return set(connection.execute(ended).scalars()) - set(connection.execute(wanted).scalars())


def _kept(connection: Connection, condition: Any) -> list[Kept]:
    rows = connection.execute(
        select(time_point, job.c.series_id, job.c.generation)
        .join_from(time_point, job)
        .where(and_(condition, time_point.c.purged_at.is_(None)))
    )
    return [
        Kept(
            job_id=row.job_id,
            series_id=row.series_id,
            generation=row.generation,
            patient_digest=row.patient_digest,
            person_digest=row.person_digest,
            study_instance_uid=row.study_instance_uid,
            scanned_at=row.scanned_at,
            digest=row.digest,
            path=located(connection, row.path),
            size_bytes=row.size_bytes,
            sha256=row.sha256,
            package=row.package,
        )
        for row in rows
    ]
