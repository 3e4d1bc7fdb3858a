"""Patients that turned out to be one. Only digests are kept (`core.uid.patient_digest`)."""

from __future__ import annotations

from sqlalchemy import Connection, delete, or_, select, update

from core.errors import NodeError
from custody.ledger.dialect import upsert
from custody.ledger.tables import patient_merge


def stands_for(connection: Connection, digest: str) -> str:
    """Return the digest of the identity that stands today for this one."""
    found = connection.execute(
        select(patient_merge.c.new_digest).where(patient_merge.c.old_digest == digest)
    ).scalar_one_or_none()
    return str(found or digest)


def same_patient(connection: Connection, digest: str) -> frozenset[str]:
    """Return every digest under which this patient is known, this one among them."""
    stands = stands_for(connection, digest)
    given_up = connection.execute(
        select(patient_merge.c.old_digest).where(patient_merge.c.new_digest == stands)
    ).scalars()
    return frozenset({digest, stands, *given_up})


def merge(connection: Connection, old: str, new: str, now: float) -> None:
    """Let one identity stand for another one, and for all that the other stood for.

    Raises
    ------
    NodeError
        They are one already.
    """
    stands = stands_for(connection, new)
    if stands_for(connection, old) == stands:
        raise NodeError("both are the same patient already: nothing to merge")
    given_up = stands_for(connection, old)
    # No chains: every row names the identity that stands, so one look is enough.
    connection.execute(
        update(patient_merge).where(patient_merge.c.new_digest == given_up).values(new_digest=stands)
    )
    values = {"old_digest": given_up, "new_digest": stands, "merged_at": now}
    changes = {"new_digest": stands, "merged_at": now}
    upsert(connection, patient_merge, values, key=("old_digest",), changes=changes)


def forget(connection: Connection, digests: frozenset[str]) -> None:
    """Delete every merge of these identities."""
    names = list(digests)
    connection.execute(
        delete(patient_merge).where(
            or_(patient_merge.c.old_digest.in_(names), patient_merge.c.new_digest.in_(names))
        )
    )
