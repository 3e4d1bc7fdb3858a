"""What a new result of a series replaces: objects of earlier ones that peers have or will have."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from core.domain import ResultKind
from custody.ledger.engine import Ledger
from custody.ledger.files import located
from custody.ledger.jobs import ClaimedJob, StoredResult
from custody.ledger.states import DeliveryState
from custody.ledger.tables import delivery, job, result_object


@dataclass(frozen=True, slots=True)
class Replaced:
    """An object of an earlier result, and the names of the peers that have or will have it."""

    stored: StoredResult
    peers: frozenset[str]


def replaced_jobs(ledger: Ledger, claimed: ClaimedJob) -> list[str]:
    """Return the jobs of earlier generations of a job's series whose results were published."""
    with ledger.read() as connection:
        found = select(job.c.id).where(
            job.c.series_id == claimed.series_id,
            job.c.generation < claimed.generation,
            job.c.results_package.is_not(None),
            job.c.results_purged_at.is_(None),  # what is to be cited of them is in the ledger
        )
        return list(connection.execute(found).scalars())


def replaced_objects(ledger: Ledger, claimed: ClaimedJob) -> tuple[Replaced, ...]:
    """Return what peers have of earlier results of a job's series, the newest first.

    What is on its way this moment counts; what is still due does not, because a result supersedes it
    (`destinations.supersede_deliveries`). What withdrew others is left out.
    """
    arriving = [one.value for one in (DeliveryState.DELIVERED, DeliveryState.SENDING)]
    of_series = select(job.c.series_id).where(job.c.id == claimed.id).scalar_subquery()
    with ledger.read() as connection:
        rows = connection.execute(
            select(result_object, delivery.c.peer)
            .join_from(result_object, job)
            .join(delivery, delivery.c.result_object_id == result_object.c.id)
            .where(
                job.c.series_id == of_series,
                job.c.generation < claimed.generation,
                delivery.c.state.in_(arriving),
                result_object.c.kind != ResultKind.REJECTION_NOTE.value,
            )
            .order_by(job.c.generation.desc(), result_object.c.position, delivery.c.peer)
        ).all()
        paths = {row.id: located(connection, row.path) for row in rows}
    peers: dict[str, set[str]] = {}
    for row in rows:
        peers.setdefault(row.id, set()).add(row.peer)
    objects = {row.id: row for row in rows}
    return tuple(
        Replaced(
            StoredResult(
                kind=row.kind,
                sop_class_uid=row.sop_class_uid,
                sop_instance_uid=row.sop_instance_uid,
                path=paths[row.id],
                sha256=row.sha256,
                variant=row.variant,
                series_instance_uid=row.series_instance_uid,
            ),
            frozenset(peers[row.id]),
        )
        for row in objects.values()
    )
