"""Looks for earlier scans in one PACS: a service that asks for them and fetches them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from config import DimsePeerSettings, Settings
from core.ct_facts import FACT_KEYWORDS, CtFacts
from core.errors import NodeError, SpoolDamaged
from core.log import get_logger
from core.patient import Person
from custody.doorbell import ring
from custody.holdings import Holdings
from custody.ledger import Ledger, instances, prior_claims, prior_searches, switches
from custody.ledger.prior_claims import ClaimedSearch
from custody.ledger.prior_searches import WantedSeries
from scp.answer_values import studied_at, text_of
from scp.completion import WORKER_BELL
from scp.prior_choice import SeriesLike
from scp.prior_patient import CurrentScan
from scp.prior_query import PriorCandidates, find_priors
from scp.prior_retrieval import retrieve
from scp.prior_visit import PASSING, PriorVisit
from scp.reception import Reception
from scp.retrieval import Retrieval, SeriesToFetch

#: Beyond the time that a step may take.
_LEASE_MARGIN_S = 60.0
#: Between two attempts while the scan waits; afterwards as long as it has been late, up to the longest.
_ASK_AGAIN_AFTER_S = 10.0
_LONGEST_PAUSE_S = 600.0
#: What broke off so often without a word is not begun once more: it may be what kills the process.
_MOST_ATTEMPTS = 3
_HEADER = [
    "SpecificCharacterSet",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyTime",
    "SeriesDescription",
    *FACT_KEYWORDS,
]


class PriorSeeker:
    """Works off the searches in one PACS; each step asks for one thing.

    Parameters
    ----------
    settings, peer
        The node's; whom to ask.
    ledger, holdings, taking
        The ledger; brings images that are on other machines; keeps what comes by C-GET.
    owner
        Identity of this process in claims.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(
        self,
        settings: Settings,
        peer: DimsePeerSettings,
        ledger: Ledger,
        holdings: Holdings,
        taking: Reception,
        owner: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._peer = peer
        self._ledger = ledger
        self._holdings = holdings
        self._taking = taking
        self._owner = owner
        self._now = now
        #: A search that cannot go on now, and why, until the ledger has that.
        self._waiting: tuple[ClaimedSearch, str] | None = None

    def step(self) -> int:
        """Ask for one thing; return how much was done.

        Raises
        ------
        SpoolError
            The ledger takes nothing. What could not be recorded of a search that waits is in the next step.
        """
        self._let_wait()
        limits = self._settings.comparison
        claimed = prior_claims.claim(
            self._ledger,
            self._peer.name,
            self._owner,
            lease_s=max(limits.query_within_s, limits.retrieve_within_s) + _LEASE_MARGIN_S,
            now=self._now(),
            # What it brings would be refused. A list brings nothing, and ends the wait of most scans.
            may_fetch=not switches.is_on(self._ledger, switches.DRAINING),
        )
        if claimed is None:
            return 0
        try:
            self._work_on(claimed)
        except PASSING as error:
            self._waiting = claimed, str(error)
            self._let_wait()
        except NodeError as error:
            self._give_up(claimed, str(error))
        except Exception as error:
            log = self._log(claimed)
            log.error("prior_search_broke", exc_info=True)
            self._give_up(claimed, f"internal error: {type(error).__name__}")
        return 1

    def _work_on(self, claimed: ClaimedSearch) -> None:
        if self._now() > claimed.of_use_until:
            self._give_up(claimed, "this node did not get to it in time")
        elif claimed.is_listed:
            self._fetch_next(claimed)
        elif claimed.attempt > _MOST_ATTEMPTS:
            self._give_up(claimed, _broke_off())
        else:
            self._list(claimed)

    def _let_wait(self) -> None:
        """Put off a search that cannot go on now, or give it up where its job would profit no more."""
        if self._waiting is None:
            return
        claimed, reason = self._waiting
        now = self._now()
        late_s = now - claimed.waited_for_until
        due_at = now + min(max(late_s, _ASK_AGAIN_AFTER_S), _LONGEST_PAUSE_S)
        if due_at < claimed.of_use_until:
            prior_claims.put_off(self._ledger, claimed, due_at, now)
            self._log(claimed).warning("prior_search_waits", reason=reason, next_attempt_in_s=due_at - now)
        else:
            self._give_up(claimed, reason)
        self._waiting = None

    def _list(self, claimed: ClaimedSearch) -> None:
        """Ask which earlier scans there are."""
        limits = self._settings.comparison
        found = find_priors(
            self._settings,
            self._peer,
            self._current(claimed),
            at_most=limits.priors_at_most,
            within_s=limits.query_within_s,
        )
        self._log(claimed).info(
            "priors_listed", scans=len(found.candidates), complete=found.complete, notes=list(found.notes)
        )
        again_at = self._now() + _ASK_AGAIN_AFTER_S
        if found.candidates or found.complete:
            self._listed(claimed, found)
        elif again_at < claimed.waited_for_until:
            prior_claims.put_off(self._ledger, claimed, again_at, self._now())
        else:
            prior_searches.give_up(self._ledger, claimed, found.notes, self._now())
            self._wake_worker()

    def _listed(self, claimed: ClaimedSearch, found: PriorCandidates) -> None:
        series = [(one.study_instance_uid, one.series_instance_uid) for one in found.candidates]
        prior_searches.listed(self._ledger, claimed, series, found.notes, self._now())

    def _fetch_next(self, claimed: ClaimedSearch) -> None:
        """Fetch one earlier scan.

        Raises
        ------
        NodeError
            Images cannot be kept now, whatever the PACS makes of that: of what is refused at the listener it
            knows no more than that it could not send it.
        """
        if claimed.to_fetch:
            self._taking.require_open()
        wanted = prior_searches.next_wanted(self._ledger, claimed, self._now())
        if wanted is None:
            prior_searches.all_fetched(self._ledger, claimed, self._now())
            return
        if claimed.attempt > _MOST_ATTEMPTS:
            self._fetched(claimed, wanted, Retrieval(wanted.message_id, reason=_broke_off()))
            return
        asked = SeriesToFetch(wanted.study_instance_uid, wanted.series_instance_uid, wanted.message_id)
        within_s = self._settings.comparison.retrieve_within_s
        with PriorVisit(self._ledger, self._taking, self._peer, wanted, self._owner, self._now) as visit:
            outcome = retrieve(self._settings, self._peer, asked, within_s=within_s, take=visit.take)
        if visit.hindrance is not None:
            raise visit.hindrance
        if outcome.reason is not None:
            self._taking.require_open()
        self._fetched(claimed, wanted, outcome)

    def _fetched(self, claimed: ClaimedSearch, wanted: WantedSeries, outcome: Retrieval) -> None:
        self._log(claimed).info(
            "prior_fetched", images=outcome.arrived, failed=outcome.failed, reason=outcome.reason
        )
        came = outcome.arrived > 0 or outcome.reason is None
        prior_searches.fetched(
            self._ledger, claimed, wanted, came=came, reason=outcome.reason, now=self._now()
        )

    def _give_up(self, claimed: ClaimedSearch, reason: str) -> None:
        self._log(claimed).warning("prior_search_failed", reason=reason)
        what = "fetched from" if claimed.is_listed else "looked for in"
        note = f"Earlier scans could not be {what} {self._peer.name}: {reason}."
        prior_searches.give_up(self._ledger, claimed, [note], self._now())
        self._wake_worker()

    def _current(self, claimed: ClaimedSearch) -> CurrentScan:
        """Read whose scan it is, and when it was made, from one of its images."""
        self._holdings.bring_series(claimed.series_id, claimed.generation)
        with self._ledger.read() as connection:
            kept = instances.of_generation(connection, claimed.series_id, claimed.generation)
        path = next((Path(one.file) for one in kept if Path(one.file).exists()), None)
        if path is None:
            raise SpoolDamaged("the images of this scan are not here")
        return current_scan(dcmread(path, stop_before_pixels=True, specific_tags=_HEADER))

    def _wake_worker(self) -> None:
        ring(self._settings.node.data_folder, WORKER_BELL)

    def _log(self, claimed: ClaimedSearch) -> Any:
        return get_logger(peer=self._peer.name, job=claimed.job_id, attempt=claimed.attempt)


def _broke_off() -> str:
    return f"it broke off {_MOST_ATTEMPTS} times without an answer"


def current_scan(header: Dataset) -> CurrentScan:
    """Describe a scan as one that earlier ones are looked for; `header` of one of its images."""
    facts = CtFacts.from_header(header)
    scanned_at = studied_at(header)
    if facts.acquired_at is not None:
        scanned_at = datetime.fromtimestamp(facts.acquired_at, UTC).replace(tzinfo=None)
    person = Person(*(text_of(header, keyword) for keyword in _HEADER[1:5]))
    like = SeriesLike(text_of(header, "SeriesDescription"), facts.kernel)
    return CurrentScan(person, text_of(header, "StudyInstanceUID"), scanned_at, like)
