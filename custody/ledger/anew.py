"""Rows of a ledger that is made anew from the spool; what is there already is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, func, select, update

from core.domain import SeriesKey
from custody.ledger.completion import leave_out_senders
from custody.ledger.dialect import insert_new
from custody.ledger.engine import new_id
from custody.ledger.files import recorded
from custody.ledger.reception import OTHER_CONTENT, NewInstance
from custody.ledger.states import JobPurpose, JobState
from custody.ledger.tables import acquisition, association, instance, job, manifest, series, series_source
from custody.manifest import Manifest, checksum_in

#: How the associations of the time before are called that images name; nobody waits for them.
_BEFORE = "before"
ENDED = [one.value for one in (JobState.ANALYSED, JobState.REFUSED, JobState.FAILED)]


@dataclass(frozen=True, slots=True)
class Taken:
    """A series as something in the spool names it; `received_at` in seconds since 1970 UTC."""

    series_id: str
    key: SeriesKey
    modality: str
    source: str
    calling_ae_title: str
    received_at: float


def take_manifest(
    connection: Connection, path: Path, found: Manifest, node: str, purged: tuple[float, str] | None
) -> bool:
    """Enter a manifest, its series, senders and job; False where it is there already."""
    times = [one.received_at for one in found.instances] or [path.stat().st_mtime]
    series_id = take_series(connection, found.series_id, found.key, found.modality, (min(times), max(times)))
    name = recorded(connection, path)
    same = select(manifest.c.id).where(manifest.c.series_id == series_id, manifest.c.path == name)
    if connection.execute(same).first():
        return False
    connection.execute(
        manifest.insert().values(
            id=new_id(),
            series_id=series_id,
            generation=found.generation,
            node=node,
            path=name,
            sha256=checksum_in(path),
            instances=len(found.instances),
            set_aside=sum(one.set_aside is not None for one in found.instances),
            size_bytes=found.size_bytes,
            written_at=path.stat().st_mtime,
            purged_at=purged[0] if purged else None,
            purged_because=purged[1] if purged else None,
            files_gone_at=purged[0] if purged else None,
        )
    )
    for one in found.instances:
        take_sender(connection, series_id, one.source, one.calling_ae_title)
        if one.set_aside == OTHER_CONTENT:
            _flag(connection, series_id)
    raise_generation(connection, series_id, found.generation)
    if found.sealing is not None:
        _take_sealing(connection, series_id, found, gone=purged is not None)
    return True


def _take_sealing(connection: Connection, series_id: str, found: Manifest, *, gone: bool) -> None:
    """Enter the job of a generation as it was when it was sealed, where no result set has it."""
    sealing = found.sealing
    if sealing is None:
        return
    of_series = job.c.series_id == series_id
    if connection.execute(select(job.c.id).where(of_series, job.c.generation == found.generation)).first():
        return
    take_scan(connection, sealing.acquisition)
    state, reason = sealing.state, sealing.reason
    later = select(job.c.id).where(of_series, job.c.generation > found.generation, job.c.state.in_(ENDED))
    if state == JobState.QUEUED and connection.execute(later).first():
        state, reason = JobState.NOT_SELECTED.value, "a later result of the series is here"
    elif state == JobState.QUEUED and gone:
        state, reason = JobState.FAILED.value, "its images were deleted before there was a result"
    values = {name: value for name, value in asdict(sealing).items() if name not in ("acquisition", "job_id")}
    if sealing.purpose == JobPurpose.PRIOR.value:
        leave_out_senders(connection, series_id)
    connection.execute(
        job.insert().values(
            {
                **values,
                "id": sealing.job_id,
                "series_id": series_id,
                "acquisition_id": sealing.acquisition["id"],
                "generation": found.generation,
                "state": state,
                "reason": reason,
                "due_at": sealing.sealed_at,
                "attempt": 0,
                "finished_at": None if state == JobState.QUEUED else sealing.sealed_at,
            }
        )
    )


def take_instance(connection: Connection, taken: Taken, new: NewInstance) -> None:
    """Enter an image that no manifest lists.

    It is open, so that its series is sealed; or of a generation that has a result and no manifest, where the
    image is older than its sealing: the manifest was lost, or not written yet.
    """
    times = (taken.received_at, taken.received_at)
    series_id = take_series(connection, taken.series_id, taken.key, taken.modality, times)
    take_sender(connection, series_id, taken.source, taken.calling_ae_title)
    if new.set_aside == OTHER_CONTENT:
        _flag(connection, series_id)
    listed = select(manifest.c.generation).where(manifest.c.series_id == series_id)
    newest = connection.execute(
        select(job.c.generation)
        .where(
            job.c.series_id == series_id,
            job.c.generation.not_in(listed),
            job.c.sealed_at >= taken.received_at,
        )
        .order_by(job.c.generation)
        .limit(1)
    ).scalar_one_or_none()
    connection.execute(
        instance.insert().values(
            id=new.id,
            series_id=series_id,
            association_id=_association(connection, taken),
            sop_class_uid=new.sop_class_uid,
            sop_instance_uid=new.sop_instance_uid,
            transfer_syntax_uid=new.transfer_syntax_uid,
            sha256=new.sha256,
            size_bytes=new.size_bytes,
            path=str(new.path),
            received_at=taken.received_at,
            set_aside=new.set_aside,
            generation=newest if new.set_aside is None else None,
            facts=dict(new.facts) if new.facts is not None else None,
            node=new.node,
        )
    )


def take_series(
    connection: Connection, series_id: str, key: SeriesKey, modality: str, times: tuple[float, float]
) -> str:
    """Enter a series, or widen the times of the one that is there; return our id of it."""
    first, last = times
    values = {
        "id": series_id,
        "study_instance_uid": key.study_instance_uid,
        "series_instance_uid": key.series_instance_uid,
        "patient_digest": key.patient_digest,
        "modality": modality[:16],
        "first_received_at": first,
        "last_received_at": last,
        "generation": 0,
    }
    if insert_new(connection, series, values):
        return series_id
    row = connection.execute(
        select(series).where(
            and_(
                series.c.study_instance_uid == key.study_instance_uid,
                series.c.series_instance_uid == key.series_instance_uid,
                series.c.patient_digest == key.patient_digest,
            )
        )
    ).one()
    widened = {
        "first_received_at": min(row.first_received_at, first),
        "last_received_at": max(row.last_received_at, last),
    }
    connection.execute(update(series).where(series.c.id == row.id).values(widened))
    return str(row.id)


def take_sender(
    connection: Connection, series_id: str, source: str, calling: str, *, settled: int = 0
) -> None:
    """Enter who sent a series, where that is not known yet."""
    values = {"series_id": series_id, "source": source, "calling_ae_title": calling, "settled": settled}
    insert_new(connection, series_source, values)


def take_scan(connection: Connection, scan: Mapping[str, Any]) -> None:
    """Enter a scan, where it is not known yet."""
    names = {column.name for column in acquisition.columns}
    insert_new(connection, acquisition, {name: value for name, value in scan.items() if name in names})


def raise_generation(connection: Connection, series_id: str, generation: int) -> None:
    """Say that a series was sealed up to a generation."""
    connection.execute(
        update(series)
        .where(series.c.id == series_id, series.c.generation < generation)
        .values(generation=generation)
    )


def _flag(connection: Connection, series_id: str) -> None:
    connection.execute(update(series).where(series.c.id == series_id).values(flag=OTHER_CONTENT))


def _association(connection: Connection, taken: Taken) -> str:
    """Return an association of the time before under which an image can be entered."""
    of_sender = (
        association.c.process == _BEFORE,
        association.c.source == taken.source,
        association.c.calling_ae_title == taken.calling_ae_title,
    )
    known = connection.execute(select(association.c.id).where(*of_sender)).scalar_one_or_none()
    if known is None:
        known = new_id()
        connection.execute(
            association.insert().values(
                id=known,
                process=_BEFORE,
                calling_ae_title=taken.calling_ae_title,
                source=taken.source,
                address="",
                opened_at=taken.received_at,
                heartbeat_at=taken.received_at,
                closed_at=taken.received_at,
                ended="released",
            )
        )
    return str(known)


def count_series(connection: Connection) -> int:
    """Return how many series there are."""
    return connection.execute(select(func.count()).select_from(series)).scalar_one()
