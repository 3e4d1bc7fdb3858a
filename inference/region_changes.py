"""What became of every measured region, finding and zone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from core.comparison import Change, FindingChange, RegionChange, ZoneChange
from core.domain import Finding, Region, Side, ZoneMeasurement
from core.repeatability import Quantity
from core.time_point import TimePoint
from inference.change_limits import Limits, Ratio
from inference.common_view import CommonView
from inference.comparability import HIDDEN_FROM, lungs_ml

_QUANTITY: dict[Finding | None, Quantity] = {
    None: Quantity.LESIONS,
    Finding.GROUND_GLASS: Quantity.GROUND_GLASS,
    Finding.CONSOLIDATION: Quantity.CONSOLIDATION,
}


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Makes the changes of two scans' numbers.

    Parameters
    ----------
    prior, current
        The scans.
    view
        What both show: limits grow by what only one does.
    limits
        What a change is.
    """

    prior: TimePoint
    current: TimePoint
    view: CommonView
    limits: Limits

    def lungs(self) -> Change:
        """Return the change of both lungs' volume."""
        return self.limits.lung(lungs_ml(self.prior), lungs_ml(self.current), self._hidden_lung_ml(*Side))

    def regions(self) -> Iterator[RegionChange]:
        """Yield the change of each region."""
        for region in Region:
            lesion = self._lesion(region.finding, region.side)
            volume, share = lesion
            if region.side is not None and region.finding is None:
                volume = self.limits.lung(*self._volumes(region), self._hidden_lung_ml(region.side))
            yield RegionChange(region, volume, share)

    def findings(self) -> Iterator[FindingChange]:
        """Yield the change of each finding in both lungs."""
        for finding in Finding:
            yield FindingChange(finding, self._lesion(finding, None)[0])

    def zones(self) -> Iterator[ZoneChange]:
        """Yield the change of each zone, for all lesion, then for each finding.

        Zones are thirds of the lung that is in view: where both scans show another part of it, they are
        other zones.
        """
        shares = (self.view.prior.share, self.view.current.share)
        hidden_ml = 0.0 if self.view.is_known and max(shares) < HIDDEN_FROM else math.inf
        for finding in (None, *Finding):
            quantity = _QUANTITY[finding]
            for zones in zip(self.prior.measurements.zones, self.current.measurements.zones, strict=True):
                then, now = (Ratio(_zone_ml(zone, finding), zone.lung_ml) for zone in zones)
                yield ZoneChange(
                    zones[1].zone,
                    finding,
                    self.limits.lesion(quantity, then.part_ml, now.part_ml, hidden_ml),
                    self.limits.share(quantity, then, now, hidden_ml),
                )

    def in_common(self, finding: Finding | None = None, side: Side | None = None) -> tuple[Change, Change]:
        """Return the change of a finding (None: all) on a side (None: both) in the part that both scans show.

        Returns
        -------
        tuple of Change
            Of its volume, ml, and of its share of that lung, percent.
        """
        ratios = []
        for point, hidden in ((self.prior, self.view.prior), (self.current, self.view.current)):
            ratio = _ratio(point, finding, side)
            sides = tuple(Side) if side is None else (side,)
            part = max(ratio.part_ml - hidden.lesion(finding, side), 0.0)
            ratios.append(Ratio(part, max(ratio.whole_ml - hidden.lungs(*sides), 0.0)))
        then, now = ratios
        quantity = _QUANTITY[finding]
        volume = self.limits.lesion(quantity, then.part_ml, now.part_ml)
        return volume, self.limits.share(quantity, then, now)

    def _lesion(self, finding: Finding | None, side: Side | None) -> tuple[Change, Change]:
        then, now = (_ratio(point, finding, side) for point in (self.prior, self.current))
        quantity, hidden_ml = _QUANTITY[finding], self._hidden_lesion_ml(finding, side)
        volume = self.limits.lesion(quantity, then.part_ml, now.part_ml, hidden_ml)
        return volume, self.limits.share(quantity, then, now, hidden_ml)

    def _volumes(self, region: Region) -> tuple[float, float]:
        then, now = (point.measurements.of(region).volume_ml for point in (self.prior, self.current))
        return then, now

    def _hidden_lung_ml(self, *sides: Side) -> float:
        if not self.view.is_known:
            return math.inf
        return self.view.prior.lungs(*sides) + self.view.current.lungs(*sides)

    def _hidden_lesion_ml(self, finding: Finding | None, side: Side | None) -> float:
        if not self.view.is_known:
            return math.inf
        return self.view.prior.lesion(finding, side) + self.view.current.lesion(finding, side)


def _ratio(point: TimePoint, finding: Finding | None, side: Side | None) -> Ratio:
    """Return the volume of a finding (None: all) and of the lung that it is in, on a side (None: both)."""
    if finding is None and side is None:
        # The very number that the scan's own report has: a sum of its parts may be rounded otherwise.
        return Ratio(point.measurements.of(Region.LESIONS).volume_ml, lungs_ml(point))
    lesion_ml = sum(
        one.volume_ml
        for one in point.measurements.regions
        if one.region.finding is not None
        and finding in (None, one.region.finding)
        and side in (None, one.region.side)
    )
    lung_ml = sum(
        one.volume_ml
        for one in point.measurements.regions
        if one.region.finding is None and one.region.side is not None and side in (None, one.region.side)
    )
    return Ratio(lesion_ml, lung_ml)


def _zone_ml(zone: ZoneMeasurement, finding: Finding | None) -> float:
    return zone.lesion_ml if finding is None else zone.finding_ml(finding)
