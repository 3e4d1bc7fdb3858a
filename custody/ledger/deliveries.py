"""The delivery queue: one row for each object and peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, update

from custody.ledger import incidents
from custody.ledger.engine import Ledger, new_id
from custody.ledger.incidents import IncidentKind
from custody.ledger.states import DeliveryState, JobState
from custody.ledger.tables import delivery, job, result_object, series_source

#: A refusal has objects too: they say that there will be no result.
_WITH_OBJECTS = (JobState.ANALYSED, JobState.REFUSED, JobState.FAILED)
_OBJECT_COLUMNS = (
    result_object.c.kind,
    result_object.c.variant,
    result_object.c.path,
    result_object.c.sop_class_uid,
    result_object.c.sop_instance_uid,
)


class _Written(NamedTuple):
    """An encoding of a result object."""

    id: str
    job_id: str
    kind: str
    variant: str


@dataclass(frozen=True, slots=True)
class Wish:
    """In which encodings a peer wants a kind of object.

    Parameters
    ----------
    variants
        The preferred one first.
    others_will_do
        Whether another one is better than none.
    """

    variants: Sequence[str] = ("",)
    others_will_do: bool = True


@dataclass(frozen=True, slots=True)
class Destinations:
    """Who is to get which results, from the settings.

    Parameters
    ----------
    peers_of_source
        Names of peers by name of source.
    wishes_of_peer
        By name of peer the kinds of object that it is to get; a peer that is not named here gets every kind.
    """

    peers_of_source: Mapping[str, Sequence[str]]
    wishes_of_peer: Mapping[str, Mapping[str, Wish]] = field(default_factory=dict)

    def choice(self, peer: str, encodings: Sequence[_Written]) -> _Written | None:
        """Return which of several encodings of one object a peer is to get, None where it gets none."""
        wishes = self.wishes_of_peer.get(peer)
        if wishes is None:
            return encodings[0]
        wish = wishes.get(encodings[0].kind)
        if wish is None:
            return None
        ranked = [one for variant in wish.variants for one in encodings if one.variant == variant]
        # The settings may have changed since it was written; then what there is has to do.
        return next(iter(ranked), encodings[0] if wish.others_will_do else None)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One result object of a job, as a courier may send it.

    Parameters
    ----------
    id
        Our own.
    kind, variant
        What it is, in which encoding.
    path, sop_class_uid, sop_instance_uid
        The object.
    """

    id: str
    kind: str
    variant: str
    path: Path
    sop_class_uid: str
    sop_instance_uid: str


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


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """One object that a peer is to get now.

    Parameters
    ----------
    id, owner, attempt
        Identity of the claim.
    job_id
        The job that made it; objects of one job travel on one association.
    object
        What is to be sent, in the encoding that was chosen so far.
    created_at
        When it was entered, seconds since 1970 UTC.
    """

    id: str
    owner: str
    attempt: int
    job_id: str
    object: StoredObject
    created_at: float


@dataclass(frozen=True, slots=True)
class Attempted:
    """The outcome of sending one object.

    Parameters
    ----------
    due
        Which delivery.
    sent
        What was sent, or tried: the object that was due, or another encoding of it.
    state
        `DELIVERED`; `DUE` to be tried again; `LEFT_OUT` because the peer takes no encoding of it; `FAILED`
        for good.
    reason
        What the peer said, and why it was another encoding.
    status
        DIMSE status, None where none was received.
    due_at
        When to try again.
    """

    due: DueDelivery
    sent: StoredObject
    state: DeliveryState
    reason: str | None
    status: int | None
    due_at: float


