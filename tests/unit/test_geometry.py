"""Geometry, as properties that hold for any grid: placement, canonical order, regularity of stacks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from core.geometry import (
    CanonicalOrder,
    Geometry,
    position_along_normal_mm,
    slice_normal,
    stack_regularity,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

angle_deg = st.floats(-180, 180)
spacing_mm = st.floats(0.1, 20)
position_mm = st.tuples(*[st.floats(-1000, 1000)] * 3)
shapes = st.tuples(*[st.integers(1, 7)] * 3)


@st.composite
def orientations(draw: st.DrawFn) -> tuple[float, ...]:
    """Direction cosines of any rotation, or of any pair of patient axes with any signs."""
    if draw(st.booleans()):
        turn = Rotation.from_euler(
            "zyx", draw(st.tuples(angle_deg, angle_deg, angle_deg)), degrees=True
        ).as_matrix()
        return tuple(float(value) for value in (*turn[:, 0], *turn[:, 1]))
    first, second = draw(st.permutations(range(3)))[:2]
    cosines = np.zeros(6)
    cosines[first] = draw(st.sampled_from([-1.0, 1.0]))
    cosines[3 + second] = draw(st.sampled_from([-1.0, 1.0]))
    return tuple(float(value) for value in cosines)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any grid."""
    return Geometry.from_dicom(
        image_position_mm=draw(position_mm),
        image_orientation=draw(orientations()),
        pixel_spacing_mm=(draw(spacing_mm), draw(spacing_mm)),
        slice_spacing_mm=draw(spacing_mm),
        shape_zyx=draw(shapes),
        frame_of_reference_uid="1.2.3",
    )


def numbered(shape_zyx: tuple[int, int, int]) -> NDArray[np.int64]:
    """An array in which every voxel has its own value."""
    return np.arange(int(np.prod(shape_zyx))).reshape(shape_zyx)


# --- placement --------------------------------------------------------------------------------------------


@given(orientation=orientations(), origin=position_mm, between=st.tuples(spacing_mm, spacing_mm, spacing_mm))
def test_affine_is_the_equation_of_the_standard(
    orientation: tuple[float, ...], origin: tuple[float, float, float], between: tuple[float, float, float]
) -> None:
    """Row and column go to LPS by PS3.3 equation C.7.6.2.1-1, slices along the normal."""
    geometry = Geometry.from_dicom(
        image_position_mm=origin,
        image_orientation=orientation,
        pixel_spacing_mm=between[1:],
        slice_spacing_mm=between[0],
        shape_zyx=(4, 5, 6),
    )
    row, column, z = 3, 5, 2
    expected = (
        np.array(origin)
        + np.array(orientation[:3]) * between[2] * column
        + np.array(orientation[3:]) * between[1] * row
        + np.cross(orientation[:3], orientation[3:]) * between[0] * z
    )
    np.testing.assert_allclose(geometry.to_lps_mm(np.array([z, row, column])), expected, atol=1e-6)
    assert geometry.spacing_zyx_mm == pytest.approx(between)
    assert geometry.voxel_ml == pytest.approx(between[0] * between[1] * between[2] / 1000)


@given(geometry=geometries(), index=st.tuples(*[st.floats(-600, 600)] * 3))
def test_index_and_place_are_inverse(geometry: Geometry, index: tuple[float, float, float]) -> None:
    """to_index_zyx undoes to_lps_mm."""
    there = geometry.to_lps_mm(np.array(index))
    np.testing.assert_allclose(geometry.to_index_zyx(there), index, atol=1e-5)


def test_places_of_many_points_keep_their_shape() -> None:
    """Leading axes of index arrays are kept."""
    geometry = Geometry(np.eye(4), (2, 2, 2), "")
    assert geometry.to_lps_mm(np.zeros((4, 5, 3), dtype=np.int16)).shape == (4, 5, 3)
    assert geometry.to_index_zyx(np.zeros((4, 5, 3))).shape == (4, 5, 3)


