"""Lesions of two scans are brought together: each once, neighbours apart, small ones in spite of error."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.comparison import Change, CourseRules, Fate, LesionChange
from core.domain import BoxedMask, Lesion, LesionClass, Side
from core.repeatability import Condition, Repeatability
from inference.change_limits import Limits
from inference.lesion_fates import Fates, fate_of, fates
from inference.lesion_matching import LEAST_SHARED, Group, Nearness, grouped, linked, matched, nearness
from lesionnode.phantom import PairGrid, generate_pair, random_pair
from lesionnode.phantom.time_points import Fate as PlannedFate
from tests.helpers.scans import (
    CONSOLIDATION,
    REPEATABILITY,
    Ball,
    Chest,
    Exact,
    between,
    phantom_point,
    shifted,
)

LIMITS = Limits(REPEATABILITY, {Condition.SAME_PROTOCOL}, CourseRules(), 90.0)
#: Unmatched, mirrored.
BACK_IN_TIME = {
    Fate.NEW: Fate.RESOLVED,
    Fate.RESOLVED: Fate.NEW,
    Fate.GROWN: Fate.SHRUNK,
    Fate.SHRUNK: Fate.GROWN,
    Fate.MERGED: Fate.SPLIT,
    Fate.SPLIT: Fate.MERGED,
    Fate.PERSISTENT: Fate.PERSISTENT,
}


def numbered(volumes_ml: list[float], sides: list[Side] | None = None) -> list[Lesion]:
    """Return lesions of given volumes, of which nothing else counts."""
    voxels = BoxedMask((0, 0, 0), np.ones((1, 1, 1), np.bool_))
    return [
        Lesion(at, LesionClass.MIXED, side, ml, 0.5, -300.0, (0.0, 0.0, 0.0), 1.0, 1.0, voxels)
        for at, (ml, side) in enumerate(
            zip(volumes_ml, sides or [Side.RIGHT] * len(volumes_ml), strict=True), start=1
        )
    ]


def numbers(groups: list[Group]) -> list[tuple[list[int], list[int]]]:
    """Return which lesions went together."""
    return [([one.number for one in group.prior], [one.number for one in group.current]) for group in groups]


@st.composite
def found(draw: st.DrawFn) -> tuple[list[Lesion], list[Lesion], Nearness]:
    """Return lesions of two scans that overlap anyhow, as far as the smaller one goes."""
    volumes = st.lists(st.floats(0.05, 80.0), max_size=6)
    before, now = numbered(draw(volumes)), numbered(draw(volumes))
    shape = (len(before), len(now))
    shares = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from((0.0, 0.0, 0.1, 0.35, 0.6, 1.0))))
    distance = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from((1.0, 4.0, 7.9, 8.1, math.inf))))
    smaller = np.array([[min(one.volume_ml, other.volume_ml) for other in now] for one in before])
    return before, now, Nearness(shares * smaller.reshape(shape), distance)


def back(near: Nearness) -> Nearness:
    """Return what two scans have in common, the later one first."""
    return Nearness(near.shared_ml.T, near.distance_mm.T)


@given(found())
def test_every_lesion_of_either_scan_is_in_exactly_one_group(
    case: tuple[list[Lesion], list[Lesion], Nearness],
) -> None:
    """Whatever overlaps, no lesion is lost, and none is counted twice."""
    before, now, near = case
    groups = grouped(before, now, near)
    assert sorted(one.number for group in groups for one in group.prior) == [one.number for one in before]
    assert sorted(one.number for group in groups for one in group.current) == [one.number for one in now]
    assert sum(one.volume_ml for group in groups for one in group.current) == pytest.approx(
        sum(one.volume_ml for one in now)
    )


@given(found())
def test_groups_come_by_the_number_of_what_is_here_and_then_what_resolved(
    case: tuple[list[Lesion], list[Lesion], Nearness],
) -> None:
    """What is here comes first, by its least number; what is gone last, by the number that it had."""
    groups = grouped(*case)
    here = [min(one.number for one in group.current) for group in groups if group.current]
    gone = [min(one.number for one in group.prior) for group in groups if not group.current]
    assert here == sorted(here)
    assert gone == sorted(gone)
    assert all(group.current for group in groups[: len(here)])


@given(found())
def test_fates_are_mirrored_when_time_runs_backwards(
    case: tuple[list[Lesion], list[Lesion], Nearness],
) -> None:
    """What grew shrank, what is new resolved, what merged was split: the same lesions go together."""
    before, now, near = case
    forwards, backwards = grouped(before, now, near), grouped(now, before, back(near))

    def fate(group: Group) -> Fate:
        then, later = (sum(one.volume_ml for one in parts) for parts in (group.prior, group.current))
        return fate_of(group, Change(then, later, 1.0))

    mirrored = {
        (tuple(now), tuple(before)): BACK_IN_TIME[fate(group)]
        for (before, now), group in zip(numbers(forwards), forwards, strict=True)
    }
    assert mirrored == {
        (tuple(first), tuple(second)): fate(group)
        for (first, second), group in zip(numbers(backwards), backwards, strict=True)
    }


def test_a_grazed_neighbour_does_not_join_two_lesions() -> None:
    """Less than the least share of the smaller one is no link; more of it is none where both have better."""
    before, now = numbered([20.0, 5.0]), numbered([24.0, 5.0])
    far = np.full((2, 2), 20.0)
    grazed = Nearness(np.array([[19.0, 0.0], [0.9 * LEAST_SHARED * 5.0, 4.0]]), far)
    assert numbers(grouped(before, now, grazed)) == [([1], [1]), ([2], [2])]
    bridged = Nearness(np.array([[19.0, 0.0], [2.0, 3.0]]), far)
    assert numbers(grouped(before, now, bridged)) == [([1], [1]), ([2], [2])]


def test_lesions_that_became_one_and_one_that_came_apart() -> None:
    """Parts that lie in one lesion of the other scan belong together, the largest first."""
    small, large = numbered([9.0, 7.0, 2.0]), numbered([20.0])
    shared = Nearness(np.array([[8.0], [6.0], [1.9]]), np.full((3, 1), 15.0))
    assert numbers(grouped(small, large, shared)) == [([1, 2, 3], [1])]
    assert numbers(grouped(large, small, back(shared))) == [([1], [1, 2, 3])]


def test_what_does_not_overlap_goes_to_the_nearest_that_is_left() -> None:
    """The nearest two are linked first, then what is left of the others; beyond reach nothing is."""
    before, now = numbered([0.4, 0.3, 0.2]), numbered([0.4, 0.3, 0.2])
    distance = np.array([[2.0, 3.0, 30.0], [3.0, 6.0, 30.0], [30.0, 30.0, 9.0]])
    groups = grouped(before, now, Nearness(np.zeros((3, 3)), distance))
    assert numbers(groups) == [([1], [1]), ([2], [2]), ([], [3]), ([3], [])]


@pytest.mark.parametrize("by_mm", [(4.0, 0.0, 0.0), (0.0, -3.0, 2.0), (0.0, 0.0, -4.0)])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (5.0, 1.5, 1.5)])
def test_a_nodule_of_half_a_millilitre_is_found_again_four_millimetres_off(
    by_mm: tuple[float, float, float], spacing: tuple[float, float, float]
) -> None:
    """A registration may miss by some millimetres: the nodule is the same, its neighbour another."""
    shape = tuple(round(length / step) for length, step in zip((104, 124, 180), spacing, strict=True))
    nodules = [Ball((-45.0, 10.0, 0.0), 4.9), Ball((-45.0, 26.0, 0.0), 4.5)]
    before = Chest(nodules, spacing, shape).point(1)  # type: ignore[arg-type]
    now = Chest([one.moved(*by_mm) for one in nodules], spacing, shape).point(2)  # type: ignore[arg-type]
    groups = matched(before, now, Exact())
    assert len(groups) == 2
    for group in groups:
        (then,), (later,) = group.prior, group.current
        apart = np.subtract(later.centroid_lps_mm, then.centroid_lps_mm)
        assert np.allclose(apart, by_mm, atol=2.0)


def test_lesions_of_the_two_lungs_are_never_one_for_being_near() -> None:
    """What merely lies near is taken for the same on the same side only."""
    before = Chest([Ball((-17.0, 0.0, 0.0), 3.0)]).point(1)
    now = Chest([Ball((17.0, 0.0, 0.0), 3.0)]).point(2)
    near = nearness(before, now, shifted(-30.0, 0.0, 0.0))
    assert near.distance_mm.tolist() == [[math.inf]]
    assert near.shared_ml.tolist() == [[0.0]]


def test_common_volume_is_that_in_the_current_scan() -> None:
    """All of a ball is common with one that grew around it, 5/16 with one a radius away."""
    before = Chest([Ball((-45.0, 0.0, 0.0), 12.0), Ball((45.0, 0.0, 0.0), 6.0)]).point(1)
    now = Chest([Ball((-45.0, 0.0, 0.0), 12.0), Ball((45.0, 0.0, 0.0), 12.0)]).point(2)
    still = nearness(before, now, Exact()).shared_ml
    volume = Ball((0.0, 0.0, 0.0), 12.0).volume_ml
    assert sorted(still.max(axis=1).tolist()) == pytest.approx([volume / 8.0, volume], rel=0.06)
    moved = nearness(before, now, shifted(0.0, 0.0, 12.0)).shared_ml
    assert moved.max() == pytest.approx(5.0 / 16.0 * volume, rel=0.08)


# --- fates ------------------------------------------------------------------------------------------------


def told(before: Chest, now: Chest, limits: Limits = LIMITS, registered: Exact | None = None) -> Fates:
    """Return what became of the lesions of a chest; the first scan is number 1."""
    points = before.point(1), now.point(2)
    return fates(*points, registered or Exact(), limits, comparable=True)


def by_fate(changes: tuple[LesionChange, ...]) -> dict[Fate, list[tuple[list[int], list[int]]]]:
    """Return which lesions have which fate."""
    shown: dict[Fate, list[tuple[list[int], list[int]]]] = {}
    for change, ids in zip(changes, numbers([Group(one.prior, one.current) for one in changes]), strict=True):
        shown.setdefault(change.fate, []).append(ids)
    return shown


STAYS, GROWS = Ball((45.0, 0.0, 30.0), 8.0), Ball((-45.0, 0.0, 0.0), 8.0)
TOUCHING = [Ball((-45.0, -30.0, 30.0), 6.0), Ball((-45.0, -16.0, 30.0), 5.0)]
JOINED = [*TOUCHING, Ball((-45.0, -23.0, 30.0), 5.0)]


def test_each_fate_is_told_with_its_volume() -> None:
    """One lesion of each fate; volumes of all parts add up to those of the scans."""
    before = Chest([STAYS, GROWS, *TOUCHING, Ball((45.0, 20.0, -30.0), 7.0)])
    now = Chest(
        [STAYS, replace(GROWS, radius_mm=11.0), *JOINED, Ball((45.0, -20.0, -30.0), 7.5, CONSOLIDATION)]
    )
    points = before.point(1), now.point(2)
    changes = told(before, now).lesions
    assert {fate: len(found) for fate, found in by_fate(changes).items()} == {
        Fate.GROWN: 1,
        Fate.PERSISTENT: 1,
        Fate.MERGED: 1,
        Fate.NEW: 1,
        Fate.RESOLVED: 1,
    }
    for point, volumes in zip(
        points,
        ([one.volume_ml.prior for one in changes], [one.volume_ml.current for one in changes]),
        strict=True,
    ):
        assert sum(volumes) == pytest.approx(sum(one.volume_ml for one in point.measurements.lesions))
    reversed_fates = by_fate(told(now, before).lesions)
    assert set(reversed_fates) == {BACK_IN_TIME[one.fate] for one in changes}


@given(found())
def test_the_parts_of_a_lesion_are_paired_one_to_one(
    case: tuple[list[Lesion], list[Lesion], Nearness],
) -> None:
    """One pair at least, no part twice, and none that is not linked: not the two ends of a chain."""
    before, now, near = case
    groups, links = grouped(before, now, near), linked(before, now, near)
    for group in groups:
        then, later = ([one.number for one in parts] for parts in (group.prior, group.current))
        pairs = group.carried_on
        assert bool(pairs) == bool(then and later)
        assert all(links[a - 1, b - 1] for a, b in pairs)
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
        assert all(a in then and b in later for a, b in pairs)


def test_of_several_parts_each_goes_on_as_what_it_has_most_in_common_with() -> None:
    """The largest then need not be the largest now: where two became two, overlap tells which is which."""
    crossed = Nearness(np.array([[5.0, 4.0], [7.0, 0.0]]), np.full((2, 2), 5.0))
    (group,) = grouped(numbered([10.0, 8.0]), numbered([12.0, 4.5]), crossed)
    assert group.carried_on == ((2, 1), (1, 2))


def test_the_ends_of_a_chain_do_not_go_on_as_each_other() -> None:
    """One lost an end, which is elsewhere; the other grew into it: the end is nobody's, and has a new UID."""
    far = np.array([[2.0, 20.0], [10.0, math.inf]])
    chain = Nearness(np.array([[35.0, 5.0], [4.0, 0.0]]), far)
    (group,) = grouped(numbered([45.0, 6.0]), numbered([42.0, 6.0]), chain)
    assert numbers([group]) == [([1, 2], [1, 2])]
    assert group.carried_on == ((1, 1),)


