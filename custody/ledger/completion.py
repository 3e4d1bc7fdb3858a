"""Series that are still open, and their sealing into jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update

from custody.ledger import instances, postgresql
from custody.ledger.dialect import insert_new
from custody.ledger.engine import new_id
from custody.ledger.prior_waits import PRIORS_SOURCE
from custody.ledger.states import NOT_TOLD, JobPurpose, JobState, Lane
from custody.ledger.tables import acquisition, association, instance, job, series, series_source

#: Condition on an image: it is to be analysed, and no generation of its series holds it yet.
IS_OPEN = (instance.c.generation.is_(None)) & (instance.c.set_aside.is_(None))


@dataclass(frozen=True, slots=True)
class OpenSeries:
    """A series with analysable instances that no job has yet.

    Parameters
    ----------
    series_id
        Our own id.
    study_instance_uid, patient_digest
        To which study it belongs.
    generation
        Its last sealed generation, 0 for none.
    calling_ae_title
        The caller that sent the newest of the open instances.
    callers
        Every caller that sent open instances.
    count
        Number of open instances.
    last_received_at
        When anything of it arrived last, identical copies included.
    cut_off
        Whether the association on which that came was aborted or lost, so that the sender will try again.
    """

    series_id: str
    study_instance_uid: str
    patient_digest: str
    generation: int
    calling_ae_title: str
    callers: frozenset[str]
    count: int
    last_received_at: float
    cut_off: bool


@dataclass(frozen=True, slots=True)
class KnownAcquisition:
    """A scan that the ledger knows; the parameters are the columns of its row."""

    id: str
    frame_of_reference_uid: str
    acquisition_number: str
    started_at: float | None
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Sealing:
    """The decision about one open series.

    Parameters
    ----------
    open_series
        Which one.
    acquisition_id
        The scan that it belongs to.
    state
        `JobState.QUEUED` or `JobState.NOT_SELECTED`.
    reason
        Why it is not analysed, None where it is.
    evidence
        Why it was held to be complete.
    model
        Name of the model package that looks at it.
    lane
        Whose turn it is, in the analysis and in delivery.
    purpose
        What the job is for.
    """

    open_series: OpenSeries
    acquisition_id: str
    state: JobState
    reason: str | None
    evidence: str
    model: str
    lane: Lane = Lane.ROUTINE
    purpose: JobPurpose = JobPurpose.REPORT


def sealed_series_of(connection: Connection, study_instance_uid: str, patient_digest: str) -> list[str]:
    """Return the series of a study, of one patient, of which a generation was sealed."""
    found = select(series.c.id).where(
        series.c.study_instance_uid == study_instance_uid,
        series.c.patient_digest == patient_digest,
        series.c.generation > 0,
    )
    return list(connection.execute(found).scalars())


def lock_sealing(connection: Connection) -> None:
    """Keep other machines from deciding which series are complete until the transaction ends."""
    if connection.dialect.name == "postgresql":
        postgresql.lock_sealing(connection)


def open_series(connection: Connection) -> list[OpenSeries]:
    """Return every series with instances that no generation holds yet."""
    last = association.alias("last")
    rows = connection.execute(
        select(
            series.c.id,
            series.c.study_instance_uid,
            series.c.patient_digest,
            series.c.generation,
            series.c.last_received_at,
            last.c.ended,
            association.c.calling_ae_title,
            func.count().label("instances"),
            func.max(instance.c.received_at).label("last"),
        )
        .join_from(instance, series)
        .join(association, association.c.id == instance.c.association_id)
        .outerjoin(last, last.c.id == series.c.last_association_id)
        .where(IS_OPEN)
        .group_by(series.c.id, association.c.calling_ae_title, last.c.ended)
    ).all()
    result = []
    for series_id in dict.fromkeys(row.id for row in rows):
        mine = [row for row in rows if row.id == series_id]
        newest = max(mine, key=lambda row: row.last)
        result.append(
            OpenSeries(
                series_id=series_id,
                study_instance_uid=newest.study_instance_uid,
                patient_digest=newest.patient_digest,
                generation=newest.generation,
                calling_ae_title=newest.calling_ae_title,
                callers=frozenset(row.calling_ae_title for row in mine),
                count=sum(row.instances for row in mine),
                last_received_at=newest.last_received_at,
                cut_off=newest.ended in {"aborted", "lost"},
            )
        )
    return result


def busy_callers(connection: Connection, alive_since: float) -> Mapping[str, float]:
    """Return the callers with an open association in a process that was alive since then.

    Returns
    -------
    dict
        Calling AE title → when the oldest of its open associations was opened.
    """
    rows = connection.execute(
        select(association.c.calling_ae_title, func.min(association.c.opened_at).label("opened"))
        .where(association.c.closed_at.is_(None), association.c.heartbeat_at >= alive_since)
        .group_by(association.c.calling_ae_title)
    )
    return {row.calling_ae_title: row.opened for row in rows}


def facts_of(connection: Connection, series_id: str) -> list[Mapping[str, Any]]:
    """Return the header facts of every analysable instance of a series, all generations."""
    kept = instances.of_series(connection, series_id)
    return [one.facts for one in kept if one.set_aside is None and one.facts is not None]


def facts_of_analysed(connection: Connection, series_id: str) -> list[Mapping[str, Any]]:
    """Return the same of a series that was analysed before, whether its images are here still or deleted."""
    deleted = [one.facts for one in instances.deleted_images(connection, series_id) if one.facts is not None]
    return [*facts_of(connection, series_id), *deleted]


def newest_result(connection: Connection, series_id: str) -> tuple[int, float] | None:
    """Return generation and time of the newest result of a series that is still here; None for none."""
    found = connection.execute(
        select(job.c.generation, job.c.finished_at)
        .where(
            job.c.series_id == series_id,
            job.c.state == JobState.ANALYSED.value,
            job.c.results_purged_at.is_(None),
        )
        .order_by(job.c.generation.desc())
        .limit(1)
    ).first()
    return (found.generation, found.finished_at) if found is not None else None


def sealed_since(connection: Connection, source: str, since: float) -> int:
    """Return how many series of a source were sealed for analysis since then."""
    return connection.execute(
        select(func.count())
        .select_from(job)
        .join(series_source, series_source.c.series_id == job.c.series_id)
        .where(
            job.c.sealed_at >= since,
            job.c.state != JobState.NOT_SELECTED.value,
            job.c.purpose == JobPurpose.REPORT.value,
            series_source.c.source == source,
        )
    ).scalar_one()


def sources_of(connection: Connection, series_id: str) -> list[str]:
    """Return the names of the sources that sent a series, the first one first."""
    first = [one.source for one in instances.of_series(connection, series_id)]
    also = connection.execute(select(series_source.c.source).where(series_source.c.series_id == series_id))
    return list(dict.fromkeys([*first, *also.scalars()]))


def series_uid_of(connection: Connection, series_id: str) -> str:
    """Return the Series Instance UID of a series."""
    found = select(series.c.series_instance_uid).where(series.c.id == series_id)
    return str(connection.execute(found).scalar_one())


def add_source(connection: Connection, series_id: str, source: str, calling_ae_title: str) -> None:
    """Enter a source that did not send a series and is to get its results all the same."""
    values = {
        "series_id": series_id,
        "source": source,
        "calling_ae_title": calling_ae_title,
        "settled": 0,
    }
    insert_new(connection, series_source, values)


def leave_out_senders(connection: Connection, series_id: str) -> None:
    """Tell nobody who sent a series of its results: it is analysed for comparison with another scan only.

    Whoever sends it later is told, as of any scan.
    """
    sent = series_source.c.source.not_like(f"{PRIORS_SOURCE}%")
    connection.execute(
        update(series_source).where(series_source.c.series_id == series_id, sent).values(settled=NOT_TOLD)
    )


def _tell_all_senders(connection: Connection, series_id: str) -> None:
    left_out = (series_source.c.series_id == series_id, series_source.c.settled == NOT_TOLD)
    connection.execute(update(series_source).where(*left_out).values(settled=0))


def acquisitions_of(
    connection: Connection, study_instance_uid: str, patient_digest: str
) -> list[KnownAcquisition]:
    """Return the scans of one study of one patient."""
    rows = connection.execute(
        select(acquisition).where(
            acquisition.c.study_instance_uid == study_instance_uid,
            acquisition.c.patient_digest == patient_digest,
        )
    )
    return [
        KnownAcquisition(
            row.id, row.frame_of_reference_uid, row.acquisition_number, row.started_at, row.ended_at
        )
        for row in rows
    ]


def analysed_series_of(connection: Connection, acquisition_id: str) -> Mapping[str, bool]:
    """Return the series of a scan that were chosen for analysis already.

    Returns
    -------
    dict
        Our own id → whether it has a result or may still get one: it was not refused and did not fail. Not
        what was fetched for comparison only, of which nobody gets a report.
    """
    rows = connection.execute(
        select(job.c.series_id, job.c.state, job.c.purpose).where(
            job.c.acquisition_id == acquisition_id, job.c.state != JobState.NOT_SELECTED.value
        )
    ).all()
    without = {JobState.REFUSED.value, JobState.FAILED.value}
    reported = JobPurpose.REPORT.value
    fruitful = {row.series_id for row in rows if row.state not in without and row.purpose == reported}
    return {row.series_id: row.series_id in fruitful for row in rows}


def keep_acquisition(
    connection: Connection, study_instance_uid: str, patient_digest: str, known: KnownAcquisition
) -> None:
    """Enter a scan, or widen the one that is there to the new times."""
    values = {
        "frame_of_reference_uid": known.frame_of_reference_uid,
        "acquisition_number": known.acquisition_number,
        "started_at": known.started_at,
        "ended_at": known.ended_at,
    }
    changed = connection.execute(
        update(acquisition).where(acquisition.c.id == known.id).values(values)
    ).rowcount
    if not changed:
        connection.execute(
            acquisition.insert().values(
                id=known.id,
                study_instance_uid=study_instance_uid,
                patient_digest=patient_digest,
                **values,
            )
        )


def seal(connection: Connection, sealing: Sealing, now: float, *, publish: bool = False) -> str:
    """Close a generation of a series and enter its job; return the job's id.

    Parameters
    ----------
    connection
        A writing transaction.
    sealing
        The decision.
    now
        Seconds since 1970 UTC.
    publish
        Whether its images have to be on shared storage before anybody may claim the job.
    """
    one = sealing.open_series
    generation = one.generation + 1
    connection.execute(
        update(instance).where(instance.c.series_id == one.series_id, IS_OPEN).values(generation=generation)
    )
    # The association matters while the series is open; afterwards it may be forgotten.
    connection.execute(
        update(series)
        .where(series.c.id == one.series_id)
        .values(generation=generation, last_association_id=None)
    )
    job_id = new_id()
    wanted = sealing.state is JobState.QUEUED
    if sealing.purpose is JobPurpose.PRIOR:
        leave_out_senders(connection, one.series_id)
    elif wanted:
        _tell_all_senders(connection, one.series_id)
    connection.execute(
        job.insert().values(
            id=job_id,
            series_id=one.series_id,
            acquisition_id=sealing.acquisition_id,
            generation=generation,
            calling_ae_title=one.calling_ae_title,
            state=(JobState.PUBLISHING if publish and wanted else sealing.state).value,
            reason=sealing.reason,
            evidence=sealing.evidence,
            model=sealing.model,
            lane=sealing.lane.value,
            purpose=sealing.purpose.value,
            sealed_at=now,
            due_at=now,
            attempt=0,
            finished_at=now if sealing.state is JobState.NOT_SELECTED else None,
        )
    )
    return job_id
