"""Whether an instance that a sender asks about is safe, so that the sender may delete its copy.

What is not known for certain is never called safe. The reasons are Failure Reasons (0008,1197).
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config import DimsePeerSettings, Settings
from core.errors import DeliveryError
from core.log import get_logger
from custody.ledger import Ledger, archive_requests, holdings, reception
from custody.ledger.commitment_reports import (
    CLASS_INSTANCE_CONFLICT,
    COMMITTED,
    NO_SUCH_OBJECT,
    PROCESSING_FAILURE,
)
from custody.ledger.commitment_requests import ClaimedRequest
from custody.ledger.holdings import Holding
from custody.vouching import durable_digest
from scp.archive_query import listed
from scp.commitment_reports import ReportTaker
from scp.commitment_scu import ask, hold_open

#: Series that began longer before the request are not looked through; their instances are not answered for.
LOOK_BACK_S = 30 * 86400.0


@dataclass(slots=True)
class Verdict:
    """What is known of the instances of a request by now.

    Parameters
    ----------
    outcome
        By SOP Instance UID: 0 for safe, else the Failure Reason.
    may_change
        Why another look may find more; empty where the outcome is final.
    held
        By our own id of a series the ids of instances whose files are what the outcome rests on.
    """

    outcome: dict[str, int]
    may_change: str = ""
    held: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


class Judge:
    """Decides for one node.

    Parameters
    ----------
    settings, ledger
        Archives and time limits; what was received.
    node
        Whose files are here.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(self, settings: Settings, ledger: Ledger, node: str, now: Callable[[], float]) -> None:
        self._settings = settings
        self._ledger = ledger
        self._node = node
        self._now = now
        self._reports = ReportTaker(settings, ledger, now)

    def kept_here(self, claimed: ClaimedRequest) -> Verdict:
        """Look at the files: for a site that has declared this node to keep them for good."""
        found = self._find(claimed)
        verdict = Verdict({})
        for sop_class, uid in claimed.items:
            reason, whole = _judge_held(sop_class, found.get(uid, ()), self._node)
            verdict.outcome[uid] = reason
            if whole is not None:
                verdict.held[whole.series_id].add(whole.kept.id)
        return verdict

    def archived(self, claimed: ClaimedRequest, archive: DimsePeerSettings) -> Verdict:
        """Ask the archive: for its own commitment where it gives one, else for what it lists."""
        try:
            if archive.storage_commitment:
                return self._committed_by(claimed, archive)
            return self._listed_by(claimed, archive)
        except DeliveryError as error:
            return Verdict({uid: NO_SUCH_OBJECT for _, uid in claimed.items}, str(error))

    def _listed_by(self, claimed: ClaimedRequest, archive: DimsePeerSettings) -> Verdict:
        found = self._find(claimed)
        verdict = Verdict({uid: NO_SUCH_OBJECT for _, uid in claimed.items})
        of_series: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for sop_class, uid in claimed.items:
            holdings_of = found.get(uid, ())
            verdict.outcome[uid] = _why_not_archived(sop_class, holdings_of)
            if verdict.outcome[uid] == NO_SUCH_OBJECT and holdings_of:
                series = (holdings_of[0].study_instance_uid, holdings_of[0].series_instance_uid)
                of_series[series].append((sop_class, uid))
        for series, there in listed(self._settings, archive, list(of_series)) if of_series else ():
            for sop_class, uid in of_series[series]:
                if there.get(uid) in (sop_class, ""):
                    verdict.outcome[uid] = COMMITTED
                elif uid in there:
                    verdict.outcome[uid] = CLASS_INSTANCE_CONFLICT
        wanted = [uid for items in of_series.values() for _, uid in items]
        absent = sum(verdict.outcome[uid] == NO_SUCH_OBJECT for uid in wanted)
        if absent:
            verdict.may_change = (
                f"{archive.name} does not list {absent} of {len(claimed.items)} instances yet"
            )
        return verdict

    def _committed_by(self, claimed: ClaimedRequest, archive: DimsePeerSettings) -> Verdict:
        """Take what it has reported, and ask for the rest unless a report is to be expected."""
        doubtful = self._doubtful(claimed)
        missing, asked_at = self._uncommitted(claimed, doubtful)
        wait_s = self._settings.delivery.commitment_wait_s
        if missing and (asked_at is None or self._now() - asked_at >= wait_s):
            self._ask(claimed, archive, list(missing))
            missing, _ = self._uncommitted(claimed, doubtful)
        outcome = {uid: missing.get((sop_class, uid), COMMITTED) for sop_class, uid in claimed.items}
        why = f"{archive.name} has not committed to {len(missing)} instances yet" if missing else ""
        return Verdict({**outcome, **doubtful}, why)

    def _doubtful(self, claimed: ClaimedRequest) -> dict[str, int]:
        """Return what nobody can vouch for, by what is known of it here, with the reason."""
        found = self._find(claimed)
        reasons = {uid: _why_not_archived(sop_class, found.get(uid, ())) for sop_class, uid in claimed.items}
        return {uid: reason for uid, reason in reasons.items() if reason != NO_SUCH_OBJECT}

    def _uncommitted(
        self, claimed: ClaimedRequest, doubtful: Mapping[str, int]
    ) -> tuple[dict[tuple[str, str], int], float | None]:
        """Return what the archive has not committed to, with the reason, and since when a report is due."""
        said, asked_at = archive_requests.said(self._ledger, claimed)
        reasons = {
            item: said.get(item[1], NO_SUCH_OBJECT) for item in claimed.items if item[1] not in doubtful
        }
        return {item: reason for item, reason in reasons.items() if reason != COMMITTED}, asked_at

    def _ask(self, claimed: ClaimedRequest, archive: DimsePeerSettings, items: list[tuple[str, str]]) -> None:
        transaction_uid = f"2.25.{uuid.uuid4().int}"
        archive_requests.enter(self._ledger, claimed, archive.name, transaction_uid, self._now())

        def reported() -> bool:
            return archive_requests.said(self._ledger, claimed)[1] is None

        try:
            with ask(self._settings, archive, self._reports, transaction_uid, items) as association:
                hold_open(association, reported)
        except DeliveryError:
            archive_requests.refused(self._ledger, transaction_uid, self._now())
            raise

    def _find(self, claimed: ClaimedRequest) -> Mapping[str, Sequence[Holding]]:
        return holdings.find(
            self._ledger,
            claimed.source,
            claimed.calling_ae_title,
            {uid for _, uid in claimed.items},
            since=claimed.requested_at - LOOK_BACK_S,
        )


