"""The comparison with an earlier scan as ``result.json`` and the ledger hold it: plain values."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from core.comparison import (
    Change,
    Comparison,
    CompositionShift,
    HistoryPoint,
    LesionChange,
    RegistrationQuality,
    is_known,
)
from core.domain import Lesion


def comparison_json(comparison: Comparison | None) -> dict[str, Any] | None:
    """Return a comparison as plain values; None of none.

    Parameters
    ----------
    comparison
        Of the analysed series.

    Returns
    -------
    dict or None
        Volumes in ml, shares in percent. No identifiers but UIDs: of studies, and of tracked lesions. What
        is not known, such as an infinite limit, is None.
    """
    if comparison is None:
        return None
    return {
        "course": comparison.course.value,
        "because": comparison.because,
        "days": rounded(comparison.days),
        "scanned_at": _moment(comparison.scanned_at),
        "prior": {
            "study_instance_uid": comparison.prior.facts.study_instance_uid,
            "scanned_at": _moment(comparison.prior.facts.scanned_at),
            "model": comparison.prior.model.name,
            "model_version": comparison.prior.model.version,
        },
        "lungs": {"volume_ml": _change(comparison.lung_ml)},
        "regions": {
            one.region.name.lower(): {
                "volume_ml": _change(one.volume_ml),
                "percent_of_lung": _change(one.percent_of_lung),
            }
            for one in comparison.regions
        },
        "findings": {one.finding.value: {"volume_ml": _change(one.volume_ml)} for one in comparison.findings},
        "zones": [
            {
                "zone": one.zone.value,
                "finding": None if one.finding is None else one.finding.value,
                "volume_ml": _change(one.volume_ml),
                "percent_of_zone": _change(one.percent),
            }
            for one in comparison.zones
        ],
        "lesions": [_lesion(one) for one in comparison.lesions],
        "shift": None if comparison.shift is None else _shift(comparison.shift),
        "registration": _registration(comparison.registration),
        "warnings": list(comparison.warnings),
        "history": [history_json(one) for one in comparison.history],
        "peak": None if comparison.peak is None else history_json(comparison.peak),
    }


def rounded(value: float | None) -> float | None:
    """Return a value to three decimals; None of one that is not known or not finite, which JSON has not."""
    return None if value is None or not math.isfinite(value) else round(float(value), 3)


def _change(change: Change) -> dict[str, Any]:
    """Return a number then and now, in the unit that its key names; `percent` is of the prior value."""
    return {
        "prior": rounded(change.prior),
        "current": rounded(change.current),
        "change": rounded(change.absolute),
        "percent": rounded(change.percent),
        "per_day": rounded(change.per_day),
        "limit": rounded(change.limit),
        "direction": change.direction.value if is_known(change.limit) else None,
    }


def _lesion(change: LesionChange) -> dict[str, Any]:
    return {
        "fate": change.fate.value,
        "tracking_uid": change.tracking_uid or None,
        "side": change.side.value,
        "prior": [_part(one) for one in change.prior],
        "current": [_part(one) for one in change.current],
        "carried_on": [{"prior": then, "current": now} for then, now in change.carried_on],
        "volume_ml": _change(change.volume_ml),
    }


def _part(lesion: Lesion) -> dict[str, Any]:
    return {"number": lesion.number, "volume_ml": rounded(lesion.volume_ml)}


def _registration(quality: RegistrationQuality) -> dict[str, Any]:
    return {
        "succeeded": quality.succeeded,
        "method": quality.method,
        "lung_overlap": rounded(quality.lung_overlap),
        "surface_mm": rounded(quality.surface_mm),
        "correlation": rounded(quality.correlation),
        "reason": quality.reason or None,
    }


def _shift(shift: CompositionShift) -> dict[str, Any]:
    """Return what turned into what, and the balance between the findings, positive towards consolidation."""
    return {
        "volumes": [
            {
                "from": None if then is None else then.value,
                "to": None if now is None else now.value,
                "volume_ml": rounded(volume_ml),
            }
            for (then, now), volume_ml in shift.ml.items()
        ],
        "net_ml": rounded(shift.net_ml),
        "limit_ml": rounded(shift.limit_ml),
        "significant": shift.is_significant if is_known(shift.limit_ml) else None,
    }


def history_json(point: HistoryPoint) -> dict[str, Any]:
    """Return the numbers of one scan as plain values."""
    return {
        "study_instance_uid": point.facts.study_instance_uid,
        "scanned_at": _moment(point.facts.scanned_at),
        "model": point.model,
        "lung_ml": rounded(point.lung_ml),
        "lesion_ml": rounded(point.lesion_ml),
        "ground_glass_ml": rounded(point.ground_glass_ml),
        "consolidation_ml": rounded(point.consolidation_ml),
        "percent_of_lung": rounded(point.percent_of_lung),
        "severity_score": point.severity_score,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
