"""The course of the disease, by a rule that is told with its numbers.

1. No course where numbers cannot be compared.
2. More, less: what the lesions of both lungs together changed beyond their limit; and what single lesions
   that grew or are new, or shrank or are gone, changed, each far beyond its own limit (one and a half of it:
   of many lesions some are beyond it by chance) and all of them beyond that of lesions of their volume; or
   each lung, where lesions are not matched.
3. Where both lungs together did not change although single lesions did, what all others changed counts too.
4. Progression: more, and less by at most a quarter of it. Regression the other way round. Mixed: both.
5. Mixed too where ground glass and consolidation changed beyond their limits in opposite directions, and
   nothing else did.
6. Else stable.

Where the patient breathed in otherwise, the lesions of both lungs have to change beyond their limit both in
ml and as a share of the lungs: air in lesions makes the one wrong, lesions without air the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core.comparison import Change, Course, Direction, LesionChange, is_known
from core.repeatability import Quantity
from inference.change_limits import Limits

#: How many of its limits a single lesion has to change by to count. One in twenty is beyond its limit without
#: any change; that any of fifteen is beyond this is as rare.
_OF_MANY = 1.5
#: What changed the other way, as a part of what changed, up to which it does not make the course mixed.
_OUTWEIGHED = 0.25


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the course is told from, all of it in the part of the lungs that both scans show.

    Parameters
    ----------
    total
        Lesions of both lungs, ml.
    share
        The same in percent of the lungs, where the patient breathed in otherwise; else None.
    lungs
        Lesions of the right and of the left lung, ml.
    ground_glass, consolidation
        The findings of both lungs, ml.
    lesions
        Single lesions; None where they are not matched.
    limits
        What a change is.
    unknown
        Why no course can be told, a sentence; empty where it can.
    where
        Added to the sentence where the part is not all of the lungs.
    """

    total: Change
    share: Change | None
    lungs: tuple[Change, ...]
    ground_glass: Change
    consolidation: Change
    lesions: tuple[LesionChange, ...] | None
    limits: Limits
    unknown: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class _Moved:
    """Single lesions, or lungs, that changed in one direction: how many, by how much, whether that counts."""

    count: int
    change_ml: float
    counts: bool

    @property
    def ml(self) -> float:
        """How much weight it has."""
        return abs(self.change_ml) if self.counts else 0.0


_Both = Mapping[Direction, _Moved]


def course_of(evidence: Evidence) -> tuple[Course, str]:
    """Tell the course, and the numbers that it was told from in one sentence."""
    if evidence.unknown:
        return Course.UNDETERMINED, evidence.unknown
    if not is_known(evidence.total.limit):
        return Course.UNDETERMINED, (
            "How far two measurements of an unchanged patient lie apart is not known for this model, so no "
            "difference is called a change."
        )
    moved = {direction: _moved(evidence, direction) for direction in (Direction.INCREASE, Direction.DECREASE)}
    whole = total_direction(evidence.total, evidence.share)
    return _course(evidence, whole, moved), _because(evidence, moved)


def total_direction(total: Change, share: Change | None) -> Direction:
    """Tell which way the lesions of both lungs went; with a share, only where that goes there too."""
    if share is not None and share.direction is not total.direction:
        return Direction.NO_SIGNIFICANT_CHANGE
    return total.direction


def weighed(more_ml: float, less_ml: float) -> Course | None:
    """Weigh what became more against what became less, ml; None where nothing did."""
    if max(more_ml, less_ml) <= 0.0:
        return None
    if min(more_ml, less_ml) > _OUTWEIGHED * max(more_ml, less_ml):
        return Course.MIXED
    return Course.PROGRESSION if more_ml > less_ml else Course.REGRESSION


def _course(evidence: Evidence, whole: Direction, moved: _Both) -> Course:
    more, less = moved[Direction.INCREASE], moved[Direction.DECREASE]
    more_ml, less_ml = more.ml, less.ml
    change_ml = evidence.total.absolute
    if whole is Direction.INCREASE:
        more_ml = max(more_ml, change_ml + less_ml)
    if whole is Direction.DECREASE:
        less_ml = max(less_ml, more_ml - change_ml)
    if whole is Direction.NO_SIGNIFICANT_CHANGE and (more_ml or less_ml):
        rest_ml = change_ml - (more_ml - less_ml)
        more_ml, less_ml = more_ml + max(rest_ml, 0.0), less_ml + max(-rest_ml, 0.0)
    course = weighed(more_ml, less_ml)
    if course is not None:
        return course
    findings = {evidence.ground_glass.direction, evidence.consolidation.direction}
    return Course.MIXED if {Direction.INCREASE, Direction.DECREASE} <= findings else Course.STABLE


def _moved(evidence: Evidence, direction: Direction) -> _Moved:
    """Add up what changed in a direction, far beyond its own limit where it is one of many."""
    if evidence.lesions is None:
        changes = list(evidence.lungs)
    else:
        single = [one.volume_ml for one in evidence.lesions]
        changes = [one for one in single if abs(one.absolute) > _OF_MANY * one.limit]
    changes = [one for one in changes if one.direction is direction]
    then, now = math.fsum(one.prior for one in changes), math.fsum(one.current for one in changes)
    together = evidence.limits.lesion(Quantity.LESIONS, then, now)
    return _Moved(len(changes), together.absolute, together.is_significant)


# --- the sentence -----------------------------------------------------------------------------------------


def _because(evidence: Evidence, moved: _Both) -> str:
    total, share = evidence.total, evidence.share
    parts = [
        f"All lesions{evidence.where} changed by {total.absolute:+.1f} ml ({total.prior:.1f} to "
        f"{total.current:.1f} ml), {_held(total)} ml"
    ]
    if share is not None:
        parts.append(
            f"their share of the lungs by {share.absolute:+.1f} points, {_held(share)}, and both have to "
            "agree as the patient breathed in otherwise"
        )
    parts += [_singly(evidence, moved), *_conversion(evidence)]
    return "; ".join(parts) + "."


def _held(change: Change) -> str:
    return f"{'beyond' if change.is_significant else 'within'} the limit of {change.limit:.1f}"


def _singly(evidence: Evidence, moved: _Both) -> str:
    if evidence.lesions is None:
        what, names = "lungs beyond limits of their own (single lesions are not matched)", _LUNGS
    else:
        what, names = "single lesions far beyond limits of their own", _LESIONS
    return f"{what}: {', '.join(f'{_counted(one)} {names[way]}{_by(one)}' for way, one in moved.items())}"


_LUNGS = {Direction.INCREASE: "with more", Direction.DECREASE: "with less"}
_LESIONS = {Direction.INCREASE: "larger or new", Direction.DECREASE: "smaller or gone"}


def _counted(moved: _Moved) -> str:
    return str(moved.count or "none")


def _by(moved: _Moved) -> str:
    if moved.count == 0:
        return ""
    return f" ({moved.change_ml:+.1f} ml{'' if moved.counts else ', too little together'})"


def _conversion(evidence: Evidence) -> Iterator[str]:
    glass, dense = evidence.ground_glass, evidence.consolidation
    if glass.is_significant and dense.is_significant and glass.direction is not dense.direction:
        yield (
            f"ground glass changed by {glass.absolute:+.1f} ml and consolidation by {dense.absolute:+.1f} ml"
        )
