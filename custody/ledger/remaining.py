"""What is still to do before nothing is left: for ``drain --wait``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from custody.ledger.completion import IS_OPEN
from custody.ledger.states import FINAL_JOB_STATES, CommitmentRequestState, CommitmentState, DeliveryState
from custody.ledger.tables import association, commitment, commitment_request, delivery, job


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
        Not ended.
    deliveries, commitments
        By peer.
    requests
        Of senders for commitment that are not answered yet.
    """

    callers: tuple[str, ...]
    images: int
    analyses: int
    deliveries: dict[str, int]
    commitments: dict[str, int]
    requests: int

    def __bool__(self) -> bool:
        """Tell whether anything is left."""
        waiting = self.callers or self.images or self.analyses or self.deliveries
        return bool(waiting or self.commitments or self.requests)


def remaining(connection: Connection) -> Remaining:
    """Return what the nodes of a ledger still have to do."""
    callers = connection.execute(
        select(association.c.calling_ae_title).where(association.c.closed_at.is_(None)).distinct()
    ).scalars()
    images = select(func.count()).where(IS_OPEN)
    analyses = select(func.count()).where(job.c.state.not_in(FINAL_JOB_STATES))
    due = [DeliveryState.DUE.value, DeliveryState.SENDING.value]
    waiting = select(func.count()).where(commitment_request.c.state == CommitmentRequestState.WAITING.value)
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
        requests=connection.execute(waiting).scalar_one(),
    )


def _by_peer(connection: Connection, statement: Any) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(statement)}