def _judge_held(sop_class: str, known: Sequence[Holding], node: str) -> tuple[int, Holding | None]:
    """Return the reason, and the instance that is safe here where it is."""
    reason = _why_not_archived(sop_class, known)
    present = [one for one in known if _is_whole(one) and not one.purged]
    if reason != NO_SUCH_OBJECT or not present:
        return reason, None
    (whole,) = present[:1]
    if whole.node != node:
        return PROCESSING_FAILURE, None  # its file is on another machine, where this one cannot look
    try:
        intact = durable_digest(Path(whole.kept.file)) == whole.kept.sha256
    except FileNotFoundError:
        get_logger().error("file_missing", path=whole.kept.file)
        return NO_SUCH_OBJECT, None
    except (OSError, ValueError):
        intact = False
    if not intact:
        get_logger().error("file_damaged", path=whole.kept.file)
        return PROCESSING_FAILURE, None
    return COMMITTED, whole


def _why_not_archived(sop_class: str, known: Sequence[Holding]) -> int:
    """Return why an instance cannot be safe anywhere; `NO_SUCH_OBJECT` where it may be, if somebody has it.

    Where two contents came under one SOP Instance UID, nobody can say which one an archive has, or which one
    the sender means. A truncated copy is not what the sender has.
    """
    whole = [one for one in known if _is_whole(one)]
    if len({one.kept.sha256 for one in whole}) > 1:
        return PROCESSING_FAILURE
    if known and not whole:
        missing = all(one.kept.set_aside == reception.FILE_MISSING for one in known)
        return NO_SUCH_OBJECT if missing else PROCESSING_FAILURE
    if whole and whole[0].kept.sop_class_uid != sop_class:
        return CLASS_INSTANCE_CONFLICT
    return NO_SUCH_OBJECT


def _is_whole(one: Holding) -> bool:
    why = one.kept.set_aside or ""
    return why != reception.FILE_MISSING and not why.startswith(reception.DAMAGED)
