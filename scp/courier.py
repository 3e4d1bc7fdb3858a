"""Results out: one lane for each peer, retried with backoff; the ledger holds every state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from config import PatientRule, PeerSettings, Settings
from core.errors import (
    DeliveryError,
    PatientDiffers,
    PeerRefused,
    PeerUnreachable,
    ResultEncodingError,
    SpoolError,
    TransferBroken,
)
from core.log import get_logger
from custody.doorbell import ring
from custody.ledger import Ledger, corrected_results, deliveries, incidents, postponing
from custody.ledger.corrected_results import Corrected
from custody.ledger.deliveries import Attempted, DueDelivery, StoredObject
from custody.ledger.incidents import IncidentKind
from custody.ledger.states import DeliveryState
from scp.backoff import LanePause, wait_s
from scp.encodings import Choice, choose_encodings
from scp.patient_check import filed_otherwise
from scp.status import SOP_CLASS_NOT_SUPPORTED, Verdict, verdict_of, warning_in
from scp.transports import Session, transport_to

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


@dataclass(slots=True)
class _Parcel:
    """What is known of a job while it is sent to one peer.

    Parameters
    ----------
    offered
        Its objects in every encoding, under the right patient.
    there
        By kind the variant that the peer has.
    refused
        SOP classes that the peer turned out not to store, whatever it accepted before.
    """

    offered: Sequence[StoredObject]
    there: dict[str, str]
    refused: set[str] = field(default_factory=set)


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
    bring
        Called with a job before its files are read: they may have been made on another machine.
    """

    def __init__(
        self,
        settings: Settings,
        peer: PeerSettings,
        ledger: Ledger,
        owner: str,
        now: Callable[[], float] = time.time,
        correct: Correction = _cannot_correct,
        bring: Callable[[str], None] = lambda _job_id: None,
    ) -> None:
        self._settings = settings
        self._peer = peer
        self._ledger = ledger
        self._owner = owner
        self._now = now
        self._correct = correct
        self._bring = bring
        self._transport = transport_to(settings, peer)
        self._pause = LanePause(settings.delivery, f"{settings.node.ae_title} {peer.name}")
        self._has_looked = False
        #: What became of objects that were sent, until the ledger has it.
        self._outcomes: list[Attempted] = []
        # Renewed before each object, of which none takes longer than its answer may.
        self._lease_s = settings.ledger.lease_s + settings.delivery.answer_timeout_s

    def step(self) -> int:
        """Send the objects of one job that are due; return how many were attempted.

        Raises
        ------
        SpoolError
            The ledger takes nothing. What became of objects that were sent is recorded in the next step.
        """
        self._record_outcomes()
        if self._pause.holds(self._now()):
            return 0
        if not self._has_looked:
            # A start is an occasion to try: what an earlier process put off, somebody may have mended since.
            postponing.bring_forward(self._ledger, self._peer.name, self._now())
            self._has_looked = True
        due = deliveries.claim_for_peer(
            self._ledger, self._peer.name, self._owner, lease_s=self._lease_s, now=self._now()
        )
        if due:
            self._outcomes = self._send(due)
            self._record_outcomes()
        return len(due)

    def _record_outcomes(self) -> None:
        """Record what became of what was sent; kept until that works, or it would be sent once more."""
        if not self._outcomes:
            return
        ask = self._peer in self._settings.committing_peers
        deliveries.record(self._ledger, self._outcomes, self._now(), ask_commitment=ask)
        outcomes, self._outcomes = self._outcomes, []
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
        away: PeerUnreachable | None = None
        try:
            for outcome in self._attempts(due):
                outcomes.append(outcome)
        except PeerUnreachable as error:
            reason, away = str(error), error
        except (DeliveryError, SpoolError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - border: a fault must not leave deliveries claimed
            get_logger().error("delivery_broke", peer=self._peer.name, exc_info=True)
            reason = f"internal error: {type(error).__name__}"
        left = [self._failure(one, one.object, reason, None) for one in due[len(outcomes) :]]
        return outcomes + (left if away is None else self._rest(left, away))

    def _rest(self, left: Sequence[Attempted], away: PeerUnreachable) -> list[Attempted]:
        """Let the whole lane rest, not only the job that found its peer away; return when that one is due."""
        now = self._now()
        until = self._pause.begin(now, away.retry_after_s)
        others = postponing.postpone(self._ledger, self._peer.name, str(away), until)
        get_logger(peer=self._peer.name).warning(
            "peer_away", reason=str(away), next_attempt_in_s=round(until - now), also_waiting=others
        )
        # A job on which the session broke may be the cause of it: it lets the others go first.
        behind = others > 0 and isinstance(away, TransferBroken)
        return [replace(one, due_at=until + (one.due_at - now if behind else 0.0)) for one in left]

    def _attempts(self, due: Sequence[DueDelivery]) -> Iterator[Attempted]:
        """Yield what became of each delivery of one job, in their order."""
        job_id, peer = due[0].job_id, self._peer.name
        self._bring(job_id)
        chosen = self._for_the_right_patient(job_id)
        there = corrected_results.delivered_to(self._ledger, job_id, peer)
        if any(one.corrected != chosen.identity for one in there):
            reason = "to be sent again with the others, under another identity of the patient"
            corrected_results.send_again(self._ledger, job_id, peer, reason, self._now())
        kinds = deliveries.kinds_for_peer(self._ledger, job_id, peer)
        offered = [one for one in chosen.objects if one.kind in kinds]
        fixed = {one.kind: one.variant for one in there if one.corrected == chosen.identity}
        parcel = _Parcel(offered, fixed)
        with self._transport.session(offered) as session:
            for one in due:
                deliveries.renew(self._ledger, due, self._now() + self._lease_s)
                yield self._deliver(session, one, parcel)

    def _deliver(self, session: Session, due: DueDelivery, parcel: _Parcel) -> Attempted:
        """Send one object in the best encoding, and in the next best where the peer does not store that."""
        refusal: Attempted | None = None
        while True:
            accepted = set(session.accepted) - parcel.refused
            (choice,) = choose_encodings([due], parcel.offered, self._peer.form, accepted, parcel.there)
            if refusal is not None and not choice.accepted:
                return refusal
            outcome = self._send_one(session, choice)
            if outcome.state is DeliveryState.DELIVERED:
                parcel.there[choice.object.kind] = choice.object.variant
            if outcome.status not in SOP_CLASS_NOT_SUPPORTED:
                return outcome
            refusal = outcome
            parcel.refused.add(choice.object.sop_class_uid)

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
        misfiled = filed_otherwise(self._transport, self._peer.name, [one.path for one in originals])
        self._pause.end()
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

    def _send_one(self, session: Session, choice: Choice) -> Attempted:
        due, sent = choice.due, choice.object
        if not choice.accepted:
            # A session stands only where something is accepted: the peer takes results, and this kind of them
            # it does not take in any encoding.
            return Attempted(due, sent, DeliveryState.LEFT_OUT, choice.note, None, self._now())
        try:
            status = session.send(sent)
            self._pause.end()
        except PeerRefused as error:
            self._pause.end()
            return self._failure(due, sent, str(error), error.status)
        except (OSError, InvalidDicomError, ValueError, AttributeError, KeyError) as error:
            # The file is gone or damaged. One such object must not hold up the lane of its peer.
            return self._failure(due, sent, f"{sent.path} cannot be sent ({type(error).__name__})", None)
        note = "; ".join(one for one in (choice.note, warning_in(status)) if one)
        return Attempted(due, sent, DeliveryState.DELIVERED, note or None, status, self._now())

    def _failure(self, due: DueDelivery, sent: StoredObject, reason: str, status: int | None) -> Attempted:
        """Plan the next attempt: the wait doubles each time, up to the longest, for as many days as set."""
        rules = self._settings.delivery
        # All objects of a job wait alike, so that they travel together.
        due_at = self._now() + wait_s(rules, due.attempt, f"{due.job_id} {self._peer.name}")
        too_old = self._now() - due.created_at > rules.give_up_after_days * 86400
        hopeless = status is not None and verdict_of(status) is Verdict.NEVER
        state = DeliveryState.FAILED if too_old or hopeless else DeliveryState.DUE
        return Attempted(due, sent, state, reason, status, due_at)
