"""Asks a peer to take responsibility for the results that it got (PS3.4 Annex J, as SCU)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from config import DimsePeerSettings, Settings
from core.errors import DeliveryError, PeerRefused, PeerUnreachable
from core.log import get_logger
from custody.ledger import Ledger, commitments, incidents
from custody.ledger.commitment_requests import Item
from custody.ledger.incidents import IncidentKind
from scp import commitment_wire as wire
from scp.commitment_reports import ReportTaker
from scp.requestor import open_association

#: A request whose process died is made again after so long.
LEASE_S = 600.0
#: For so long the association is held open for a peer that reports on the same one.
REPORT_WAIT_S = 5.0
_LOOK_S = 0.05

_WORDS = {
    0x0110: "processing failure",
    0x0112: "it has no Storage Commitment Push Model SOP Instance",
    0x0118: "it does not know the SOP Class",
    0x0122: "it does not support the SOP Class",
    0x0123: "it does not know the action",
    0x0124: "not authorised",
    0x0131: "it takes the Transaction UID for one in use",
    0x0211: "unrecognised operation",
    0x0213: "resource limitation",
}


def lane_name(peer_name: str) -> str:
    """Return the name of the thread that asks a peer."""
    return f"commitment-{peer_name}"


def wait_s(settings: Settings, attempt: int) -> float:
    """Return how long to wait after a failed attempt: it doubles up to the longest."""
    rules = settings.delivery
    return float(min(rules.first_retry_s * 2.0 ** min(attempt - 1, 30), rules.longest_retry_s))


@contextmanager
def ask(
    settings: Settings,
    peer: DimsePeerSettings,
    reports: ReportTaker,
    transaction_uid: str,
    items: Sequence[Item],
) -> Iterator[Any]:
    """Make a request; the block runs once the peer has taken it, with the association still open.

    A report on the same association is taken as long as it is open.

    Raises
    ------
    PeerUnreachable
        No association, or no answer.
    PeerRefused
        The peer does not take such requests, or not this one.
    """
    answers = _Answers()

    def take(event: Any) -> tuple[int, None]:
        answers.owed()
        return reports.take(event, peer.name), None

    handlers = [(evt.EVT_N_EVENT_REPORT, take)]
    # With Verification beside it the association stands even where the peer knows no commitment, and the
    # reason can be told from others.
    contexts = wire.CONTEXTS + [(str(Verification), transfer) for _, transfer in wire.CONTEXTS]
    with open_association(settings, peer, contexts, handlers=handlers) as association:
        if wire.PUSH_MODEL not in [one.abstract_syntax for one in association.accepted_contexts]:
            calling = peer.calling_ae_title or settings.node.ae_title
            raise PeerRefused(
                f"{peer.name} does not accept requests for storage commitment: enable them there for "
                f'"{calling}", or set storage_commitment = false in its [[peers]] block'
            )
        _serve_early_reports(association)
        answers.watch(association)
        action = wire.request(transaction_uid, items)
        try:
            answer, _ = association.send_n_action(
                action, wire.REQUEST_COMMITMENT, wire.PUSH_MODEL, wire.PUSH_MODEL_INSTANCE
            )
        except RuntimeError:  # pynetdicom's word for an association that ended
            raise PeerUnreachable(f"{peer.name} ended the association before the request") from None
        if "Status" not in answer:
            raise PeerUnreachable(f"{peer.name} gave no answer to the request for commitment")
        status = int(answer.Status)
        if not wire.is_success(status):
            comment = str(answer.get("ErrorComment", "")).strip()
            words = "; ".join(one for one in (_WORDS.get(status, ""), comment) if one)
            raise PeerRefused(
                f"{peer.name} answered the request for commitment with 0x{status:04X}"
                f"{f' ({words})' if words else ''}",
                status,
            )
        try:
            yield association
        finally:
            answers.wait(float(association.dimse_timeout or REPORT_WAIT_S))


class _Answers:
    """Knows whether a report on this association still waits for its answer.

    pynetdicom lets an association be released while a report on it is being recorded; the answer that follows
    would then break its state machine, and the peer would never hear that its report arrived.
    """

    def __init__(self) -> None:
        self._given = threading.Event()
        self._given.set()

    def owed(self) -> None:
        """Note that a report came."""
        self._given.clear()

    def watch(self, association: Any) -> None:
        """Find out from an association when answers have been handed over for sending."""
        plain = association.dimse.send_msg

        def send_msg(primitive: Any, context_id: int) -> None:
            try:
                plain(primitive, context_id)
            finally:
                if isinstance(primitive, N_EVENT_REPORT):
                    self._given.set()

        association.dimse.send_msg = send_msg

    def wait(self, longest_s: float) -> None:
        """Wait until no answer is owed."""
        self._given.wait(longest_s)


def _serve_early_reports(association: Any) -> None:
    """Take a report that comes before the answer to the request: pynetdicom would mistake it for that."""
    plain = association.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        while True:
            context_id, message = plain(block)
            early = block and isinstance(message, N_EVENT_REPORT) and message.is_valid_request
            if not early:
                return context_id, message
            association._serve_request(message, context_id)

    association.dimse.get_msg = get_msg


def hold_open(association: Any, reported: Callable[[], bool], longest_s: float = REPORT_WAIT_S) -> None:
    """Hold an association open for a peer that reports on the same one; a report on another ends that too."""
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline and association.is_established and not reported():
        time.sleep(_LOOK_S)


class CommitmentAsker:
    """Makes the requests to one peer.

    Parameters
    ----------
    settings
        The node's; retry times and own AE title.
    peer
        Whom to ask.
    ledger
        The ledger.
    owner
        Identity of this process in claims.
    now
        Clock, seconds since 1970 UTC.
    report_wait_s
        How long to wait for a report on the same association.
    """

    def __init__(
        self,
        settings: Settings,
        peer: DimsePeerSettings,
        ledger: Ledger,
        owner: str,
        now: Callable[[], float] = time.time,
        report_wait_s: float = REPORT_WAIT_S,
    ) -> None:
        self._settings = settings
        self._peer = peer
        self._ledger = ledger
        self._owner = owner
        self._now = now
        self._report_wait_s = report_wait_s
        self._reports = ReportTaker(settings, ledger, now)

    def step(self) -> int:
        """Ask for the objects of one job that are due; return for how many."""
        self._give_up()
        asking = commitments.claim(
            self._ledger, self._peer.name, self._owner, lease_s=LEASE_S, now=self._now()
        )
        if asking is None:
            return 0
        log = get_logger(peer=self._peer.name, transaction=asking.transaction_uid)
        try:
            with ask(
                self._settings, self._peer, self._reports, asking.transaction_uid, asking.items
            ) as association:
                report_by = self._now() + self._settings.delivery.commitment_wait_s
                commitments.taken(self._ledger, asking, report_by)
                log.info("commitment_asked", objects=len(asking.items), attempt=asking.attempt)
                hold_open(
                    association,
                    lambda: not commitments.is_awaited(self._ledger, asking.transaction_uid),
                    self._report_wait_s,
                )
        except DeliveryError as error:
            self._ask_again(asking, str(error))
        except Exception as error:
            log.error("commitment_broke", exc_info=True)
            self._ask_again(asking, f"internal error: {type(error).__name__}")
        return len(asking.items)

    def _ask_again(self, asking: commitments.Asking, reason: str) -> None:
        get_logger(peer=self._peer.name).warning(
            "commitment_not_asked", attempt=asking.attempt, reason=reason
        )
        due_at = self._now() + wait_s(self._settings, asking.attempt)
        commitments.ask_again(self._ledger, asking, reason, due_at)

    def _give_up(self) -> None:
        """Tell loudly of what nobody will commit to."""
        since = self._now() - self._settings.delivery.give_up_after_days * 86400
        ended = commitments.give_up(self._ledger, self._peer.name, asked_since=since, now=self._now())
        for one in ended:
            get_logger(peer=self._peer.name, object=one.sop_instance_uid).error(
                "commitment_given_up", reason=one.reason
            )
            with self._ledger.write() as connection:
                subject = f"{self._peer.name}: {one.sop_instance_uid}"
                incidents.note(connection, IncidentKind.COMMITMENT_GIVEN_UP, subject, one.reason, self._now())
