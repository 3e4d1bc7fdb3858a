"""What changed between two scans of one patient; a change is called one only beyond its limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.domain import Finding, Lesion, Region, Side, Zone
from core.time_point import ScanFacts, TimePoint


class Direction(StrEnum):
    """What became of a number."""

    INCREASE = "increase"
    DECREASE = "decrease"
    NO_SIGNIFICANT_CHANGE = "no_significant_change"


class Fate(StrEnum):
    """What became of a lesion."""

    PERSISTENT = "persistent"
    GROWN = "grown"
    SHRUNK = "shrunk"
    NEW = "new"
    RESOLVED = "resolved"
    MERGED = "merged"
    SPLIT = "split"


class Course(StrEnum):
    """What became of the disease as a whole."""

    PROGRESSION = "progression"
    REGRESSION = "regression"
    STABLE = "stable"
    MIXED = "mixed"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class CourseRules:
    """From which change on a site calls it one; within the measured repeatability nothing ever is.

    Parameters
    ----------
    least_change_ml
        Smaller changes of a volume of lesion are none, ml.
    least_change_percent
        The same in percent of the earlier volume.
    least_new_lesion_ml
        Smaller lesions are not called new, ml.
    """

    least_change_ml: float = 0.0
    least_change_percent: float = 0.0
    least_new_lesion_ml: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """A number then and now.

    Parameters
    ----------
    prior, current
        The two values, in one unit.
    limit
        Nothing up to it is called a change: the repeatability of the two, or what the site asks for,
        whichever is larger; same unit. Infinite where repeatability is not known.
    days
        From the prior to the current scan; None where a date is missing.
    """

    prior: float
    current: float
    limit: float
    days: float | None = None

    @property
    def absolute(self) -> float:
        """Current less prior."""
        return self.current - self.prior

    @property
    def percent(self) -> float | None:
        """Change in percent of the prior value; None where that is 0."""
        return 100.0 * self.absolute / self.prior if self.prior > 0.0 else None

    @property
    def per_day(self) -> float | None:
        """Change per day; None within a day, where it says nothing."""
        return None if self.days is None or self.days < 1.0 else self.absolute / self.days

    @property
    def direction(self) -> Direction:
        """Which way, beyond the limit."""
        if abs(self.absolute) <= self.limit:
            return Direction.NO_SIGNIFICANT_CHANGE
        return Direction.INCREASE if self.absolute > 0.0 else Direction.DECREASE

    @property
    def is_significant(self) -> bool:
        """Whether it is beyond the limit."""
        return self.direction is not Direction.NO_SIGNIFICANT_CHANGE


@dataclass(frozen=True, slots=True)
class RegionChange:
    """Change of a measured region.

    Parameters
    ----------
    region
        Which one.
    volume_ml
        Its volume.
    percent_of_lung
        Its share of its lung: the burden that does not depend on how deeply the patient breathed in. Of a
        lung itself, the share that is lesion.
    """

    region: Region
    volume_ml: Change
    percent_of_lung: Change


@dataclass(frozen=True, slots=True)
class FindingChange:
    """Change of a finding in both lungs together, ml."""

    finding: Finding
    volume_ml: Change


@dataclass(frozen=True, slots=True)
class ZoneChange:
    """Change within a zone.

    Parameters
    ----------
    zone
        Which one.
    finding
        Of which finding; None for all lesion.
    volume_ml
        Lesion in the zone, ml.
    percent
        Share of the zone, percent.
    """

    zone: Zone
    finding: Finding | None
    volume_ml: Change
    percent: Change


@dataclass(frozen=True, slots=True)
class LesionChange:
    """One lesion, or several that were or became one.

    Parameters
    ----------
    fate
        What became of it.
    tracking_uid
        Tracking UID (0062,0021) for life: that of the prior part that most of it is carried on from. Empty
        where it is new: the writers give it one.
    prior, current
        Its parts in either scan, largest first; none where it is new or resolved.
    volume_ml
        All parts together, ml.
    carried_on
        Which prior part goes on as which current one, with its Tracking UID: (prior number, current number),
        each at most once, the surest first.
    """

    fate: Fate
    tracking_uid: str
    prior: tuple[Lesion, ...]
    current: tuple[Lesion, ...]
    volume_ml: Change
    carried_on: tuple[tuple[int, int], ...] = ()

    @property
    def side(self) -> Side:
        """The lung that it is in."""
        return (self.current or self.prior)[0].side


@dataclass(frozen=True, slots=True)
class CompositionShift:
    """Where lesion was and is, voxel by voxel, after the prior scan was brought onto the current one; ml.

    Parameters
    ----------
    ml
        By (finding then, finding now); None stands for lung without lesion. What was never lesion is not in
        it.
    limit_ml
        Up to there what went over between the findings, on balance, is none: what measuring either of them
        alone may change. Infinite where that is not known.
    """

    ml: dict[tuple[Finding | None, Finding | None], float]
    limit_ml: float

    @property
    def consolidated_ml(self) -> float:
        """Ground glass that became consolidation."""
        return self.ml.get((Finding.GROUND_GLASS, Finding.CONSOLIDATION), 0.0)

    @property
    def loosened_ml(self) -> float:
        """Consolidation that became ground glass."""
        return self.ml.get((Finding.CONSOLIDATION, Finding.GROUND_GLASS), 0.0)

    @property
    def net_ml(self) -> float:
        """Ground glass that became consolidation, on balance; negative the other way round.

        Two scans of an unchanged patient never lie on each other exactly. What that seems to turn one way it
        seems to turn the other way too.
        """
        return self.consolidated_ml - self.loosened_ml

    @property
    def is_significant(self) -> bool:
        """Whether the balance is beyond the limit."""
        return abs(self.net_ml) > self.limit_ml


@dataclass(frozen=True, slots=True)
class RegistrationQuality:
    """How well the prior scan lies on the current one.

    Parameters
    ----------
    succeeded
        Whether places are compared; otherwise volumes alone are.
    method
        What was run, or tried.
    lung_overlap
        Dice coefficient of the lungs, 0…1.
    surface_mm
        Mean distance of the lungs' surfaces, mm.
    correlation
        Correlation of the densities inside both lungs, −1…1.
    reason
        Why places are not compared; empty where they are.
    """

    succeeded: bool
    method: str
    lung_overlap: float
    surface_mm: float
    correlation: float
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The prior scan in the place of the current one.

    Parameters
    ----------
    density_hu_zyx
        Prior densities on the current scan's density grid, int16 HU; −1024 where there are none.
    lesions_zyx
        Prior findings on the current scan's mask grid, uint8 (`core.domain.FINDING_LABEL`).
    """

    density_hu_zyx: NDArray[np.int16]
    lesions_zyx: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """The numbers of one scan, for a trend.

    Parameters
    ----------
    facts
        Which scan.
    model, model_sha256
        Name and version of what looked at it, and its file: numbers are compared where both are the same.
    lung_ml, lesion_ml, ground_glass_ml, consolidation_ml
        Both lungs, ml.
    percent_of_lung
        Lesion, percent.
    severity_score
        0…24.
    """

    facts: ScanFacts
    model: str
    lung_ml: float
    lesion_ml: float
    ground_glass_ml: float
    consolidation_ml: float
    percent_of_lung: float
    severity_score: int
    model_sha256: str = ""

    def is_by_the_model_of(self, other: HistoryPoint) -> bool:
        """Tell whether one model, in one file, looked at both scans."""
        return (self.model, self.model_sha256) == (other.model, other.model_sha256)

    @classmethod
    def of(cls, point: TimePoint) -> HistoryPoint:
        """Take the numbers of a time point."""
        numbers = point.measurements
        by_finding = {
            finding: sum(one.volume_ml for one in numbers.regions if one.region.finding is finding)
            for finding in Finding
        }
        return cls(
            facts=point.facts,
            model=f"{point.model.name} {point.model.version}",
            lung_ml=sum(numbers.of(lung).volume_ml for lung in (Region.LUNG_RIGHT, Region.LUNG_LEFT)),
            lesion_ml=numbers.of(Region.LESIONS).volume_ml,
            ground_glass_ml=by_finding[Finding.GROUND_GLASS],
            consolidation_ml=by_finding[Finding.CONSOLIDATION],
            percent_of_lung=numbers.of(Region.LESIONS).percent_of_lung,
            severity_score=numbers.severity_score,
            model_sha256=point.model.sha256,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A scan compared with an earlier one of the same patient.

    Parameters
    ----------
    prior
        The scan that it is compared with.
    scanned_at
        Of the current scan (`core.time_point.ScanFacts.scanned_at`).
    days
        Between the two; None where a date is missing.
    course
        What became of the disease.
    because
        The rule by which that was told, with its numbers, one English sentence.
    lung_ml
        Both lungs: how deeply the patient breathed in.
    regions, findings, zones
        One per region; per finding; per zone for all lesion, then for each finding.
    lesions
        Every lesion of either scan: those that are here now first, by their number, then what resolved.
        Empty where places are not compared.
    shift
        What turned into what; None where places are not compared.
    registration
        How well the two were brought together.
    warnings
        In what the scans differ so that numbers may differ without change, English sentences.
    history
        All scans, oldest first, the current one last.
    alignment
        For pictures; None where places are not compared.
    tracking_uids
        Tracking UID of each lesion of the current scan that was there before, by its number.
    inputs
        Digests of all earlier scans that went in.
    """

    prior: TimePoint
    scanned_at: datetime | None
    days: float | None
    course: Course
    because: str
    lung_ml: Change
    regions: tuple[RegionChange, ...]
    findings: tuple[FindingChange, ...]
    zones: tuple[ZoneChange, ...]
    lesions: tuple[LesionChange, ...]
    shift: CompositionShift | None
    registration: RegistrationQuality
    warnings: tuple[str, ...]
    history: tuple[HistoryPoint, ...]
    alignment: Alignment | None = None
    tracking_uids: dict[int, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    def of(self, region: Region) -> RegionChange:
        """Return the change of one region."""
        return self.regions[region.value - 1]

    @property
    def total(self) -> RegionChange:
        """Change of all lesions."""
        return self.of(Region.LESIONS)

    @property
    def peak(self) -> HistoryPoint | None:
        """The scan with the largest share of lung that is lesion (`peak_of`)."""
        return peak_of(self.history)


def peak_of(history: Sequence[HistoryPoint]) -> HistoryPoint | None:
    """Return the scan with the largest share of lung that is lesion, the earliest of equals.

    Parameters
    ----------
    history
        Scans, the current one last: numbers of other models than its own are not compared with them.

    Returns
    -------
    HistoryPoint or None
        None where no scan has lesion, or there are not two to compare.
    """
    comparable = [point for point in history if point.is_by_the_model_of(history[-1])]
    if len(comparable) < 2:
        return None
    largest = max(comparable, key=lambda point: point.percent_of_lung)
    return largest if largest.percent_of_lung > 0.0 else None


def is_known(limit: float) -> bool:
    """Tell whether repeatability is known: without it nothing is ever called a change."""
    return math.isfinite(limit)
