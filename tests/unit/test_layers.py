"""Layers across an axis of the patient: every voxel in the layer of its height, no layer left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.geometry import CanonicalOrder, Geometry
from core.layers import Layers
from tests.unit.test_straightening import stacks


@given(geometry=stacks(), left=st.booleans())
def test_every_voxel_is_in_the_layer_of_its_place(geometry: Geometry, left: bool) -> None:
    """Layers rise with the patient's axis: no voxel is more than half a layer off, none is outside."""
    layers = Layers.rising_to_left(geometry) if left else Layers.rising_to_head(geometry)
    z, y, x = np.indices(geometry.shape_zyx)
    found = layers.at(z, y, x)
    assert (found.min(), found.max()) == (0, layers.count - 1)
    place_mm = geometry.to_lps_mm(np.stack([z, y, x], axis=-1))[..., 0 if left else 2]
    off = place_mm / layers.step_mm - found
    assert np.ptp(off) <= 1.0 + 1e-6


@given(geometry=stacks(), left=st.booleans())
def test_a_line_of_voxels_has_one_in_each_layer(geometry: Geometry, left: bool) -> None:
    """Along the grid axis that is most parallel neither a layer is skipped nor one met twice."""
    layers = Layers.rising_to_left(geometry) if left else Layers.rising_to_head(geometry)
    assert layers.grid_axis == CanonicalOrder.of(geometry).axes[2 if left else 0]
    found = layers.at(*np.indices(geometry.shape_zyx))
    assert set(np.abs(np.diff(found, axis=layers.grid_axis)).ravel()) <= {1}


@pytest.mark.parametrize(("lean_deg", "are_slices"), [(0.0, True), (0.1, True), (0.5, False), (15.0, False)])
def test_slices_are_layers_as_long_as_no_pixel_leaves_them(lean_deg: float, are_slices: bool) -> None:
    """Slices and layers part where pixels of one slice stand half a slice apart in height."""
    cos, sin = np.cos(np.radians(lean_deg)), np.sin(np.radians(lean_deg))
    geometry = Geometry.from_dicom(
        image_position_mm=(0.0, 0.0, 0.0),
        image_orientation=(1.0, 0.0, 0.0, 0.0, float(cos), float(sin)),
        pixel_spacing_mm=(1.0, 1.0),
        slice_spacing_mm=2.0,
        shape_zyx=(9, 301, 5),
    )
    layers = Layers.rising_to_head(geometry)
    z, y, x = np.indices(geometry.shape_zyx)
    assert layers.are_slices is are_slices
    assert bool((layers.at(z, y, x) == z).all()) is are_slices
