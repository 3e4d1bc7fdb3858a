"""What the ledger holds that can be compared with the spool, read in batches of a bounded size."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Table, func, select

from custody.ledger.engine import Ledger
from custody.ledger.files import located
from custody.ledger.tables import (
    association,
    delivery,
    instance,
    job,
    manifest,
    result_object,
    series,
    series_source,
    time_point,
)


@dataclass(slots=True)
class HeldJob:
    """A job with its objects, its deliveries with what was sent, and what later scans are compared with."""

    row: Any
    objects: list[Any] = field(default_factory=list)
    deliveries: list[Any] = field(default_factory=list)
    time_point: Any = None


@dataclass(slots=True)
class Holding:
    """All that the ledger says of one series; rows as the tables have them."""

    row: Any
    instances: list[Any] = field(default_factory=list)
    manifests: list[Any] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    jobs: list[HeldJob] = field(default_factory=list)


def count_series(ledger: Ledger) -> int:
    """Return how many series there are."""
    with ledger.read() as connection:
        return connection.execute(select(func.count()).select_from(series)).scalar_one()


def batches(ledger: Ledger, size: int = 200) -> Iterator[list[Holding]]:
    """Yield every series, in batches; each is a snapshot of its own."""
    after = ""
    while True:
        with ledger.read() as connection:
            ids = connection.execute(
                select(series.c.id).where(series.c.id > after).order_by(series.c.id).limit(size)
            ).scalars()
            found = _holdings(connection, list(ids))
        if not found:
            return
        after = found[-1].row.id
        yield found


def of(ledger: Ledger, series_ids: Collection[str]) -> list[Holding]:
    """Return these series, those that are known."""
    with ledger.read() as connection:
        return _holdings(connection, list(series_ids))


def known(ledger: Ledger, table: Table, ids: Collection[str]) -> set[str]:
    """Return which of these ids a table has."""
    with ledger.read() as connection:
        return set(connection.execute(select(table.c.id).where(table.c.id.in_(list(ids)))).scalars())


def _holdings(connection: Connection, ids: list[str]) -> list[Holding]:
    rows = connection.execute(select(series).where(series.c.id.in_(ids)).order_by(series.c.id))
    found = {row.id: Holding(row) for row in rows}
    received = select(instance, association.c.source, association.c.calling_ae_title).join_from(
        instance, association, association.c.id == instance.c.association_id
    )
    for row in connection.execute(received.where(instance.c.series_id.in_(ids))):
        found[row.series_id].instances.append(row)
    for row in connection.execute(select(manifest).where(manifest.c.series_id.in_(ids))):
        found[row.series_id].manifests.append(_with_file(connection, row))
    for row in connection.execute(select(series_source).where(series_source.c.series_id.in_(ids))):
        found[row.series_id].sources.add(row.source)
    jobs = {
        row.id: HeldJob(row)
        for row in connection.execute(select(job).where(job.c.series_id.in_(ids)).order_by(job.c.generation))
    }
    for held in jobs.values():
        found[held.row.series_id].jobs.append(held)
    of_series = select(job.c.id).where(job.c.series_id.in_(ids))
    objects = select(result_object).where(result_object.c.job_id.in_(of_series))
    for row in connection.execute(objects.order_by(result_object.c.position)):
        jobs[row.job_id].objects.append(_with_file(connection, row))
    kept = select(time_point).where(time_point.c.job_id.in_(of_series), time_point.c.purged_at.is_(None))
    for row in connection.execute(kept):
        jobs[row.job_id].time_point = _with_file(connection, row)
    sent = select(
        delivery,
        result_object.c.kind,
        result_object.c.variant,
        result_object.c.corrected,
        result_object.c.sop_instance_uid,
    ).join_from(delivery, result_object)
    for row in connection.execute(sent.where(delivery.c.job_id.in_(of_series))):
        jobs[row.job_id].deliveries.append(row)
    return list(found.values())


def _with_file(connection: Connection, row: Any) -> SimpleNamespace:
    """Return a row with the whole path of its file."""
    return SimpleNamespace(**{**row._mapping, "path": str(located(connection, row.path))})
