"""Whether a comparison tells of a phantom patient what is known of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_components

from core.comparison import Course, LesionChange
from core.time_point import TimePoint
from inference.time_points import numbered_lesions
from lesionnode.phantom.spec import LesionTruth, Phantom

#: A volume change is right within this part of the lesion's larger true volume, or within these ml.
TOLERATED_SHARE, TOLERATED_ML = 0.15, 0.5
#: A true change is judged where it is beyond so many limits.
DECISIVE = 2.0
#: What a change the other way may be, as a part of the larger, to be none; and from which part on it is one.
#: Between the two either course is right: the rule's own border, a quarter, lies there.
_NO_PART, _A_PART = 0.1, 0.5
#: Share of a marked lesion's voxels that have to be of one true lesion, if it is to count as that.
_IS_OF = 0.2


class Verdict(StrEnum):
    """What a comparison makes of a true lesion."""

    CORRECT = "correct"
    WRONG = "wrong"
    #: The model did not see it where it is, or took it and another one for one: nothing to be matched.
    NOT_SEEN = "not_seen"


@dataclass(frozen=True, slots=True)
class TrueLesion:
    """A lesion of a phantom patient.

    Parameters
    ----------
    before_ml, after_ml
        Its true volume at both times; 0 where it is not there.
    prior, current
        Numbers of the lesions that the model marked there, the one with most of it first.
    """

    before_ml: float
    after_ml: float
    prior: tuple[int, ...]
    current: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A true lesion and what was made of it.

    Parameters
    ----------
    verdict
        Whether it was matched as it should be.
    error_ml
        How far its change of volume is from the true one; None where it is not in both scans, or not matched.
    """

    lesion: TrueLesion
    verdict: Verdict
    error_ml: float | None

    @property
    def is_exact(self) -> bool:
        """Whether the change of volume is right."""
        larger_ml = max(self.lesion.before_ml, self.lesion.after_ml)
        tolerated_ml = max(TOLERATED_SHARE * larger_ml, TOLERATED_ML)
        return self.error_ml is not None and abs(self.error_ml) <= tolerated_ml


def judged(lesions: Sequence[TrueLesion], changes: Sequence[LesionChange]) -> list[Judged]:
    """Judge what became of every true lesion.

    No change may hold parts of two true lesions. A lesion of both scans has to go on: the largest part that
    was marked of it in either scan is in a change with parts of it in both. Of one that is new or resolved no
    part may go on, not even in a mark that is no true lesion.
    """
    return [_judged(lesion, lesions, changes) for lesion in lesions]


def _judged(lesion: TrueLesion, lesions: Sequence[TrueLesion], changes: Sequence[LesionChange]) -> Judged:
    others = [other for other in lesions if other is not lesion]
    is_seen = bool(lesion.prior) == (lesion.before_ml > 0.0) and bool(lesion.current) == (
        lesion.after_ml > 0.0
    )
    is_alone = not any(_meet(lesion.prior, one.prior) or _meet(lesion.current, one.current) for one in others)
    if not (is_seen and is_alone):
        return Judged(lesion, Verdict.NOT_SEEN, None)
    own = [change for change in changes if _holds(change, lesion)]
    if any(_holds(change, other) for change in own for other in others):
        return Judged(lesion, Verdict.WRONG, None)
    if not (lesion.prior and lesion.current):
        alone = bool(own) and not any(one.prior and one.current for one in own)
        return Judged(lesion, Verdict.CORRECT if alone else Verdict.WRONG, None)
    then = {one.number for change in own if _meet(lesion.current, _now(change)) for one in change.prior}
    now = {one.number for change in own if _meet(lesion.prior, _then(change)) for one in change.current}
    if lesion.prior[0] not in then or lesion.current[0] not in now:
        return Judged(lesion, Verdict.WRONG, None)
    change_ml = math.fsum(one.volume_ml.absolute for one in own)
    return Judged(lesion, Verdict.CORRECT, change_ml - (lesion.after_ml - lesion.before_ml))


def _holds(change: LesionChange, lesion: TrueLesion) -> bool:
    return _meet(lesion.prior, _then(change)) or _meet(lesion.current, _now(change))


