"""The course follows from numbers by the stated rule, and its sentence has them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.comparison import Change, Course, CourseRules, Direction, Fate, LesionChange
from core.repeatability import Condition, Quantity, Repeatability
from inference.change_limits import Limits, Ratio
from inference.course import Evidence, course_of, total_direction, weighed
from tests.helpers.scans import REPEATABILITY

LIMITS = Limits(REPEATABILITY, {Condition.SAME_PROTOCOL}, CourseRules(), 90.0)
Volumes = tuple[float, float]
BACK_IN_TIME = {Course.PROGRESSION: Course.REGRESSION, Course.REGRESSION: Course.PROGRESSION}


def evidence(
    *lesions: Volumes, dense: Volumes = (0.0, 0.0), matched: bool = True, limits: Limits = LIMITS
) -> Evidence:
    """Return what two scans show whose lesions have these volumes then and now; in turn right and left."""
    changes = [limits.lesion(Quantity.SINGLE_LESION, *one) for one in lesions]
    lungs = [total(changes[at::2], limits) for at in (0, 1)]
    both = total(changes, limits)
    glass = (both.prior - dense[0], both.current - dense[1])
    return Evidence(
        total=both,
        share=None,
        lungs=(lungs[0], lungs[1]),
        ground_glass=limits.lesion(Quantity.GROUND_GLASS, *glass),
        consolidation=limits.lesion(Quantity.CONSOLIDATION, *dense),
        lesions=tuple(LesionChange(Fate.PERSISTENT, "", (), (), one) for one in changes) if matched else None,
        limits=limits,
    )


def total(changes: list[Change], limits: Limits) -> Change:
    """Return the change of all together."""
    return limits.lesion(
        Quantity.LESIONS, sum(one.prior for one in changes), sum(one.current for one in changes)
    )


@pytest.mark.parametrize(
    ("lesions", "course"),
    [
        ([(20.0, 40.0), (10.0, 11.0)], Course.PROGRESSION),
        ([(40.0, 20.0), (10.0, 9.0)], Course.REGRESSION),
        ([(40.0, 42.0), (10.0, 9.0), (1.0, 1.3)], Course.STABLE),
        ([], Course.STABLE),
        ([(0.0, 8.0)], Course.PROGRESSION),
        ([(8.0, 0.0)], Course.REGRESSION),
        # As much grew as shrank.
        ([(10.0, 30.0), (30.0, 10.0)], Course.MIXED),
        # A third of what grew shrank.
        ([(10.0, 40.0), (12.0, 2.0)], Course.MIXED),
        # A tenth of what grew shrank.
        ([(10.0, 60.0), (6.0, 1.0)], Course.PROGRESSION),
        # A new lesion that is lost in the sum of large ones.
        ([(300.0, 300.0), (0.0, 12.0)], Course.PROGRESSION),
        # Everything grew a little: no lesion beyond its limit, all together beyond theirs.
        ([(4.0, 5.6), (4.0, 5.6), (4.0, 5.6)], Course.PROGRESSION),
        # What is new is made up for by lesions of which none is far beyond its limit.
        ([(0.0, 9.0), (20.0, 16.0), (20.0, 16.0), (20.0, 16.0)], Course.MIXED),
        # One of several that is just beyond its limit, by chance as likely as not.
        ([(50.0, 50.0), (10.0, 13.5)], Course.STABLE),
        # Specks come and go.
        ([(50.0, 50.0), (0.0, 0.5), (0.0, 0.8), (0.9, 0.0)], Course.STABLE),
    ],
)
def test_the_course_weighs_what_became_more_against_what_became_less(
    lesions: list[Volumes], course: Course
) -> None:
    """Lesions then and now, ml."""
    assert course_of(evidence(*lesions))[0] is course


@given(st.lists(st.tuples(st.floats(0.0, 90.0), st.floats(0.0, 90.0)), max_size=6))
def test_the_course_is_mirrored_when_time_runs_backwards(lesions: list[Volumes]) -> None:
    """What progresses one way regresses the other way; stable and mixed stay what they are."""
    there, _ = course_of(evidence(*lesions))
    back, _ = course_of(evidence(*((now, then) for then, now in lesions)))
    assert back is BACK_IN_TIME.get(there, there)


@given(st.lists(st.tuples(st.floats(0.0, 90.0), st.floats(-1.0, 1.0)), max_size=6), st.booleans())
def test_what_stays_within_its_limits_is_stable(lesions: list[Volumes], matched: bool) -> None:
    """Each lesion moves by less than its own limit, and all of them by less than theirs."""
    pairs = [(ml, max(ml + share * (1.0 + 0.2 * ml) / 6.0, 0.0)) for ml, share in lesions]
    assert course_of(evidence(*pairs, matched=matched))[0] is Course.STABLE


def test_ground_glass_that_became_consolidation_is_no_stable_course() -> None:
    """The volume of all lesions is the same; what they are made of is not."""
    course, because = course_of(evidence((40.0, 40.0), dense=(2.0, 30.0)))
    assert course is Course.MIXED
    assert because.endswith("ground glass changed by -28.0 ml and consolidation by +28.0 ml.")


def test_without_places_the_two_lungs_are_weighed() -> None:
    """More in one lung and less in the other is mixed; single lesions are not spoken of."""
    course, because = course_of(evidence((10.0, 30.0), (30.0, 10.0), matched=False))
    assert course is Course.MIXED
    assert "1 with more (+20.0 ml), 1 with less (-20.0 ml)" in because
    assert course_of(evidence((10.0, 30.0), (30.0, 28.0), matched=False))[0] is Course.PROGRESSION


def test_the_sentence_has_the_numbers_and_the_limit() -> None:
    """One sentence, to be read in a report."""
    _, because = course_of(evidence((20.0, 40.0), (10.0, 4.0), (6.0, 7.0)))
    assert because == (
        "All lesions changed by +15.0 ml (36.0 to 51.0 ml), beyond the limit of 11.2 ml; single lesions far "
        "beyond limits of their own: 1 larger or new (+20.0 ml), 1 smaller or gone (-6.0 ml)."
    )


def test_where_numbers_cannot_be_compared_there_is_no_course() -> None:
    """Whatever changed; the sentence says why."""
    given = evidence((5.0, 80.0))
    assert course_of(replace(given, unknown="Two models.")) == (Course.UNDETERMINED, "Two models.")
    unknown = Limits(Repeatability(()), set(), CourseRules())
    course, because = course_of(evidence((5.0, 80.0), limits=unknown))
    assert course is Course.UNDETERMINED
    assert "not known for this model" in because


@pytest.mark.parametrize(
    ("lungs_ml", "course"), [((5000.0, 4000.0), Course.PROGRESSION), ((5000.0, 8000.0), Course.STABLE)]
)
def test_where_the_patient_breathed_otherwise_the_share_of_the_lungs_has_to_agree(
    lungs_ml: Volumes, course: Course
) -> None:
    """A volume that grew as the lungs did is no progression."""
    conditions = {Condition.OTHER_INSPIRATION}
    given = evidence((100.0, 190.0), limits=replace(LIMITS, conditions=conditions))
    then, now = (Ratio(ml, lung_ml) for ml, lung_ml in zip((100.0, 190.0), lungs_ml, strict=True))
    share = given.limits.share(Quantity.LESIONS, then, now)
    given = replace(given, share=share, lesions=())
    found, because = course_of(given)
    assert found is course
    assert "both have to agree as the patient breathed in otherwise" in because
    agrees = "beyond" if course is Course.PROGRESSION else "within"
    assert f"points, {agrees} the limit of" in because


def test_a_share_that_goes_the_other_way_says_nothing_of_the_whole() -> None:
    """Nor does one within its limit."""
    more, less, none = Change(1.0, 9.0, 2.0), Change(9.0, 1.0, 2.0), Change(3.0, 4.0, 2.0)
    assert total_direction(more, None) is Direction.INCREASE
    assert total_direction(more, more) is Direction.INCREASE
    assert total_direction(more, less) is Direction.NO_SIGNIFICANT_CHANGE
    assert total_direction(more, none) is Direction.NO_SIGNIFICANT_CHANGE


def test_a_quarter_the_other_way_is_outweighed() -> None:
    """Beyond it the course is mixed."""
    assert weighed(0.0, 0.0) is None
    assert weighed(40.0, 10.0) is Course.PROGRESSION
    assert weighed(10.0, 40.0) is Course.REGRESSION
    assert weighed(40.0, 10.1) is Course.MIXED


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "limit"),
    [
        (CourseRules(), 1.0 + 0.2 * 12.0),
        (CourseRules(least_change_ml=2.0), 1.0 + 0.2 * 12.0),
        (CourseRules(least_change_ml=5.0), 5.0),
        (CourseRules(least_change_percent=50.0), 5.0),
        (CourseRules(least_change_ml=6.0, least_change_percent=50.0), 6.0),
    ],
)
def test_a_site_may_ask_for_more_than_was_measured_but_not_for_less(rules: CourseRules, limit: float) -> None:
    """10 ml became 12; the larger of what was measured and what is asked for counts."""
    change = replace(LIMITS, rules=rules).lesion(Quantity.LESIONS, 10.0, 12.0)
    assert (change.prior, change.current, change.days) == (10.0, 12.0, 90.0)
    assert change.limit == pytest.approx(limit)


def test_a_site_may_ask_for_a_change_that_makes_a_course() -> None:
    """The same scans, by two rules."""
    strict = replace(LIMITS, rules=CourseRules(least_change_ml=25.0))
    assert course_of(evidence((20.0, 40.0)))[0] is Course.PROGRESSION
    assert course_of(evidence((20.0, 40.0), limits=strict))[0] is Course.STABLE


def test_the_limit_of_a_share_has_the_errors_of_both_volumes() -> None:
    """10 of 100 ml: 3 ml of lesion, and 2 % of the lung of what is 10 % of it."""
    change = LIMITS.share(Quantity.LESIONS, Ratio(10.0, 100.0), Ratio(10.0, 100.0))
    assert change.limit == pytest.approx((3.0**2 + 0.2**2) ** 0.5)
    assert LIMITS.share(Quantity.LESIONS, Ratio(0.0, 0.0), Ratio(0.0, 0.0)).percent is None


def test_how_deeply_the_patient_breathed_in_is_a_change_of_the_lungs() -> None:
    """It widens limits of lesions, not that of the lungs, which tells it."""
    deeper = replace(LIMITS, conditions={Condition.OTHER_INSPIRATION})
    assert deeper.lung(4000.0, 4500.0) == LIMITS.lung(4000.0, 4500.0)
    assert (
        deeper.lesion(Quantity.LESIONS, 10.0, 12.0).limit > LIMITS.lesion(Quantity.LESIONS, 10.0, 12.0).limit
    )
    assert LIMITS.lung(4000.0, 4500.0, hidden_ml=450.0).direction is Direction.NO_SIGNIFICANT_CHANGE
