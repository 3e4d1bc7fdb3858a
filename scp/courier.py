"""Results out: C-STORE SCU, one lane for each peer, retried with backoff; the ledger holds every state."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config

from config import PatientRule, PeerSettings, Settings
from core.errors import PeerRefused, PeerUnreachable
from core.log import get_logger
from custody.doorbell import ring
from custody.ledger import Ledger, deliveries, incidents
from custody.ledger.deliveries import Attempted, DueDelivery, StoredObject
from custody.ledger.incidents import IncidentKind
from custody.ledger.states import DeliveryState
from scp.encodings import Choice, choose_encodings
from scp.patient_check import why_to_hold
from scp.requestor import open_association
from scp.status import Verdict, verdict_of

#: A lane whose process died is taken over after so long.
LEASE_S = 600.0


def lane_name(peer_name: str) -> str:
    """Return the name under which the lane of a peer listens for the doorbell."""
    return f"courier-{peer_name}"


def ring_lanes(settings: Settings) -> None:
    """Wake the lane of every peer: there are new deliveries."""
    for peer in settings.peers:
        ring(settings.node.data_folder, lane_name(peer.name))


class Courier:
    """Sends what is due to one peer.

    Parameters
    ----------
    settings
        The node's; retry times and own AE title.
    peer
        The destination.
    ledger
        The ledger.
    owner
        Identity of this process in claims.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(
        self,
        settings: Settings,
        peer: PeerSettings,
        ledger: Ledger,
        owner: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._peer = peer
        self._ledger = ledger
        self._owner = owner
        self._now = now
        # The stored bytes are sent as they are, not decoded and encoded again; the switch is global.
        _config.STORE_SEND_CHUNKED_DATASET = True

    def step(self) -> int:
        """Send the objects of one job that are due; return how many were attempted."""
        due = deliveries.claim_for_peer(
            self._ledger, self._peer.name, self._owner, lease_s=LEASE_S, now=self._now()
        )
        if not due:
            return 0
        held = self._held(due)
        outcomes = held or self._send(due)
        deliveries.record(self._ledger, outcomes, self._now())
        for outcome in outcomes:
            log = get_logger(peer=self._peer.name, object=outcome.sent.sop_instance_uid)
            if outcome.state is DeliveryState.DELIVERED:
                note = {"note": outcome.reason} if outcome.reason else {}
                log.info("result_delivered", attempt=outcome.due.attempt, **note)
            elif outcome.state is DeliveryState.FAILED:
                self._tell(IncidentKind.DELIVERY_GIVEN_UP, outcome, outcome.sent.sop_instance_uid)
            elif outcome.state is DeliveryState.LEFT_OUT:
                self._tell(IncidentKind.OBJECT_LEFT_OUT, outcome, outcome.sent.kind)
            else:
                log.warning("result_not_delivered", attempt=outcome.due.attempt, reason=outcome.reason)
        return len(due)

    def _tell(self, kind: IncidentKind, outcome: Attempted, subject: str) -> None:
        """Tell loudly that a result will not arrive: nobody waits for ever without knowing."""
        reason = outcome.reason or ""
        log = get_logger(peer=self._peer.name, object=outcome.sent.sop_instance_uid)
        (log.error if kind is IncidentKind.DELIVERY_GIVEN_UP else log.warning)(kind.value, reason=reason)
        with self._ledger.write() as connection:
            incidents.note(connection, kind, f"{self._peer.name}: {subject}", reason, self._now())

    def _held(self, due: Sequence[DueDelivery]) -> list[Attempted]:
        """Hold everything back where the peer has to be asked for the patient and does not confirm it."""
        if self._peer.check_patient is PatientRule.OFF:
            return []
        try:
            reason = why_to_hold(self._settings, self._peer, due[0].object.path)
        except (PeerUnreachable, PeerRefused) as error:
            return [self._failure(one, one.object, str(error), None) for one in due]
        except (OSError, InvalidDicomError, ValueError, AttributeError, KeyError):
            return []  # sending finds the damage too, object by object
        if reason is None:
            return []
        with self._ledger.write() as connection:
            subject = f"{self._peer.name}: {due[0].object.sop_instance_uid}"
            incidents.note(connection, IncidentKind.PATIENT_DIFFERS, subject, reason, self._now())
        return [self._failure(one, one.object, reason, None) for one in due]

    def _send(self, due: Sequence[DueDelivery]) -> list[Attempted]:
        outcomes: list[Attempted] = []
        offered = deliveries.objects_for_peer(self._ledger, due[0].job_id, self._peer.name)
        try:
            with open_association(self._settings, self._peer, self._contexts(offered)) as association:
                accepted = {str(one.abstract_syntax) for one in association.accepted_contexts}
                for choice in choose_encodings(due, offered, self._peer.form, accepted):
                    outcomes.append(self._send_one(association, choice))
        except PeerUnreachable as error:
            left = due[len(outcomes) :]
            outcomes += [self._failure(one, one.object, str(error), None) for one in left]
        return outcomes

    def _contexts(self, offered: Sequence[StoredObject]) -> list[tuple[str, str]]:
        deflated = (DeflatedExplicitVRLittleEndian,) if self._peer.deflated else ()
        return [
            (sop_class, transfer)
            for sop_class in dict.fromkeys(one.sop_class_uid for one in offered)
            for transfer in (*deflated, ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        ]

    def _send_one(self, association: Any, choice: Choice) -> Attempted:
        due, sent = choice.due, choice.object
        if not choice.accepted:
            # An association stands only where at least one context was accepted: the peer takes results, and
            # this kind of them it does not take in any encoding.
            return Attempted(due, sent, DeliveryState.LEFT_OUT, choice.note, None, self._now())
        try:
            status = _store(association, self._peer, sent)
        except PeerRefused as error:
            return self._failure(due, sent, str(error), error.status)
        except (OSError, InvalidDicomError, ValueError, AttributeError, KeyError) as error:
            # The file is gone or damaged. One such object must not hold up the lane of its peer.
            return self._failure(due, sent, f"{sent.path} cannot be sent ({type(error).__name__})", None)
        return Attempted(due, sent, DeliveryState.DELIVERED, choice.note or None, status, self._now())

    def _failure(self, due: DueDelivery, sent: StoredObject, reason: str, status: int | None) -> Attempted:
        """Plan the next attempt: the wait doubles each time, up to the longest, for as many days as set."""
        rules = self._settings.delivery
        wait_s = min(rules.first_retry_s * 2.0 ** min(due.attempt - 1, 30), rules.longest_retry_s)
        too_old = self._now() - due.created_at > rules.give_up_after_days * 86400
        state = DeliveryState.FAILED if too_old else DeliveryState.DUE
        return Attempted(due, sent, state, reason, status, self._now() + wait_s)


def _store(association: Any, peer: PeerSettings, sent: StoredObject) -> int:
    """Send one object; return its status if the peer has it now, raise otherwise."""
    if not association.is_established:
        raise PeerUnreachable(f"{peer.name} ended the association in the middle of the transfer")
    accepted = {
        str(context.transfer_syntax[0])
        for context in association.accepted_contexts
        if context.abstract_syntax == sent.sop_class_uid
    }
    try:
        answer = association.send_c_store(_payload(sent.path, accepted))
    except RuntimeError:  # pynetdicom's word for an association that ended since the check above
        raise PeerUnreachable(f"{peer.name} ended the association in the middle of the transfer") from None
    if "Status" not in answer:
        raise PeerUnreachable(f"{peer.name} gave no answer to C-STORE")
    status = int(answer.Status)
    if verdict_of(status) is not Verdict.DELIVERED:
        comment = str(answer.get("ErrorComment", "")).strip()
        raise PeerRefused(f"{peer.name} answered 0x{status:04X}{f' ({comment})' if comment else ''}", status)
    return status


def _payload(path: Path, accepted: Collection[str]) -> Any:
    """Return the object in the best transfer syntax that the peer accepted for it.

    Deflated is accepted only where it was proposed. Implicit VR is what is left where neither of the others
    is; the library encodes the object for that context.
    """
    if str(DeflatedExplicitVRLittleEndian) in accepted:
        result = dcmread(path)
        result.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        return result
    return path if str(ExplicitVRLittleEndian) in accepted else dcmread(path)
