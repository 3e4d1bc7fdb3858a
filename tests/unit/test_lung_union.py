"""Dense lung that a model recognises beside the lungs that were found by density."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from inference.lung_union import add_dense_lung, looks_like_dense_lung

MM = (2.0, 2.0, 2.0)
REACH_MM = 30.0


def lungs_of(shape: tuple[int, int, int] = (16, 60, 80)) -> NDArray[np.uint8]:
    """Two boxes of lung, right and left."""
    lungs = np.zeros(shape, dtype=np.uint8)
    lungs[3:13, 15:40, 10:30] = 1
    lungs[3:13, 15:40, 50:70] = 2
    return lungs


def blobs(seed: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Random connected shapes of something dense."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return (noise > np.quantile(noise, 0.7)).astype(np.uint8)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.tuples(*[st.sampled_from([0.8, 1.0, 2.0, 2.7, 5.0])] * 3))
def test_lung_keeps_its_label_and_what_is_added_was_recognised(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    """Labels inside the lungs never change; what is new is recognised, or a small hole in what is."""
    before = lungs_of()
    after, dense = before.copy(), blobs(seed, before.shape)
    add_dense_lung(after, dense, spacing)
    np.testing.assert_array_equal(after[before > 0], before[before > 0])
    new = (after > 0) & (before == 0)
    foreign = new & (dense == 0)
    for plane_new, plane_foreign in zip(new, foreign, strict=True):
        holes, count = ndimage.label(plane_foreign)
        sizes = np.bincount(holes.ravel())[1:]
        assert count == 0 or sizes.max() * spacing[1] * spacing[2] <= 30.0
        assert not plane_foreign.any() or (plane_new & ~plane_foreign).any()


@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_what_is_added_is_near_joined_and_on_the_nearest_side(seed: int) -> None:
    """On a grid of 2 mm: within 30 mm, connected to the lungs, labelled as the nearest lung."""
    before = lungs_of()
    after, dense = before.copy(), blobs(seed, before.shape)
    add_dense_lung(after, dense, MM)
    added = (after > 0) & (before == 0) & (dense > 0)
    right, left = (ndimage.distance_transform_edt(before != label, sampling=MM) for label in (1, 2))
    nearest = np.minimum(right, left)
    assert (nearest[added] <= REACH_MM + 1e-6).all()
    assert (after[added & (right < left)] == 1).all()
    assert (after[added & (left < right)] == 2).all()
    pieces, _ = ndimage.label((before > 0) | added)
    assert set(np.unique(pieces[added])) <= set(np.unique(pieces[before > 0]))
    wanted = (before > 0) | ((dense > 0) & (nearest <= REACH_MM))
    pieces, _ = ndimage.label(wanted)
    joined = np.isin(pieces, np.unique(pieces[before > 0])) & wanted & (before == 0)
    np.testing.assert_array_equal(added, joined)


def test_a_consolidation_behind_the_lung_becomes_lung() -> None:
    """A slab that touches the lung is added to its side; one that stands apart is not."""
    lungs, dense = lungs_of(), np.zeros(lungs_of().shape, dtype=np.uint8)
    dense[5:10, 40:48, 12:28] = 1
    dense[5:10, 44:50, 54:66] = 2
    assert add_dense_lung(lungs, dense, MM) == ()
    assert (lungs[5:10, 40:48, 12:28] == 1).all()
    assert not lungs[5:10, 44:50, 54:66].any()


def test_the_reach_is_limited() -> None:
    """A long tongue of what the model takes for lung is cut off 30 mm from the lung."""
    lungs, dense = lungs_of((16, 80, 80)), np.zeros((16, 80, 80), dtype=np.uint8)
    dense[5:10, 40:78, 15:25] = 1
    add_dense_lung(lungs, dense, MM)
    last = np.flatnonzero((lungs == 1).any(axis=(0, 2)))[-1]
    assert last == 39 + round(REACH_MM / MM[1])


def test_across_the_midline_the_nearest_lung_counts() -> None:
    """A bridge between both lungs is parted in its middle; neither lung loses a voxel."""
    lungs, dense = lungs_of(), np.zeros(lungs_of().shape, dtype=np.uint8)
    dense[5:10, 20:30, 30:50] = 1
    add_dense_lung(lungs, dense, MM)
    assert (lungs[5:10, 20:30, 30:39] == 1).all()
    assert (lungs[5:10, 20:30, 41:50] == 2).all()


def test_small_holes_are_filled_and_airways_stay_open() -> None:
    """A noisy voxel inside added lung is lung; a lumen as wide as a main bronchus is not."""
    lungs, dense = lungs_of(), np.zeros(lungs_of().shape, dtype=np.uint8)
    dense[5:10, 40:53, 12:28] = 1
    dense[5:10, 44, 14] = 0
    dense[5:10, 44:50, 18:24] = 0
    add_dense_lung(lungs, dense, MM)
    assert (lungs[5:10, 44, 14] == 1).all()
    assert not lungs[5:10, 44:50, 18:24].any()


def test_a_lung_that_grows_much_is_remarked() -> None:
    """More than 60 percent: one sentence that names the side and both volumes."""
    lungs, dense = np.zeros((16, 60, 80), dtype=np.uint8), np.zeros((16, 60, 80), dtype=np.uint8)
    lungs[3:13, 30:40, 10:30] = 1
    lungs[3:13, 15:40, 50:70] = 2
    dense[3:13, 40:50, 10:30] = 1
    (remark,) = add_dense_lung(lungs, dense, MM)
    assert remark.startswith("16 ml of dense tissue are counted as right lung")
    assert "beside 16 ml found by density" in remark


def test_without_lungs_or_without_candidates_nothing_changes() -> None:
    """No lung to join, and nothing to join to it."""
    nothing = np.zeros((6, 20, 20), dtype=np.uint8)
    everything = np.ones((6, 20, 20), dtype=np.uint8)
    assert add_dense_lung(nothing, everything, MM) == ()
    assert not nothing.any()
    lungs = lungs_of()
    assert add_dense_lung(lungs, (lungs > 0).astype(np.uint8), MM) == ()
    np.testing.assert_array_equal(lungs, lungs_of())


def test_air_and_bone_are_no_dense_lung() -> None:
    """Whatever the model says, a lumen and a rib stay out, and so does what it does not call lung."""
    hu = np.array([[-950, -650, 40, 150, 700, 40]], dtype=np.int16)
    lung = np.array([[0.9, 0.9, 0.9, 0.5, 0.9, 0.4]], dtype=np.float32)
    assert looks_like_dense_lung(lung, hu).tolist() == [[False, True, True, True, False, False]]
