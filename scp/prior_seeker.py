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
from custody.ledger import Ledger, instances, prior_arrivals, prior_searches
from custody.ledger.prior_searches import ClaimedSearch
from scp.answer_values import studied_at, text_of
from scp.completion import WORKER_BELL
from scp.prior_choice import SeriesLike
from scp.prior_patient import CurrentScan
from scp.prior_query import PriorCandidates, find_priors
from scp.prior_retrieval import retrieve
from scp.prior_visit import PriorVisit
from scp.reception import Reception
from scp.retrieval import SeriesToFetch

#: Beyond the time that a step may take.
_LEASE_MARGIN_S = 60.0
#: Between two attempts to ask a PACS that gave no list.
_ASK_AGAIN_AFTER_S = 10.0
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

    def step(self) -> int:
        """Ask for one thing; return how much was done."""
        limits = self._settings.comparison
        claimed = prior_searches.claim(
            self._ledger,
            self._peer.name,
            self._owner,
            lease_s=max(limits.query_within_s, limits.retrieve_within_s) + _LEASE_MARGIN_S,
            now=self._now(),
        )
        if claimed is None:
            return 0
        try:
            if claimed.is_listed:
                self._fetch_next(claimed)
            else:
                self._list(claimed)
        except NodeError as error:
            self._fail(claimed, str(error))
        except Exception as error:
            log = self._log(claimed)
            log.error("prior_search_broke", exc_info=True)
            self._fail(claimed, f"internal error: {type(error).__name__}")
        return 1

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
            prior_searches.put_off(self._ledger, claimed, again_at, self._now())
        else:
            prior_searches.fail(self._ledger, claimed, found.notes, self._now())
            self._wake_worker()

    def _listed(self, claimed: ClaimedSearch, found: PriorCandidates) -> None:
        series = [(one.study_instance_uid, one.series_instance_uid) for one in found.candidates]
        prior_searches.listed(self._ledger, claimed, series, found.notes, self._now())

    def _fetch_next(self, claimed: ClaimedSearch) -> None:
        """Fetch one earlier scan."""
        wanted = prior_searches.next_wanted(self._ledger, claimed, self._now())
        if wanted is None:
            prior_searches.all_fetched(self._ledger, claimed, self._now())
            return
        asked_at = self._now()
        asked = SeriesToFetch(wanted.study_instance_uid, wanted.series_instance_uid, wanted.message_id)
        within_s = self._settings.comparison.retrieve_within_s
        with PriorVisit(self._ledger, self._taking, self._peer, wanted, self._owner, self._now) as visit:
            outcome = retrieve(self._settings, self._peer, asked, within_s=within_s, take=visit.take)
        log = self._log(claimed)
        log.info("prior_fetched", images=outcome.arrived, failed=outcome.failed, reason=outcome.reason)
        prior_searches.fetched(
            self._ledger,
            claimed,
            wanted,
            # A PACS need not count what it sends (PS3.4 C.4.2.1.6), nor have sent it when it says so.
            came=outcome.arrived > 0
            or outcome.reason is None
            or prior_arrivals.has_come(self._ledger, claimed.patient_digest, wanted, asked_at),
            reason=outcome.reason,
            now=self._now(),
        )

    def _fail(self, claimed: ClaimedSearch, reason: str) -> None:
        self._log(claimed).warning("prior_search_failed", reason=reason)
        note = f"Earlier scans could not be looked for in {self._peer.name}: {reason}."
        prior_searches.fail(self._ledger, claimed, [note], self._now())
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


def current_scan(header: Dataset) -> CurrentScan:
    """Describe a scan as one that earlier ones are looked for; `header` of one of its images."""
    facts = CtFacts.from_header(header)
    scanned_at = studied_at(header)
    if facts.acquired_at is not None:
        scanned_at = datetime.fromtimestamp(facts.acquired_at, UTC).replace(tzinfo=None)
    person = Person(*(text_of(header, keyword) for keyword in _HEADER[1:5]))
    like = SeriesLike(text_of(header, "SeriesDescription"), facts.kernel)
    return CurrentScan(person, text_of(header, "StudyInstanceUID"), scanned_at, like)
