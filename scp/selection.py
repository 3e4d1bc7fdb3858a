"""Which reconstruction of one scan is analysed, and why the others are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.ct_facts import CtFacts
from core.geometry import stack_regularity

#: Slice spacing in mm that lesion models are made for; inside it all are equal.
_BEST_SPACING_MM = (0.9, 3.1)

# What the vendors call their kernels. Smooth ones keep HU true to tissue; sharp ones add noise and edges.
_SHARP_WORDS = ("LUNG", "BONE", "EDGE", "SHARP", "ULTRA", "DETAIL")
_SMOOTH_WORDS = ("STANDARD", "STND", "SOFT", "SMOOTH", "CHEST", "CHST", "BODY", "MEDIASTINUM")
_PHILIPS = {"A": 0, "B": 0, "C": 0, "D": 1, "E": 2, "L": 2, "YA": 1, "YB": 1, "YC": 2, "YD": 2, "YE": 2}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One series of a scan.

    Parameters
    ----------
    series_id
        Our own id.
    facts
        Of all its analysable instances.
    """

    series_id: str
    facts: tuple[CtFacts, ...]

    @property
    def count(self) -> int:
        """Number of images, frames counted one by one."""
        return sum(fact.number_of_frames for fact in self.facts)


@dataclass(frozen=True, slots=True)
class _Merit:
    """What counts in the choice, in this order; smaller is better."""

    not_original_axial: int
    incomplete: int
    thickness_off: float
    sharpness: int
    less_coverage: float
    series_number: int

    @property
    def key(self) -> tuple[float, ...]:
        return (
            self.not_original_axial,
            self.incomplete,
            self.thickness_off,
            self.sharpness,
            self.less_coverage,
            self.series_number,
        )


_WHY_LOST = {
    "not_original_axial": "it is not an original axial reconstruction",
    "incomplete": "its slices are not complete and evenly spaced",
    "thickness_off": "its slice spacing is further from 1-3 mm",
    "sharpness": "its kernel is sharper",
    "less_coverage": "it covers less",
    "series_number": "it comes later in the study",
}


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate, dict[str, str]]:
    """Choose the series of a scan that is analysed.

    Parameters
    ----------
    candidates
        At least one.

    Returns
    -------
    tuple
        The best one, and for each of the others the reason by its series id.
    """
    merits = {candidate.series_id: _merit(candidate) for candidate in candidates}
    best = min(candidates, key=lambda candidate: (*merits[candidate.series_id].key, candidate.series_id))
    losers = {
        candidate.series_id: _why(merits[best.series_id], merits[candidate.series_id], best)
        for candidate in candidates
        if candidate is not best
    }
    return best, losers


def kernel_sharpness(kernel: str) -> int:
    """Grade a convolution kernel by its vendor's name: 0 smooth, 1 medium or unknown, 2 sharp."""
    name = kernel.strip().upper()
    siemens = re.match(r"[BHUTQIJ][A-Z]?(\d{2})", name)  # I and J: iterative
    if siemens:
        number = int(siemens.group(1))
        return 0 if number < 45 else 1 if number < 55 else 2
    canon = re.match(r"FC\s?(\d{2})", name)
    if canon:
        number = int(canon.group(1))
        return 0 if number < 20 else 2 if number in range(30, 40) or number in range(50, 60) else 1
    if name in _PHILIPS:
        return _PHILIPS[name]
    if any(word in name for word in _SHARP_WORDS):
        return 2
    return 0 if any(word in name for word in _SMOOTH_WORDS) else 1


def _merit(candidate: Candidate) -> _Merit:
    first = candidate.facts[0] if candidate.facts else None
    types = first.image_type if first is not None else ()
    regularity = stack_regularity(_positions(candidate))
    multi_frame = any(fact.number_of_frames > 1 for fact in candidate.facts)
    spacing = regularity.spacing_mm or (first.slice_thickness_mm if first is not None else None) or 0.0
    low, high = _BEST_SPACING_MM
    return _Merit(
        not_original_axial=0 if types[:2] == ("ORIGINAL", "PRIMARY") else 1,
        incomplete=0 if regularity.is_regular or multi_frame else 1,
        thickness_off=round(max(low - spacing, spacing - high, 0.0), 2),
        sharpness=kernel_sharpness(first.kernel if first is not None else ""),
        less_coverage=-round(spacing * candidate.count / 10.0),
        series_number=first.series_number if first is not None else 0,
    )


def _positions(candidate: Candidate) -> list[float]:
    """Return the slices' positions; slices of another orientation or matrix make the stack irregular."""
    facts = [fact for fact in candidate.facts if fact.position_mm is not None and fact.orientation]
    if not facts:
        return []
    reference = np.asarray(facts[0].orientation)
    alike = [
        fact
        for fact in facts
        if np.allclose(reference, fact.orientation, atol=1e-3) and fact.matrix == facts[0].matrix
    ]
    if len(alike) < len(candidate.facts):
        return []
    return [fact.position_mm for fact in alike if fact.position_mm is not None]


def _why(best: _Merit, lost: _Merit, winner: Candidate) -> str:
    number = winner.facts[0].series_number if winner.facts else 0
    for name, text in _WHY_LOST.items():
        if getattr(best, name) < getattr(lost, name):
            return f"series {number} of the same scan is analysed instead: {text}"
    return f"series {number} of the same scan is analysed instead: it is equally good and came first"
