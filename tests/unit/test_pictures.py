"""Slice models on pictures without Hounsfield units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import InferenceError
from inference.greys import dense_by_grey
from inference.manifest import Manifest
from inference.pictures import PictureMasks, segment_pictures
from inference.preparation import Equalise, Stretch
from inference.session import ExecutionPolicy, ModelSession, open_session
from tests.helpers.packages import (
    AS_PICTURES,
    IN_A_WINDOW,
    TinyModel,
    calibration_model,
    slice_model,
    tiny_package,
)

Opened = tuple[ModelSession, Manifest]


def opened(folder: Path, model: TinyModel) -> Opened:
    """Write, load and open a package on the CPU."""
    package = tiny_package(folder, model)
    return open_session(package, ExecutionPolicy.CPU), package.manifest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Bright from half white on is lung and lesion, from three quarters on consolidation."""
    return opened(tmp_path_factory.mktemp("models") / "tiny", slice_model(preparation=AS_PICTURES))


def spot(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> NDArray[np.uint8]:
    """A white disc with a soft border on black."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    distance = np.hypot(y - centre[0], x - centre[1])
    return np.rint(255 * np.clip(0.5 + (radius - distance) / 4, 0, 1)).astype(np.uint8)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(50, 260), st.integers(50, 260)),
    st.floats(0.5, 1.0),
    st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
)
def test_a_spot_comes_back_to_its_place(
    model: Opened, shape: tuple[int, int], fit: float, centre: tuple[float, float]
) -> None:
    """Of whatever size and shape the picture is, the spot keeps its centre and its area on its own pixels."""
    radius = 0.2 * min(shape)
    picture = spot(shape, (centre[0] * shape[0], centre[1] * shape[1]), radius)
    (found,) = segment_pictures(*model, [picture], equalised=True, fit=fit).lesion
    truth = picture >= 128
    assert found.shape == shape
    pixel = max(1.0, max(shape) / fit / 64)
    # A third of the model's pixel all around.
    assert found.sum() == pytest.approx(truth.sum(), abs=0.02 * truth.sum() + 2 * np.pi * radius * pixel / 3)
    for before, after in zip(np.nonzero(truth), np.nonzero(found), strict=True):
        assert after.mean() == pytest.approx(before.mean(), abs=0.25 * pixel)


def test_the_channels_become_lung_lesion_and_consolidation(model: Opened) -> None:
    """Grey levels fall into the masks that the model's channels mean, several pictures in their order."""
    picture = np.zeros((64, 64), dtype=np.uint8)
    picture[8:24], picture[24:40], picture[40:56] = 80, 150, 230
    masks = segment_pictures(
        *model, [picture, picture.T, *[picture] * 4], equalised=True, fit=1.0, keep_probabilities=True
    )
    assert masks.lung is not None
    assert masks.consolidation is not None
    assert masks.probabilities is not None
    assert len(masks.lesion) == len(masks.lung) == len(masks.consolidation) == len(masks.probabilities) == 6
    np.testing.assert_array_equal(masks.lesion[0], picture >= 150)
    np.testing.assert_array_equal(masks.lung[5], picture >= 150)
    np.testing.assert_array_equal(masks.consolidation[0], picture == 230)
    np.testing.assert_array_equal(masks.lesion[1], picture.T >= 150)
    assert masks.probabilities[0].shape == (3, 64, 64)
    np.testing.assert_allclose(masks.probabilities[0][1], picture / 255, atol=1e-6)


def test_raw_pictures_are_stretched_and_equalised_first(model: Opened) -> None:
    """What the model sees of a raw picture is what it would see of the same picture prepared before."""
    rng = np.random.default_rng(2)
    raw = cv2.GaussianBlur(rng.integers(20, 120, (64, 64)).astype(np.uint8), (0, 0), 3)
    ready = Equalise(step="equalise", clip_limit=7, tiles=4).apply(
        Stretch(step="stretch").apply(raw.astype(np.float32))
    )

    def lesion(picture: NDArray[np.uint8], equalised: bool) -> NDArray[np.float32]:
        found = segment_pictures(*model, [picture], equalised=equalised, fit=1.0, keep_probabilities=True)
        assert found.probabilities is not None
        return found.probabilities[0][1]

    np.testing.assert_array_equal(lesion(raw, False), lesion(ready.astype(np.uint8), True))
    assert np.abs(lesion(raw, True) - lesion(raw, False)).max() > 0.2


def test_a_model_is_told_that_greys_of_pictures_are_no_density(tmp_path: Path) -> None:
    """The channel that says so is 0 for pictures, prepared before or not."""
    model = opened(tmp_path / "tiny", calibration_model())
    for equalised in (True, False):
        found = segment_pictures(*model, [np.full((32, 32), 200, np.uint8)], equalised=equalised, fit=1.0)
        assert not found.lesion[0].any()


def test_pictures_take_the_place_of_a_window(tmp_path: Path) -> None:
    """A model that shows scans through a window sees a picture's greys instead, stretched if they are raw."""
    model = opened(tmp_path / "tiny", slice_model(preparation=IN_A_WINDOW))
    picture = np.full((64, 64), 40, np.uint8)
    picture[16:48, 16:48] = 110
    for equalised, grey in ((True, 110 / 255), (False, 1.0)):
        found = segment_pictures(*model, [picture], equalised=equalised, fit=1.0, keep_probabilities=True)
        assert found.probabilities is not None
        assert found.probabilities[0][1, 32, 32] == pytest.approx(grey, abs=1e-6)


def test_no_pictures_give_no_masks(model: Opened) -> None:
    """An empty list is an answer; what the model never gives stays None."""
    found = segment_pictures(*model, [], equalised=True, fit=1.0)
    assert found.lesion == found.lung == found.consolidation == ()
    assert found.probabilities is None


def test_without_channels_for_them_there_are_no_lungs_and_no_consolidation(tmp_path: Path) -> None:
    """None says that the model does not tell; empty masks would say that there is nothing."""
    whole = slice_model(preparation=AS_PICTURES)
    decision = whole.replace['decision = "each"'].split("\n")[0]
    bare = slice_model(preparation=AS_PICTURES, replace={**whole.replace, 'decision = "each"': decision})
    found = segment_pictures(
        *opened(tmp_path / "tiny", bare), [np.full((9, 9), 255, np.uint8)], equalised=True, fit=1.0
    )
    assert (found.lung, found.consolidation) == (None, None)
    assert found.lesion[0].all()


@pytest.mark.parametrize(
    ("make", "equalised", "words"),
    [
        (TinyModel, True, "does not see whole slices"),
        (lambda: TinyModel(axes="NCYX", patch_zyx=(1, 16, 16)), True, "does not see whole slices"),
        (slice_model, True, 'has no step "window" or "stretch"'),
        (slice_model, False, 'has no step "window" or "stretch"'),
    ],
)
def test_models_that_cannot_see_pictures_are_refused(
    tmp_path: Path, make: Callable[[], TinyModel], equalised: bool, words: str
) -> None:
    """Blocks, patches at a spacing, and models that need Hounsfield units: the message says which."""
    with pytest.raises(InferenceError, match=words):
        segment_pictures(
            *opened(tmp_path / "tiny", make()), [np.zeros((8, 8), np.uint8)], equalised=equalised, fit=1.0
        )


@pytest.mark.parametrize(
    ("picture", "fit", "words"),
    [
        (np.zeros((8, 8, 3), np.uint8), 1.0, r"Picture 2: found uint8 \(8, 8, 3\)"),
        (np.zeros((8, 8), np.int16), 1.0, "Picture 2: found int16"),
        (np.zeros((0, 8), np.uint8), 1.0, "Picture 2"),
        (np.zeros((8, 8), np.uint8), 1.5, "fit: found 1.5"),
        (np.zeros((8, 8), np.uint8), 0.0, "fit: found 0"),
    ],
)
def test_what_is_no_picture_is_refused(
    model: Opened, picture: NDArray[np.uint8], fit: float, words: str
) -> None:
    """Colour, other types, empty pictures and a share beyond the patch are told, not guessed at."""
    good = np.zeros((8, 8), np.uint8)
    with pytest.raises(InferenceError, match=words):
        segment_pictures(*model, [good, picture], equalised=True, fit=fit)


def test_masks_are_frozen(model: Opened) -> None:
    """What was found cannot be exchanged afterwards."""
    found: PictureMasks = segment_pictures(*model, [], equalised=True, fit=1.0)
    with pytest.raises(AttributeError):
        found.lesion = ()  # type: ignore[misc]


def test_without_a_channel_for_it_greys_tell_consolidation(tmp_path: Path) -> None:
    """A model that leaves classes to density: in a picture what is as bright as tissue is consolidation."""
    whole = slice_model(preparation=IN_A_WINDOW)
    keys = {old: new.replace("\nconsolidation_channel = 2", "") for old, new in whole.replace.items()}
    session, manifest = opened(tmp_path / "greys", replace(whole, replace=keys))
    assert manifest.output.consolidation_channel is None
    picture = np.full((64, 64), 10, np.uint8)
    picture[4:60, 4:60] = 120  # tissue, which the model takes for neither lung nor lesion
    picture[20:30, 20:40], picture[40:50, 20:40] = 255, 150
    found = segment_pictures(session, manifest, [picture], equalised=True, fit=1.0)
    assert found.consolidation is not None
    np.testing.assert_array_equal(found.consolidation[0], found.lesion[0])


def test_a_grey_between_lung_and_tissue_stands_for_consolidation() -> None:
    """Of three patches, as bright as −700, −400 and −100 HU would be, the last one is dense."""
    picture = np.full((90, 90), 200, np.uint8)
    picture[10:80, 10:80] = 50
    healthy = picture == 50
    for at, hu in ((15, -700), (40, -400), (60, -100)):
        picture[at : at + 12, 20:60] = round(50 + (hu + 850) / 890 * 150)
        healthy[at : at + 12, 20:60] = False
    outside = np.ones_like(healthy)
    outside[10:80, 10:80] = False
    dense = dense_by_grey(picture, healthy, outside, smoothing_px=1.0)
    assert [bool(dense[at + 6, 40]) for at in (15, 40, 60)] == [False, False, True]
