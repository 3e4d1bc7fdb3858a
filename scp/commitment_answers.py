"""Answers senders that asked for storage commitment: decided, recorded, then told until they hear it."""

from __future__ import annotations

import time
from collections.abc import Callable

from config import CommitmentRule, DimsePeerSettings, Settings, SourceSettings
from core.errors import DeliveryError, PeerRefused, PeerUnreachable
from core.log import get_logger
from custody.ledger import Ledger, commitment_requests
from custody.ledger.commitment_reports import COMMITTED, PROCESSING_FAILURE
from custody.ledger.commitment_requests import ClaimedRequest
from scp import commitment_wire as wire
from scp.commitment_verdict import Judge, Verdict
from scp.requestor import open_association

#: A request whose process died is taken over after so long.
LEASE_S = 600.0
#: Requests that ended are remembered for so long; what this node promised is kept with the series.
REMEMBERED_S = 7 * 86400.0


class CommitmentDesk:
    """Works off the requests that were made of this node.

    Parameters
    ----------
    settings, ledger
        Who vouches for which source's images; the requests.
    node, owner
        Whose files are here; identity of this process in claims.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        node: str,
        owner: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._node = node
        self._owner = owner
        self._now = now
        self._judge = Judge(settings, ledger, node, now)

    def step(self) -> int:
        """Decide or answer the request that has been due for longest; return how many there were."""
        claimed = commitment_requests.claim(
            self._ledger, self._node, self._owner, lease_s=LEASE_S, now=self._now()
        )
        if claimed is None:
            commitment_requests.forget_ended(self._ledger, self._now() - REMEMBERED_S)
            return 0
        try:
            if claimed.decided_at is None:
                self._decide(claimed)
            else:
                self._answer(claimed)
        except Exception as error:  # noqa: BLE001 - border: one request must not hold up the others
            get_logger().error("commitment_answer_broke", exc_info=True)
            self._wait(claimed, f"internal error: {type(error).__name__}")
        return 1

    def _decide(self, claimed: ClaimedRequest) -> None:
        verdict = self._verdict(claimed)
        patience_s = self._settings.reception.commitment_answer_within_s
        if verdict.may_change and self._now() - claimed.requested_at < patience_s:
            self._wait(claimed, verdict.may_change)
            return
        if not commitment_requests.decide(self._ledger, claimed, verdict.outcome, verdict.held, self._now()):
            self._wait(claimed, "something was deleted while it was looked at")
            return
        log = get_logger(calling_ae_title=claimed.calling_ae_title, transaction=claimed.transaction_uid)
        committed = sum(reason == COMMITTED for reason in verdict.outcome.values())
        failed = sorted({f"0x{reason:04X}" for reason in verdict.outcome.values() if reason != COMMITTED})
        log.info("commitment_decided", committed=committed, instances=len(claimed.items), reasons=failed)
        # Due at once, so the next step tells the sender.
        commitment_requests.wait(self._ledger, claimed, None, self._now())

    def _verdict(self, claimed: ClaimedRequest) -> Verdict:
        """Ask whoever vouches by the settings as they are now; nobody where the source is gone or off."""
        source = self._settings.source(claimed.source)
        if source is not None and source.storage_commitment is CommitmentRule.HERE:
            return self._judge.kept_here(claimed)
        name = source.archive if source is not None else None
        archive = next((peer for peer in self._settings.dimse_peers if peer.name == name), None)
        if source is not None and source.storage_commitment is CommitmentRule.ARCHIVE and archive is not None:
            return self._judge.archived(claimed, archive)
        return Verdict(dict.fromkeys((uid for _, uid in claimed.items), PROCESSING_FAILURE))

    def _answer(self, claimed: ClaimedRequest) -> None:
        try:
            self._report(claimed, self._caller(claimed))
        except DeliveryError as error:
            reason = str(error)
            days = self._settings.delivery.give_up_after_days
            if self._now() - (claimed.decided_at or 0.0) > days * 86400:
                get_logger(calling_ae_title=claimed.calling_ae_title).error(
                    "commitment_unanswered", reason=reason
                )
                commitment_requests.give_up(self._ledger, claimed, reason, self._now())
            else:
                self._wait(claimed, reason)
            return
        commitment_requests.answered(self._ledger, claimed, self._now())
        get_logger(calling_ae_title=claimed.calling_ae_title).info(
            "commitment_answered", transaction=claimed.transaction_uid, attempt=claimed.attempt
        )

    def _caller(self, claimed: ClaimedRequest) -> DimsePeerSettings:
        """Return where the sender listens for the report.

        Raises
        ------
        PeerUnreachable
            Nobody said on which port.
        """
        title = claimed.calling_ae_title
        source = self._settings.source(claimed.source)
        peer = next((peer for peer in self._settings.dimse_peers if peer.ae_title == title), None)
        port = _first(source.commitment_port if source else None, peer.port if peer else None)
        if port is None:
            raise PeerUnreachable(
                f'it is not known on which port "{title}" listens: commitment_port in its source, or a '
                f'[[peers]] block with ae_title = "{title}"'
            )
        return DimsePeerSettings(
            name=claimed.source if peer is None else peer.name,
            ae_title=title,
            host=self._host(source, peer) or claimed.address,
            port=port,
            calling_ae_title=peer.calling_ae_title if peer else None,
        )

    @staticmethod
    def _host(source: SourceSettings | None, peer: DimsePeerSettings | None) -> str | None:
        if source is not None and source.commitment_host is not None:
            return source.commitment_host
        # A port of the source's own is meant for the address that asked.
        return peer.host if peer is not None and (source is None or source.commitment_port is None) else None

    def _report(self, claimed: ClaimedRequest, caller: DimsePeerSettings) -> None:
        """Call the sender and report (PS3.4 J.3.3), as SCP of the class.

        Raises
        ------
        PeerUnreachable
            No association, or no answer.
        PeerRefused
            It does not take reports, or not this one.
        """
        event_type, event = wire.report(claimed.transaction_uid, claimed.items, claimed.outcome or {})
        with open_association(
            self._settings, caller, wire.CONTEXTS, as_scp_of=[wire.PUSH_MODEL]
        ) as association:
            if not any(one.as_scp for one in association.accepted_contexts):
                raise PeerRefused(
                    f"{caller.name} does not let this node report (role selection, PS3.7 D.3.3.4): it has to "
                    "accept an SCP of the Storage Commitment Push Model that calls"
                )
            try:
                answer, _ = association.send_n_event_report(
                    event, event_type, wire.PUSH_MODEL, wire.PUSH_MODEL_INSTANCE
                )
            except RuntimeError:  # pynetdicom's word for an association that ended
                raise PeerUnreachable(f"{caller.name} ended the association before the report") from None
            if "Status" not in answer:
                raise PeerUnreachable(f"{caller.name} gave no answer to the report")
            if not wire.is_success(int(answer.Status)):
                raise PeerRefused(
                    f"{caller.name} answered the report with 0x{answer.Status:04X}", int(answer.Status)
                )

    def _wait(self, claimed: ClaimedRequest, reason: str) -> None:
        """Look at it again after as long as it has waited already: the wait doubles, up to the longest."""
        rules, now = self._settings.delivery, self._now()
        began = claimed.requested_at if claimed.decided_at is None else claimed.decided_at
        wait_s = min(max(now - began, rules.first_retry_s), rules.longest_retry_s)
        get_logger(calling_ae_title=claimed.calling_ae_title).warning(
            "commitment_waits", reason=reason, next_look_in_s=round(wait_s)
        )
        commitment_requests.wait(self._ledger, claimed, reason, now + wait_s)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
