"""Models of whole slices: the square and back, thin slices, density, and lungs from the model."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.domain import CtVolume, LungMask, Segmentation
from core.errors import ModelIntegrity
from core.geometry import Geometry
from inference.decisions import by_density
from inference.manifest import ModelInput
from inference.manifest_output import ModelOutput
from inference.model_check import check_package
from inference.resampling import choose_sampling
from inference.segmenter import Segmenter
from inference.session import ExecutionPolicy, open_session
from tests.helpers.packages import AS_PICTURES, calibration_model, slice_model, tiny_package, write_package

GROUND_GLASS, CONSOLIDATION = 1, 2
#: Background and lesions of the scans here; the model parts them at 0 HU.
HEALTHY_HU, GROUND_GLASS_HU, DENSE_HU = -200, 200, 600
LABEL = {"category": {"value": "1", "scheme": "SCT", "meaning": "a"}}


def segmenter(folder: Path, consolidation_from_hu: float = 0.0, **changes: Any) -> Segmenter:
    """Write, load and open a slice model."""
    package = tiny_package(folder, slice_model(**changes))
    return Segmenter(package, open_session(package, ExecutionPolicy.CPU), consolidation_from_hu)


def volume(hu_zyx: NDArray[np.int16], spacing_zyx_mm: tuple[float, float, float]) -> CtVolume:
    """Put voxels into a supine patient, head up."""
    affine = np.diag([*spacing_zyx_mm, 1.0])[[2, 1, 0, 3]]
    return CtVolume(hu_zyx, Geometry(affine, hu_zyx.shape, ""), (), ())


def stored(
    upright: CtVolume, lungs: LungMask, axes: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[CtVolume, LungMask]:
    """Store the same patient in another order of voxels."""
    affine = upright.geometry.affine_lps.copy()
    arrays = [upright.hu_zyx, lungs.labels_zyx]
    for axis, flip in enumerate(flips):
        if flip:
            arrays = [np.flip(array, axis) for array in arrays]
            affine[:3, 3] += affine[:3, axis] * (upright.hu_zyx.shape[axis] - 1)
            affine[:3, axis] *= -1
    affine[:3, :3] = affine[:3, list(axes)]
    hu, labels = (np.ascontiguousarray(array.transpose(axes)) for array in arrays)
    return CtVolume(hu, Geometry(affine, hu.shape, ""), (), ()), LungMask(labels)


def upright_again(
    labels: NDArray[np.uint8], axes: tuple[int, ...], flips: tuple[bool, ...]
) -> NDArray[np.uint8]:
    """Undo the storage order of a mask."""
    back = labels.transpose(np.argsort(axes))
    for axis, flip in enumerate(flips):
        back = np.flip(back, axis) if flip else back
    return back


def chest(spacing_zyx_mm: tuple[float, float, float]) -> tuple[CtVolume, LungMask]:
    """Two lungs in air of the body, an oblong lesion in the right one, and dense lung behind the left one."""
    shape = tuple(round(edge / mm) for edge, mm in zip((60.0, 100.0, 120.0), spacing_zyx_mm, strict=True))
    z, y, x = (
        (np.arange(count) + 0.5).reshape([-1 if at == axis else 1 for at in range(3)]) * mm
        for axis, (count, mm) in enumerate(zip(shape, spacing_zyx_mm, strict=True))
    )
    high = (z > 8) & (z < 52)
    lungs = np.zeros(shape, dtype=np.uint8)
    lungs[high & (y > 20) & (y < 70) & (x > 10) & (x < 50)] = 1
    lungs[high & (y > 20) & (y < 70) & (x > 70) & (x < 110)] = 2
    hu = np.full(shape, HEALTHY_HU, dtype=np.int16)
    hu[np.sqrt(((z - 35) / 12) ** 2 + ((y - 40) / 14) ** 2 + ((x - 28) / 9) ** 2) < 1] = DENSE_HU
    hu[(z > 12) & (z < 40) & (y > 62) & (y < 82) & (x > 74) & (x < 100)] = GROUND_GLASS_HU
    return volume(hu, spacing_zyx_mm), LungMask(lungs)


# --- the square and back ----------------------------------------------------------------------------------


def fitted(**changes: Any) -> ModelInput:
    """The input of a slice model."""
    return ModelInput.model_validate(
        {
            "name": "x",
            "axes": "NCYX",
            "channels": 1,
            "spacing_mm": {"z": 2.5, "in_plane": "fit"},
            "field_of_view": 1.2,
            "patch_zyx": [1, 96, 96],
            "margin_mm": 5,
        }
        | changes
    )


@settings(max_examples=25)
@given(
    st.tuples(st.floats(0.6, 8.0), st.floats(0.5, 1.4), st.floats(0.5, 1.4)),
    st.floats(1.0, 2.5),
    st.tuples(st.floats(24, 36), st.floats(35, 45), st.floats(45, 65)),
)
def test_a_ball_comes_back_to_its_place(
    spacing: tuple[float, float, float], field_of_view: float, centre: tuple[float, float, float]
) -> None:
    """To the square and back a ball keeps its centre within a fifth of a voxel and its volume within 8 %."""
    shape = tuple(round(edge / mm) for edge, mm in zip((60, 80, 110), spacing, strict=True))
    axes = [(np.arange(count) + 0.5) * mm for count, mm in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
    hu = np.rint(np.clip(0.5 + (14 - radius) / 4, 0, 1) * 1000 - 500).astype(np.int16)
    inside = np.ones(shape, dtype=np.uint8)
    sampling = choose_sampling(inside, spacing, fitted(field_of_view=field_of_view))
    assert sampling is not None
    values = sampling.to_model(hu, inside)[np.newaxis]
    assert values.shape[2:] == (96, 96)
    back = np.stack([sampling.on_scan(values, plane)[0] for plane in range(sampling.box_shape_zyx[0])])
    here, there = hu[sampling.box] > 0, back > 0
    assert there.sum() == pytest.approx(here.sum(), rel=0.08)
    for before, after in zip(np.nonzero(here), np.nonzero(there), strict=True):
        assert after.mean() == pytest.approx(before.mean(), abs=0.2)


@pytest.mark.parametrize(
    ("z_mm", "count", "expected"), [(0.625, 56, 14), (1.0, 36, 14), (2.0, 30, 24), (5.0, 12, 12), (8.0, 9, 9)]
)
def test_thin_slices_are_averaged_and_thick_ones_stay(z_mm: float, count: int, expected: int) -> None:
    """A series is brought to about 2.5 mm, and never gets more slices than it has."""
    inside = np.ones((count, 20, 20), dtype=np.uint8)
    sampling = choose_sampling(inside, (z_mm, 1.0, 1.0), fitted())
    assert sampling is not None
    assert sampling.shape_zyx == (expected, 96, 96)


def test_a_slab_shows_the_mean_of_its_slices() -> None:
    """Noise of thin slices is averaged away before the model sees them."""
    hu = np.zeros((20, 16, 16), dtype=np.int16)
    hu[::2] = 400
    inside = np.ones(hu.shape, dtype=np.uint8)
    wanted = fitted(field_of_view=1.0, spacing_mm={"z": 2.0, "in_plane": "fit"}, patch_zyx=[1, 16, 16])
    sampling = choose_sampling(inside, (1.0, 1.0, 1.0), wanted)
    assert sampling is not None
    np.testing.assert_allclose(sampling.to_model(hu, inside), np.full((10, 16, 16), 200.0), atol=1e-3)


@pytest.fixture(scope="module")
def by_squares(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """A model that finds what is denser than 0 HU, in squares of 96 pixels."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return segmenter(folder, 250.0, field_of_view=1.35, patch_zyx=(1, 96, 96), margin_mm=4.0)


