"""Requests to a PACS that end in time, whatever it does: C-FIND, C-MOVE and C-GET with a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from config import DimsePeerSettings, Settings
from core.errors import DeliveryError, PeerRefused, PeerUnreachable, TransferBroken
from scp.requestor import open_association

#: The information model of every query, and the presentation contexts that are proposed for it.
FIND_MODEL = str(StudyRootQueryRetrieveInformationModelFind)
FIND_CONTEXTS = ((FIND_MODEL, str(ExplicitVRLittleEndian)), (FIND_MODEL, str(ImplicitVRLittleEndian)))
#: A peer that was sent C-CANCEL has so long to end its answers; then the association is aborted.
GRACE_S = 2.0
_PENDING = (0xFF00, 0xFF01)
_CANCELLED = 0xFE00
_SHORTEST_S = 0.05
_MESSAGE_ID = 1


class TimeLimit:
    """A length of time that began when this was made.

    Parameters
    ----------
    seconds
        How long.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """How much of it is left, 0 where it is over."""
        return max(self._ends - time.monotonic(), 0.0)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.left_s <= 0.0

    def wait_s(self) -> float:
        """Return how long an answer may still take, the grace after a cancel included."""
        return max(self._ends + GRACE_S - time.monotonic(), _SHORTEST_S)


