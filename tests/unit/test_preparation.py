"""The steps from Hounsfield units to what a model was taught with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.preparation import Clip, Equalise, Rescale, Stretch, Window, ZScore, prepare


def slices(seed: int, shape: tuple[int, ...] = (3, 1, 24, 32)) -> NDArray[np.float32]:
    """Slices of noise, each on a level of its own."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(-900, 900, (*shape[:-2], 1, 1))
    return (level + rng.normal(0, 100, shape)).astype(np.float32)


def test_steps_do_what_they_say_in_their_order() -> None:
    """Clip, rescale and zscore, in the order of the list, in float32."""
    values = np.array([-2000.0, -1024.0, 0.0, 1024.0, 5000.0], dtype=np.float32)
    steps = (
        Clip(step="clip", low_hu=-1024, high_hu=1024),
        Rescale.model_validate({"step": "rescale", "from": [-1024, 1024], "to": [0, 1]}),
        ZScore(step="zscore", mean=0.5, sd=0.25),
    )
    prepared = prepare(values, steps)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, [-2, -2, 0, 2, 2], atol=1e-6)
    assert prepare(values, ()) is values


@given(st.integers(0, 2**31), st.floats(0.1, 50.0), st.floats(-2000, 2000))
def test_stretching_forgets_level_and_contrast(seed: int, contrast: float, level: float) -> None:
    """Each slice fills 0 to 255 in whole numbers in the order of its values, whatever scale it came on."""
    values = slices(seed)
    stretched = Stretch(step="stretch").apply(values)
    assert stretched.dtype == np.float32
    np.testing.assert_array_equal(stretched, np.rint(stretched))
    np.testing.assert_array_equal(stretched.min(axis=(-2, -1)), 0.0)
    np.testing.assert_array_equal(stretched.max(axis=(-2, -1)), 255.0)
    for before, after in zip(values.reshape(3, -1), stretched.reshape(3, -1), strict=True):
        assert (np.diff(after[np.argsort(before)]) >= 0).all()
    other = Stretch(step="stretch").apply(values * np.float32(contrast) + np.float32(level))
    assert np.abs(other - stretched).max() <= 1.0


def test_a_window_is_what_a_viewer_shows() -> None:
    """Its ends become black and white, what is beyond stays there, and greys are whole numbers."""
    values = np.array([-3000.0, -1350.0, -1344.1, -600.0, 150.0, 3000.0], dtype=np.float32)
    shown = Window(step="window", low_hu=-1350, high_hu=150).apply(values)
    assert shown.dtype == np.float32
    np.testing.assert_array_equal(shown, [0, 0, 1, 128, 255, 255])
    with pytest.raises(ValueError, match="must lie below"):
        Window(step="window", low_hu=150, high_hu=-1350)


def test_an_even_slice_becomes_black() -> None:
    """No division by nothing: air alone is 0."""
    even = np.full((1, 1, 8, 8), -1024.0, dtype=np.float32)
    np.testing.assert_array_equal(Stretch(step="stretch").apply(even), 0.0)


def test_equalising_is_that_of_the_published_slices() -> None:
    """Each slice goes through OpenCV's CLAHE by itself; what is beyond 8 bits is cut before."""
    values = np.concatenate([Stretch(step="stretch").apply(slices(1)), np.full((1, 1, 24, 32), 300.0)])
    equalised = Equalise(step="equalise", clip_limit=7, tiles=8).apply(values.astype(np.float32))
    clahe = cv2.createCLAHE(clipLimit=7.0, tileGridSize=(8, 8))
    assert equalised.dtype == np.float32
    for plane, expected in zip(equalised[:3, 0], values[:3, 0], strict=True):
        np.testing.assert_array_equal(plane, clahe.apply(expected.astype(np.uint8)))
    white = np.full((24, 32), 255, dtype=np.uint8)
    np.testing.assert_array_equal(equalised[3, 0], clahe.apply(white))


@pytest.mark.parametrize("kind", [{"clip_limit": 0, "tiles": 8}, {"clip_limit": 7, "tiles": 0}])
def test_an_equalisation_that_cannot_be_is_refused(kind: dict[str, float]) -> None:
    """A clip limit and a grid of at least one tile are needed."""
    with pytest.raises(ValueError, match="greater than"):
        Equalise.model_validate({"step": "equalise", **kind})
