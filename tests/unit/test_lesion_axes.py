"""Long and short axis of shapes whose axes are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.geometry import Geometry
from inference.lesion_axes import axes_mm

#: Head first supine, feet first, prone, decubitus, and turned about the long axis.
AXIAL = [
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    (0.0, 1.0, 0.0, -1.0, 0.0, 0.0),
    (0.96, 0.28, 0.0, -0.28, 0.96, 0.0),
]


def grid(
    shape_zyx: tuple[int, int, int],
    spacing_zyx_mm: tuple[float, float, float],
    orientation: tuple[float, ...] = AXIAL[0],
) -> Geometry:
    """Return a grid whose middle voxel is the origin of the patient."""
    geometry = Geometry.from_dicom(
        image_position_mm=(0.0, 0.0, 0.0),
        image_orientation=orientation,
        pixel_spacing_mm=spacing_zyx_mm[1:],
        slice_spacing_mm=spacing_zyx_mm[0],
        shape_zyx=shape_zyx,
    )
    middle = (np.asarray(shape_zyx) - 1) // 2
    geometry.affine_lps[:3, 3] = -geometry.to_lps_mm(middle)
    return geometry


def rotation(angles: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return a rotation about z, then y, then x, in radians."""
    matrix = np.eye(3)
    for axis, angle in zip((2, 1, 0), angles, strict=True):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


spacings = st.floats(0.5, 1.5)
angles = st.floats(-np.pi, np.pi)


@settings(max_examples=60, deadline=None)
@given(
    radii_mm=st.tuples(st.floats(6, 20), st.floats(6, 20), st.floats(6, 20)),
    turned=st.tuples(angles, angles, angles),
    spacing_zyx_mm=st.tuples(st.floats(0.5, 5.0), spacings, spacings),
    orientation=st.sampled_from(AXIAL),
)
def test_axes_of_an_ellipsoid(
    radii_mm: tuple[float, float, float],
    turned: tuple[float, float, float],
    spacing_zyx_mm: tuple[float, float, float],
    orientation: tuple[float, ...],
) -> None:
    """However it lies and is sampled, an ellipsoid has the axes of its middle axial section, to a pixel.

    The section is an ellipse whose half axes follow from the ellipsoid's matrix. The short axis is measured
    perpendicular to the long one as found, so it may be any width of a section that is nearly a circle.
    """
    turn = rotation(turned)
    matrix = turn @ np.diag(1.0 / np.square(radii_mm)) @ turn.T
    short, long = sorted(2.0 / np.sqrt(np.linalg.eigvalsh(matrix[:2, :2])))
    reach = 2 * max(radii_mm) + 4
    shape = tuple(2 * int(np.ceil(reach / 2 / step)) + 1 for step in spacing_zyx_mm)
    geometry = grid(shape, spacing_zyx_mm, orientation)  # type: ignore[arg-type]
    points = geometry.to_lps_mm(np.moveaxis(np.indices(shape), 0, -1))
    mask = np.einsum("...i,ij,...j->...", points, matrix, points) <= 1.0
    found_long, found_short = axes_mm(mask, geometry)
    pixel_mm = float(np.hypot(*spacing_zyx_mm[1:]))
    assert found_long == pytest.approx(long, abs=pixel_mm)
    # The long axis may be found this much askew without being seen to be too short.
    assert short - pixel_mm <= found_short <= found_long
    if long - short > 4 * pixel_mm:
        assert found_short == pytest.approx(short, abs=2 * pixel_mm)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    spacing_zyx_mm=st.tuples(st.floats(0.5, 5.0), spacings, spacings),
)
def test_axes_of_any_shape(
    seed: int, shape: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]
) -> None:
    """Any shape has long ≥ short > 0, not longer than the diagonal, and the same however it is stored."""
    mask = np.random.default_rng(seed).random(shape) < 0.4
    mask.flat[0] = True
    long, short = axes_mm(mask, grid(shape, spacing_zyx_mm))
    assert 0 < short <= long
    assert long <= np.hypot(shape[1] * spacing_zyx_mm[1], shape[2] * spacing_zyx_mm[2])
    stored = np.ascontiguousarray(mask[::-1, :, ::-1])
    assert axes_mm(stored, grid(shape, spacing_zyx_mm, AXIAL[1])) == pytest.approx((long, short))
    swapped = np.ascontiguousarray(mask.transpose(0, 2, 1))
    spacing = (spacing_zyx_mm[0], spacing_zyx_mm[2], spacing_zyx_mm[1])
    assert axes_mm(swapped, grid(swapped.shape, spacing)) == pytest.approx((long, short))


def test_one_voxel_is_as_large_as_it_is() -> None:
    """A single voxel is as long and as wide as its pixel, not 0 mm."""
    assert axes_mm(np.ones((1, 1, 1), bool), grid((1, 1, 1), (5.0, 0.8, 0.7))) == pytest.approx((0.8, 0.7))


@pytest.mark.parametrize(("rows", "columns", "expected"), [(1, 10, (5.0, 0.8)), (10, 1, (8.0, 0.5))])
def test_a_row_of_pixels_is_as_long_as_its_pixels(
    rows: int, columns: int, expected: tuple[float, float]
) -> None:
    """Length counts whole pixels, from border to border."""
    mask = np.ones((1, rows, columns), bool)
    assert axes_mm(mask, grid(mask.shape, (1.0, 0.8, 0.5))) == pytest.approx(expected)


def test_the_plane_with_the_largest_area_counts() -> None:
    """A long thin slice does not count beside a slice that holds more."""
    mask = np.zeros((3, 20, 20), bool)
    mask[0, 5, :] = True  # 20 pixels, 20 mm long
    mask[2, 4:9, 4:9] = True  # 25 pixels
    long, short = axes_mm(mask, grid(mask.shape, (1.0, 1.0, 1.0)))
    assert long == pytest.approx(np.hypot(5, 4))
    assert short < 7


def test_of_equal_planes_the_longest_counts() -> None:
    """Where two slices hold as much, the order of storage does not decide."""
    mask = np.zeros((2, 12, 12), bool)
    mask[0, 2, :9] = True
    mask[1, 2:5, 2:5] = True
    geometry = grid(mask.shape, (1.0, 1.0, 1.0))
    assert axes_mm(mask, geometry) == axes_mm(mask[::-1], geometry) == pytest.approx((9.0, 1.0))
