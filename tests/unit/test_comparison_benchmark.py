"""`python -m benchmarks.comparison`: what it calls a right match, an exact change and a right course."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.comparison_figures import lesion_summary, summary
from benchmarks.comparison_judgement import TrueLesion, Verdict, judged, marked, right_courses
from core.comparison import Change, Course, Fate, LesionChange
from core.domain import BoxedMask, Lesion, LesionClass, Side
from lesionnode.phantom import PairGrid, PairKind, generate_pair, random_pair
from tests.helpers.scans import phantom_point


def change(prior: tuple[int, ...], current: tuple[int, ...], volumes: tuple[float, float]) -> LesionChange:
    """Return a change of lesions of these numbers."""
    voxels = BoxedMask((0, 0, 0), np.ones((1, 1, 1), np.bool_))
    then, now = (
        tuple(
            Lesion(at, LesionClass.MIXED, Side.LEFT, 1.0, 0.5, 0.0, (0.0, 0.0, 0.0), 1.0, 1.0, voxels)
            for at in numbers
        )
        for numbers in (prior, current)
    )
    return LesionChange(Fate.PERSISTENT, "", then, now, Change(*volumes, 1.0))


STAYED = TrueLesion(10.0, 12.0, (1,), (2,))
NEW, GONE = TrueLesion(0.0, 5.0, (), (1,)), TrueLesion(6.0, 0.0, (2,), ())
MATCHED = [change((1,), (2,), (10.5, 12.1)), change((), (1,), (0.0, 5.0)), change((2,), (), (6.0, 0.0))]


def verdicts(lesions: list[TrueLesion], changes: list[LesionChange]) -> list[Verdict]:
    """Return how each true lesion is judged."""
    return [one.verdict for one in judged(lesions, changes)]


def test_what_goes_on_in_one_change_of_its_own_is_right() -> None:
    """The error is that of the change, not of the volumes."""
    found = judged([STAYED, NEW, GONE], MATCHED)
    assert [one.verdict for one in found] == [Verdict.CORRECT] * 3
    assert [one.error_ml for one in found] == [pytest.approx(1.6 - 2.0), None, None]
    assert found[0].is_exact


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ([change((1,), (), (10.0, 0.0)), change((), (2,), (0.0, 12.0)), *MATCHED[1:]], [True, False, False]),
        ([change((1,), (2, 1), (10.0, 17.0)), MATCHED[2]], [True, True, False]),
        ([MATCHED[0], change((2,), (1,), (6.0, 5.0))], [False, True, True]),
        ([MATCHED[0], MATCHED[1]], [False, False, True]),
        ([MATCHED[0], MATCHED[1], change((2,), (9,), (6.0, 0.4))], [False, False, True]),
        ([], [True, True, True]),
    ],
    ids=[
        "torn",
        "merged with another",
        "one for another",
        "left out",
        "goes on in a false mark",
        "not matched",
    ],
)
def test_what_is_torn_or_mixed_up_is_wrong(changes: list[LesionChange], wrong: list[bool]) -> None:
    """Also a lesion that went and is said to go on, if only in what is no lesion."""
    expected = [Verdict.WRONG if one else Verdict.CORRECT for one in wrong]
    assert verdicts([STAYED, NEW, GONE], changes) == expected


def test_a_lesion_marked_in_pieces_is_right_if_they_stay_by_themselves() -> None:
    """Their changes add up."""
    pieces = TrueLesion(10.0, 10.0, (1, 3), (4, 2))
    changes = [change((1,), (2,), (6.0, 4.0)), change((3,), (4,), (4.0, 5.5))]
    (found,) = judged([pieces], changes)
    assert found.verdict is Verdict.CORRECT
    assert found.error_ml == pytest.approx(-0.5)
    assert verdicts([pieces], [*changes[:1], change((3,), (), (4.0, 0.0)), change((), (4,), (0.0, 5.5))]) == [
        Verdict.WRONG
    ]


def test_what_the_model_does_not_see_or_joins_is_not_the_matchings_fault() -> None:
    """It is counted apart."""
    unseen = TrueLesion(10.0, 12.0, (), (2,))
    joined = [TrueLesion(10.0, 10.0, (1,), (2,)), TrueLesion(8.0, 8.0, (1,), (3,))]
    assert verdicts([unseen, *joined], MATCHED) == [Verdict.NOT_SEEN] * 3


@pytest.mark.parametrize(
    ("before_ml", "after_ml", "told_ml", "exact"),
    [(20.0, 30.0, 14.5, True), (20.0, 30.0, 14.6, False), (2.0, 2.0, 0.5, True), (2.0, 2.0, 0.51, False)],
)
def test_a_change_is_exact_within_15_percent_or_half_a_millilitre(
    before_ml: float, after_ml: float, told_ml: float, exact: bool
) -> None:
    """Of the larger volume: 4.5 of 30 ml; half a millilitre of 2."""
    (found,) = judged(
        [TrueLesion(before_ml, after_ml, (1,), (1,))], [change((1,), (1,), (1.0, 1.0 + told_ml))]
    )
    assert found.is_exact is exact


# --- the course -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ([(20.0, 20.2), (30.0, 29.0)], {Course.STABLE}),
        ([], {Course.STABLE}),
        ([(30.0, 51.0), (10.0, 10.0)], {Course.PROGRESSION}),
        ([(51.0, 30.0), (10.0, 10.0)], {Course.REGRESSION}),
        ([(30.0, 49.0)], set()),
        ([(0.0, 40.0), (30.0, 0.0)], {Course.MIXED}),
        ([(0.0, 40.0), (30.0, 15.0)], {Course.PROGRESSION, Course.MIXED}),
        ([(40.0, 0.0), (0.0, 3.0)], {Course.REGRESSION}),
    ],
)
def test_a_course_is_right_where_the_true_change_is_decisive(
    changes: list[tuple[float, float]], right: set[Course]
) -> None:
    """Beyond twice the limit of 10 ml; near the border of the rule two courses are right."""
    lesions = [TrueLesion(before, after, (), ()) for before, after in changes]
    assert right_courses(lesions, 10.0) == right


def test_beyond_once_the_limit_more_is_decisive() -> None:
    """19 ml of 10."""
    lesion = TrueLesion(30.0, 49.0, (), ())
    assert right_courses([lesion], 10.0, beyond=1.0) == {Course.PROGRESSION}


# --- figures ----------------------------------------------------------------------------------------------


def test_marked_lesions_are_told_by_the_voxels_of_the_true_ones() -> None:
    """With true masks each is marked by one lesion, and the volumes are about the true ones."""
    grid = PairGrid(edge=96, in_plane_mm=3.7, slices_mm=(5.0,), slice_thickness_mm=1.3)
    pair = generate_pair(random_pair(1, PairKind.STABLE, grid))
    point = phantom_point(pair.first, 1)
    found = marked(pair.first, point)
    assert all(len(numbers) == 1 for numbers in found)
    volumes = {one.number: one.volume_ml for one in point.measurements.lesions}
    for (number,), truth in zip(found, pair.first.truth.lesions, strict=True):
        assert volumes[number] == pytest.approx(truth.volume_ml, rel=0.2)


def row(course: Course, right: list[str], *lesions: tuple[Verdict, float | None, bool]) -> dict[str, Any]:
    """Return a pair as it is written down."""
    return {
        "kind": "stable",
        "course": course.value,
        "right_courses": right,
        "right_beyond_limit": right or ["mixed"],
        "registration": {"succeeded": True},
        "lesions": [
            {"verdict": verdict.value, "error_ml": error, "exact": exact} for verdict, error, exact in lesions
        ],
    }


def test_shares_are_of_what_can_be_judged() -> None:
    """Lesions that were not seen count nowhere, those of one scan have no exact change."""
    rows = [
        row(Course.STABLE, ["stable"], (Verdict.CORRECT, 0.1, True), (Verdict.NOT_SEEN, None, False)),
        row(Course.STABLE, [], (Verdict.CORRECT, None, False), (Verdict.WRONG, None, False)),
    ]
    told = summary(rows)
    assert (told["lesions"], told["lesions_seen"], told["lesions_followed"]) == (4, 3, 1)
    assert (told["matched_percent"], told["exact_percent"]) == (66.7, 100.0)
    assert (told["courses_judged"], told["courses_right"]) == (1, 1)
    assert (told["courses_beyond_limit"], told["courses_beyond_limit_right"]) == (2, 1)
    assert told["courses"]["stable"]["stable"] == 2
    assert lesion_summary([])["matched_percent"] is None
