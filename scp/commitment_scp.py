"""Storage commitment at the listener: senders ask (PS3.4 J.3.2), peers report (J.3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset

from config import CommitmentRule, PeerSettings, Settings
from core.errors import SpoolError
from core.log import get_logger
from custody.doorbell import ring
from custody.ledger import Ledger, commitment_requests
from custody.ledger.reception import Caller
from scp import commitment_wire as wire
from scp import status
from scp.commitment_reports import ANSWER_BELL, ReportTaker
from scp.negotiation import NO_SOURCE, forbid_storage, offer_commitment


class CommitmentService:
    """Takes requests and reports that come on associations which others open.

    Parameters
    ----------
    settings
        Who may ask and who may report.
    ledger, node
        Where requests are recorded, and of which node they are made.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, node: str, now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._node = node
        self._now = now
        self._reports = ReportTaker(settings, ledger, now)
        self._peers: WeakKeyDictionary[Any, PeerSettings] = WeakKeyDictionary()

    def offer(self, association: Any, caller: Caller, peer: object) -> None:
        """Let an admitted caller do what it may; to be called before the association is negotiated."""
        reports = isinstance(peer, PeerSettings)
        if isinstance(peer, PeerSettings):
            self._peers[association] = peer
        offer_commitment(association, may_ask=self._may_ask(caller), may_report=reports)
        if caller.source == NO_SOURCE:
            forbid_storage(association)

    def answer(self, event: Any, caller: Caller, kind: str) -> Dataset:
        """Answer a request (``action``) or a report (``report``) of an admitted caller."""
        if kind == "action":
            return self._take_request(event, caller)
        peer = self._peers.get(event.assoc)
        if peer is None:
            return status.response(wire.NOT_AUTHORISED, "not a peer that was asked for commitment")
        return status.response(self._reports.take(event, peer.name))

    def _may_ask(self, caller: Caller) -> bool:
        source = self._settings.source(caller.source)
        return source is not None and source.storage_commitment is not CommitmentRule.OFF

    def _take_request(self, event: Any, caller: Caller) -> Dataset:
        """Record a request; only then it is answered with success."""
        log = get_logger(calling_ae_title=caller.calling_ae_title, address=caller.address)
        try:
            transaction_uid, items = self._read(event, caller)
            if not commitment_requests.enter(
                self._ledger, caller, self._node, transaction_uid, items, self._now()
            ):
                raise wire.Malformed("Transaction UID is in use", wire.TRANSACTION_UID_IN_USE)
        except wire.Malformed as error:
            log.warning("commitment_request_refused", reason=str(error), status=f"0x{error.status:04X}")
            return status.response(error.status, str(error))
        except SpoolError as error:
            log.warning("commitment_request_refused", reason=str(error))
            return status.response(wire.RESOURCE_LIMITATION, "cannot be recorded now")
        except Exception as error:
            log.error("commitment_request_broke", exc_info=True)
            return status.response(wire.PROCESSING_FAILED, f"internal error: {type(error).__name__}")
        log.info("commitment_requested", transaction=transaction_uid, instances=len(items))
        ring(self._settings.node.data_folder, ANSWER_BELL)
        return status.response(status.SUCCESS)

    def _read(self, event: Any, caller: Caller) -> tuple[str, list[commitment_requests.Item]]:
        request = event.request
        if not self._may_ask(caller):
            raise wire.Malformed("no commitment for this source", wire.NOT_AUTHORISED)
        if request.RequestedSOPInstanceUID != wire.PUSH_MODEL_INSTANCE:
            raise wire.Malformed("not the well-known SOP Instance", wire.NO_SUCH_SOP_INSTANCE)
        if request.ActionTypeID != wire.REQUEST_COMMITMENT:
            raise wire.Malformed(f"action type {request.ActionTypeID}", wire.NO_SUCH_ACTION)
        return wire.read_request(wire.information(event, "action"))