def test_two_lesions_that_became_two_keep_their_tracking_uids() -> None:
    """One lost its end to the other, which is the larger one now: both go on as what they mostly are."""
    row = [Ball((-45.0, float(y), 0.0), 4.0) for y in range(-36, 37, 4)]
    before = Chest([*row[:9], *row[12:]]).point(1)
    now = Chest([*row[:2], *row[5:]]).point(2)
    largest = before.measurements.lesions[0].centroid_lps_mm[1]
    assert largest < 0.0 < now.measurements.lesions[0].centroid_lps_mm[1]
    found = fates(before, now, Exact(), LIMITS, comparable=True)
    assert by_fate(found.lesions) == {Fate.PERSISTENT: [([1, 2], [1, 2])]}
    assert found.tracking_uids == {1: "2.25.1002", 2: "2.25.1001"}


def test_the_largest_part_hands_its_tracking_uid_on() -> None:
    """Of several prior parts that of the largest goes on; of several current ones the largest gets it."""
    merged = told(Chest(TOUCHING), Chest(JOINED))
    assert [one.tracking_uid for one in merged.lesions] == ["2.25.1001"]
    assert merged.tracking_uids == {1: "2.25.1001"}
    split = told(Chest(JOINED), Chest(TOUCHING))
    assert split.lesions[0].fate is Fate.SPLIT
    assert split.lesions[0].current[0].volume_ml > split.lesions[0].current[1].volume_ml
    assert split.tracking_uids == {1: "2.25.1001"}