@given(orientation=orientations(), origin=position_mm, step=spacing_mm)
def test_normal_is_a_unit_vector_upright_on_the_slice(
    orientation: tuple[float, ...], origin: tuple[float, float, float], step: float
) -> None:
    """The normal is the right-handed third axis, and positions along it grow by the distance moved."""
    normal = slice_normal(orientation)
    frame = np.array([orientation[:3], orientation[3:], normal])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(frame) == pytest.approx(1.0)
    moved = np.array(origin) + step * normal + 7.0 * np.array(orientation[:3])
    grown = position_along_normal_mm(moved.tolist(), orientation) - position_along_normal_mm(
        origin, orientation
    )
    assert grown == pytest.approx(step, abs=1e-6)


# --- canonical order --------------------------------------------------------------------------------------


@given(geometry=geometries())
def test_canonical_round_trip_restores_the_array(geometry: Geometry) -> None:
    """restore undoes apply, and neither copies."""
    order = CanonicalOrder.of(geometry)
    array = numbered(geometry.shape_zyx)
    canonical = order.apply(array)
    np.testing.assert_array_equal(order.restore(canonical), array)
    assert np.shares_memory(canonical, array)
    assert np.shares_memory(order.restore(canonical), array)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
def test_every_order_can_be_undone(axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    """All 48 orders round-trip, from the canonical side as well."""
    order = CanonicalOrder(axes, flips)
    array = numbered((2, 3, 4))
    np.testing.assert_array_equal(order.restore(order.apply(array)), array)
    canonical = numbered(order.apply(array).shape)
    np.testing.assert_array_equal(order.apply(order.restore(canonical)), canonical)


@given(geometry=geometries())
def test_canonical_geometry_keeps_every_voxel_in_its_place(geometry: Geometry) -> None:
    """A voxel has the same LPS place by the source geometry and by the canonical one."""
    order = CanonicalOrder.of(geometry)
    canonical_geometry = order.apply_geometry(geometry)
    array = numbered(geometry.shape_zyx)
    canonical = order.apply(array)
    assert canonical_geometry.shape_zyx == canonical.shape
    assert canonical_geometry.frame_of_reference_uid == "1.2.3"
    for value in {0, int(array.size) // 2, int(array.size) - 1}:
        source_index = np.argwhere(array == value)[0]
        canonical_index = np.argwhere(canonical == value)[0]
        np.testing.assert_allclose(
            canonical_geometry.to_lps_mm(canonical_index), geometry.to_lps_mm(source_index), atol=1e-6
        )


@given(geometry=geometries())
def test_canonical_axes_point_to_head_back_and_left(geometry: Geometry) -> None:
    """In the canonical order each axis points to its own side, and ordering it again changes nothing."""
    canonical = CanonicalOrder.of(geometry).apply_geometry(geometry)
    directions = canonical.affine_lps[:3, :3]
    for axis, world in ((0, 2), (1, 1), (2, 0)):
        assert directions[world, axis] >= 0
    again = CanonicalOrder.of(canonical)
    strengths = np.sort(np.abs(geometry.affine_lps[:3, :3] / np.array(geometry.spacing_zyx_mm)).ravel())
    if np.all(np.diff(strengths) > 1e-6):  # no ties
        assert again == CanonicalOrder((0, 1, 2), (False, False, False))


@given(geometry=geometries())
def test_the_most_parallel_axis_is_chosen_first(geometry: Geometry) -> None:
    """Whatever stands within 45 degrees of a patient axis goes to it."""
    order = CanonicalOrder.of(geometry)
    directions = geometry.affine_lps[:3, :3] / np.array(geometry.spacing_zyx_mm)
    for canonical, world in ((0, 2), (1, 1), (2, 0)):
        for source in range(3):
            if abs(directions[world, source]) > 0.7072:
                assert order.axes[canonical] == source
                assert order.flips[canonical] == (directions[world, source] < 0)


def test_a_patient_on_the_belly_feet_first_is_turned() -> None:
    """Feet first, prone: columns run to the front, slices to the feet, both are flipped."""
    geometry = Geometry.from_dicom(
        image_position_mm=(0, 0, 0),
        image_orientation=(1, 0, 0, 0, -1, 0),
        pixel_spacing_mm=(1, 1),
        slice_spacing_mm=2,
        shape_zyx=(3, 4, 5),
    )
    assert CanonicalOrder.of(geometry) == CanonicalOrder((0, 1, 2), (True, True, False))


# --- regularity -------------------------------------------------------------------------------------------

counts = st.integers(3, 60)
starts_mm = st.floats(-500, 500)
stack_spacing_mm = st.floats(0.3, 15)


@given(count=counts, start=starts_mm, spacing=stack_spacing_mm, seed=st.integers(0, 1000))
def test_an_even_stack_is_regular_in_any_order(count: int, start: float, spacing: float, seed: int) -> None:
    """Shuffled even positions with a little jitter are one regular stack."""
    rng = np.random.default_rng(seed)
    jitter = rng.uniform(-0.02, 0.02, count) * spacing
    positions = rng.permutation(start + spacing * np.arange(count) + jitter)
    regularity = stack_regularity(positions.tolist())
    assert regularity.is_regular
    assert regularity.count == count
    assert regularity.spacing_mm == pytest.approx(spacing, rel=0.05)
    assert (regularity.missing, regularity.uneven, regularity.duplicates, regularity.gaps_mm) == (0, 0, 0, ())


@given(start=starts_mm, spacing=stack_spacing_mm, lost=st.sets(st.integers(1, 28), min_size=1, max_size=6))
def test_missing_slices_are_counted_and_placed(start: float, spacing: float, lost: set[int]) -> None:
    """Every slice lost inside the stack is counted, and every gap has the neighbours as its ends."""
    positions = [start + spacing * at for at in range(30) if at not in lost]
    regularity = stack_regularity(positions)
    assert not regularity.is_regular
    assert regularity.missing == len(lost)
    assert regularity.uneven == 0
    assert len(regularity.gaps_mm) == sum(at - 1 not in lost for at in lost)
    for low, high in regularity.gaps_mm:
        assert low in positions
        assert high in positions
        assert high - low > 1.5 * spacing


@given(count=counts, start=starts_mm, spacing=stack_spacing_mm, doubled=st.data())
def test_duplicates_are_counted(count: int, start: float, spacing: float, doubled: st.DataObject) -> None:
    """Positions that repeat count as duplicates and do not disturb the spacing."""
    positions = [start + spacing * at for at in range(count)]
    again = doubled.draw(st.lists(st.sampled_from(positions), min_size=1, max_size=count))
    regularity = stack_regularity(positions + again)
    assert regularity.duplicates == len(again)
    assert regularity.missing == 0
    assert regularity.uneven == 0
    assert regularity.spacing_mm == pytest.approx(spacing)
    assert not regularity.is_regular


@given(
    start=starts_mm,
    spacing=stack_spacing_mm,
    at=st.integers(1, 18),
    share=st.one_of(st.floats(0.2, 0.8), st.floats(-0.8, -0.2)),
)
def test_a_displaced_slice_is_uneven(start: float, spacing: float, at: int, share: float) -> None:
    """A slice that stands between its place and its neighbour's is neither a gap nor a duplicate."""
    positions = [start + spacing * z for z in range(20)]
    positions[at] += share * spacing
    regularity = stack_regularity(positions)
    assert regularity.uneven >= 1
    assert not regularity.is_regular


@pytest.mark.parametrize("positions", [[], [3.0]])
def test_fewer_than_two_slices_are_no_stack(positions: list[float]) -> None:
    """Nothing and a single slice have no spacing and are not regular."""
    regularity = stack_regularity(positions)
    assert (regularity.count, regularity.spacing_mm, regularity.is_regular) == (len(positions), 0.0, False)


def test_all_slices_at_one_place_are_duplicates() -> None:
    """A cine of one slice has no spacing."""
    regularity = stack_regularity([5.0] * 4)
    assert (regularity.duplicates, regularity.spacing_mm, regularity.is_regular) == (3, 0.0, False)


@settings(max_examples=30)
@given(spacing=st.floats(0.5, 5), count=st.integers(2, 30))
def test_rounded_positions_stay_regular(spacing: float, count: int) -> None:
    """Positions written with two decimals do not make a stack irregular."""
    assert stack_regularity([round(spacing * z, 2) for z in range(count)]).is_regular
