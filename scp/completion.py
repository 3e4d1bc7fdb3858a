"""When a series is complete, on what evidence, and which series of a scan becomes a job.

First rule: N quiet seconds since the last instance, and no association of a caller that sent any of it still
open that was opened before they were over.
Every decision of that kind is made in this module.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from config import DEFAULT_MODEL, AnalyseRule, PeerSettings, Settings, SourceSettings
from core.ct_facts import CtFacts
from core.domain import ResultKind
from core.errors import SpoolError
from core.forms import note_variant
from core.log import get_logger
from custody.doorbell import ring
from custody.holdings import Holdings
from custody.ledger import Ledger, completion, new_id, reception
from custody.ledger.completion import KnownAcquisition, OpenSeries, Sealing
from custody.ledger.destinations import Destinations, Wish, settle_late_sources
from custody.ledger.dialect import lock_series
from custody.ledger.prior_waits import PRIORS_SOURCE, priors_of
from custody.ledger.states import JobPurpose, JobState, Lane
from scp.acquisitions import acquisition_of, match
from scp.intake import lane_of, why_not_analysed
from scp.prior_rules import Prior, PriorRules, seeking_lane
from scp.receiver import HEARTBEAT_S
from scp.selection import Candidate, choose
from scp.sent_again import why_not_again

#: Name under which the worker listens for the doorbell.
WORKER_BELL = "worker"
#: Name under which shelving listens for it.
SHELVING_BELL = "shelving"
#: An association whose process gave no sign for so long is held to be dead.
_DEAD_AFTER_S = 6 * HEARTBEAT_S
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Ready:
    """A series that is complete, and what is known of it."""

    open_series: OpenSeries
    facts: tuple[CtFacts, ...]
    acquisition: KnownAcquisition
    sources: tuple[SourceSettings, ...]
    unwanted: str | None
    evidence: str
    prior: Prior | None

    @property
    def every(self) -> bool:
        return any(source.analyse is AnalyseRule.EVERY for source in self.sources)

    @property
    def model(self) -> str:
        if self.prior is not None:
            return self.prior.model
        return self.sources[0].model if self.sources else DEFAULT_MODEL


class Completion:
    """Looks at the ledger and seals what is complete.

    Parameters
    ----------
    settings
        Quiet time, and the rule of each source.
    ledger, holdings
        The ledger; whether what is sealed has to be published.
    now
        Clock, seconds since 1970 UTC.
    flush
        Called with our id of a series before it is sealed; False where its images are not safe yet.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        holdings: Holdings,
        now: Callable[[], float] = time.time,
        flush: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._holdings = holdings
        self._now = now
        self._flush = flush
        self._priors = PriorRules(settings)
        self._since = now()

    def step(self) -> int:
        """Seal whatever is complete now; return how many series were sealed."""
        now = self._now()
        self._since = min(self._since, now)  # the clock may have been set back
        with self._ledger.read() as connection:
            waiting = completion.open_series(connection)
        settled = settle_late_sources(self._ledger, destinations(self._settings), now)
        if settled:
            get_logger().info("deliveries_added_for_second_sender", deliveries=settled)
        if not any(self._is_quiet(one, now) for one in waiting):
            return 0
        reception.close_dead_associations(self._ledger, now - _DEAD_AFTER_S, now)
        prepared = {one.series_id: one.count for one in waiting if self._is_prepared(one, now)}
        with self._ledger.write() as connection:
            sealed = self._seal_complete(connection, prepared, now)
        for sealing in sealed:
            get_logger().info(
                "series_sealed",
                series=sealing.open_series.series_id,
                generation=sealing.open_series.generation + 1,
                images=sealing.open_series.count,
                evidence=sealing.evidence,
                state=sealing.state.value,
                reason=sealing.reason,
            )
        if sealed:
            ring(self._settings.node.data_folder, SHELVING_BELL)
        for peer in self._settings.prior_peers if sealed else ():
            ring(self._settings.node.data_folder, seeking_lane(peer.name))
        if any(sealing.state is JobState.QUEUED for sealing in sealed):
            ring(self._settings.node.data_folder, WORKER_BELL)
        return len(sealed)

    def next_look_s(self) -> float:
        """Return in how many seconds something may become complete by quiet alone."""
        with self._ledger.read() as connection:
            waiting = completion.open_series(connection)
        now = self._now()
        waits = [self._heard_of_at(one) + self._quiet_s(one) - now for one in waiting]
        # What is quiet already waits for an association to end, and that rings the bell.
        return max(min([1.0, *(wait for wait in waits if wait > 0)]), 0.05)

    def _quiet_s(self, one: OpenSeries) -> float:
        limits = self._settings.reception
        return max(limits.quiet_s, limits.cut_off_quiet_s) if one.cut_off else limits.quiet_s

    def _heard_of_at(self, one: OpenSeries) -> float:
        """Return from when the quiet time counts: a sender that was cut off cannot come back to a node
        that is down, so its time begins when there is one again.
        """
        return max(one.last_received_at, self._since) if one.cut_off else one.last_received_at

    def _is_quiet(self, one: OpenSeries, now: float) -> bool:
        return now - self._heard_of_at(one) >= self._quiet_s(one)

    def _is_prepared(self, one: OpenSeries, now: float) -> bool:
        """Do what is too slow for the transaction; False where the series is not to be sealed now.

        Also where that does not work: nothing can be decided about it then, and the others go on.
        """
        try:
            self._bring_what_others_know(one)  # quiet or not: another one of its scan may be
            return self._is_quiet(one, now) and self._flush(one.series_id)
        except SpoolError as error:
            get_logger().error("series_not_sealed", series=one.series_id, reason=str(error))
            return False

    def _bring_what_others_know(self, one: OpenSeries) -> None:
        """Bring what other machines have listed of a series and its study."""
        if self._holdings.shared:
            with self._ledger.read() as connection:
                sealed = completion.sealed_series_of(connection, one.study_instance_uid, one.patient_digest)
            for series_id in sealed:
                self._holdings.bring_manifests(series_id)

    def _seal_complete(
        self, connection: Connection, prepared: Mapping[str, int], now: float
    ) -> list[Sealing]:
        """Decide and seal inside one transaction, so that no instance slips in between.

        A series of which something came since it was prepared has to wait for its next turn; `prepared` says
        how many instances each had.
        """
        completion.lock_sealing(connection)
        busy = completion.busy_callers(connection, now - _DEAD_AFTER_S)
        lock_series(connection, {one.series_id for one in completion.open_series(connection)})
        waiting = completion.open_series(connection)
        complete = [
            one
            for one in waiting
            if prepared.get(one.series_id) == one.count
            and self._is_quiet(one, now)
            and not _more_may_come(one, busy, self._heard_of_at(one) + self._quiet_s(one))
        ]
        ready = [self._ready(connection, one, now) for one in complete]
        scans_open = {
            self._ready(connection, one, now).acquisition.id for one in waiting if one not in complete
        }
        sealed: list[Sealing] = []
        for scan in dict.fromkeys(one.acquisition.id for one in ready):
            members = [one for one in ready if one.acquisition.id == scan]
            if scan in scans_open and not all(one.every for one in members):
                continue  # another reconstruction of this scan is still coming in
            for sealing in self._decide(connection, members, now):
                job_id = completion.seal(connection, sealing, now, publish=self._holdings.shared)
                self._priors.look_for(connection, job_id, sealing, now)
                sealed.append(sealing)
        return sealed

    def _ready(self, connection: Connection, one: OpenSeries, now: float) -> _Ready:
        facts = tuple(CtFacts.from_json(fact) for fact in completion.facts_of(connection, one.series_id))
        known = completion.acquisitions_of(connection, one.study_instance_uid, one.patient_digest)
        scan = match(acquisition_of(facts, new_id()), known)
        completion.keep_acquisition(connection, one.study_instance_uid, one.patient_digest, scan)
        names = completion.sources_of(connection, one.series_id)
        sources = [self._settings.source(name) for name in names]
        configured = tuple(source for source in sources if source is not None)
        unwanted = why_not_analysed(configured, facts, now)
        prior = self._priors.as_prior(connection, one, names, is_wanted=unwanted is None)
        callers = " and ".join(sorted(one.callers))
        return _Ready(
            open_series=one,
            facts=facts,
            acquisition=scan,
            sources=configured,
            unwanted=None if prior is not None else unwanted,
            prior=prior,
            evidence=(
                f"{one.count} images; {now - one.last_received_at:.1f} s without another one; "
                f"no open association of {callers}"
                f"{', the last one was cut off' if one.cut_off else ''}"
            ),
        )

    def _decide(self, connection: Connection, members: list[_Ready], now: float) -> Iterator[Sealing]:
        """Choose among the complete series of one scan, and those of it that were analysed before.

        Each is sealed before the next one is asked for: it counts in its source's rate.
        """
        earlier = completion.analysed_series_of(connection, members[0].acquisition.id)
        # What was fetched for comparison is reported to nobody: it takes no report from another series.
        wanted = [one for one in members if one.unwanted is None and one.prior is None]
        losers = self._losers(connection, wanted, earlier)
        for one in members:
            series_id = one.open_series.series_id
            reason = one.unwanted
            # A series that was analysed before is analysed again when more of it comes.
            if reason is None and not one.every and series_id not in earlier:
                reason = losers.get(series_id)
            reason = reason or why_not_again(connection, one.open_series)
            yield Sealing(
                open_series=one.open_series,
                acquisition_id=one.acquisition.id,
                state=JobState.QUEUED if reason is None else JobState.NOT_SELECTED,
                reason=reason,
                evidence=one.evidence,
                model=one.model,
                lane=self._lane(connection, one, now),
                purpose=JobPurpose.REPORT if one.prior is None else JobPurpose.PRIOR,
            )

    def _lane(self, connection: Connection, one: _Ready, now: float) -> Lane:
        if one.prior is not None:
            return one.prior.lane
        return lane_of(one.sources, lambda source: completion.sealed_since(connection, source, now - _HOUR_S))

    def _losers(
        self, connection: Connection, wanted: list[_Ready], earlier: Mapping[str, bool]
    ) -> Mapping[str, str]:
        """Return which of these series another one of the scan is better than, and why."""
        candidates = [Candidate(one.open_series.series_id, one.facts) for one in wanted]
        if not candidates:
            return {}
        here = {candidate.series_id for candidate in candidates}
        for series_id, fruitful in earlier.items():
            if fruitful and series_id not in here:
                facts = completion.facts_of_analysed(connection, series_id)
                candidates.append(Candidate(series_id, tuple(CtFacts.from_json(fact) for fact in facts)))
        return choose(candidates)[1]