@contextmanager
def limited_association(
    settings: Settings,
    peer: DimsePeerSettings,
    contexts: Sequence[tuple[str, str]],
    limit: TimeLimit,
    *,
    as_scp_of: Sequence[str] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """Open an association as `scp.requestor.open_association`, within a time limit.

    At the end it is released, or aborted where a peer still answers or has no time left.

    Raises
    ------
    PeerUnreachable
        No connection, rejected, or no answer in time.
    TransferBroken
        The peer accepts none of the contexts.
    """
    if limit.over:
        raise PeerUnreachable(f"no time was left to ask {peer.name}")
    # Connecting and the answer to the request may each take their time.
    wait_s = min(settings.delivery.timeout_s, max(limit.left_s / 2, _SHORTEST_S))
    waits = {"timeout_s": wait_s, "answer_timeout_s": limit.wait_s()}
    hurried = settings.model_copy(update={"delivery": settings.delivery.model_copy(update=waits)})
    with open_association(hurried, peer, contexts, as_scp_of=as_scp_of, handlers=handlers) as association:
        try:
            yield association
        finally:
            if association.is_established:
                association.acse_timeout = min(limit.wait_s(), GRACE_S)
                if not _is_at_rest(association):
                    association.abort()


def _is_at_rest(association: Any) -> bool:
    """Tell whether no request of ours is unanswered: pynetdicom then serves what the peer asks."""
    return bool(association._reactor_checkpoint.is_set())


@contextmanager
def cancelled_when_over(association: Any, model: str, message_id: int, limit: TimeLimit) -> Iterator[None]:
    """Send C-CANCEL (PS3.7 9.3.2.3) once the limit is over, and abort after the grace.

    Neither happens where the block has ended before.
    """

    def cancel() -> None:
        if association.is_established:
            association.send_c_cancel(message_id, query_model=model)

    def abort() -> None:
        if association.is_established:
            association.abort()

    timers = [threading.Timer(limit.left_s, cancel), threading.Timer(limit.wait_s(), abort)]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What came of a query.

    Parameters
    ----------
    matches
        Identifiers in the order in which they came.
    unreadable
        How many answers were no data sets.
    more
        Whether there were more than were wanted.
    trouble
        What ended the answers before their end, `PeerRefused` or `TransferBroken`; None where they are
        complete.
    """

    matches: tuple[Dataset, ...] = ()
    unreadable: int = 0
    more: bool = False
    trouble: DeliveryError | None = None


def find_all(
    association: Any, peer_name: str, query: Dataset, limit: TimeLimit, *, at_most: int, what: str
) -> tuple[Dataset, ...]:
    """Send C-FIND as `find` does, and return every answer: a part of them would prove nothing.

    Raises
    ------
    TransferBroken
        No answer in time, or none any more.
    PeerRefused
        It did not end with success, an answer cannot be read, or there are more than `at_most`.
    """
    found = find(association, peer_name, query, limit, at_most=at_most, what=what)
    if found.unreadable:
        raise PeerRefused(f"{peer_name} gave an answer to {what} that cannot be read")
    if found.more:
        raise PeerRefused(f"{peer_name} gave more than {at_most} answers to {what}")
    if found.trouble is not None:
        raise found.trouble
    return found.matches


def find(
    association: Any,
    peer_name: str,
    query: Dataset,
    limit: TimeLimit,
    *,
    at_most: int,
    what: str = "C-FIND",
) -> Found:
    """Send C-FIND and read its answers, but not more than so many and not for longer than the limit.

    Parameters
    ----------
    association
        Established, with a context for `FIND_MODEL`.
    peer_name, what
        Who is asked what, for people.
    query
        Identifier.
    limit
        When it has to be over. Then, and after the last answer wanted, C-CANCEL is sent.
    at_most
        How many answers are kept.
    """
    # It would convert every value for a log in which it may say nothing (`core.log`), and hold an answer with
    # a damaged one for no data set. The switch is global.
    _config.LOG_RESPONSE_IDENTIFIERS = False
    reading = _Reading(peer_name, what, limit, at_most)
    association.dimse_timeout = limit.wait_s()
    cancelled = False
    try:
        with (
            cancelled_when_over(association, FIND_MODEL, _MESSAGE_ID, limit),
            closing(association.send_c_find(query, FIND_MODEL, _MESSAGE_ID)) as answers,
        ):
            for answer, identifier in answers:
                if reading.ends_with(answer.get("Status"), identifier):
                    break
                if identifier is None:
                    continue  # pynetdicom 3.0 holds the association's lock while it hands out such an answer
                association.dimse_timeout = reading.wait_s()
                if reading.full and not cancelled:
                    association.send_c_cancel(_MESSAGE_ID, query_model=FIND_MODEL)
                    cancelled = True
    except RuntimeError:  # pynetdicom's word for an association that ended
        reading.trouble = TransferBroken(f"{peer_name} ended the association during {what}")
    return reading.found()


class _Reading:
    """The answers to one C-FIND as they come in."""

    def __init__(self, peer_name: str, what: str, limit: TimeLimit, at_most: int) -> None:
        self._peer_name = peer_name
        self._what = what
        self._limit = limit
        self._at_most = at_most
        self._matches: list[Dataset] = []
        self._unreadable = 0
        self._beyond: TimeLimit | None = None
        self.trouble: DeliveryError | None = TransferBroken(f"{peer_name} did not end its answer to {what}")

    @property
    def full(self) -> bool:
        """Whether there was one more than is wanted."""
        return self._beyond is not None

    def ends_with(self, status: int | None, identifier: Dataset | None) -> bool:
        """Take an answer; tell whether nothing more is to be read."""
        if status not in _PENDING:
            self.trouble = self._said(status)
            return True
        if self._beyond is not None:
            return self._beyond.over  # it goes on regardless of the cancel
        if self._limit.wait_s() <= _SHORTEST_S:
            self.trouble = self._late()
            return True
        if len(self._matches) + self._unreadable >= self._at_most:
            self._beyond = TimeLimit(GRACE_S)
        elif identifier is None:
            self._unreadable += 1
        else:
            self._matches.append(identifier)
        return False

    def wait_s(self) -> float:
        """Return how long the next answer may take."""
        return GRACE_S if self.full else self._limit.wait_s()

    def found(self) -> Found:
        """Return what was read."""
        trouble = None if self.full else self.trouble
        return Found(tuple(self._matches), self._unreadable, self.full, trouble)

    def _said(self, status: int | None) -> DeliveryError | None:
        if status == 0x0000:
            return None
        if status == _CANCELLED or (status is None and self._limit.over):
            return self._late()
        if status is None:
            return TransferBroken(f"{self._peer_name} gave no legible answer to {self._what}")
        return PeerRefused(f"{self._peer_name} answered {self._what} with 0x{status:04X}", int(status))

    def _late(self) -> TransferBroken:
        return TransferBroken(out_of_time(self._peer_name, self._what))


def out_of_time(peer_name: str, what: str) -> str:
    """Return the words for a request that took too long."""
    return f"{peer_name} did not answer {what} within the time that the settings allow"
