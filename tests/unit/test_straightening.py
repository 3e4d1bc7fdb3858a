"""Sheared stacks made straight and back, as properties that hold for any orientation and any slide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from core.domain import CtVolume, LesionMask, LungMask, Segmentation
from core.errors import InferenceError
from core.geometry import CanonicalOrder, Geometry
from inference.lungs import segment_lungs
from inference.straightening import Straightening
from tests.helpers.analyses import MODEL

tilt_deg = st.floats(-30, 30)


@st.composite
def stacks(draw: st.DrawFn) -> Geometry:
    """Any stack whose slices slide in any direction by up to 30 degrees."""
    turn = Rotation.from_euler("zyx", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    spacing = draw(st.tuples(st.floats(0.5, 8), st.floats(0.3, 2), st.floats(0.3, 2)))
    along, tilt = draw(st.floats(0, 360)), draw(tilt_deg)
    slide = spacing[0] * np.tan(np.radians(tilt)) * (turn[:, :2] @ [np.cos(along), np.sin(along)])
    return Geometry.from_dicom(
        image_position_mm=draw(st.tuples(*[st.floats(-300, 300)] * 3)),
        image_orientation=(*turn[:, 0].tolist(), *turn[:, 1].tolist()),
        pixel_spacing_mm=spacing[1:],
        slice_spacing_mm=spacing[0],
        shape_zyx=draw(st.tuples(st.integers(2, 9), st.integers(3, 12), st.integers(3, 12))),
        slide_mm=slide.tolist(),
        frame_of_reference_uid="1.2.3",
    )


def indices(shape_zyx: tuple[int, ...]) -> np.ndarray:
    """Return the index of every voxel, (z, y, x, 3)."""
    return np.moveaxis(np.indices(shape_zyx), 0, -1)


@given(source=stacks())
def test_every_voxel_keeps_its_place_in_the_patient(source: Geometry) -> None:
    """The straight grid has right angles, and each source voxel stands inside it where it stood before."""
    way = Straightening.of(source)
    angles = way.target.affine_lps[:3, :3].T @ way.target.affine_lps[:3, :3]
    # A slide that is no more than rounding stays: a millionth of a pixel, times the pixel's size.
    np.testing.assert_allclose(angles - np.diag(np.diag(angles)), 0, atol=1e-4)
    assert not way.target.is_sheared
    assert way.target.voxel_ml == pytest.approx(source.voxel_ml)
    assert way.target.frame_of_reference_uid == source.frame_of_reference_uid
    there = way.target.to_index_zyx(source.to_lps_mm(indices(source.shape_zyx)))
    moved = indices(source.shape_zyx) + np.pad(way.shifts_zyx, ((0, 0), (1, 0)))[:, None, None]
    np.testing.assert_allclose(there, moved, atol=1e-5)
    assert there.min() > -1e-5
    assert (there <= np.array(way.target.shape_zyx) - 1 + 1e-5).all()


@settings(max_examples=60)
@given(source=stacks(), slope=st.tuples(*[st.floats(-20, 20)] * 3))
def test_values_are_those_of_their_place(source: Geometry, slope: tuple[float, float, float]) -> None:
    """A field that rises evenly through the patient reads the same on the straight grid, rounded to HU."""
    middle = source.to_lps_mm((np.array(source.shape_zyx) - 1) / 2)

    def field(geometry: Geometry) -> np.ndarray:
        return (geometry.to_lps_mm(indices(geometry.shape_zyx)) - middle) @ np.array(slope)

    volume = CtVolume(np.rint(field(source)).astype(np.int16), source, (), (), ("seen",))
    way = Straightening.of(source)
    straight = way.straight(volume)
    assert straight.remarks == ("seen",)
    inside = source.to_index_zyx(way.target.to_lps_mm(indices(way.target.shape_zyx)))
    last = np.array(source.shape_zyx) - 1
    whole = ((inside > -1e-6) & (inside < last + 1e-6)).all(axis=-1)
    wrong_hu = np.abs(straight.hu_zyx - field(way.target))[whole]
    # Half a HU from rounding each way; OpenCV moves by 32nds of a pixel.
    pixel_hu = np.abs(source.affine_lps[:3, 1:3].T @ np.array(slope)).sum()
    assert wrong_hu.max(initial=0.0) <= 1.01 + pixel_hu / 64
    outside = ((inside < -1.01) | (inside > last + 1.01)).any(axis=-1)
    assert (straight.hu_zyx[outside] == -1024).all()


@given(source=stacks(), seed=st.integers(0, 2**32 - 1))
def test_labels_come_back_to_the_nearest_voxel(source: Geometry, seed: int) -> None:
    """A source voxel gets the label of the straight voxel nearest to it, half a pixel away at most."""
    way = Straightening.of(source)
    straight = np.arange(np.prod(way.target.shape_zyx)).reshape(way.target.shape_zyx)
    back = way.labels_on_source(straight)
    assert back.shape == source.shape_zyx
    from_zyx = np.stack(np.unravel_index(back, way.target.shape_zyx), axis=-1)
    exact = way.target.to_index_zyx(source.to_lps_mm(indices(source.shape_zyx)))
    assert np.abs(exact - from_zyx).max() <= 0.5 + 1e-5
    labels = np.random.default_rng(seed).integers(0, 3, source.shape_zyx, np.uint8)
    np.testing.assert_array_equal(way.labels_on_source(way.placed(labels)), labels)
    assert np.count_nonzero(way.placed(labels)) == np.count_nonzero(labels)


def test_what_was_found_comes_back_whole() -> None:
    """Lungs, lesions, the model and its remarks return together."""
    source = stack(tilt=20.0)
    way = Straightening.of(source)
    labels = np.random.default_rng(1).integers(0, 3, source.shape_zyx, np.uint8)
    lungs, lesions = LungMask(way.placed(labels)), LesionMask(way.placed(labels // 2), MODEL)
    found = way.on_source(Segmentation(lungs, lesions, ("dense",)))
    np.testing.assert_array_equal(found.lungs.labels_zyx, labels)
    np.testing.assert_array_equal(found.lesions.labels_zyx, labels // 2)
    assert (found.lesions.model, found.remarks) == (MODEL, ("dense",))


def test_a_straight_stack_is_not_touched() -> None:
    """Nothing is copied and nothing is computed where slices do not slide."""
    source = stack(tilt=0.0)
    way = Straightening.of(source)
    volume = CtVolume(np.zeros(source.shape_zyx, np.int16), source, (), ())
    labels = np.zeros(source.shape_zyx, np.uint8)
    assert way.target is source
    assert way.straight(volume) is volume
    assert way.labels_on_source(labels) is labels
    assert way.placed(labels) is labels


def test_nobody_looks_at_sheared_voxels_by_mistake() -> None:
    """Lungs of a volume that was not straightened are an error, not a result."""
    source = stack(tilt=12.0)
    volume = CtVolume(np.zeros(source.shape_zyx, np.int16), source, (), ())
    with pytest.raises(InferenceError, match=r"tilt 12\.0 degrees\) and were not straightened"):
        segment_lungs(volume)


@given(
    lean=st.tuples(st.floats(-33, 33), st.sampled_from("xy")),
    around=st.sampled_from([0, 90, 180, 270]),
    upside_down=st.booleans(),
    tilt=tilt_deg,
    along=st.floats(0, 360),
)
def test_slices_are_told_by_their_normal(
    lean: tuple[float, str], around: int, upside_down: bool, tilt: float, along: float
) -> None:
    """However far slices slide, canonical z counts slices towards the head, of the straight grid as well."""
    turn = Rotation.from_euler(lean[1], lean[0], degrees=True) * Rotation.from_euler(
        "zx", (around, 180 if upside_down else 0), degrees=True
    )
    source = stack(tilt=tilt, turn=turn.as_matrix(), along=along)
    order = CanonicalOrder.of(source)
    assert order.axes[0] == 0
    assert order.flips[0] is upside_down
    target = Straightening.of(source).target
    assert CanonicalOrder.of(target) == order
    # Voxels keep their place, whatever shears the grid.
    canonical = order.apply_geometry(source)
    numbers = np.arange(np.prod(source.shape_zyx)).reshape(source.shape_zyx)
    for number in (0, 7, int(numbers.max())):
        here, there = np.argwhere(numbers == number)[0], np.argwhere(order.apply(numbers) == number)[0]
        np.testing.assert_allclose(canonical.to_lps_mm(there), source.to_lps_mm(here), atol=1e-6)
    assert canonical.spacing_zyx_mm[0] == pytest.approx(source.spacing_zyx_mm[0])


def stack(*, tilt: float, turn: np.ndarray | None = None, along: float = 90.0) -> Geometry:
    """Return a small stack in a given orientation whose slices slide in a given direction."""
    turn = np.eye(3) if turn is None else turn
    geometry = Geometry.from_dicom(
        image_position_mm=(-10.0, -20.0, 30.0),
        image_orientation=(*turn[:, 0].tolist(), *turn[:, 1].tolist()),
        pixel_spacing_mm=(0.9, 0.7),
        slice_spacing_mm=4.0,
        shape_zyx=(5, 6, 7),
    )
    direction = turn[:, :2] @ [np.cos(np.radians(along)), np.sin(np.radians(along))]
    affine = geometry.affine_lps.copy()
    affine[:3, 0] += 4.0 * np.tan(np.radians(tilt)) * direction
    sheared = replace(geometry, affine_lps=affine)
    assert sheared.tilt_deg == pytest.approx(abs(tilt), abs=1e-4)
    assert sheared.spacing_zyx_mm == pytest.approx((4.0, 0.9, 0.7))
    assert sheared.voxel_ml == pytest.approx(4.0 * 0.9 * 0.7 / 1000)
    return sheared