def _then(change: LesionChange) -> tuple[int, ...]:
    return tuple(one.number for one in change.prior)


def _now(change: LesionChange) -> tuple[int, ...]:
    return tuple(one.number for one in change.current)


def _meet(some: Sequence[int], others: Sequence[int]) -> bool:
    return not set(some).isdisjoint(others)


# --- the course -------------------------------------------------------------------------------------------


def right_courses(
    lesions: Sequence[TrueLesion], limit_ml: float, *, beyond: float = DECISIVE
) -> frozenset[Course]:
    """Return which courses are right for what really happened; none where that is not decisive.

    Parameters
    ----------
    lesions
        All of the patient.
    limit_ml
        Up to which difference of what was measured in both lungs there is no change.
    beyond
        From how many limits on a true change is decisive.
    """
    changes = [(one.before_ml, one.after_ml) for one in lesions if one.before_ml != one.after_ml]
    if not any(_really(before, after) for before, after in changes):
        return frozenset({Course.STABLE})
    more_ml = math.fsum(max(after - before, 0.0) for before, after in changes)
    less_ml = math.fsum(max(before - after, 0.0) for before, after in changes)
    part = min(more_ml, less_ml) / max(more_ml, less_ml)
    if max(more_ml, less_ml) <= beyond * limit_ml:
        return frozenset()
    direction = Course.PROGRESSION if more_ml >= less_ml else Course.REGRESSION
    if part <= _NO_PART:
        return frozenset({direction})
    if part >= _A_PART and min(more_ml, less_ml) > beyond * limit_ml:
        return frozenset({Course.MIXED})
    return frozenset({direction, Course.MIXED})


def _really(before_ml: float, after_ml: float) -> bool:
    """Tell whether a lesion changed; the pleura cuts unchanged ones a little otherwise at another breath."""
    return abs(after_ml - before_ml) > 0.1 * max(before_ml, after_ml)


# --- which marked lesion is which true one ------------------------------------------------------------------


def marked(phantom: Phantom, point: TimePoint) -> list[tuple[int, ...]]:
    """Return the numbers of the lesions that a model marked of each true lesion, most of it first.

    Parameters
    ----------
    phantom
        Its lesions do not touch each other.
    point
        The model's view of it, on a part of its grid.
    """
    corner = np.rint(phantom.geometry.to_index_zyx(point.geometry.affine_lps[:3, 3])).astype(int)
    box = tuple(
        slice(int(start), int(start) + length)
        for start, length in zip(corner, point.geometry.shape_zyx, strict=True)
    )
    owners = _owners(phantom)[box]
    numbers = numbered_lesions(point)
    pairs, counts = np.unique(
        np.stack([owners[numbers > 0], numbers[numbers > 0].astype(np.int64)]), axis=1, return_counts=True
    )
    sizes = np.bincount(numbers.ravel())
    found: list[list[tuple[int, int]]] = [[] for _ in phantom.truth.lesions]
    for (owner, number), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        if owner and count >= _IS_OF * sizes[number]:
            found[owner - 1].append((-count, number))
    return [tuple(number for _, number in sorted(one)) for one in found]


def _owners(phantom: Phantom) -> NDArray[np.int64]:
    """Return which true lesion each voxel is of: (z, y, x), from 1, 0 for none."""
    pieces, count = label_components(phantom.truth.lesions_zyx > 0, connectivity=3, return_num=True)
    if not count:
        return np.zeros(pieces.shape, np.int64)
    index = np.argwhere(pieces)
    of_piece = pieces[pieces > 0]
    places = phantom.geometry.to_lps_mm(index)
    sizes = np.bincount(of_piece, minlength=count + 1)[1:]
    centres = np.stack(
        [np.bincount(of_piece, places[:, axis], count + 1)[1:] / sizes for axis in range(3)], axis=1
    )
    owner = [0, *(_nearest(centre, phantom.truth.lesions) + 1 for centre in centres)]
    return np.asarray(np.array(owner, np.int64)[pieces])


def _nearest(centre: NDArray[np.float64], lesions: Sequence[LesionTruth]) -> int:
    return int(np.argmin([np.linalg.norm(centre - one.centre_lps_mm) for one in lesions]))