@pytest.fixture(scope="module")
def found_upright(by_squares: Segmenter) -> tuple[CtVolume, LungMask, Segmentation]:
    """The chest as it stands in the patient, and what is found in it."""
    scan, lungs = chest((2.0, 1.0, 1.25))
    return scan, lungs, by_squares.segment(scan, lungs)


def test_the_chest_is_found_as_it_is(found_upright: tuple[CtVolume, LungMask, Segmentation]) -> None:
    """The lesion is consolidation of its own volume; dense lung joins its side, and is found within it."""
    scan, lungs, found = found_upright
    truth = scan.hu_zyx > 0
    labels = found.lesions.labels_zyx
    overlap = 2 * np.count_nonzero((labels > 0) & truth) / (np.count_nonzero(labels) + truth.sum())
    assert overlap > 0.93
    right = np.arange(labels.shape[2]) < labels.shape[2] // 2
    assert np.mean(labels[..., right][labels[..., right] > 0] == CONSOLIDATION) > 0.9
    assert np.mean(labels[..., ~right][labels[..., ~right] > 0] == GROUND_GLASS) > 0.97
    outside = (lungs.labels_zyx == 0) & truth
    assert np.mean(found.lungs.labels_zyx[outside] == 2) > 0.9
    assert (found.lungs.labels_zyx[lungs.labels_zyx > 0] == lungs.labels_zyx[lungs.labels_zyx > 0]).all()
    assert not labels[found.lungs.labels_zyx == 0].any()


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_storage_order_does_not_change_the_anatomy(
    by_squares: Segmenter,
    found_upright: tuple[CtVolume, LungMask, Segmentation],
    axes: tuple[int, ...],
    flips: tuple[bool, ...],
) -> None:
    """In all 48 orders of storage the same voxels of the patient are lung and lesion."""
    scan, lungs, expected = found_upright
    found = by_squares.segment(*stored(scan, lungs, axes, flips))
    for part, whole in ((found.lungs, expected.lungs), (found.lesions, expected.lesions)):
        np.testing.assert_array_equal(upright_again(part.labels_zyx, axes, flips), whole.labels_zyx)


