"""Searches for earlier scans in a PACS: what is asked for, and what came of it.

Each step belongs to a claim (`custody.ledger.prior_claims`). A job waits for its search for a bounded time
(`custody.ledger.prior_waits`). What comes later leads to another generation
(`custody.ledger.prior_arrivals`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from custody.ledger import prior_here
from custody.ledger.engine import Ledger, new_id
from custody.ledger.prior_claims import TO_BE_FETCHED, ClaimedSearch, end_step, is_mine
from custody.ledger.states import PRIOR_SEARCH_UNDER_WAY, PriorSearchState, PriorSeriesState
from custody.ledger.tables import prior_search, prior_series, series, series_source

#: Message IDs are 16 bit (PS3.7 E.1); 0 is left to others.
_MOST_MESSAGE_ID = 65535
_MOST_NOTES = 20


@dataclass(frozen=True, slots=True)
class WantedSeries:
    """A series to be fetched.

    Parameters
    ----------
    id
        Our own id.
    study_instance_uid, series_instance_uid
        Where it is in the PACS.
    message_id
        Message ID that the request has to have.
    """

    id: str
    study_instance_uid: str
    series_instance_uid: str
    message_id: int


def listed(
    ledger: Ledger,
    claimed: ClaimedSearch,
    found: Sequence[tuple[str, str]],
    notes: Iterable[str],
    now: float,
) -> bool:
    """Record what a PACS has: study and series UIDs, the newest first; the search goes on at once.

    What this node has already, or has of the same study, is not fetched again. Where it lies here and was not
    chosen for a report it is analysed now, for comparison.
    """
    with ledger.write() as connection:
        if not end_step(connection, claimed, PriorSearchState.DUE, now, listed_at=now):
            return False
        add_notes(connection, claimed.id, notes)
        for position, (study_uid, series_uid) in enumerate(found):
            known = prior_here.is_known(connection, claimed, study_uid) or prior_here.analysed_now(
                connection, claimed, study_uid, series_uid, now
            )
            state = PriorSeriesState.KNOWN if known else PriorSeriesState.WANTED
            connection.execute(
                prior_series.insert().values(
                    id=new_id(),
                    search_id=claimed.id,
                    position=position,
                    study_instance_uid=study_uid,
                    series_instance_uid=series_uid,
                    state=state.value,
                )
            )
        return True


def next_wanted(ledger: Ledger, claimed: ClaimedSearch, now: float) -> WantedSeries | None:
    """Return the next series to be fetched, and expect its images from now on; None where there is none."""
    with ledger.write() as connection:
        if not is_mine(connection, claimed):
            return None
        row = connection.execute(
            select(prior_series)
            .where(prior_series.c.search_id == claimed.id, prior_series.c.state.in_(TO_BE_FETCHED))
            .order_by(prior_series.c.position)
            .limit(1)
        ).one_or_none()
        if row is None:
            return None
        message_id = _free_message_id(connection)
        connection.execute(
            update(prior_series)
            .where(prior_series.c.id == row.id)
            .values(state=PriorSeriesState.ASKED.value, message_id=message_id, asked_at=now)
        )
        return WantedSeries(row.id, row.study_instance_uid, row.series_instance_uid, message_id)


def fetched(
    ledger: Ledger,
    claimed: ClaimedSearch,
    wanted: WantedSeries,
    *,
    came: bool,
    reason: str | None,
    now: float,
) -> None:
    """Record what came of a request; the search goes on at once with the next series.

    What is here of it has come whatever the PACS says: it need not count what it sends (PS3.4 C.4.2.1.6), nor
    have sent it when it says so.
    """
    with ledger.write() as connection:
        if not end_step(connection, claimed, PriorSearchState.DUE, now):
            return
        came = came or _has_come(connection, claimed, wanted.study_instance_uid, wanted.series_instance_uid)
        _end_series(connection, wanted.id, came=came, reason=reason, now=now)
        if came:  # it may have come by another way meanwhile, and have been sealed as one for no report
            uids = wanted.study_instance_uid, wanted.series_instance_uid
            prior_here.analysed_now(connection, claimed, *uids, now)
        if reason is not None:
            add_notes(connection, claimed.id, [f"An earlier scan is missing or incomplete: {reason}."])


def all_fetched(ledger: Ledger, claimed: ClaimedSearch, now: float) -> None:
    """Record that nothing more is to be asked for."""
    with ledger.write() as connection:
        end_step(connection, claimed, PriorSearchState.ARRIVING, now)


def give_up(ledger: Ledger, claimed: ClaimedSearch, notes: Iterable[str], now: float) -> None:
    """Ask for nothing more; what came by now is waited for, and the job goes on without the rest."""
    with ledger.write() as connection:
        if not is_mine(connection, claimed):
            return
        found = select(prior_series).where(prior_series.c.search_id == claimed.id)
        rows = connection.execute(found).all()
        hope = False
        for row in rows:
            here = row.state in (PriorSeriesState.KNOWN.value, PriorSeriesState.CAME.value)
            if row.state in TO_BE_FETCHED:
                here = _has_come(connection, claimed, row.study_instance_uid, row.series_instance_uid)
                _end_series(connection, row.id, came=here, reason=None, now=now)
            hope = hope or here
        add_notes(connection, claimed.id, notes)
        if hope:
            end_step(connection, claimed, PriorSearchState.ARRIVING, now)
        else:
            end_step(connection, claimed, PriorSearchState.FAILED, now, ended_at=now)


def add_notes(connection: Connection, search_id: str, notes: Iterable[str]) -> None:
    """Add sentences to what a reader of the result should know, each once."""
    known = connection.execute(
        select(prior_search.c.notes).where(prior_search.c.id == search_id)
    ).scalar_one()
    every = list(dict.fromkeys([*known, *notes]))[:_MOST_NOTES]
    if every != known:
        connection.execute(update(prior_search).where(prior_search.c.id == search_id).values(notes=every))


def _end_series(
    connection: Connection, series_id: str, *, came: bool, reason: str | None, now: float
) -> None:
    state = PriorSeriesState.CAME if came else PriorSeriesState.FAILED
    ended = {"state": state.value, "reason": reason, "ended_at": now}
    connection.execute(update(prior_series).where(prior_series.c.id == series_id).values(ended))


def _has_come(connection: Connection, claimed: ClaimedSearch, study_uid: str, series_uid: str) -> bool:
    """Tell whether anything of a series came since it is searched for.

    A series has a row from the first image on, whether that could be kept or not, and a source once one was.
    """
    kept = select(series_source.c.series_id).where(series_source.c.series_id == series.c.id).exists()
    found = select(series.c.id).where(
        series.c.study_instance_uid == study_uid,
        series.c.series_instance_uid == series_uid,
        series.c.patient_digest == claimed.patient_digest,
        series.c.last_received_at >= claimed.entered_at,
        kept,
    )
    return connection.execute(found.limit(1)).first() is not None


def _free_message_id(connection: Connection) -> int:
    """Return a Message ID that no request which may still bring images has."""
    taken = (
        select(prior_series.c.message_id)
        .join_from(prior_series, prior_search)
        .where(prior_search.c.state.in_(PRIOR_SEARCH_UNDER_WAY), prior_series.c.message_id.is_not(None))
    )
    last = select(prior_series.c.message_id).where(prior_series.c.asked_at.is_not(None))
    newest = connection.execute(last.order_by(prior_series.c.asked_at.desc()).limit(1)).scalar_one_or_none()
    used = set(connection.execute(taken).scalars())
    candidate = (newest or 0) % _MOST_MESSAGE_ID + 1
    while candidate in used:
        candidate = candidate % _MOST_MESSAGE_ID + 1
    return candidate
