"""The square around the lungs: where it stands, what it shows, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.framing import Square, square_around
from inference.preparation import AIR_HU

Span = tuple[int, int]


def box(shape_yx: Span, rows: Span, columns: Span) -> np.ndarray:
    """Two slices of lung labels, each with a part of one rectangle of lung."""
    inside = np.zeros((2, *shape_yx), dtype=np.uint8)
    middle = (columns[0] + columns[1]) // 2
    inside[0, rows[0] : rows[1], columns[0] : middle] = 1
    inside[1, rows[0] : rows[1], middle : columns[1]] = 2
    return inside


@given(
    st.tuples(st.integers(0, 60), st.integers(3, 60)),
    st.tuples(st.integers(0, 60), st.integers(3, 60)),
    st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0)),
    st.floats(1.0, 3.0),
)
def test_the_square_is_centred_on_both_lungs(
    row: Span, column: Span, spacing_yx_mm: tuple[float, float], field_of_view: float
) -> None:
    """Its edge is the wanted multiple of the larger extent of all slices together, along both axes in mm."""
    rows, columns = (row[0], row[0] + row[1]), (column[0], column[0] + column[1])
    square = square_around(box((120, 120), rows, columns), spacing_yx_mm, field_of_view)
    assert square is not None
    edge_mm = field_of_view * max(row[1] * spacing_yx_mm[0], column[1] * spacing_yx_mm[1])
    for edges, span, spacing in zip(
        (square.rows, square.columns), (rows, columns), spacing_yx_mm, strict=True
    ):
        assert abs((edges[1] - edges[0]) * spacing - edge_mm) <= 0.5 * spacing + 1e-9
        assert abs(sum(edges) / 2 - sum(span) / 2) <= 0.5


def test_without_lungs_there_is_no_square() -> None:
    """Nothing to stand around."""
    assert square_around(np.zeros((3, 8, 8), dtype=np.uint8), (1.0, 1.0), 1.5) is None


def test_what_lies_beyond_the_image_is_air() -> None:
    """A square that leaves the image shows the image in its place and air around it."""
    plane = np.full((6, 8), 100.0, dtype=np.float32)
    shown = Square((-2, 6), (0, 8)).cut(plane, 8)
    assert (shown[:2] == AIR_HU).all()
    assert (shown[2:] == 100.0).all()
    assert (Square((-2, 6), (0, 8)).cut(plane, 8, beyond=0.0)[:2] == 0.0).all()


@settings(max_examples=40)
@given(
    st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    st.tuples(st.integers(60, 140), st.integers(60, 140)),
    st.integers(32, 160),
    st.tuples(st.floats(35, 65), st.floats(35, 65)),
)
def test_there_and_back_a_spot_stays_in_its_place(
    corner: Span, edges: Span, size: int, centre: tuple[float, float]
) -> None:
    """A soft spot keeps its centre within a tenth of a pixel, whatever the picture's size."""
    y, x = np.mgrid[0:100, 0:100]
    plane = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * 6.0**2)).astype(np.float32)
    square = Square((corner[0], corner[0] + 60 + edges[0]), (corner[1], corner[1] + 60 + edges[1]))
    back = np.zeros_like(plane)
    square.paste(square.cut(plane, size, beyond=0.0), back)
    shown = np.zeros(plane.shape, dtype=bool)
    shown[max(0, square.rows[0]) : square.rows[1], max(0, square.columns[0]) : square.columns[1]] = True
    for values in (y, x):
        expected = float((plane * shown * values).sum() / (plane * shown).sum())
        assert float((back * values).sum() / back.sum()) == pytest.approx(expected, abs=0.1)


def test_pasting_leaves_what_the_square_does_not_show() -> None:
    """Only the part of the slice inside the square changes."""
    plane = np.full((10, 10), 7.0, dtype=np.float32)
    Square((2, 6), (-3, 1)).paste(np.zeros((16, 16), dtype=np.float32), plane)
    expected = np.full((10, 10), 7.0)
    expected[2:6, 0:1] = 0.0
    np.testing.assert_array_equal(plane, expected)