def test_a_model_that_wants_pictures_gets_them(tmp_path: Path) -> None:
    """Through stretch and equalise the bright lesion stays what is found, whatever its slice's contrast."""
    runs = segmenter(
        tmp_path / "tiny", field_of_view=1.35, preparation=AS_PICTURES, replace=slice_model().replace
    )
    scan, lungs = chest((5.0, 1.0, 1.0))
    found = runs.segment(scan, lungs).lesions.labels_zyx > 0
    dense = (scan.hu_zyx == DENSE_HU) & (lungs.labels_zyx > 0)
    assert np.mean(found[dense]) > 0.9


def test_the_mask_of_a_slice_model_says_how_it_was_made(tmp_path: Path) -> None:
    """Field of view and both attenuations stand in the identity; overlap means nothing to whole slices."""
    runs = segmenter(tmp_path / "tiny", -250.0, field_of_view=1.35, lesion_from_hu=-800)
    assert runs.parameters == (
        "threshold 0.5; spacing z 2.5 mm; field of view 1.35 x lungs; lesion from -800 HU; "
        "consolidation from -250 HU; CPUExecutionProvider"
    )


def test_given_lungs_are_never_written_to(tmp_path: Path) -> None:
    """The lungs of the result are others; the caller's stay as they were."""
    scan, lungs = chest((4.0, 2.0, 2.0))
    before = lungs.labels_zyx.copy()
    found = segmenter(tmp_path / "tiny", field_of_view=1.35).segment(scan, lungs)
    np.testing.assert_array_equal(lungs.labels_zyx, before)
    assert np.count_nonzero(found.lungs.labels_zyx) > np.count_nonzero(before)


# --- density ----------------------------------------------------------------------------------------------


def density_output(lesion_from_hu: float | None = None) -> ModelOutput:
    """An output that leaves the finding to density."""
    labels = [
        {"channel": 0, "finding": finding, "category": LABEL["category"], "type": LABEL["category"]}
        for finding in ("ground_glass", "consolidation")
    ]
    return ModelOutput.model_validate(
        {
            "name": "y",
            "channels": 1,
            "activation": "none",
            "decision": "density",
            "labels": labels,
            "lesion_from_hu": lesion_from_hu,
        }
    )


def test_density_names_the_finding_inside_the_lesion_only() -> None:
    """Dense and less dense halves of a lesion get their names; the same densities outside get none."""
    hu = np.full((40, 60), -550, dtype=np.int16)
    hu[:, 30:] = 20
    lesion = np.zeros(hu.shape, dtype=np.float32)
    lesion[10:30, 10:50] = 0.5
    found = by_density(lesion, hu, density_output(), (0.8, 0.8), -300.0)
    assert set(np.unique(found[lesion > 0]).tolist()) == {GROUND_GLASS, CONSOLIDATION}
    assert (found[10:30, 10:28] == GROUND_GLASS).all()
    assert (found[10:30, 32:50] == CONSOLIDATION).all()
    assert not found[lesion == 0].any()