def _more_may_come(one: OpenSeries, busy: Mapping[str, float], quiet_from: float) -> bool:
    """Tell whether a caller of the series still has an association on which the rest of it may come.

    One that was opened after the quiet time is about something else: a PACS that always has some association
    open must not hold up every series for ever. Stragglers on it become the next generation.
    """
    return any(busy.get(caller, math.inf) < quiet_from for caller in one.callers)


#: A report refers to the segments of the earlier scan that its values are of, so they have to be there.
CITED_OF_PRIORS = (ResultKind.SEGMENTATION.value,)


def destinations(settings: Settings) -> Destinations:
    """Return which peers each source's results go to, and what each peer is to get."""
    peers = {source.name: tuple(source.send_to) for source in settings.sources}
    reporting = {source.name for source in settings.sources if source.report_priors}
    return Destinations(
        {PRIORS_SOURCE: (), **peers, **{priors_of(name): to for name, to in peers.items()}},
        {peer.name: {kind.value: _wish(peer, kind) for kind in peer.objects} for peer in settings.peers},
        {PRIORS_SOURCE: (), **{priors_of(name): CITED_OF_PRIORS for name in peers if name not in reporting}},
    )


def _wish(peer: PeerSettings, kind: ResultKind) -> Wish:
    if kind is ResultKind.REJECTION_NOTE:
        return Wish((note_variant(peer.name),), others_will_do=False)
    return Wish(tuple(dict.fromkeys(form.variant(kind) for form in peer.form.alternatives())))
