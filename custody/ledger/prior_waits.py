"""Jobs that wait for earlier scans from a PACS, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from custody.ledger.engine import new_id
from custody.ledger.states import PRIOR_SEARCH_UNDER_WAY, PriorSearchState
from custody.ledger.tables import prior_search

#: The source of images that this node fetched for comparison. No configured source can have this name.
PRIORS_SOURCE = "(priors)"
#: Who orders analyses for the sake of a comparison, in the audit.
BY_PRIORS = "priors"


def priors_of(source: str) -> str:
    """Return the source whose peers get what a report of `source` cites of an earlier scan, and no more."""
    return f"{PRIORS_SOURCE} {source}"[:64]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be searched for.

    Parameters
    ----------
    source
        Name of the source whose scan it is.
    peer
        Name of the PACS.
    wait_s
        How long the job waits for it.
    """

    source: str
    peer: str
    wait_s: float


def enter(connection: Connection, job_id: str, wish: Wish, now: float) -> None:
    """Enter that a job, which is being sealed, waits for a search."""
    connection.execute(
        prior_search.insert().values(
            id=new_id(),
            job_id=job_id,
            source=wish.source,
            peer=wish.peer,
            state=PriorSearchState.DUE.value,
            notes=[],
            created_at=now,
            wait_s=wish.wait_s,
            due_at=now,
            attempt=0,
        )
    )


def is_waited_for(job_id: ColumnElement[Any], now: float) -> ColumnElement[bool]:
    """Return the condition that a job still has to wait for its search."""
    return (
        select(prior_search.c.id)
        .where(
            prior_search.c.job_id == job_id,
            prior_search.c.state.in_(PRIOR_SEARCH_UNDER_WAY),
            prior_search.c.created_at > now - prior_search.c.wait_s,
        )
        .exists()
    )