def claim_for_peer(ledger: Ledger, peer: str, owner: str, *, lease_s: float, now: float) -> list[DueDelivery]:
    """Take everything that is due to one peer from its oldest job, in sending order.

    All undelivered objects of that job are taken together once one of them is due: a report must not arrive
    long before the segmentation that it refers to.
    """
    lapsed = (delivery.c.state == DeliveryState.SENDING.value) & (delivery.c.lease_until < now)
    waiting = (delivery.c.state == DeliveryState.DUE.value) & (delivery.c.due_at <= now)
    with ledger.write() as connection:
        first = connection.execute(
            select(delivery.c.job_id)
            .join_from(delivery, job)
            .where(delivery.c.peer == peer, waiting | lapsed)
            .order_by(delivery.c.due_at, job.c.sealed_at)
            .limit(1)
        ).scalar_one_or_none()
        if first is None:
            return []
        connection.execute(
            update(delivery)
            .where(
                delivery.c.peer == peer,
                delivery.c.job_id == first,
                (delivery.c.state == DeliveryState.DUE.value) | lapsed,
            )
            .values(
                state=DeliveryState.SENDING.value,
                owner=owner,
                attempt=delivery.c.attempt + 1,
                lease_until=now + lease_s,
            )
        )
        rows = connection.execute(
            select(delivery, *_OBJECT_COLUMNS)
            .join_from(delivery, result_object)
            .where(
                delivery.c.peer == peer,
                delivery.c.job_id == first,
                delivery.c.state == DeliveryState.SENDING.value,
                delivery.c.owner == owner,
            )
            .order_by(result_object.c.position)
        )
        return [
            DueDelivery(
                id=row.id,
                owner=row.owner,
                attempt=row.attempt,
                job_id=row.job_id,
                object=_stored(row.result_object_id, row),
                created_at=row.created_at,
            )
            for row in rows
        ]


def objects_of_job(ledger: Ledger, job_id: str, corrected: str = "") -> list[StoredObject]:
    """Return every object of a job in every encoding, in sending order.

    Under the patient of the images, or under the corrected identity of that digest.
    """
    with ledger.read() as connection:
        rows = connection.execute(
            select(result_object.c.id, *_OBJECT_COLUMNS)
            .where(result_object.c.job_id == job_id, result_object.c.corrected == corrected)
            .order_by(result_object.c.position)
        )
        return [_stored(row.id, row) for row in rows]


def kinds_for_peer(ledger: Ledger, job_id: str, peer: str) -> frozenset[str]:
    """Return the kinds of object that a peer gets of a job, or has."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(result_object.c.kind)
            .join_from(delivery, result_object)
            .where(delivery.c.job_id == job_id, delivery.c.peer == peer)
        )
        return frozenset(row.kind for row in rows)


def keep_corrected(
    ledger: Ledger, objects: Sequence[tuple[StoredObject, StoredObject, str]], corrected: str, now: float
) -> None:
    """Record the objects of a job under a corrected identity, all or none.

    Parameters
    ----------
    ledger, objects
        The original, the new one, and the new one's SHA-256.
    corrected
        Digest of the identity.
    now
        Seconds since 1970 UTC.
    """
    with ledger.write() as connection:
        for original, new, sha256 in objects:
            row = connection.execute(select(result_object).where(result_object.c.id == original.id)).one()
            values = {
                "id": new.id,
                "sop_instance_uid": new.sop_instance_uid,
                "path": str(new.path),
                "sha256": sha256,
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


def _stored(object_id: str, row: Any) -> StoredObject:
    return StoredObject(
        id=object_id,
        kind=row.kind,
        variant=row.variant,
        path=Path(row.path),
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
    )


def record(ledger: Ledger, outcomes: Sequence[Attempted], now: float) -> None:
    """Record what became of claimed deliveries; claims that were lost meanwhile are left alone."""
    with ledger.write() as connection:
        for outcome in outcomes:
            delivered = outcome.state is DeliveryState.DELIVERED
            connection.execute(
                update(delivery)
                .where(
                    delivery.c.id == outcome.due.id,
                    delivery.c.state == DeliveryState.SENDING.value,
                    delivery.c.owner == outcome.due.owner,
                    delivery.c.attempt == outcome.due.attempt,
                )
                .values(
                    state=outcome.state.value,
                    result_object_id=outcome.sent.id,
                    reason=outcome.reason,
                    status=outcome.status,
                    due_at=outcome.due_at,
                    delivered_at=now if delivered else None,
                    lease_until=None,
                )
            )


def release_every_owner(ledger: Ledger, now: float) -> int:
    """Let every lease end at once: at start-up of a node that owns its ledger alone, every owner is dead."""
    with ledger.write() as connection:
        return connection.execute(
            update(delivery)
            .where(delivery.c.state == DeliveryState.SENDING.value)
            .values(lease_until=now - 1)
        ).rowcount


def peers_with_deliveries(ledger: Ledger) -> frozenset[str]:
    """Return the names of the peers that are owed something."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(delivery.c.peer)
            .where(delivery.c.state.in_([DeliveryState.DUE.value, DeliveryState.SENDING.value]))
            .distinct()
        )
        return frozenset(row.peer for row in rows)


