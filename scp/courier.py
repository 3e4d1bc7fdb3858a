"""Results out: C-STORE SCU, one lane for each peer, retried with backoff; the ledger holds every state."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config

from config import PatientRule, PeerSettings, Settings
from core.errors import (
    DeliveryError,
    PatientDiffers,
    PeerRefused,
    PeerUnreachable,
    ResultEncodingError,
    SpoolError,
)
from core.log import get_logger
from custody.doorbell import ring
from custody.ledger import Ledger, deliveries, incidents
from custody.ledger.deliveries import Attempted, Corrected, DueDelivery, StoredObject
from custody.ledger.incidents import IncidentKind
from custody.ledger.states import DeliveryState
from scp.encodings import Choice, choose_encodings
from scp.patient_check import filed_otherwise
from scp.requestor import open_association
from scp.status import Verdict, verdict_of

#: A lane whose process died is taken over after so long.
LEASE_S = 600.0


#: From a job and what a peer says of its patient to the job's objects under that patient.
Correction = Callable[[str, Dataset], Corrected]


def lane_name(peer_name: str) -> str:
    """Return the name under which the lane of a peer listens for the doorbell."""
    return f"courier-{peer_name}"


def ring_lanes(settings: Settings) -> None:
    """Wake the lane of every peer: there are new deliveries."""
    for peer in settings.peers:
        ring(settings.node.data_folder, lane_name(peer.name))


def _cannot_correct(_job_id: str, _filed: Dataset) -> Corrected:
    raise ResultEncodingError("Results cannot be corrected here.")


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
    correct
        Makes results of those that are stored, under the identity that the peer gave the patient.
    """

    def __init__(
        self,
        settings: Settings,
        peer: PeerSettings,
        ledger: Ledger,
        owner: str,
        now: Callable[[], float] = time.time,
        correct: Correction = _cannot_correct,
    ) -> None:
        self._settings = settings
        self._peer = peer
        self._ledger = ledger
        self._owner = owner
        self._now = now
        self._correct = correct
        # The stored bytes are sent as they are, not decoded and encoded again; the switch is global.
        _config.STORE_SEND_CHUNKED_DATASET = True

    def step(self) -> int:
        """Send the objects of one job that are due; return how many were attempted."""
        due = deliveries.claim_for_peer(
            self._ledger, self._peer.name, self._owner, lease_s=LEASE_S, now=self._now()
        )
        if not due:
            return 0
        outcomes = self._send(due)
        ask = self._peer.storage_commitment
        deliveries.record(self._ledger, outcomes, self._now(), ask_commitment=ask)
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

    def _send(self, due: Sequence[DueDelivery]) -> list[Attempted]:
        outcomes: list[Attempted] = []
        reason = ""
        try:
            for choice, association in self._choices(due):
                outcomes.append(self._send_one(association, choice))
        except (DeliveryError, SpoolError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - border: a fault must not leave deliveries claimed
            get_logger().error("delivery_broke", peer=self._peer.name, exc_info=True)
            reason = f"internal error: {type(error).__name__}"
        left = due[len(outcomes) :]
        return outcomes + [self._failure(one, one.object, reason, None) for one in left]

    def _choices(self, due: Sequence[DueDelivery]) -> Iterator[tuple[Choice, Any]]:
        """Yield what to do about each delivery of one job, with the association that it may be sent on."""
        job_id, peer = due[0].job_id, self._peer.name
        chosen = self._for_the_right_patient(job_id)
        there = deliveries.delivered_to(self._ledger, job_id, peer)
        if any(one.corrected != chosen.identity for one in there):
            reason = "to be sent again with the others, under another identity of the patient"
            deliveries.send_again(self._ledger, job_id, peer, reason, self._now())
        kinds = deliveries.kinds_for_peer(self._ledger, job_id, peer)
        offered = [one for one in chosen.objects if one.kind in kinds]
        fixed = {one.kind: one.variant for one in there if one.corrected == chosen.identity}
        with open_association(self._settings, self._peer, self._contexts(offered)) as association:
            accepted = {str(one.abstract_syntax) for one in association.accepted_contexts}
            for choice in choose_encodings(due, offered, self._peer.form, accepted, fixed):
                yield choice, association

    def _for_the_right_patient(self, job_id: str) -> Corrected:
        """Return the objects of a job, after asking the peer whose they are where it has to be.

        Raises
        ------
        PatientDiffers
            The peer files the study under another patient, and the results cannot or must not follow.
        """
        originals = deliveries.objects_of_job(self._ledger, job_id)
        if self._peer.check_patient is PatientRule.OFF:
            return Corrected("", originals)
        misfiled = filed_otherwise(self._settings, self._peer, [one.path for one in originals])
        if misfiled is None:
            return Corrected("", originals)
        reason = misfiled.reason
        if self._peer.check_patient is PatientRule.REWRITE and misfiled.filed is not None:
            try:
                return self._correct(job_id, misfiled.filed)
            except ResultEncodingError as error:
                reason = str(error)
        with self._ledger.write() as connection:
            subject = f"{self._peer.name}: {originals[0].sop_instance_uid}"
            incidents.note(connection, IncidentKind.PATIENT_DIFFERS, subject, reason, self._now())
        raise PatientDiffers(reason)

    def _contexts(self, offered: Sequence[StoredObject]) -> list[tuple[str, str]]:
        deflated = (DeflatedExplicitVRLittleEndian,) if self._peer.deflated else ()
        contexts = [
            (one.sop_class_uid, str(transfer))
            for one in offered
            for transfer in (
                *deflated,
                _stored_syntax(one.path),
                ExplicitVRLittleEndian,
                ImplicitVRLittleEndian,
            )
        ]
        return list(dict.fromkeys(contexts))

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

    Deflated is accepted only where it was proposed. A path is sent as it is stored; a data set is encoded by
    the library for the context of its transfer syntax, Implicit VR where that is all that is left.
    """
    stored = _stored_syntax(path)
    compressed = UID(stored).is_compressed
    if str(DeflatedExplicitVRLittleEndian) in accepted and not compressed:
        result = dcmread(path)
        result.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        return result
    if stored in accepted:
        return path
    result = dcmread(path)
    if compressed:
        result.decompress()
    return result


def _stored_syntax(path: Path) -> str:
    """Return the transfer syntax of a stored object; that of most where the file cannot be read."""
    try:
        return str(read_file_meta_info(path).TransferSyntaxUID)
    except (OSError, InvalidDicomError, AttributeError, ValueError, KeyError):
        return str(ExplicitVRLittleEndian)  # sending it will say what is wrong with the file
