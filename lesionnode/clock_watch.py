"""Notices that the system clock was set while the node runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.log import get_logger
from custody.ledger import Ledger
from custody.ledger.clock import pull_back
from scp.receiver import HEARTBEAT_S

#: Smaller corrections change no decision.
_STEP_S = 2.0
#: So long after a step every living association has said so under the new clock.
_SETTLED_AFTER_S = 2 * HEARTBEAT_S


class ClockWatch:
    """Compares the system clock with one that nobody can set.

    Parameters
    ----------
    ledger
        Its times are corrected.
    wall, steady
        Seconds since 1970 UTC; seconds that only grow.
    """

    def __init__(
        self,
        ledger: Ledger,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._wall = wall
        self._steady = steady
        self._offset_s = wall() - steady()
        self._settled_at = steady()

    def settled(self) -> bool:
        """Look at the clock; return whether its times can be trusted now.

        After a step forward every open association looks dead until its next heartbeat, so a series that is
        still coming in would be held to be complete.
        """
        steady = self._steady()
        step_s = self._wall() - steady - self._offset_s
        if abs(step_s) > _STEP_S:
            # On a shared ledger the times are those of several clocks, and none is the right one.
            mine = step_s < 0 and not self._ledger.shared
            corrected = pull_back(self._ledger, self._wall()) if mine else 0
            self._offset_s += step_s
            self._settled_at = steady + _SETTLED_AFTER_S
            get_logger().warning("clock_was_set", step_s=round(step_s, 1), times_corrected=corrected)
        return steady >= self._settled_at
