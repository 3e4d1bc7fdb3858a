"""Results under the identity that a peer has given their patient since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select, update

from custody.ledger.deliveries import StoredObject
from custody.ledger.engine import Ledger
from custody.ledger.files import recorded
from custody.ledger.states import DeliveryState
from custody.ledger.tables import delivery, result_object


@dataclass(frozen=True, slots=True)
class Corrected:
    """All objects of a job under one patient.

    Parameters
    ----------
    identity
        Digest of a corrected identity; empty for that of the images.
    objects
        In every encoding.
    """

    identity: str
    objects: Sequence[StoredObject]


def keep_corrected(
    ledger: Ledger, objects: Sequence[tuple[StoredObject, StoredObject, str, int]], corrected: str, now: float
) -> None:
    """Record the objects of a job under a corrected identity, all or none.

    Parameters
    ----------
    ledger, objects
        The original, the new one, the new one's SHA-256 and size.
    corrected
        Digest of the identity.
    now
        Seconds since 1970 UTC.
    """
    with ledger.write() as connection:
        for original, new, sha256, size_bytes in objects:
            row = connection.execute(select(result_object).where(result_object.c.id == original.id)).one()
            values = {
                "id": new.id,
                "sop_instance_uid": new.sop_instance_uid,
                "series_instance_uid": None,
                "path": recorded(connection, new.path),
                "sha256": sha256,
                "size_bytes": size_bytes,
                "corrected": corrected,
                "written_at": now,
            }
            connection.execute(result_object.insert().values(**{**row._mapping, **values}))


class Delivered(NamedTuple):
    """What a peer has of a job."""

    kind: str
    variant: str
    corrected: str


def delivered_to(ledger: Ledger, job_id: str, peer: str) -> list[Delivered]:
    """Return what a peer has of a job."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(result_object.c.kind, result_object.c.variant, result_object.c.corrected)
            .join_from(delivery, result_object)
            .where(
                delivery.c.job_id == job_id,
                delivery.c.peer == peer,
                delivery.c.state == DeliveryState.DELIVERED.value,
            )
        )
        return [Delivered(*row) for row in rows]


def send_again(ledger: Ledger, job_id: str, peer: str, reason: str, now: float) -> None:
    """Make due once more what a peer has of a job: it has to get all of it under another identity."""
    with ledger.write() as connection:
        connection.execute(
            update(delivery)
            .where(
                delivery.c.job_id == job_id,
                delivery.c.peer == peer,
                delivery.c.state == DeliveryState.DELIVERED.value,
            )
            .values(state=DeliveryState.DUE.value, due_at=now, reason=reason)
        )
