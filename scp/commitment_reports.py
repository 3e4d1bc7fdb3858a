"""Takes what peers report on our requests for commitment, on whichever association it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from config import Settings
from core.errors import SpoolError
from core.log import get_logger
from custody.doorbell import ring
from custody.ledger import Ledger, commitment_reports
from custody.ledger.commitment_reports import Followed, Report
from scp import commitment_wire as wire

#: Name under which those who answer senders listen for the doorbell.
ANSWER_BELL = "commitment-answer"


class ReportTaker:
    """Records reports and answers them.

    Parameters
    ----------
    settings
        When to send again what a peer does not have.
    ledger
        The ledger.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(self, settings: Settings, ledger: Ledger, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._ledger = ledger
        self._now = now

    def take(self, event: Any, peer: str) -> int:
        """Follow an N-EVENT-REPORT of a peer; return the status of the answer.

        A report on a request that this node does not know of is answered with success: nothing is wrong with
        it, and a peer that is told otherwise repeats it for days (PS3.4 J.3.3 leaves the statuses open).
        """
        log = get_logger(peer=peer)
        try:
            report = self._read(event)
            followed = commitment_reports.follow(
                self._ledger,
                peer,
                report,
                resend_at=self._now() + self._settings.delivery.first_retry_s,
                now=self._now(),
            )
        except wire.Malformed as error:
            log.warning("commitment_report_refused", reason=str(error), status=f"0x{error.status:04X}")
            return error.status
        except SpoolError as error:  # the peer keeps the report and comes again
            log.warning("commitment_report_not_recorded", reason=str(error))
            return wire.RESOURCE_LIMITATION
        except Exception:
            log.error("commitment_report_broke", exc_info=True)
            return wire.PROCESSING_FAILED
        self._tell(peer, report, followed)
        return wire.SUCCESS

    def _read(self, event: Any) -> Report:
        request = event.request
        if request.AffectedSOPInstanceUID != wire.PUSH_MODEL_INSTANCE:
            raise wire.Malformed("not the well-known SOP Instance", wire.NO_SUCH_SOP_INSTANCE)
        if request.EventTypeID not in (wire.ALL_COMMITTED, wire.FAILURES_EXIST):
            raise wire.Malformed(f"event type {request.EventTypeID}", wire.NO_SUCH_EVENT_TYPE)
        return wire.read_report(wire.information(event, "event"))

    def _tell(self, peer: str, report: Report, followed: Followed) -> None:
        log = get_logger(peer=peer, transaction=report.transaction_uid)
        if not followed.known:
            log.warning("commitment_report_on_unknown_request")
            return
        log.info(
            "commitment_reported",
            committed=followed.committed,
            sent_again=len(followed.resent),
            given_up=len(followed.given_up),
        )
        for sop_instance_uid, reason in followed.resent.items():
            log.error("commitment_denied", object=sop_instance_uid, reason=reason)
        for sop_instance_uid, reason in followed.given_up.items():
            log.error("commitment_given_up", object=sop_instance_uid, reason=reason)
        if followed.request_id is not None:
            ring(self._settings.node.data_folder, ANSWER_BELL)
