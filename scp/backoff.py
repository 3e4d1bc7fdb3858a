"""When to try again: waits that double, spread a little, and the pause of a lane whose peer is away."""

from __future__ import annotations

import hashlib

from config import DeliverySettings

#: Waits are this share longer or shorter, by a digest of what waits: after an outage not everybody who
#: waits for a PACS comes back in the same second.
SPREAD = 0.2


def wait_s(rules: DeliverySettings, attempt: int, what: str) -> float:
    """Return how long to wait after a failed attempt.

    Parameters
    ----------
    rules
        First and longest wait.
    attempt
        Which attempt failed, from 1.
    what
        What waits; the same one always gets the same waits.
    """
    plain = min(rules.first_retry_s * 2.0 ** min(attempt - 1, 30), rules.longest_retry_s)
    digest = hashlib.sha256(f"{what} {attempt}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2.0**64  # 0 to 1
    return plain * (1.0 + SPREAD * (2.0 * share - 1.0))


class LanePause:
    """One lane's rest after it found its peer away: one attempt for all that waits, not one for each.

    Parameters
    ----------
    rules
        First and longest wait.
    what
        Whose lane; it spreads the waits.
    """

    def __init__(self, rules: DeliverySettings, what: str) -> None:
        self._rules = rules
        self._what = what
        self._failures = 0
        self._since = self._until = 0.0

    def holds(self, now: float) -> bool:
        """Tell whether the lane is to rest still; a clock that was set back does not prolong it."""
        return self._since <= now < self._until

    def begin(self, now: float, asked_s: float | None) -> float:
        """Begin a pause after another failure; return its end.

        Parameters
        ----------
        now
            Seconds since 1970 UTC.
        asked_s
            The wait that the peer asked for, if it did; kept between the first and the longest wait.
        """
        self._failures += 1
        wait = wait_s(self._rules, self._failures, self._what)
        if asked_s is not None:
            wait = min(max(asked_s, self._rules.first_retry_s), self._rules.longest_retry_s)
        self._since, self._until = now, now + wait
        return self._until

    def end(self) -> None:
        """End: the peer answered."""
        self._failures = 0
        self._since = self._until = 0.0