def test_noise_does_not_speckle_a_lesion() -> None:
    """Ground glass at −480 HU with noise of 100 HU is not sprinkled with consolidation."""
    noise = np.random.default_rng(1).normal(-480, 100, (80, 80))
    found = by_density(
        np.ones((80, 80), np.float32), noise.astype(np.int16), density_output(), (0.7, 0.7), -300.0
    )
    assert np.mean(noise > -300) > 0.03
    assert np.mean(found == CONSOLIDATION) < 0.001


@given(st.integers(0, 20), st.integers(0, 20), st.floats(0.5, 1.5), st.integers(0, 2**31))
def test_a_finding_does_not_depend_on_other_lesions(top: int, left: int, pixel_mm: float, seed: int) -> None:
    """A lesion is named the same alone and in a slice with another lesion far away."""
    random = np.random.default_rng(seed)
    hu = random.integers(-900, -300, (90, 90)).astype(np.int16)
    hu[:, 47 + left :] = random.integers(-300, 300, (90, 43 - left))
    one = np.zeros(hu.shape, dtype=np.float32)
    one[40 + top : 55 + top, 40 + left : 55 + left] = 1.0
    both = one.copy()
    both[2:20, 3:9] = 1.0
    alone, together = (
        by_density(lesion, hu, density_output(), (pixel_mm, pixel_mm), -300.0) for lesion in (one, both)
    )
    assert set(np.unique(alone)) == {0, GROUND_GLASS, CONSOLIDATION}
    np.testing.assert_array_equal(alone[one > 0], together[one > 0])


def test_the_chest_wall_does_not_make_ground_glass_dense() -> None:
    """Ground glass keeps its name up to its last pixel beside muscle, consolidation up to the air."""
    hu = np.full((30, 60), 50, dtype=np.int16)
    hu[:, :30] = -550
    lesion = np.zeros(hu.shape, dtype=np.float32)
    lesion[:, 5:30] = 1.0
    assert (by_density(lesion, hu, density_output(), (0.7, 0.7), -300.0)[:, 5:30] == GROUND_GLASS).all()
    hu = np.where(hu > 0, np.int16(-880), np.int16(0))
    assert (by_density(lesion, hu, density_output(), (0.7, 0.7), -300.0)[:, 5:30] == CONSOLIDATION).all()


def test_what_is_as_thin_as_healthy_lung_is_none() -> None:
    """Below lesion_from_hu the model is not believed."""
    hu = np.full((30, 60), -870, dtype=np.int16)
    hu[:, 30:] = -600
    found = by_density(np.ones(hu.shape, np.float32), hu, density_output(-800.0), (0.8, 0.8), -300.0)
    assert not found[:, :26].any()
    assert (found[:, 32:] == GROUND_GLASS).all()


def test_a_model_is_told_that_greys_of_a_scan_are_density(tmp_path: Path) -> None:
    """The channel that says so is 1 everywhere: a model that repeats it finds lesion in all of the lungs."""
    package = tiny_package(tmp_path / "tiny", calibration_model())
    scan, lungs = chest((2.5, 2.0, 2.0))
    found = Segmenter(package, open_session(package, ExecutionPolicy.CPU)).segment(scan, lungs)
    inside = lungs.labels_zyx > 0
    assert inside.any()
    assert (found.lesions.labels_zyx[inside] > 0).all()


@pytest.mark.parametrize(("channels", "extra"), [(2, ""), (1, "calibrated_channel = true")])
def test_a_second_channel_without_a_meaning_is_refused(tmp_path: Path, channels: int, extra: str) -> None:
    """Two channels and the key that explains them stand together or not at all."""
    model = slice_model(input_channels=channels, extra=f"field_of_view = 1.0\n{extra}")
    with pytest.raises(ModelIntegrity, match="2 with calibrated_channel = true, 1 without"):
        tiny_package(tmp_path / "tiny", model)


def test_the_model_check_runs_a_model_that_wants_to_be_told(tmp_path: Path) -> None:
    """A sound package with the second channel has no faults."""
    assert check_package(write_package(tmp_path / "tiny", calibration_model())) == []
