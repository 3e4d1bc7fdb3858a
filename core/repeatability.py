"""How far two measurements of an unchanged patient lie apart: a change is called one only beyond that."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Quantity(StrEnum):
    """A kind of volume whose repeatability was measured."""

    LUNG = "lung"
    LESIONS = "lesions"
    GROUND_GLASS = "ground_glass"
    CONSOLIDATION = "consolidation"
    SINGLE_LESION = "single_lesion"


class Condition(StrEnum):
    """In what two scans differ. Whatever else differs, there are always other noise and another position."""

    SAME_PROTOCOL = "same_protocol"
    OTHER_KERNEL = "other_kernel"
    OTHER_THICKNESS = "other_thickness"
    OTHER_CONTRAST = "other_contrast"
    OTHER_INSPIRATION = "other_inspiration"


@dataclass(frozen=True, slots=True)
class Limit:
    """95 % of the differences between two measurements without any change are smaller.

    Parameters
    ----------
    quantity, condition
        Of what, and under what circumstances.
    floor_ml
        Part that does not depend on the volume, ml.
    percent
        Part that grows with the volume, percent of the larger of the two.
    """

    quantity: Quantity
    condition: Condition
    floor_ml: float
    percent: float

    def at_ml(self, volume_ml: float) -> float:
        """Return the largest difference without change at a volume, ml."""
        return self.floor_ml + self.percent / 100.0 * volume_ml


@dataclass(frozen=True, slots=True)
class Repeatability:
    """The measured table of one model.

    Parameters
    ----------
    limits
        One per quantity and condition.
    """

    limits: tuple[Limit, ...]

    def interval_ml(
        self, quantity: Quantity, volumes_ml: Collection[float], conditions: Collection[Condition]
    ) -> float:
        """Return the half width of the interval of a change: nothing within it is a change.

        Parameters
        ----------
        quantity
            What was measured.
        volumes_ml
            The two volumes, ml.
        conditions
            In what the scans differ; none for the same protocol.

        Returns
        -------
        float
            ml. What several differences add to the plain repetition adds up in squares, as independent errors
            do; a condition that was never measured is held to be twice as bad as the plain repetition.
        """
        at_ml = max(volumes_ml, default=0.0)
        plain = self._limit_ml(quantity, Condition.SAME_PROTOCOL, at_ml)
        if plain is None:
            return math.inf
        squares = plain**2
        for condition in set(conditions) - {Condition.SAME_PROTOCOL}:
            limit = self._limit_ml(quantity, condition, at_ml)
            limit = 2.0 * plain if limit is None else limit
            squares += max(limit**2 - plain**2, 0.0)
        return math.sqrt(squares)

    def _limit_ml(self, quantity: Quantity, condition: Condition, at_ml: float) -> float | None:
        for limit in self.limits:
            if limit.quantity is quantity and limit.condition is condition:
                return limit.at_ml(at_ml)
        return None
