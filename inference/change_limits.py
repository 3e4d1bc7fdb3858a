"""From two numbers to a change: up to which size it is none, as was measured and as the site asks."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from core.comparison import Change, CourseRules
from core.repeatability import Condition, Quantity, Repeatability


@dataclass(frozen=True, slots=True)
class Ratio:
    """A volume and the whole that it is a share of, ml."""

    part_ml: float
    whole_ml: float

    @property
    def percent(self) -> float:
        """The share, percent; 0 of nothing."""
        return 100.0 * self.part_ml / self.whole_ml if self.whole_ml > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What makes changes of numbers for two scans.

    Parameters
    ----------
    repeatability
        Of the model that looked at both; an empty table where the two had two models.
    conditions
        In what the scans differ.
    rules
        From which change on the site calls it one.
    days
        Between the scans; None where a date is missing.
    """

    repeatability: Repeatability
    conditions: Collection[Condition]
    rules: CourseRules
    days: float | None = None

    def lung(self, prior_ml: float, current_ml: float, hidden_ml: float = 0.0) -> Change:
        """Return the change of a lung's volume.

        How deeply the patient breathed in does not widen its limit: that is what it tells.

        Parameters
        ----------
        prior_ml, current_ml
            Volumes.
        hidden_ml
            How much of both only one of the scans shows.
        """
        volumes = (prior_ml, current_ml)
        return Change(*volumes, self._lung_ml(volumes) + hidden_ml, self.days)

    def lesion(
        self, quantity: Quantity, prior_ml: float, current_ml: float, hidden_ml: float = 0.0
    ) -> Change:
        """Return the change of a volume of lesion; `hidden_ml`: what of both only one of the scans shows."""
        limit_ml = self._lesion_ml(quantity, prior_ml, current_ml) + hidden_ml
        return Change(prior_ml, current_ml, limit_ml, self.days)

    def share(self, quantity: Quantity, prior: Ratio, current: Ratio, hidden_ml: float = 0.0) -> Change:
        """Return the change of a share of lung, percent.

        Its limit is that of the lesion, with that of the lung as far as the share goes, as independent errors
        of a quotient add up; as a share of a lung between the two.
        """
        lesion_ml = self._lesion_ml(quantity, prior.part_ml, current.part_ml) + hidden_ml
        lung_ml = self._lung_ml((prior.whole_ml, current.whole_ml))
        wholes = [ratio.whole_ml for ratio in (prior, current) if ratio.whole_ml > 0.0]
        share = max(prior.percent, current.percent) / 100.0
        mean_ml = math.fsum(wholes) / len(wholes) if wholes else 0.0
        limit = 100.0 * math.hypot(lesion_ml, share * lung_ml) / mean_ml if wholes else math.inf
        return Change(prior.percent, current.percent, limit, self.days)

    def _lung_ml(self, volumes_ml: tuple[float, float]) -> float:
        others = set(self.conditions) - {Condition.OTHER_INSPIRATION}
        return self.repeatability.interval_ml(Quantity.LUNG, volumes_ml, others)

    def _lesion_ml(self, quantity: Quantity, prior_ml: float, current_ml: float) -> float:
        measured = self.repeatability.interval_ml(quantity, (prior_ml, current_ml), self.conditions)
        asked = self.rules.least_change_percent / 100.0 * prior_ml
        return max(measured, self.rules.least_change_ml, asked)