def test_what_is_new_or_was_never_written_gets_no_tracking_uid_here() -> None:
    """The writers give it one."""
    before = replace(Chest([STAYS]).point(1), tracking_uids={})
    found = fates(before, Chest([GROWS, STAYS]).point(2), Exact(), LIMITS, comparable=True)
    assert [one.tracking_uid for one in found.lesions] == ["", ""]
    assert found.tracking_uids == {}


def test_without_a_known_limit_nothing_grew() -> None:
    """A model of unknown repeatability still follows lesions."""
    limits = Limits(Repeatability(()), set(), CourseRules())
    changes = told(Chest([GROWS]), Chest([replace(GROWS, radius_mm=14.0)]), limits).lesions
    assert [one.fate for one in changes] == [Fate.PERSISTENT]


def test_a_site_says_how_large_a_new_lesion_has_to_be() -> None:
    """A smaller one is not called new; that it is left out is said."""
    rules = CourseRules(least_new_lesion_ml=3.0)
    now = Chest([STAYS, Ball((-45.0, 0.0, 0.0), 8.0), Ball((-45.0, 30.0, 0.0), 10.0)])
    found = told(Chest([STAYS]), now, replace(LIMITS, rules=rules))
    assert by_fate(found.lesions) == {Fate.NEW: [([], [1])], Fate.PERSISTENT: [([1], [2])]}
    assert found.remarks == ("1 lesion of less than 3 ml not called new, by the rule of this site.",)