def create_deliveries(connection: Connection, series_id: str, destinations: Destinations, now: float) -> int:
    """Enter the deliveries that the sources of a series are still owed; return how many are new.

    Every kind of result object of the series goes once, in one encoding, to each peer in the union of its
    sources' destinations that is to get objects of its kind.
    """
    peers_of_source = destinations.peers_of_source
    sources = connection.execute(select(series_source.c.source).where(series_source.c.series_id == series_id))
    peers = list(dict.fromkeys(peer for row in sources for peer in peers_of_source.get(row.source, ())))
    written = connection.execute(
        select(result_object.c.id, result_object.c.job_id, result_object.c.kind, result_object.c.variant)
        .join_from(result_object, job)
        .where(job.c.series_id == series_id, result_object.c.corrected == "")
        .order_by(job.c.generation, result_object.c.position)
    ).all()
    existing = connection.execute(
        select(delivery.c.job_id, result_object.c.kind, delivery.c.peer)
        .join_from(delivery, result_object)
        .where(delivery.c.job_id.in_([row.job_id for row in written]))
    )
    known = {(row.job_id, row.kind, row.peer) for row in existing}
    objects: dict[tuple[str, str], list[_Written]] = {}
    for row in written:
        objects.setdefault((row.job_id, row.kind), []).append(_Written(*row))
    missing = [
        (chosen, peer)
        for (job_id, kind), encodings in objects.items()
        for peer in peers
        if (job_id, kind, peer) not in known and (chosen := destinations.choice(peer, encodings)) is not None
    ]
    if objects and not peers:
        incidents.note(
            connection,
            IncidentKind.DESTINATION_UNKNOWN,
            series_id,
            "results of this series go nowhere, its source is not configured any more: restore [[sources]]",
            now,
        )
    for chosen, peer in missing:
        connection.execute(
            delivery.insert().values(
                id=new_id(),
                result_object_id=chosen.id,
                job_id=chosen.job_id,
                peer=peer,
                state=DeliveryState.DUE.value,
                due_at=now,
                attempt=0,
                created_at=now,
            )
        )
    # A source that is not configured now is still owed its results once it is restored.
    connection.execute(
        update(series_source)
        .where(series_source.c.series_id == series_id, series_source.c.source.in_(list(peers_of_source)))
        .values(settled=1)
    )
    return len(missing)


def supersede_deliveries(connection: Connection, series_id: str, generation: int) -> None:
    """End the deliveries of earlier results of a series that were not sent yet.

    Sent after the later result, they would stand in the PACS as the newest.
    """
    earlier = select(job.c.id).where(job.c.series_id == series_id, job.c.generation < generation)
    connection.execute(
        update(delivery)
        .where(delivery.c.job_id.in_(earlier), delivery.c.state == DeliveryState.DUE.value)
        .values(state=DeliveryState.SUPERSEDED.value, reason="a later result of the series takes its place")
    )


def settle_late_sources(ledger: Ledger, destinations: Destinations, now: float) -> int:
    """Give results to callers who sent a series after it was analysed; return how many deliveries are new."""
    late = (
        select(series_source.c.series_id)
        .join_from(series_source, job, job.c.series_id == series_source.c.series_id)
        .where(
            series_source.c.settled == 0,
            series_source.c.source.in_(list(destinations.peers_of_source)),
            job.c.state.in_([one.value for one in _WITH_OBJECTS]),
        )
        .distinct()
    )
    with ledger.read() as connection:
        waiting = [row.series_id for row in connection.execute(late)]
    if not waiting:
        return 0
    with ledger.write() as connection:
        return sum(create_deliveries(connection, one, destinations, now) for one in waiting)
