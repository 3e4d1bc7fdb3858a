"""Who is to get which results: deliveries are entered when results are, and end when later ones come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, func, select, update

from custody.ledger import incidents
from custody.ledger.dialect import lock_series
from custody.ledger.engine import Ledger, new_id
from custody.ledger.incidents import IncidentKind
from custody.ledger.states import NOT_TOLD, DeliveryState, JobState
from custody.ledger.tables import delivery, job, result_object, series_source
from custody.result_set import Owed

#: A refusal has objects too: they say that there will be no result. Sources of a series that was not
#: selected are settled with nothing, so that nobody looks at them again.
_ENDED = (JobState.ANALYSED, JobState.REFUSED, JobState.FAILED, JobState.NOT_SELECTED)


class Written(NamedTuple):
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
    kinds_of_source
        By name of source the kinds of object that are sent of its series; of a source that is not named here
        every kind is.
    """

    peers_of_source: Mapping[str, Sequence[str]]
    wishes_of_peer: Mapping[str, Mapping[str, Wish]] = field(default_factory=dict)
    kinds_of_source: Mapping[str, Collection[str]] = field(default_factory=dict)

    def wants(self, sources: Iterable[str], kind: str) -> list[str]:
        """Return the peers to which a kind of object goes of a series that came from some sources."""
        return list(
            dict.fromkeys(
                peer
                for source in sources
                if kind in self.kinds_of_source.get(source, (kind,))
                for peer in self.peers_of_source.get(source, ())
            )
        )

    def sends(self, sources: Collection[str], kind: str) -> bool:
        """Tell whether a kind of object is sent of a series that came from some sources, to anybody."""
        return not sources or any(kind in self.kinds_of_source.get(source, (kind,)) for source in sources)

    def choice(self, peer: str, encodings: Sequence[Written]) -> Written | None:
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


def audience(connection: Connection, series_id: str) -> list[str]:
    """Return the sources whose peers are told of results of a series.

    Not those that sent it while no rule of theirs wanted a report of it, where it was analysed for comparison
    with another scan (`custody.ledger.completion.leave_out_senders`).
    """
    told = select(series_source.c.source).where(
        series_source.c.series_id == series_id, series_source.c.settled != NOT_TOLD
    )
    return list(connection.execute(told).scalars())


def planned(
    sources: Iterable[str], objects: Iterable[tuple[str, str]], destinations: Destinations
) -> Iterator[Owed]:
    """Yield what the peers of some sources are to get of objects (kind, variant) of one job."""
    names = list(sources)
    encodings: dict[str, list[Written]] = {}
    for kind, variant in objects:
        encodings.setdefault(kind, []).append(Written("", "", kind, variant))
    for kind, of_kind in encodings.items():
        for peer in destinations.wants(names, kind):
            if (chosen := destinations.choice(peer, of_kind)) is not None:
                yield Owed(peer, chosen.kind, chosen.variant)


def create_deliveries(connection: Connection, series_id: str, destinations: Destinations, now: float) -> int:
    """Enter the deliveries that the sources of a series are still owed; return how many are new.

    Every kind of result object of the series goes once, in one encoding, to each peer in the union of its
    sources' destinations that is to get objects of its kind.
    """
    lock_series(connection, [series_id])
    peers_of_source = destinations.peers_of_source
    sources = audience(connection, series_id)
    written = connection.execute(
        select(result_object.c.id, result_object.c.job_id, result_object.c.kind, result_object.c.variant)
        .join_from(result_object, job)
        .where(
            job.c.series_id == series_id,
            result_object.c.corrected == "",
            job.c.results_purged_at.is_(None),  # what is deleted cannot be sent
        )
        .order_by(job.c.generation, result_object.c.position)
    ).all()
    existing = connection.execute(
        select(delivery.c.job_id, result_object.c.kind, delivery.c.peer)
        .join_from(delivery, result_object)
        .where(delivery.c.job_id.in_([row.job_id for row in written]))
    )
    known = {(row.job_id, row.kind, row.peer) for row in existing}
    objects: dict[tuple[str, str], list[Written]] = {}
    for row in written:
        objects.setdefault((row.job_id, row.kind), []).append(Written(*row))
    missing = [
        (chosen, peer)
        for (job_id, kind), encodings in objects.items()
        for peer in destinations.wants(sources, kind)
        if (job_id, kind, peer) not in known and (chosen := destinations.choice(peer, encodings)) is not None
    ]
    # An earlier scan that was fetched for comparison has a source without peers.
    if objects and not any(source in peers_of_source for source in sources):
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
        .where(
            series_source.c.series_id == series_id,
            series_source.c.source.in_(list(peers_of_source)),
            series_source.c.settled != NOT_TOLD,
        )
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
            job.c.state.in_([one.value for one in _ENDED]),
        )
        .distinct()
    )
    with ledger.read() as connection:
        waiting = [row.series_id for row in connection.execute(late)]
    if not waiting:
        return 0
    with ledger.write() as connection:
        number = 0
        for one in waiting:
            number += create_deliveries(connection, one, destinations, now)
            newest = select(func.max(job.c.generation)).where(
                job.c.series_id == one, job.c.state == JobState.ANALYSED.value
            )
            # Of several results it gets the newest alone, like everybody who was not served before it.
            supersede_deliveries(connection, one, connection.execute(newest).scalar_one() or 0)
        return number