def test_what_measuring_alone_may_show_is_said() -> None:
    """A lesion within the limit that is in one scan only is new, and may be there by chance."""
    found = told(Chest([STAYS]), Chest([STAYS, Ball((-45.0, 0.0, 0.0), 5.0)]))
    assert [one.fate for one in found.lesions] == [Fate.PERSISTENT, Fate.NEW]
    assert "1 lesion called new or resolved of up to 0.4 ml" in found.remarks[0]


def test_another_model_makes_no_lesion_new() -> None:
    """Lesions are followed, with their Tracking UIDs; what only one of two models sees is left out."""
    before, now = Chest([STAYS, GROWS]).point(1), Chest([STAYS, Ball((45.0, 20.0, -30.0), 7.0)]).point(2)
    found = fates(before, now, Exact(), LIMITS, comparable=False)
    assert [one.fate for one in found.lesions] == [Fate.PERSISTENT]
    assert found.tracking_uids == {found.lesions[0].current[0].number: found.lesions[0].tracking_uid}
    assert found.remarks[0].startswith("2 lesions in one of the scans only")


def test_outside_what_the_other_scan_shows_a_lesion_is_neither_new_nor_resolved() -> None:
    """A scan that ends in the middle of the lungs says nothing of what lies below its end."""
    whole = Chest([STAYS, Ball((-45.0, 0.0, -30.0), 8.0)])
    cut = Chest([STAYS], shape_zyx=(35, 62, 90), centre_mm=(0.0, 0.0, 22.0))
    for before, now in ((whole, cut), (cut, whole)):
        found = told(before, now)
        assert [one.fate for one in found.lesions] == [Fate.PERSISTENT]
        (remark,) = found.remarks
        assert remark.startswith("1 lesion in a part of the lungs that only one of the scans shows")


