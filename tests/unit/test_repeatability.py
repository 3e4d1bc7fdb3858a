"""The interval within which a difference is no change."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.repeatability import Condition, Limit, Quantity, Repeatability

PLAIN = Limit(Quantity.LESIONS, Condition.SAME_PROTOCOL, 2.0, 10.0)
KERNEL = Limit(Quantity.LESIONS, Condition.OTHER_KERNEL, 4.0, 20.0)
BETTER = Limit(Quantity.LESIONS, Condition.OTHER_CONTRAST, 0.0, 5.0)
TABLE = Repeatability((PLAIN, KERNEL, BETTER))

volumes = st.floats(0.0, 6000.0)
conditions = st.sets(st.sampled_from(list(Condition)))


def test_the_plain_repetition_is_its_own_limit_at_the_larger_volume() -> None:
    """2 ml and 10 % of 50 ml, whichever came first."""
    assert TABLE.interval_ml(Quantity.LESIONS, (50.0, 30.0), ()) == pytest.approx(7.0)
    assert TABLE.interval_ml(Quantity.LESIONS, (30.0, 50.0), {Condition.SAME_PROTOCOL}) == pytest.approx(7.0)


def test_one_condition_is_its_own_limit() -> None:
    """What was measured with another kernel holds the plain repetition already."""
    found = TABLE.interval_ml(Quantity.LESIONS, (50.0,), {Condition.OTHER_KERNEL})
    assert found == pytest.approx(14.0)


def test_a_condition_that_was_never_measured_is_twice_as_bad() -> None:
    """Not knowing widens the interval; it does not forbid to compare."""
    found = TABLE.interval_ml(Quantity.LESIONS, (50.0,), {Condition.OTHER_THICKNESS})
    assert found == pytest.approx(14.0)


def test_independent_errors_add_up_in_squares() -> None:
    """What kernel and thickness add to the plain repetition, each without it."""
    both = {Condition.OTHER_KERNEL, Condition.OTHER_THICKNESS}
    found = TABLE.interval_ml(Quantity.LESIONS, (50.0,), both)
    assert found == pytest.approx(math.sqrt(7.0**2 + 2.0 * (14.0**2 - 7.0**2)))


def test_without_a_limit_nothing_is_a_change() -> None:
    """A quantity that nobody measured."""
    assert TABLE.interval_ml(Quantity.LUNG, (50.0,), ()) == math.inf
    assert Repeatability(()).interval_ml(Quantity.LESIONS, (), ()) == math.inf


def test_nothing_then_and_now_has_the_floor_alone() -> None:
    """No volume is no fault."""
    assert TABLE.interval_ml(Quantity.LESIONS, (), ()) == pytest.approx(2.0)


@given(volumes, volumes, conditions, conditions)
def test_more_differences_and_larger_volumes_never_narrow_it(
    one: float, other: float, few: set[Condition], more: set[Condition]
) -> None:
    """Monotone in the volume and in what differs, the same both ways, at least the plain repetition."""
    narrow = TABLE.interval_ml(Quantity.LESIONS, (one, other), few)
    assert narrow == TABLE.interval_ml(Quantity.LESIONS, (other, one), few)
    assert narrow >= TABLE.interval_ml(Quantity.LESIONS, (one, other), ()) - 1e-9
    assert TABLE.interval_ml(Quantity.LESIONS, (one, other), few | more) >= narrow - 1e-9
    assert TABLE.interval_ml(Quantity.LESIONS, (one, other, max(one, other) + 1.0), few) >= narrow
