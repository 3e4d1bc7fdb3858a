"""Ends searches for earlier scans once all that came is analysed; no PACS that is slow holds them up."""

from __future__ import annotations

import time
from collections.abc import Callable

from config import Settings
from custody.doorbell import ring
from custody.ledger import Ledger, prior_arrivals
from scp.completion import WORKER_BELL

#: Name of the thread.
SETTLING_LANE = "prior-arrivals"


class PriorSettling:
    """Ends searches in any PACS.

    Parameters
    ----------
    settings, ledger
        The node's.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(self, settings: Settings, ledger: Ledger, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._ledger = ledger
        self._now = now

    def step(self) -> int:
        """End what can be ended, so that nobody waits for it any more; return how many there were."""
        ended = sum(
            prior_arrivals.settle(self._ledger, peer.name, self._now()) for peer in self._settings.prior_peers
        )
        if ended:
            ring(self._settings.node.data_folder, WORKER_BELL)
        return ended