def test_what_the_end_of_a_scan_cuts_from_a_lesion_did_not_shrink() -> None:
    """The limit of a lesion grows by the part of it that one scan does not show."""
    lesion = Ball((-45.0, 0.0, 0.0), 14.0)
    whole = Chest([lesion])
    cut = Chest([lesion], shape_zyx=(26, 62, 90), centre_mm=(0.0, 0.0, 26.0))
    for before, now in ((whole, cut), (cut, whole)):
        (change,) = told(before, now).lesions
        assert abs(change.volume_ml.absolute) > 0.4 * lesion.volume_ml
        assert change.fate is Fate.PERSISTENT


# --- phantoms ---------------------------------------------------------------------------------------------


def test_phantom_lesions_are_matched_as_they_were_made() -> None:
    """With an exact registration every lesion of a random patient is found again, and only itself."""
    grid = PairGrid(edge=128, in_plane_mm=2.8, slices_mm=(4.0,), slice_thickness_mm=1.3)
    pair = generate_pair(random_pair(1, grid=grid))
    prior, current = phantom_point(pair.first, 1), phantom_point(pair.second, 2)
    registered = between(pair.first.spec, pair.second.spec)
    changes = fates(prior, current, registered, LIMITS, comparable=True).lesions
    truths = [pair.first.truth.lesions, pair.second.truth.lesions]

    def which(lesion: Lesion, at: int) -> int:
        apart = [np.linalg.norm(np.subtract(one.centre_lps_mm, lesion.centroid_lps_mm)) for one in truths[at]]
        identity = truths[at][int(np.argmin(apart))].lesion.identity
        assert identity is not None, "lesions of random pairs have identities"
        return identity

    found = sorted(
        (tuple(which(one, 0) for one in change.prior), tuple(which(one, 1) for one in change.current))
        for change in changes
    )
    assert found == sorted(
        (
            () if one.change.fate is PlannedFate.NEW else (at,),
            () if one.change.fate is PlannedFate.RESOLVED else (at,),
        )
        for at, one in enumerate(pair.lesions)
    )
