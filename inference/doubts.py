"""Why nothing at all may be said of a change: the scans do not show the same lungs, or not in a known order.

Numbers of such scans differ without any change of the patient, and by more than any measured limit. They are
shown side by side, and no difference is called a change.
"""

from __future__ import annotations

from datetime import time

import numpy as np

from core.domain import Region
from core.time_point import ScanFacts, TimePoint

#: Lungs that touch the sides of the image with more than this go on beyond it, mm²; noise there is less.
_LEAST_CUT_MM2 = 200.0
#: How much more one lung's volume may change than the other's, as a ratio. Both fill with the same breath.
_UNEVEN = 0.85


def doubt(prior: TimePoint, current: TimePoint) -> str:
    """Return why no difference between two scans is called a change, a sentence; empty where one may be."""
    for name, point in (("prior", prior), ("current", current)):
        if point.facts.scanned_at is None:
            return f"The {name} scan has no date, so which of the two is the earlier one is not known."
        if _is_cut_at_the_side(point):
            return f"The images of the {name} scan do not hold the whole width of the lungs."
    return without_order(prior.facts, current.facts) or _uneven(prior, current)


def without_order(prior: ScanFacts, current: ScanFacts) -> str:
    """Say that nothing tells which of two studies came first, a sentence; empty where something does."""
    then, now = prior.scanned_at, current.scanned_at
    if then is None or now is None or prior.study_instance_uid == current.study_instance_uid:
        return ""  # reconstructions of one study need no order
    unknown = "so which of the two is the earlier one is not known."
    if time.min in (then.time(), now.time()) and then.date() == now.date():
        return f"Both scans are of one date, and one of them at least has no time, {unknown}"
    return f"Both scans have the same date and time, {unknown}" if then == now else ""


def _is_cut_at_the_side(point: TimePoint) -> bool:
    """Tell whether a lung reaches the edge of the images; the box that is kept has a margin anywhere else."""
    lungs, (step_z, step_y, step_x) = point.lungs.labels_zyx > 0, point.geometry.spacing_zyx_mm
    sides_mm2 = (
        (lungs[:, [0, -1], :], step_z * step_x),
        (lungs[:, :, [0, -1]], step_z * step_y),
    )
    return any(np.count_nonzero(side) * area_mm2 > _LEAST_CUT_MM2 for side, area_mm2 in sides_mm2)


def _uneven(prior: TimePoint, current: TimePoint) -> str:
    """Say that one lung changed alone: what is airless is not found as lung, and its lesions with it."""
    if prior.facts.cut_off or current.facts.cut_off:
        return ""  # one lung may be cut more than the other
    ratios: dict[str, float] = {}
    for name, lung in (("right", Region.LUNG_RIGHT), ("left", Region.LUNG_LEFT)):
        then_ml, now_ml = prior.measurements.of(lung).volume_ml, current.measurements.of(lung).volume_ml
        if then_ml > 0.0 or now_ml > 0.0:
            ratios[name] = now_ml / then_ml if then_ml > 0.0 else float("inf")
    if len(ratios) < 2 or min(ratios.values()) >= _UNEVEN * max(ratios.values()):
        return ""
    changes = " and ".join(f"of the {name} lung {_percent(ratio)}" for name, ratio in ratios.items())
    return (
        f"One lung changed alone (volume {changes}): part of it may be seen as lung in one of the scans "
        "only, as in collapse, effusion or dense consolidation."
    )


def _percent(ratio: float) -> str:
    return "from nothing" if ratio == float("inf") else f"{100.0 * (ratio - 1.0):+.0f} %"
