"""What is still to do before nothing is left: for ``drain --wait``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from custody.ledger.states import CommitmentState, DeliveryState, JobState
from custody.ledger.tables import association, commitment, delivery, instance, job


@dataclass(frozen=True, slots=True)
class Remaining:
    """How much is on its way.

    Parameters
    ----------
    callers
        Calling AE titles of open associations.
    images
        That are not sealed yet.
    analyses
        Queued or running.
    deliveries, commitments
        By peer.
    """

    callers: tuple[str, ...]
    images: int
    analyses: int
    deliveries: dict[str, int]
    commitments: dict[str, int]

    def __bool__(self) -> bool:
        """Tell whether anything is left."""
        return bool(self.callers or self.images or self.analyses or self.deliveries or self.commitments)


def remaining(connection: Connection) -> Remaining:
    """Return what the nodes of a ledger still have to do."""
    callers = connection.execute(
        select(association.c.calling_ae_title).where(association.c.closed_at.is_(None)).distinct()
    ).scalars()
    images = select(func.count()).where(instance.c.generation.is_(None), instance.c.set_aside.is_(None))
    under_way = [JobState.QUEUED.value, JobState.RUNNING.value]
    analyses = select(func.count()).where(job.c.state.in_(under_way))
    due = [DeliveryState.DUE.value, DeliveryState.SENDING.value]
    asked = [CommitmentState.DUE.value, CommitmentState.ASKED.value]
    deliveries = (
        select(delivery.c.peer, func.count()).where(delivery.c.state.in_(due)).group_by(delivery.c.peer)
    )
    commitments = (
        select(commitment.c.peer, func.count())
        .where(commitment.c.state.in_(asked))
        .group_by(commitment.c.peer)
    )
    return Remaining(
        callers=tuple(sorted(callers)),
        images=connection.execute(images).scalar_one(),
        analyses=connection.execute(analyses).scalar_one(),
        deliveries=_by_peer(connection, deliveries),
        commitments=_by_peer(connection, commitments),
    )


def _by_peer(connection: Connection, statement: Any) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(statement)}
