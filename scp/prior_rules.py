"""Which series are earlier scans that were fetched for comparison, and which scans wait for such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from config import DEFAULT_MODEL, PriorsRule, Settings, SourceSettings
from custody.ledger import completion, prior_arrivals, prior_waits
from custody.ledger.completion import OpenSeries, Sealing
from custody.ledger.prior_waits import PRIORS_SOURCE, Wish, priors_of
from custody.ledger.states import JobPurpose, JobState, Lane


def seeking_lane(peer_name: str) -> str:
    """Return the name of the thread that looks for earlier scans in a PACS."""
    return f"priors-{peer_name}"


@dataclass(frozen=True, slots=True)
class Prior:
    """How an earlier scan is analysed: like the one that is to be compared with it.

    Parameters
    ----------
    model
        Name of the model package.
    lane
        Before the scan that waits for it.
    """

    model: str
    lane: Lane


class PriorRules:
    """What the settings say of earlier scans, when a series is sealed.

    Parameters
    ----------
    settings
        The node's.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._peers = {peer.name for peer in settings.prior_peers}

    def as_prior(
        self, connection: Connection, one: OpenSeries, sources: Sequence[str], *, is_wanted: bool
    ) -> Prior | None:
        """Return how a series is analysed that came because this node asked for it; None for others.

        `is_wanted`: whether a source that sent it wants a report of it. The peers of the source for which it
        was fetched get the segmentation, which the report of the current scan refers to; all results where
        the site wants that (`report_priors`).
        """
        if PRIORS_SOURCE not in sources:
            return None
        series_uid = completion.series_uid_of(connection, one.series_id)
        origin = prior_arrivals.origin_of(connection, one.study_instance_uid, series_uid)
        source = self._settings.source(origin.source) if origin is not None else None
        others = {name for name in sources if not name.startswith(PRIORS_SOURCE)}
        if others and is_wanted:
            return None  # a sender brought it, too: it is a scan like any other
        if source is not None:
            completion.add_source(connection, one.series_id, priors_of(source.name), one.calling_ae_title)
        if origin is None:
            return Prior(DEFAULT_MODEL, Lane.LOW)
        return Prior(origin.model, Lane(origin.lane))

    def look_for(self, connection: Connection, job_id: str, sealing: Sealing, now: float) -> None:
        """Enter that a job which is being sealed waits for earlier scans, where its source wants that."""
        if sealing.state is not JobState.QUEUED or sealing.purpose is not JobPurpose.REPORT:
            return
        open_series = sealing.open_series
        series_uid = completion.series_uid_of(connection, open_series.series_id)
        if prior_arrivals.was_asked_for(connection, open_series.study_instance_uid, series_uid):
            return  # an earlier scan asks for no still earlier one, whatever it was taken for
        names = completion.sources_of(connection, open_series.series_id)
        for source in (self._settings.source(name) for name in names):
            if source is not None and self._wants(source):
                wish = Wish(source.name, str(source.priors_from), self._settings.comparison.wait_s)
                prior_waits.enter(connection, job_id, wish, now)
                return

    def _wants(self, source: SourceSettings) -> bool:
        return source.priors is PriorsRule.PACS and source.priors_from in self._peers
