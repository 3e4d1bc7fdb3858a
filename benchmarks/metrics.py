"""How well a mask agrees with the truth: the measures that all benchmarks share."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Overlap:
    """Voxels of two masks and of their intersection; those of several masks add up.

    Parameters
    ----------
    found, truth
        Voxels of the judged and of the true mask.
    both
        Voxels that both hold.
    """

    found: int = 0
    truth: int = 0
    both: int = 0

    @classmethod
    def of(cls, found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Self:
        """Count the voxels of two masks of one shape."""
        return cls(*(int(np.count_nonzero(mask)) for mask in (found, truth, found & truth)))

    def __add__(self, other: Overlap) -> Overlap:
        """Take both together, as if they were one pair of masks."""
        return Overlap(self.found + other.found, self.truth + other.truth, self.both + other.both)

    @property
    def dice(self) -> float:
        """Dice coefficient, 0…1; two empty masks agree, which is 1."""
        total = self.found + self.truth
        return 2.0 * self.both / total if total else 1.0

    @property
    def sensitivity(self) -> float | None:
        """Share of the true mask that was found; None where there is nothing to find."""
        return self.both / self.truth if self.truth else None

    @property
    def precision(self) -> float | None:
        """Share of the found mask that is true; None where nothing was found."""
        return self.both / self.found if self.found else None


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks of one shape; 1 where both are empty."""
    return Overlap.of(found, truth).dice


def spread(values: Iterable[float | None]) -> dict[str, Any]:
    """Describe values in four numbers.

    Parameters
    ----------
    values
        None stands for a value that is not defined, and is left out.

    Returns
    -------
    dict
        `n`, `mean`, `median`, and `sd` (of a sample, n − 1); None where there are too few values.
    """
    known = [value for value in values if value is not None]
    return {
        "n": len(known),
        "mean": statistics.fmean(known) if known else None,
        "median": statistics.median(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
    }
