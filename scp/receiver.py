"""The listener: associations in, C-ECHO answered, C-STORE handed to `scp.reception`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from config import PeerSettings, Settings
from core.errors import NodeError
from core.log import get_logger
from core.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from custody.doorbell import ring
from custody.ledger import Ledger, incidents, new_id, reception, switches
from custody.ledger.incidents import IncidentKind
from custody.ledger.prior_waits import PRIORS_SOURCE
from custody.ledger.reception import Caller
from scp import status
from scp.admission import (
    LOCAL_LIMIT_EXCEEDED,
    TEMPORARY_CONGESTION,
    Refused,
    admit,
    reporting_peer,
    sending_peer,
)
from scp.commitment_scp import CommitmentService
from scp.doorway import Doorway
from scp.negotiation import NO_SOURCE, may_bring_images, proposes_commitment
from scp.prior_reception import PriorReception
from scp.reception import Reception, StoreRequest
from scp.transfer_syntaxes import prefer_transfer_syntaxes
from scp.upper_layer import QuietRequestHandler

#: Name under which completion listens for the doorbell.
COMPLETION_BELL = "completion"
#: How often this process says that its associations are alive.
HEARTBEAT_S = 5.0

#: pynetdicom rejects what is beyond its own limit without a word in the log.
_NEVER_REACHED = 100_000


class Receiver:
    """The SCP of the node.

    Parameters
    ----------
    settings
        AE title, port, sources, limits.
    ledger
        Where associations and refusals are recorded.
    taking
        Where data sets go.
    process
        Identity of this process in the ledger.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        taking: Reception,
        process: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._taking = taking
        self._process = process
        self._now = now
        self._commitment = CommitmentService(settings, ledger, taking.node, now)
        self._priors = PriorReception(settings, ledger, process, now)
        self._callers: dict[Any, Caller] = {}
        self._lock = threading.Lock()
        self._server: Any = None
        self._stopped = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="receiver-heart", daemon=True)
        self._listener = threading.Thread(name="listener")

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return int(self._server.socket.getsockname()[1])

    @property
    def alive(self) -> bool:
        """Whether associations are being accepted and recorded."""
        return self._server is not None and self._heart.is_alive() and self._listener.is_alive()

    def start(self) -> None:
        """Bind the port and accept associations in threads of their own.

        Raises
        ------
        OSError
            The port cannot be bound.
        """
        # Switches of pynetdicom are global; this process has no other SCP. The one for "every storage class,
        # private ones too":
        _config.UNRESTRICTED_STORAGE_SERVICE = True
        # It would describe every message for a log in which it may say nothing (`core.log`).
        _config.LOG_HANDLER_LEVEL = "none"
        self._server = self._bound(self._entity())
        self._listener = threading.Thread(target=self._server.serve_forever, name="listener", daemon=True)
        self._listener.start()
        self._heart.start()
        get_logger().info("listening", ae_title=self._settings.node.ae_title, port=self.port)

    def _entity(self) -> AE:
        limits = self._settings.reception
        entity = AE(ae_title=self._settings.node.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = limits.max_pdu_bytes
        entity.maximum_associations = _NEVER_REACHED  # ours are checked first, with a log line
        entity.acse_timeout = 30
        entity.dimse_timeout = limits.idle_association_s
        entity.network_timeout = limits.idle_association_s
        entity.add_supported_context(Verification)
        return entity

    def _bound(self, entity: AE) -> Any:
        node = self._settings.node
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._on_commitment, ["action"]),
            (evt.EVT_N_EVENT_REPORT, self._on_commitment, ["report"]),
            (evt.EVT_RELEASED, self._on_closed, ["released"]),
            (evt.EVT_ABORTED, self._on_closed, ["aborted"]),
            (evt.EVT_CONN_CLOSE, self._on_closed, ["lost"]),
        ]
        try:
            server: Any = entity.make_server(
                (node.listen, node.port),
                server_class=Doorway,
                evt_handlers=handlers,
                request_handler=QuietRequestHandler,
            )
        except OSError as error:
            what = f"cannot listen on {node.listen} port {node.port}: {error.strerror or error}"
            raise OSError(error.errno, what) from None
        server.guard(self._settings, self._on_over_limit)
        return server

    def stop(self, patience_s: float = 10.0) -> None:
        """Accept no more associations, let the open ones end for a while, then abort them."""
        self._stopped.set()
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()  # closes the listening socket; open associations go on
        deadline = time.monotonic() + patience_s
        while self._callers and time.monotonic() < deadline:
            time.sleep(0.05)
        for association in list(self._callers):
            association.abort()
        while self._callers and time.monotonic() < deadline + 2:
            time.sleep(0.05)

    def _on_requested(self, event: Any) -> None:
        """Admit or reject. Whatever goes wrong here must end in a rejection: pynetdicom would go on."""
        association = event.assoc
        try:
            decision = self._decide(association)
        except Exception:  # noqa: BLE001 - pynetdicom swallows it and would accept the caller
            get_logger().error("admission_failed", exc_info=True)
            with self._lock:
                self._callers.pop(association, None)
            decision = LOCAL_LIMIT_EXCEEDED
        if isinstance(decision, tuple):
            association.acse.send_reject(*decision)
            evt.trigger(association, evt.EVT_REJECTED, {})
            association.kill()

    def _decide(self, association: Any) -> tuple[int, int, int] | None:
        """Return the rejection, or None where the caller was admitted and recorded."""
        request = association.requestor.primitive
        calling = str(request.calling_ae_title).strip()
        called = str(request.called_ae_title).strip()
        address = str(association.requestor.address)
        decision = admit(self._settings, calling, called, address)
        # Who wants something else is told how to become a source.
        asks = proposes_commitment(request.presentation_context_definition_list)
        peer = reporting_peer(self._settings, calling, called, address) if asks else None
        # So may a PACS bring what this node asked it for.
        refusal = isinstance(decision, Refused)
        brings = sending_peer(self._settings, calling, called, address) if refusal else None
        if isinstance(decision, Refused) and not any(isinstance(one, PeerSettings) for one in (peer, brings)):
            refused = peer if isinstance(peer, Refused) else brings
            refused = refused if isinstance(refused, Refused) else decision
            self._refuse(calling, address, refused)
            return refused.rejection
        # A peer that is no source may report on commitment, and nothing else; so may any while draining.
        draining = switches.is_on(self._ledger, switches.DRAINING)
        is_sender = not isinstance(decision, Refused) or isinstance(brings, PeerSettings)
        reports_only = not is_sender or (draining and isinstance(peer, PeerSettings))
        own = PRIORS_SOURCE if isinstance(decision, Refused) else decision.name
        source = NO_SOURCE if reports_only else own
        if draining and not reports_only:
            get_logger().info("association_refused_while_draining", calling_ae_title=calling, address=address)
            return TEMPORARY_CONGESTION
        caller = Caller(new_id(), source, calling, address)
        limit = self._take_place(association, caller)
        if limit is not None:
            get_logger().warning("association_over_limit", calling_ae_title=calling, reason=limit)
            self._note(f"{calling}@{address}", limit)
            return LOCAL_LIMIT_EXCEEDED
        if may_bring_images(request.presentation_context_definition_list, caller.source):
            reception.open_association(self._ledger, caller, self._process, self._now())
        prefer_transfer_syntaxes(request.presentation_context_definition_list)
        self._commitment.offer(association, caller, peer)
        return None

    def _refuse(self, calling: str, address: str, refused: Refused) -> None:
        get_logger().warning(
            IncidentKind.ASSOCIATION_REFUSED.value,
            calling_ae_title=calling,
            address=address,
            reason=refused.reason,
            to_admit=refused.to_admit,
        )
        self._note(f"{calling}@{address}", f"{refused.reason}. To admit it: {refused.to_admit}")

    def _take_place(self, association: Any, caller: Caller) -> str | None:
        """Count the association in; return the limit where there is no place. Requests come in parallel."""
        limits = self._settings.reception
        with self._lock:
            everyone = len(self._callers)
            calling = caller.calling_ae_title
            of_caller = sum(other.calling_ae_title == calling for other in self._callers.values())
            if everyone >= limits.max_associations:
                return f"{everyone} associations are open, the limit is reception.max_associations"
            if of_caller >= limits.max_associations_per_caller:
                return (
                    f"{of_caller} associations of it are open, "
                    "the limit is reception.max_associations_per_caller"
                )
            self._callers[association] = caller
        return None

    def _on_over_limit(self, address: str, reason: str) -> None:
        """Tell of a connection that was closed before it could say who it is."""
        get_logger().warning("association_over_limit", address=address, reason=reason)
        try:
            self._note(address, reason)
        except Exception:  # noqa: BLE001 - border: the listener must not end because the ledger is busy
            get_logger().error("admission_failed", exc_info=True)

    def _on_echo(self, event: Any) -> int:
        with self._lock:
            admitted = event.assoc in self._callers
        return status.SUCCESS if admitted else status.REFUSED_NOT_AUTHORIZED

    def _on_commitment(self, event: Any, kind: str) -> tuple[Dataset, None]:
        with self._lock:
            caller = self._callers.get(event.assoc)
        if caller is None:
            return status.response(status.REFUSED_NOT_AUTHORIZED, "no association was admitted"), None
        return self._commitment.answer(event, caller, kind), None

    def _on_store(self, event: Any) -> Dataset | int:
        with self._lock:
            caller = self._callers.get(event.assoc)
        if caller is None or caller.source == NO_SOURCE:
            return status.response(status.REFUSED_NOT_AUTHORIZED, "no association was admitted")
        try:
            request = _store_request(event)
            keeper = self._priors.caller_of(event.assoc, caller, request)
            if keeper is None:
                _log(caller).warning("instance_not_asked_for")
                return status.response(status.REFUSED_NOT_AUTHORIZED, "this series was not asked for")
            self._taking.take(request, keeper)
        except NodeError as error:
            code = status.status_of(error)
            _log(caller).warning("instance_refused", status=f"0x{code:04X}", reason=str(error))
            return status.response(code, str(error))
        except Exception as error:
            log = _log(caller)
            log.error("instance_failed", exc_info=True)
            return status.response(status.OUT_OF_RESOURCES, f"internal error: {type(error).__name__}")
        return status.SUCCESS

    def _on_closed(self, event: Any, ended: str) -> None:
        with self._lock:
            caller = self._callers.pop(event.assoc, None)
        if caller is None:
            return
        if ended == "lost" and event.assoc._sent_release:
            # The peer closed at once on our answer, before pynetdicom's thread came to say that it released.
            ended = "released"
        self._priors.closed(event.assoc, ended)
        reception.close_association(self._ledger, caller.association_id, ended, self._now())
        ring(self._settings.node.data_folder, COMPLETION_BELL)

    def _note(self, subject: str, reason: str) -> None:
        with self._ledger.write() as connection:
            incidents.note(connection, IncidentKind.ASSOCIATION_REFUSED, subject, reason, self._now())

    def _beat(self) -> None:
        """Keep the open associations' rows alive, and close those whose thread is gone."""
        while not self._stopped.wait(HEARTBEAT_S):
            try:
                with self._lock:
                    gone = [one for one in self._callers if not one.is_alive()]
                    lost = [self._callers.pop(one) for one in gone]
                    open_now = [caller.association_id for caller in self._callers.values()]
                for association in gone:
                    self._priors.closed(association, "lost")
                open_now += self._priors.open_now()
                for caller in lost:
                    reception.close_association(self._ledger, caller.association_id, "lost", self._now())
                reception.heartbeat_associations(self._ledger, open_now, self._now())
            except Exception:  # noqa: BLE001 - border: a failed heartbeat must not end the heart
                get_logger().error("heartbeat_failed", exc_info=True)


def _log(caller: Caller) -> Any:
    return get_logger(calling_ae_title=caller.calling_ae_title, address=caller.address)


def _store_request(event: Any) -> StoreRequest:
    request = event.request
    stream = request.DataSet if request.DataSet is not None else BytesIO()
    originator = request.MoveOriginatorApplicationEntityTitle
    return StoreRequest(
        data=stream.getbuffer(),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        move_originator_ae_title=str(originator).strip() if originator else None,
        move_originator_message_id=request.MoveOriginatorMessageID,
    )
