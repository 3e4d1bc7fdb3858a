"""Everything that the ledger and the manifests know of one series, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from core.errors import SpoolDamaged
from custody.ledger.files import located
from custody.ledger.tables import (
    association,
    attempt,
    audit,
    commitment,
    delivery,
    incident,
    instance,
    job,
    manifest,
    prior_search,
    prior_series,
    result_object,
    series,
    series_source,
)
from custody.manifest import read_manifest

_NOT_SHOWN = {"patient_digest", "last_association_id"}


def story_of(connection: Connection, series_id: str) -> dict[str, Any]:
    """Return the whole story of a series, without patient identifiers.

    Parameters
    ----------
    connection
        A transaction.
    series_id
        Our own id.

    Returns
    -------
    dict
        ``series``, ``images``, ``senders``, ``manifests``, ``jobs`` (each with ``attempts``, ``objects``,
        ``deliveries`` and their ``commitment``, ``prior_search``), ``incidents``, ``audit``. Times are in
        seconds since 1970 UTC.
    """
    found = connection.execute(select(series).where(series.c.id == series_id)).mappings().one()
    manifests = _rows(connection, select(manifest).where(manifest.c.series_id == series_id), "written_at")
    jobs = [
        _job(connection, row)
        for row in _rows(connection, select(job).where(job.c.series_id == series_id), "generation")
    ]
    subjects = [series_id, found["series_instance_uid"], *(one["id"] for one in jobs)]
    named = [f"series {series_id}", *(f"job {one['id']}" for one in jobs)]  # as retention calls them
    return {
        "series": {name: value for name, value in found.items() if name not in _NOT_SHOWN},
        "images": _images(connection, series_id, manifests),
        "senders": _rows(
            connection, select(series_source).where(series_source.c.series_id == series_id), "source"
        ),
        "still_open": _open_associations(connection, series_id),
        "manifests": manifests,
        "jobs": jobs,
        "incidents": _rows(connection, select(incident).where(_incident_of(subjects, jobs)), "last_at"),
        "audit": _rows(connection, select(audit).where(audit.c.subject.in_([*subjects, *named])), "at"),
    }


def _rows(connection: Connection, statement: Any, order: str) -> list[dict[str, Any]]:
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    return sorted(rows, key=lambda row: row[order])


def _images(
    connection: Connection, series_id: str, manifests: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return for each generation, None for what is not sealed, what came, when and from whom."""
    columns = (instance, association.c.source, association.c.calling_ae_title)
    rows = connection.execute(
        select(*columns)
        .join_from(instance, association, association.c.id == instance.c.association_id)
        .where(instance.c.series_id == series_id)
    ).all()
    seen: dict[str, Any] = {row.id: row for row in rows}
    unreadable = 0
    for listed in manifests:
        try:
            known = read_manifest(located(connection, listed["path"]), listed["sha256"]).instances
        except SpoolDamaged:
            unreadable += listed["purged_at"] is None
            continue
        seen |= {one.id: one for one in known}
    groups: dict[int | None, list[Any]] = {}
    for one in seen.values():
        groups.setdefault(one.generation, []).append(one)
    described = [
        _described(generation, group)
        for generation, group in sorted(groups.items(), key=lambda item: (item[0] is None, item[0] or 0))
    ]
    if unreadable:
        described.append({"generation": None, "count": 0, "unreadable_manifests": unreadable})
    return described


def _described(generation: int | None, group: Sequence[Any]) -> dict[str, Any]:
    aside = Counter(one.set_aside for one in group if one.set_aside is not None)
    senders = Counter(f"{one.calling_ae_title} ({one.source})" for one in group)
    return {
        "generation": generation,
        "count": len(group),
        "analysable": len(group) - sum(aside.values()),
        "set_aside": dict(aside),
        "senders": dict(senders),
        "size_bytes": sum(one.size_bytes for one in group),
        "first_at": min(one.received_at for one in group),
        "last_at": max(one.received_at for one in group),
        "moved_by": sorted({one.move_originator_ae_title for one in group} - {None}),
    }


def _open_associations(connection: Connection, series_id: str) -> list[dict[str, Any]]:
    """Return the open associations of those who sent it: they may keep it from being complete."""
    callers = select(series_source.c.calling_ae_title).where(series_source.c.series_id == series_id)
    statement = select(association.c.calling_ae_title, association.c.address, association.c.opened_at).where(
        association.c.closed_at.is_(None), association.c.calling_ae_title.in_(callers)
    )
    return _rows(connection, statement, "opened_at")


def _job(connection: Connection, row: dict[str, Any]) -> dict[str, Any]:
    of_job = result_object.c.job_id == row["id"]
    commitments = {
        one["delivery_id"]: one
        for one in _rows(
            connection,
            select(commitment).join_from(commitment, delivery).where(delivery.c.job_id == row["id"]),
            "created_at",
        )
    }
    sent = select(
        delivery,
        result_object.c.kind,
        result_object.c.variant,
        result_object.c.corrected,
        result_object.c.position,
        result_object.c.sop_instance_uid,
    ).join_from(delivery, result_object)
    deliveries = _rows(connection, sent.where(delivery.c.job_id == row["id"]), "position")
    return {
        **row,
        "attempts": _rows(connection, select(attempt).where(attempt.c.job_id == row["id"]), "started_at"),
        "objects": _rows(connection, select(result_object).where(of_job), "position"),
        "deliveries": [{**one, "commitment": commitments.get(one["id"])} for one in deliveries],
        "prior_search": _search(connection, row["id"]),
    }


def _search(connection: Connection, job_id: str) -> dict[str, Any] | None:
    """Return the search for earlier scans that a job waited for, with what was found; None without one."""
    found = _rows(connection, select(prior_search).where(prior_search.c.job_id == job_id), "created_at")
    if not found:
        return None
    wanted = select(prior_series).where(prior_series.c.search_id == found[0]["id"])
    return {**found[0], "series": _rows(connection, wanted, "position")}


def _incident_of(subjects: Iterable[str], jobs: Sequence[dict[str, Any]]) -> Any:
    """Return which incidents are of a series; those of deliveries name peer and object."""
    named = [f"{sent['peer']}: {sent['sop_instance_uid']}" for one in jobs for sent in one["deliveries"]]
    return incident.c.subject.in_([*subjects, *named])
