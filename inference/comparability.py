"""In what two scans differ, so that their numbers may differ without any change of the patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.domain import ModelIdentity, Region
from core.repeatability import Condition, Quantity, Repeatability
from core.time_point import ScanFacts, TimePoint
from inference.common_view import CommonView

#: Up to that ratio slices are of one thickness: 1 and 1.25 mm, 2.5 and 3 mm.
_SAME_THICKNESS = 1.3
#: Lungs that differ by less have breathed in alike, as a share of the larger volume: two held breaths of one
#: patient differ that much.
_SAME_INSPIRATION = 0.08
#: Lung that only one of the scans shows is told from that share on.
HIDDEN_FROM = 0.02
_DECUBITUS = ("DL", "DR")


@dataclass(frozen=True, slots=True)
class Comparability:
    """How far two scans can be compared.

    Parameters
    ----------
    conditions
        What of it widens the limits.
    warnings
        All of it, English sentences without identifiers.
    same_model
        Whether one model, in one version, looked at both: otherwise numbers are not compared.
    """

    conditions: frozenset[Condition]
    warnings: tuple[str, ...]
    same_model: bool


def comparability(
    prior: TimePoint, current: TimePoint, view: CommonView, repeatability: Repeatability
) -> Comparability:
    """Tell in what two scans differ.

    Parameters
    ----------
    prior, current
        The scans.
    view
        What both show of the lungs: how deeply the patient breathed in is told from that part.
    repeatability
        Of the current scan's model: how far the volume of unchanged lungs varies.
    """
    conditions = set(acquisition_conditions(prior, current))
    warnings = list(_acquisition_warnings(prior, current, conditions))
    warnings += _view_warnings(prior, current, view)
    inspiration = _inspiration(prior, current, view, repeatability)
    if inspiration is not None:
        conditions.add(Condition.OTHER_INSPIRATION)
        warnings.append(inspiration)
    turned = _turned(prior.facts, current.facts)
    if turned is not None:
        # Gravity opens other parts of the lungs: no other repeatability was measured that comes as close.
        conditions.add(Condition.OTHER_INSPIRATION)
        warnings.append(turned)
    warnings += _plain_warnings(prior, current)
    return Comparability(
        frozenset(conditions or {Condition.SAME_PROTOCOL}),
        tuple(warnings),
        is_same_model(prior.model, current.model),
    )


def acquisition_conditions(prior: TimePoint, current: TimePoint) -> frozenset[Condition]:
    """Return in what the acquisition and the reconstruction of two scans differ; kernel, thickness, contrast.

    Kernels are the same where their names are; where only one scan names any, another one is assumed. Slices
    that do not name their thickness are as thick as they are apart.
    """
    thinner, thicker = sorted((_thickness_mm(prior), _thickness_mm(current)))
    differs = {
        Condition.OTHER_KERNEL: _kernel(prior.facts) != _kernel(current.facts),
        Condition.OTHER_THICKNESS: thicker > _SAME_THICKNESS * thinner,
        Condition.OTHER_CONTRAST: prior.facts.contrast is not current.facts.contrast,
    }
    return frozenset(condition for condition, differ in differs.items() if differ)


def is_same_model(one: ModelIdentity, other: ModelIdentity) -> bool:
    """Tell whether numbers of two models can be compared: only those of one file in one version can."""
    return (one.name, one.version, one.sha256) == (other.name, other.version, other.sha256)


def lungs_ml(point: TimePoint) -> float:
    """Return the volume of both lungs, ml."""
    return sum(point.measurements.of(lung).volume_ml for lung in (Region.LUNG_RIGHT, Region.LUNG_LEFT))


def _kernel(facts: ScanFacts) -> str:
    return " ".join(facts.kernel.casefold().split())


def _thickness_mm(point: TimePoint) -> float:
    return point.facts.slice_thickness_mm or point.geometry.spacing_zyx_mm[0]


def _acquisition_warnings(prior: TimePoint, current: TimePoint, conditions: set[Condition]) -> Iterator[str]:
    before, now = prior.facts, current.facts
    if Condition.OTHER_KERNEL in conditions:
        names = [one.kernel or "not named" for one in (before, now)]
        yield (
            f"The convolution kernels differ ({names[0]}, then {names[1]}): attenuation and small volumes "
            "are less comparable."
        )
    elif not _kernel(now):
        yield "Neither scan names its convolution kernel: whether they are alike is not known."
    if Condition.OTHER_THICKNESS in conditions:
        then_mm, now_mm = _thickness_mm(prior), _thickness_mm(current)
        yield f"Slices were {then_mm:.3g} mm thick and are {now_mm:.3g} mm now: volumes are less comparable."
    if Condition.OTHER_CONTRAST in conditions:
        which = "The current scan" if now.contrast else "The prior scan"
        yield f"{which} alone was made with contrast medium: attenuation is less comparable."


def _view_warnings(prior: TimePoint, current: TimePoint, view: CommonView) -> Iterator[str]:
    if not view.is_known:
        cut = [name for name, one in (("prior", prior), ("current", current)) if one.facts.cut_off]
        which = f"The {cut[0]} scan cuts" if len(cut) == 1 else "Both scans cut"
        yield f"{which} the lungs off, and what both show is not known: no difference is called a change."
        return
    for name, other, hidden in (("prior", "current", view.prior), ("current", "prior", view.current)):
        if hidden.share >= HIDDEN_FROM:
            yield (
                f"The {other} scan ends within the lungs: {100 * hidden.share:.0f} % of the lungs of the "
                f"{name} scan are not in it. The course is told from what both scans show."
            )


def _inspiration(
    prior: TimePoint, current: TimePoint, view: CommonView, repeatability: Repeatability
) -> str | None:
    """Say that the patient breathed in more or less deeply, where that is known."""
    if not view.is_known:
        return None
    then_ml, now_ml = lungs_ml(prior) - view.prior.lungs(), lungs_ml(current) - view.current.lungs()
    others = acquisition_conditions(prior, current)
    measured_ml = repeatability.interval_ml(Quantity.LUNG, (then_ml, now_ml), others)
    measured_ml = measured_ml if measured_ml < float("inf") else 0.0
    if abs(now_ml - then_ml) <= max(measured_ml, _SAME_INSPIRATION * max(then_ml, now_ml)):
        return None
    percent = 100.0 * (now_ml - then_ml) / then_ml if then_ml > 0.0 else 100.0
    what = "more" if percent > 0.0 else "less"
    return (
        f"The patient breathed in {what} deeply than in the prior scan (volume of the lungs {percent:+.0f} "
        "%): volumes and shares of lung change with that."
    )


def _turned(before: ScanFacts, now: ScanFacts) -> str | None:
    """Say that the patient lay on another side, where both scans tell how (0018,5100)."""
    then, later = _lying(before), _lying(now)
    if not then or not later or then == later:
        return None
    return (
        f"The patient lay {then} in the prior scan and {later} in the current one: dependent lung is denser."
    )


def _lying(facts: ScanFacts) -> str:
    position = facts.patient_position.upper()
    if position.endswith(_DECUBITUS):
        return "on the left side" if position.endswith("DL") else "on the right side"
    return {"S": "supine", "P": "prone"}.get(position[-1:], "")


def _plain_warnings(prior: TimePoint, current: TimePoint) -> Iterator[str]:
    """Say what widens no limit."""
    before, now = prior.facts, current.facts
    makes = [f"{one.manufacturer} {one.manufacturer_model_name}".strip() for one in (before, now)]
    if makes[0].casefold() != makes[1].casefold():
        yield f"Two scanners were used ({makes[0] or 'not named'}, then {makes[1] or 'not named'})."
    elif before.device_serial_number != now.device_serial_number:
        yield "Two scanners of one model were used."
    if not is_same_model(prior.model, current.model):
        names = [f"{one.name} {one.version}" for one in (prior.model, current.model)]
        which = f"{names[0]}, then {names[1]}" if names[0] != names[1] else f"{names[0]}, in two files"
        yield f"Two models looked at the scans ({which}): their numbers differ without any change."
    for name, facts in (("prior", before), ("current", now)):
        if facts.scanned_at is None:
            yield f"The {name} scan has no date: which of the scans is the earlier one is not certain."
