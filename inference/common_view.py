"""Which part of the lungs both scans show: a scan may end in the middle of a lung."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.comparison import RegistrationQuality
from core.domain import FINDING_LABEL, LUNG_LABEL, Finding, Region, Side
from core.geometry import Geometry
from core.time_point import TimePoint

#: Distance of the places at which lungs are looked at, mm: fine from slice to slice, where scans end.
_STEPS_ZYX_MM = (1.5, 8.0, 8.0)
#: Each turn leaves a third of the error at most: so much are the lungs of one patient alike.
_TURNS = 10


class Registered(Protocol):
    """A prior scan that was brought onto the current one (`inference.registration.Registration`)."""

    @property
    def quality(self) -> RegistrationQuality:
        """How well."""

    def prior_places_lps_mm(self, places_lps_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Return where in the prior scan the tissue at (n, 3) places of the current one is."""

    def brought(
        self, array_zyx: NDArray[Any], prior_geometry: Geometry, onto: Geometry, *, order: int, outside: float
    ) -> NDArray[np.float32]:
        """Sample a prior array at the voxels of a grid of the current scan."""


#: From the prior and the current scan, in this order.
Register = Callable[[TimePoint, TimePoint], Registered]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a scan shows of the lungs.

    Parameters
    ----------
    geometry
        Its grid.
    cut_low, cut_high
        Whether a lung goes on before the first and after the last slice.
    """

    geometry: Geometry
    cut_low: bool
    cut_high: bool

    @classmethod
    def of(cls, point: TimePoint) -> View:
        """Tell at which ends a scan cuts the lungs off."""
        lungs = point.lungs.labels_zyx
        cut = point.facts.cut_off
        return cls(point.geometry, cut and bool(lungs[0].any()), cut and bool(lungs[-1].any()))

    @property
    def is_whole(self) -> bool:
        """Whether it shows all of the lungs."""
        return not (self.cut_low or self.cut_high)

    def shows(self, places_lps_mm: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell whether lung at (n, 3) places of this scan would be seen: (n,) bool."""
        at = self.geometry.to_index_zyx(places_lps_mm)[:, 0]
        shown = np.ones(at.shape, np.bool_)
        if self.cut_low:
            shown &= at >= -0.5
        if self.cut_high:
            shown &= at <= self.geometry.shape_zyx[0] - 0.5
        return shown


@dataclass(frozen=True, slots=True)
class Hidden:
    """What of a scan the other one does not show, ml.

    Parameters
    ----------
    lung_ml
        By side.
    finding_ml
        By finding and side.
    share
        Part of the lungs, 0…1.
    """

    lung_ml: dict[Side, float] = field(default_factory=dict)
    finding_ml: dict[tuple[Finding, Side], float] = field(default_factory=dict)
    share: float = 0.0

    def lungs(self, *sides: Side) -> float:
        """Return the lung of these sides, of both where none is named."""
        return sum(ml for side, ml in self.lung_ml.items() if side in (sides or tuple(Side)))

    def lesion(self, finding: Finding | None = None, side: Side | None = None) -> float:
        """Return the volume of a finding on a side; None for all."""
        return sum(
            ml
            for (found, where), ml in self.finding_ml.items()
            if finding in (None, found) and side in (None, where)
        )


@dataclass(frozen=True, slots=True)
class CommonView:
    """What each of two scans shows and the other does not.

    Parameters
    ----------
    prior, current
        Of the prior scan; of the current one.
    is_known
        False where a scan cuts lungs off and places are not compared: nobody knows then.
    """

    prior: Hidden = field(default_factory=Hidden)
    current: Hidden = field(default_factory=Hidden)
    is_known: bool = True

    @classmethod
    def of(cls, prior: TimePoint, current: TimePoint, registered: Registered | None) -> CommonView:
        """Compare what two scans show.

        Parameters
        ----------
        prior, current
            The scans.
        registered
            How places of the one are found in the other; None where they are not.
        """
        before, now = View.of(prior), View.of(current)
        if before.is_whole and now.is_whole:
            return cls()
        if registered is None:
            return cls(is_known=False)
        return cls(
            _hidden(prior, now, lambda places: current_places_lps_mm(registered, places)),
            _hidden(current, before, registered.prior_places_lps_mm),
        )


def current_places_lps_mm(registered: Registered, places_lps_mm: NDArray[Any]) -> NDArray[np.float64]:
    """Return where in the current scan the tissue at (n, 3) places of the prior one is.

    A registration only knows the other way; the place that leads there is found by correcting a guess with
    what it misses by.
    """
    wanted = np.asarray(places_lps_mm, np.float64)
    guess = wanted.copy()
    for _ in range(_TURNS):
        guess += wanted - registered.prior_places_lps_mm(guess)
    return guess


def _hidden(
    point: TimePoint, other: View, there: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Hidden:
    """Look at places of a scan's lungs, some millimetres apart, whether the other scan shows them."""
    if other.is_whole:
        return Hidden()
    spacing_mm = point.geometry.spacing_zyx_mm
    steps = [max(1, round(wanted / mm)) for wanted, mm in zip(_STEPS_ZYX_MM, spacing_mm, strict=True)]
    some = tuple(slice(step // 2, None, step) for step in steps)
    lungs, lesions = point.lungs.labels_zyx[some], point.lesions.labels_zyx[some]
    inside = lungs > 0
    index = np.argwhere(inside) * steps + [step // 2 for step in steps]
    out = ~other.shows(there(point.geometry.to_lps_mm(index))) if len(index) else np.zeros(0, np.bool_)
    lungs, lesions = lungs[inside], lesions[inside]
    hidden = Hidden(share=float(out.mean()) if out.size else 0.0)
    for region in Region:
        side, finding = region.side, region.finding
        if side is None:
            continue
        here = lungs == LUNG_LABEL[side]
        if finding is not None:
            here &= lesions == FINDING_LABEL[finding]
        # The share of places times what was measured: places alone are too few for an exact volume.
        share = float(out[here].mean()) if here.any() else 0.0
        ml = share * point.measurements.of(region).volume_ml
        if finding is None:
            hidden.lung_ml[side] = ml
        else:
            hidden.finding_ml[finding, side] = ml
    return hidden
