"""An analysed or refused series as ``result.json`` and the ledger hold it: plain values, no identifiers."""

from __future__ import annotations

from typing import Any

from core.domain import Finding, LesionMeasurements, Region, Side
from lesionnode.comparison_json import comparison_json, rounded
from lesionnode.pipeline import Analysed


def result_json(analysed: Analysed) -> dict[str, Any]:
    """Return what ``result.json`` and the ledger hold of an analysed series: plain values, no identifiers."""
    numbers = analysed.analysis.measurements
    return {
        "status": "analysed",
        "reason": None,
        "remarks": list(analysed.analysis.volume.remarks),
        "model": analysed.model,
        "model_version": analysed.analysis.lesions.model.version,
        "provider": analysed.provider,
        "lungs": {
            "right_ml": rounded(numbers.of(Region.LUNG_RIGHT).volume_ml),
            "left_ml": rounded(numbers.of(Region.LUNG_LEFT).volume_ml),
        },
        "burden": _burden(numbers),
        "lesions": [
            {
                "number": lesion.number,
                "class": lesion.lesion_class.value,
                "side": lesion.side.value,
                "volume_ml": rounded(lesion.volume_ml),
                "consolidation_share": rounded(lesion.consolidation_share),
                "mean_hu": rounded(lesion.mean_hu),
                "centroid_lps_mm": [rounded(value) for value in lesion.centroid_lps_mm],
                "long_axis_mm": rounded(lesion.long_axis_mm),
                "short_axis_mm": rounded(lesion.short_axis_mm),
            }
            for lesion in numbers.lesions
        ],
        "zones": [
            {
                "zone": zone.zone.value,
                "lung_ml": rounded(zone.lung_ml),
                "lesion_ml": rounded(zone.lesion_ml),
                "percent": rounded(zone.percent),
                "score": zone.score,
            }
            for zone in numbers.zones
        ],
        "severity_score": numbers.severity_score,
        "comparison": comparison_json(analysed.analysis.comparison),
        "timings_s": dict(analysed.timings_s),
    }


def refused_json(reason: str, model: str) -> dict[str, Any]:
    """Return ``result.json`` of a series that cannot be analysed: the same keys, without numbers."""
    return {
        "status": "refused",
        "reason": reason,
        "remarks": [],
        "model": model,
        "provider": None,
        "lungs": None,
        "burden": None,
        "lesions": [],
        "zones": [],
        "severity_score": None,
        "comparison": None,
        "timings_s": {},
    }


def _burden(numbers: LesionMeasurements) -> dict[str, Any]:
    total = numbers.of(Region.LESIONS)
    burden: dict[str, Any] = {
        "total_ml": rounded(total.volume_ml),
        "percent_of_lung": rounded(total.percent_of_lung),
    }
    burden |= {f"{finding.value}_ml": rounded(_volume_ml(numbers, finding)) for finding in Finding}
    for side in Side:
        lung = numbers.of(Region.LUNG_RIGHT if side is Side.RIGHT else Region.LUNG_LEFT)
        parts = {finding: _volume_ml(numbers, finding, side) for finding in Finding}
        burden[side.value] = {
            "total_ml": rounded(sum(parts.values())),
            "percent_of_lung": rounded(lung.percent_of_lung),
        } | {f"{finding.value}_ml": rounded(volume) for finding, volume in parts.items()}
    return burden


def _volume_ml(numbers: LesionMeasurements, finding: Finding, side: Side | None = None) -> float:
    return sum(
        one.volume_ml
        for one in numbers.regions
        if one.region.finding is finding and side in (None, one.region.side)
    )
