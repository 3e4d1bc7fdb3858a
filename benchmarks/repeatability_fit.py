"""From differences without change to the limits beyond which a change is called one.

The rule, for one quantity under one condition; v is the larger of two volumes, d how far they lie apart:

1. Two volumes that are both 0 say nothing and are left out.
2. Large are v of 20 ml and more, of a single lesion 5 ml and more; where fewer than 20 are, the larger half.
3. The percentage is the smallest for which 95 % of the large ones have d <= percentage of v, rounded up to
   half a percent.
4. The floor is the smallest for which 95 % of the small ones have d <= floor + percentage of v, rounded up to
   two figures.
5. Phantoms and real CT are fitted apart, and the larger percentage and the larger floor are taken.
6. Every other condition gets at least the percentage and the floor of the plain repetition.

So at least 95 % of the differences lie inside, of the small volumes and of the large ones, of phantoms and of
real CT. 95 % of few are all of them: fewer than 20 lie inside without exception.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.repeatability import Condition, Limit, Quantity

COVERED = 0.95
_LARGE_FROM_ML = 20.0
_LARGE_LESION_FROM_ML = 5.0
_ENOUGH = 20
#: Keeps a quotient that is exact from being rounded up because of its last binary digit.
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """Two measurements of what did not change, ml."""

    first_ml: float
    second_ml: float

    @property
    def larger_ml(self) -> float:
        """The larger of the two: a limit is asked for at this volume."""
        return max(self.first_ml, self.second_ml)

    @property
    def apart_ml(self) -> float:
        """How far they lie apart."""
        return abs(self.first_ml - self.second_ml)

    def inside(self, limit: Limit) -> bool:
        """Tell whether nobody would call it a change."""
        return self.apart_ml <= limit.at_ml(self.larger_ml) + _TINY


#: Differences of one condition, by where they come from: phantom or real.
BySource = dict[str, list[Difference]]


def fitted(quantity: Quantity, condition: Condition, by_source: BySource, plain: Limit | None) -> Limit:
    """Return the limit by the rule at the head of this module.

    Parameters
    ----------
    quantity, condition
        Of what, under what circumstances.
    by_source
        The differences, in any order.
    plain
        The limit of the plain repetition; None for that one itself.
    """
    fits = [_fit(quantity, differences) for differences in by_source.values()]
    if plain is not None:
        fits.append((plain.floor_ml, plain.percent))
    floors, percents = zip(*fits, strict=True)
    return Limit(quantity, condition, max(floors), max(percents))


def telling(differences: Iterable[Difference]) -> list[Difference]:
    """Return the differences of what was there at all."""
    return [one for one in differences if one.larger_ml > 0.0]


def covered_share(differences: Iterable[Difference], limit: Limit) -> float | None:
    """Return the share of the differences that lie inside a limit; None where there are none."""
    told = telling(differences)
    return sum(one.inside(limit) for one in told) / len(told) if told else None


def _fit(quantity: Quantity, differences: Iterable[Difference]) -> tuple[float, float]:
    """Return floor in ml and percent of one source."""
    ordered = sorted(telling(differences), key=lambda one: (one.larger_ml, one.apart_ml))
    from_ml = _LARGE_LESION_FROM_ML if quantity is Quantity.SINGLE_LESION else _LARGE_FROM_ML
    small = sum(one.larger_ml < from_ml for one in ordered)
    if len(ordered) - small < _ENOUGH:
        small = min(small, len(ordered) // 2)
    percent = _covering([100.0 * one.apart_ml / one.larger_ml for one in ordered[small:]])
    percent = math.ceil(2.0 * percent - _TINY) / 2.0
    beyond = [one.apart_ml - percent / 100.0 * one.larger_ml for one in ordered[:small]]
    return _up_to_two_figures(_covering(beyond)), percent


def _covering(values: Sequence[float]) -> float:
    """Return the smallest of the values that 95 % of them do not exceed; 0 of none, and at least 0."""
    if not values:
        return 0.0
    return max(sorted(values)[math.ceil(COVERED * len(values) - _TINY) - 1], 0.0)


def _up_to_two_figures(value: float) -> float:
    if value <= 0.0:
        return 0.0
    decimals = 1 - math.floor(math.log10(value))
    return float(round(math.ceil(value * 10.0**decimals - _TINY) / 10.0**decimals, max(decimals, 0)))
