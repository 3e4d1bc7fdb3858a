"""Sums over measured regions, as people read them: one lung or both, one finding or all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.domain import Finding, LesionMeasurements, Region, Side


@dataclass(frozen=True, slots=True)
class Total:
    """Findings in some lungs, taken together.

    Parameters
    ----------
    volume_ml
        Sum of the volumes.
    percent
        Share of the lungs' volume; None where there is no lung.
    mean_hu
        Mean attenuation over all voxels; None where there is none.
    """

    volume_ml: float
    percent: float | None
    mean_hu: float | None


def lung_volume_ml(measurements: LesionMeasurements, sides: Iterable[Side] = Side) -> float:
    """Return the volume of some lungs, ml."""
    return sum(measurements.of(Region[f"LUNG_{side.name}"]).volume_ml for side in sides)


def total_of(
    measurements: LesionMeasurements, sides: Iterable[Side] = Side, findings: Iterable[Finding] = Finding
) -> Total:
    """Add up findings in lungs.

    Parameters
    ----------
    measurements
        Of one series.
    sides, findings
        Which lungs and what in them.
    """
    sides = tuple(sides)
    lung_ml = lung_volume_ml(measurements, sides)
    parts = [measurements.of(Region[f"{finding.name}_{side.name}"]) for finding in findings for side in sides]
    volume_ml = sum(part.volume_ml for part in parts)
    weighted = sum(part.volume_ml * part.mean_hu for part in parts if part.mean_hu is not None)
    return Total(
        volume_ml,
        100.0 * volume_ml / lung_ml if lung_ml > 0 else None,
        weighted / volume_ml if volume_ml > 0 else None,
    )
