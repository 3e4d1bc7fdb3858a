"""From a claimed job to all that its results are made of: images, what they replace, earlier scans."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from config import Settings
from core.domain import ResultKind, SealedSeries
from core.patient import Person
from custody.holdings import Holdings
from custody.ledger import Ledger, completion, replaced
from custody.ledger.destinations import audience
from custody.ledger.instances import sealed_series
from custody.ledger.jobs import ClaimedJob
from custody.ledger.prior_arrivals import notes_for
from custody.ledger.states import JobPurpose
from custody.time_points import TimePoints
from inference.time_points import scan_facts
from lesionnode.comparing import Earlier, compares
from lesionnode.predecessors import predecessors_of
from lesionnode.production import Order
from scp.completion import destinations


class Orders:
    """Puts together what a job needs.

    Parameters
    ----------
    settings
        Of the node.
    ledger, holdings
        What is known, and what brings the files of other machines.
    time_points
        What is known of earlier scans.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, holdings: Holdings, time_points: TimePoints
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._holdings = holdings
        self._time_points = time_points

    def of(self, claimed: ClaimedJob) -> Order:
        """Return the order of a job; files that lie elsewhere are brought.

        Raises
        ------
        SpoolError, StorageUnreachable
            They cannot be, now or ever.
        """
        self._holdings.bring_series(claimed.series_id, claimed.generation)
        for earlier in replaced.replaced_jobs(self._ledger, claimed):
            self._holdings.bring_results(earlier)
        series = sealed_series(self._ledger, claimed)
        header = _header_of(series)
        with self._ledger.read() as connection:
            sources = completion.sources_of(connection, claimed.series_id)
            told = audience(connection, claimed.series_id)
        return Order(
            series=series,
            model=claimed.model,
            sealed_at=claimed.sealed_at,
            predecessors=tuple(predecessors_of(replaced.replaced_objects(self._ledger, claimed))),
            earlier=self._earlier(claimed, header, sources),
            citable=self._citable(claimed, told),
            person=Person.of(header),
        )

    def _citable(self, claimed: ClaimedJob, told: Sequence[str]) -> frozenset[ResultKind] | None:
        """Return which objects of an earlier scan that was fetched get to any peer; None for other scans."""
        if claimed.purpose is not JobPurpose.PRIOR:
            return None
        owed = destinations(self._settings)
        return frozenset(kind for kind in ResultKind if owed.wants(told, kind.value))

    def _earlier(self, claimed: ClaimedJob, header: Dataset, sources: Sequence[str]) -> Earlier | None:
        """Return what is known of the patient from before; None where scans are not compared at all.

        A scan whose source wants no comparison is kept for later ones of other sources all the same.
        """
        if not self._settings.comparison.enabled:
            return None
        if not compares(self._settings, sources):
            return Earlier()
        found = self._time_points.earlier(
            Person.of(header),
            claimed.key.patient_digest,
            claimed.key.study_instance_uid,
            self._settings.comparison.history_at_most,
            scan_facts(header, cut_off=False).scanned_at,
        )
        notes = (*found.notes, *notes_for(self._ledger, claimed.id))
        return Earlier(found.points, notes, self._time_points.whole)


def _header_of(series: SealedSeries) -> Dataset:
    """Read the header of an image; where that is not possible an empty one: the analysis says why better."""
    with contextlib.suppress(OSError, InvalidDicomError, ValueError, AttributeError, KeyError, IndexError):
        return dcmread(series.instances[0].path, stop_before_pixels=True)
    return Dataset()
