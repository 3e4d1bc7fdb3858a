"""Volumes, shares, single lesions and zones on masks whose numbers are known exactly."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.domain import (
    CtVolume,
    LesionClass,
    LesionMask,
    LesionMeasurements,
    LungMask,
    ModelIdentity,
    Region,
    Side,
    Zone,
)
from core.errors import InferenceError
from core.geometry import Geometry
from core.regions import region_mask_zyx
from inference.lesions import MeasurementRules, measure

MODEL = ModelIdentity("test", "1", "0" * 64, ("123110", "DCM", "Artificial Intelligence"), "", "")
SHAPE = (12, 10, 14)
#: 2 × 1 × 1 mm: 0.002 ml a voxel, so that counts and volumes are easy to tell apart.
SPACING_MM = (2.0, 1.0, 1.0)
VOXEL_ML = 0.002
EVERY_LESION = MeasurementRules(smallest_lesion_ml=0.0)


def canonical_affine() -> NDArray[np.float64]:
    """Return the affine of canonical order with a shifted origin."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(SPACING_MM)[[2, 1, 0]]
    affine[:3, 3] = (-5.0, 7.0, 100.0)
    return affine


def both_lungs() -> NDArray[np.uint8]:
    """Return two cuboid lungs, 12 slices of 8 × 5 pixels each: 480 voxels."""
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[:, 1:9, 1:6] = 1
    lungs[:, 1:9, 8:13] = 2
    return lungs


def measured(
    lungs: NDArray[np.uint8],
    lesions: NDArray[np.uint8],
    *,
    hu: NDArray[np.int16] | None = None,
    affine: NDArray[np.float64] | None = None,
    rules: MeasurementRules = EVERY_LESION,
) -> LesionMeasurements:
    """Measure masks given as arrays."""
    values = np.full(lungs.shape, -800, np.int16) if hu is None else hu
    matrix = canonical_affine() if affine is None else affine
    volume = CtVolume(values, Geometry(matrix, lungs.shape, ""), (), ())
    return measure(volume, LungMask(lungs), LesionMask(lesions, MODEL), rules)


def sheared_affine(slide_rows: float, slide_columns: float) -> NDArray[np.float64]:
    """Return a grid whose slices slide by these rows and columns from one to the next."""
    affine = canonical_affine()
    affine[:3, 0] += affine[:3, 1:3] @ [slide_rows, slide_columns]
    return affine


def test_lesions_of_slices_that_slide_hang_together_in_the_patient() -> None:
    """A thin upright lesion is one, though no two of its pixels in neighbouring slices have near indices."""
    shape = (6, 40, 20)
    lungs, lesions = np.ones(shape, np.uint8), np.zeros(shape, np.uint8)
    for z in range(6):
        lesions[z, 35 - 5 * z, 4 + 2 * z] = 1  # upright where slices slide by 5 rows and -2 columns
        lesions[z, 3, 15] = 2  # a column of the grid, which leans in the patient
    result = measured(lungs, lesions, affine=sheared_affine(5.0, -2.0))
    upright = [lesion for lesion in result.lesions if lesion.consolidation_share == 0.0]
    leaning = [lesion for lesion in result.lesions if lesion.consolidation_share == 1.0]
    assert (len(upright), len(leaning)) == (1, 6)
    geometry = Geometry(sheared_affine(5.0, -2.0), shape, "")
    places = geometry.to_lps_mm(np.argwhere(lesions == 1))
    np.testing.assert_allclose(upright[0].centroid_lps_mm, places.mean(axis=0))
    assert np.ptp(places[:, :2], axis=0) == pytest.approx([0.0, 0.0], abs=1e-9)


def test_zones_stand_upright_whatever_way_the_slices_lie() -> None:
    """Thirds of height are those of the patient: in inclined slices front and back belong to other zones."""
    shape = (30, 40, 12)
    tilt = np.radians(25.0)
    turn = np.array([[1.0, 0, 0], [0, np.cos(tilt), np.sin(tilt)]])
    geometry = Geometry.from_dicom(
        image_position_mm=(0.0, 0.0, 0.0),
        image_orientation=turn.ravel().tolist(),
        pixel_spacing_mm=(2.0, 2.0),
        slice_spacing_mm=3.0,
        shape_zyx=shape,
        slide_mm=(3.0 * np.tan(tilt) * turn[1]).tolist(),
    )
    height_mm = geometry.to_lps_mm(np.moveaxis(np.indices(shape), 0, -1))[..., 2]
    inside = (height_mm > 30.0) & (height_mm < 90.0)
    lesions = (inside & (height_mm > 72.0)).astype(np.uint8)
    result = measured(inside.astype(np.uint8), lesions, affine=geometry.affine_lps)
    zones = {zone.zone: zone for zone in result.zones}
    assert zones[Zone.LOWER_RIGHT].lesion_ml == zones[Zone.MIDDLE_RIGHT].lesion_ml == 0.0
    assert zones[Zone.UPPER_RIGHT].percent == pytest.approx(90.0, abs=8.0)
    lungs_ml = [zones[zone].lung_ml for zone in (Zone.LOWER_RIGHT, Zone.MIDDLE_RIGHT, Zone.UPPER_RIGHT)]
    assert sum(lungs_ml) == pytest.approx(result.of(Region.LUNG_RIGHT).volume_ml)
    # The lungs end within a layer, and one layer is a sixth of a zone.
    assert lungs_ml == pytest.approx([sum(lungs_ml) / 3] * 3, rel=1 / 6)


def test_volumes_and_shares_are_exact() -> None:
    """Each region's volume is its voxel count, each share is of its own lung."""
    lungs, lesions = both_lungs(), np.zeros(SHAPE, np.uint8)
    lesions[0:4, 1:3, 1:6] = 1  # 40 voxels, right
    lesions[4:6, 1:3, 1:6] = 2  # 20 voxels, right
    lesions[8:9, 1:9, 8:13] = 1  # 40 voxels, left
    result = measured(lungs, lesions)
    expected = {
        Region.LUNG_RIGHT: (480, 100 * 60 / 480),
        Region.LUNG_LEFT: (480, 100 * 40 / 480),
        Region.GROUND_GLASS_RIGHT: (40, 100 * 40 / 480),
        Region.GROUND_GLASS_LEFT: (40, 100 * 40 / 480),
        Region.CONSOLIDATION_RIGHT: (20, 100 * 20 / 480),
        Region.CONSOLIDATION_LEFT: (0, 0.0),
        Region.LESIONS: (100, 100 * 100 / 960),
    }
    assert tuple(item.region for item in result.regions) == tuple(Region)
    for region, (voxels, percent) in expected.items():
        assert result.of(region).volume_ml == pytest.approx(voxels * VOXEL_ML)
        assert result.of(region).percent_of_lung == pytest.approx(percent)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_regions_are_those_of_the_shared_definition(seed: int) -> None:
    """Volume, mean and SD equal those over `region_mask_zyx`, whatever the masks; so SEG and SR agree."""
    rng = np.random.default_rng(seed)
    lungs = rng.integers(0, 3, SHAPE, np.uint8)
    lesions = rng.integers(0, 3, SHAPE, np.uint8)  # also outside the lungs
    hu = rng.integers(-1024, 3072, SHAPE, np.int16)
    result = measured(lungs, lesions, hu=hu)
    for region in Region:
        values = hu[region_mask_zyx(region, LungMask(lungs), LesionMask(lesions, MODEL))].astype(np.float64)
        found = result.of(region)
        assert found.volume_ml == pytest.approx(values.size * VOXEL_ML)
        assert found.mean_hu == pytest.approx(values.mean())
        assert found.sd_hu == pytest.approx(values.std())


def test_extreme_densities_are_counted() -> None:
    """The ends of int16 neither wrap around nor get lost."""
    lungs, lesions = both_lungs(), np.zeros(SHAPE, np.uint8)
    lesions[0, 1, 1:3] = 1
    hu = np.full(SHAPE, -800, np.int16)
    hu[0, 1, 1:3] = (-32768, 32767)
    found = measured(lungs, lesions, hu=hu).of(Region.GROUND_GLASS_RIGHT)
    assert found.mean_hu == -0.5
    assert found.sd_hu == 32767.5


def test_no_lesion_gives_zeros() -> None:
    """A clean scan has lungs, zero shares, no lesion, score 0 and no mean where there is nothing."""
    result = measured(both_lungs(), np.zeros(SHAPE, np.uint8))
    assert result.lesions == ()
    assert result.severity_score == 0
    assert result.of(Region.LESIONS).volume_ml == 0.0
    assert result.of(Region.LESIONS).mean_hu is None
    assert result.of(Region.LESIONS).sd_hu is None
    assert result.of(Region.LUNG_RIGHT).mean_hu == -800.0


def test_no_lung_gives_zeros() -> None:
    """Empty masks divide nothing by zero."""
    result = measured(np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.uint8))
    assert all(item.volume_ml == 0.0 and item.percent_of_lung == 0.0 for item in result.regions)
    assert all(zone.score == 0 and zone.percent == 0.0 for zone in result.zones)
    assert result.lesions == ()


def test_one_lung_alone_is_measured() -> None:
    """Without a left lung its numbers are 0 and the right lung's stay as they are."""
    lungs, lesions = both_lungs(), np.zeros(SHAPE, np.uint8)
    lungs[lungs == 2] = 0
    lesions[0:4, 1:9, :] = 2
    result = measured(lungs, lesions)
    assert result.of(Region.LUNG_LEFT).volume_ml == 0.0
    assert result.of(Region.CONSOLIDATION_RIGHT).percent_of_lung == pytest.approx(100 / 3)
    assert result.of(Region.LESIONS).percent_of_lung == pytest.approx(100 / 3)
    assert [zone.score for zone in result.zones if zone.zone.endswith("left")] == [0, 0, 0]
    assert [lesion.side for lesion in result.lesions] == [Side.RIGHT]


@pytest.mark.parametrize(
    ("dense", "expected"),
    [
        (0, LesionClass.GROUND_GLASS),
        (24, LesionClass.GROUND_GLASS),
        (25, LesionClass.MIXED),
        (75, LesionClass.MIXED),
        (76, LesionClass.CONSOLIDATION),
        (100, LesionClass.CONSOLIDATION),
    ],
)
def test_class_follows_the_share_of_consolidation(dense: int, expected: LesionClass) -> None:
    """Below a quarter ground glass, above three quarters consolidation, mixed between, ends included."""
    lungs, lesions = np.ones((4, 5, 5), np.uint8), np.ones((4, 5, 5), np.uint8)
    lesions.ravel()[:dense] = 2
    (lesion,) = measured(lungs, lesions).lesions
    assert lesion.lesion_class is expected
    assert lesion.consolidation_share == pytest.approx(dense / 100)


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    """Lesions are connected through faces, edges and corners."""
    lungs, lesions = both_lungs(), np.zeros(SHAPE, np.uint8)
    lesions[2, 2, 2] = lesions[3, 3, 3] = 1
    lesions[6, 2, 2] = lesions[8, 2, 2] = 1
    assert [round(item.volume_ml / VOXEL_ML) for item in measured(lungs, lesions).lesions] == [2, 1, 1]


def test_small_lesions_count_but_are_not_listed() -> None:
    """The smallest volume shortens the list, never the volumes; it is itself large enough."""
    lungs, lesions = both_lungs(), np.zeros(SHAPE, np.uint8)
    lesions[1, 1:6, 1:6] = 1  # 25 voxels = 0.05 ml
    lesions[6, 1:5, 1:5] = 1  # 16 voxels
    result = measured(lungs, lesions, rules=MeasurementRules())
    assert [item.volume_ml for item in result.lesions] == [pytest.approx(0.05)]
    assert result.of(Region.GROUND_GLASS_RIGHT).volume_ml == pytest.approx(41 * VOXEL_ML)
    assert measured(lungs, lesions, rules=MeasurementRules(smallest_lesion_ml=1.0)).lesions == ()


def test_lesions_are_numbered_by_size_and_placed_in_the_patient() -> None:
    """Number 1 is the largest; side, mean and centroid (LPS mm) are its own."""
    lungs, lesions = both_lungs(), np.zeros(SHAPE, np.uint8)
    lesions[3, 4, 2] = 2
    lesions[5:8, 2:5, 9:12] = 1
    hu = np.full(SHAPE, -800, np.int16)
    hu[3, 4, 2], hu[5:8, 2:5, 9:12] = 30, -600
    first, second = measured(lungs, lesions, hu=hu).lesions
    assert (first.number, first.side, first.mean_hu) == (1, Side.LEFT, -600.0)
    assert (second.number, second.side, second.mean_hu) == (2, Side.RIGHT, 30.0)
    assert first.centroid_lps_mm == pytest.approx((10 - 5, 3 + 7, 6 * 2 + 100))
    assert second.centroid_lps_mm == pytest.approx((2 - 5, 4 + 7, 3 * 2 + 100))


def test_a_lesion_belongs_to_the_lung_that_holds_most_of_it() -> None:
    """Where the lungs touch, one lesion may lie in both; lesion voxels outside both are ignored."""
    lungs, lesions = np.ones((3, 4, 10), np.uint8), np.zeros((3, 4, 10), np.uint8)
    lungs[:, :, 5:] = 2
    lungs[:, 0, :] = 0
    lesions[1, :, 4:8] = 1
    (lesion,) = measured(lungs, lesions).lesions
    assert lesion.side is Side.LEFT
    assert lesion.volume_ml == pytest.approx(12 * VOXEL_ML)


@pytest.mark.parametrize(
    ("voxels", "score"), [(0, 0), (1, 1), (39, 1), (40, 2), (79, 2), (80, 3), (119, 3), (120, 4)]
)
def test_zone_score_steps(voxels: int, score: int) -> None:
    """None is 0, below 25 % is 1, from 25, 50 and 75 % on it is 2, 3 and 4."""
    lungs, lesions = both_lungs(), np.zeros(SHAPE, np.uint8)
    upper = np.argwhere(lungs[8:] == 1)  # 160 voxels
    for z, y, x in upper[:voxels]:
        lesions[8 + z, y, x] = 1
    result = measured(lungs, lesions)
    assert {zone.zone: zone.score for zone in result.zones} == {
        zone: score if zone is Zone.UPPER_RIGHT else 0 for zone in Zone
    }
    assert result.severity_score == score


def test_zones_are_thirds_of_each_lungs_own_height() -> None:
    """A shorter left lung has its own, shorter thirds; together the zones are the whole lung."""
    lungs, lesions = both_lungs(), np.zeros(SHAPE, np.uint8)
    lungs[9:][lungs[9:] == 2] = 0
    lesions[0:3][lungs[0:3] == 2] = 2
    result = measured(lungs, lesions)
    zones = {zone.zone: zone for zone in result.zones}
    assert list(zones) == list(Zone)
    for zone, slices in (
        (Zone.UPPER_RIGHT, 4),
        (Zone.LOWER_RIGHT, 4),
        (Zone.UPPER_LEFT, 3),
        (Zone.LOWER_LEFT, 3),
    ):
        assert zones[zone].lung_ml == pytest.approx(slices * 40 * VOXEL_ML)
    assert zones[Zone.LOWER_LEFT].percent == 100.0
    assert zones[Zone.MIDDLE_LEFT].lesion_ml == 0.0
    assert result.severity_score == 4


@pytest.mark.parametrize("height", [1, 2, 4, 5, 7])
def test_zones_lose_no_slice(height: int) -> None:
    """Heights that three does not divide are still covered once, evenly."""
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[2 : 2 + height, 1:9, 1:6] = 1
    zones = measured(lungs, np.zeros(SHAPE, np.uint8)).zones
    slices = [round(zone.lung_ml / (40 * VOXEL_ML)) for zone in zones if zone.zone.endswith("right")]
    assert sum(slices) == height
    assert max(slices) - min(slices) <= 1
    assert slices == slices[::-1]


@settings(max_examples=40)
@given(
    axes=st.permutations([0, 1, 2]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    turn=st.floats(-0.3, 0.3),
    seed=st.integers(0, 1000),
)
def test_numbers_do_not_depend_on_the_storage_order(
    axes: list[int], flips: tuple[bool, bool, bool], turn: float, seed: int
) -> None:
    """The same anatomy stored along other axes, reversed or obliquely gives the same numbers."""
    rng = np.random.default_rng(seed)
    lungs = both_lungs()
    lesions = (rng.random(SHAPE) < 0.08).astype(np.uint8) * rng.integers(1, 3, SHAPE, np.uint8)
    hu = rng.integers(-900, 100, SHAPE, np.int16)
    rotation = np.eye(3)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    reference = canonical_affine()
    reference[:3] = rotation @ reference[:3]
    affine = reference.copy()
    for source, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[:3, source] = reference[:3, axis] * (-1 if flip else 1)
        if flip:
            affine[:3, 3] += reference[:3, axis] * (SHAPE[axis] - 1)
    ways = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)

    def store(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.ascontiguousarray(array.transpose(axes)[ways])

    wanted = measured(lungs, lesions, hu=hu, affine=reference)
    found = measured(store(lungs), store(lesions), hu=store(hu), affine=affine)
    assert found.severity_score == wanted.severity_score
    for one, other in zip(found.zones, wanted.zones, strict=True):
        assert (one.zone, one.score) == (other.zone, other.score)
        assert one.lesion_ml == pytest.approx(other.lesion_ml)
    for one, other in zip(found.regions, wanted.regions, strict=True):
        assert one.volume_ml == pytest.approx(other.volume_ml)
        assert one.mean_hu == pytest.approx(other.mean_hu)
    inexact = ("volume_ml", "mean_hu", "consolidation_share", "long_axis_mm", "short_axis_mm")
    for one, other in zip(found.lesions, wanted.lesions, strict=True):
        for name in inexact:
            assert getattr(one, name) == pytest.approx(getattr(other, name))
        assert one.centroid_lps_mm == pytest.approx(other.centroid_lps_mm)
        same = {**dict.fromkeys(inexact, 0.0), "centroid_lps_mm": (0.0, 0.0, 0.0)}
        assert replace(one, **same) == replace(other, **same)  # type: ignore[arg-type]
    assert all(one.volume_ml >= two.volume_ml for one, two in pairwise(found.lesions))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_each_lesion_knows_its_voxels(seed: int) -> None:
    """The boxed masks of all lesions are the region of all lesions, none twice; centroids are theirs."""
    rng = np.random.default_rng(seed)
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[2:, 1:9, 2:7], lungs[2:, 1:9, 8:13] = 1, 2
    lesions = (rng.random(SHAPE) < 0.1).astype(np.uint8)
    result = measured(lungs, lesions)
    counts = np.zeros(SHAPE, int)
    for lesion in result.lesions:
        mask = np.zeros(SHAPE, bool)
        z, y, x = lesion.voxels.start_zyx
        depth, height, width = lesion.voxels.mask_zyx.shape
        mask[z : z + depth, y : y + height, x : x + width] = lesion.voxels.mask_zyx
        assert lesion.volume_ml == pytest.approx(mask.sum() * VOXEL_ML)
        centre = np.argwhere(mask).mean(axis=0)
        assert lesion.centroid_lps_mm == pytest.approx(centre[::-1] * (1, 1, 2) + (-5, 7, 100))
        counts += mask
    expected = region_mask_zyx(Region.LESIONS, LungMask(lungs), LesionMask(lesions, MODEL))
    assert (counts == expected).all()


def test_lesions_sum_up_to_the_region() -> None:
    """Listed without a lower limit, the single lesions are together the region of all lesions."""
    rng = np.random.default_rng(5)
    lesions = (rng.random(SHAPE) < 0.1).astype(np.uint8)
    result = measured(both_lungs(), lesions)
    assert sum(item.volume_ml for item in result.lesions) == pytest.approx(
        result.of(Region.LESIONS).volume_ml
    )
    assert [item.number for item in result.lesions] == list(range(1, len(result.lesions) + 1))


def test_refuses_a_mask_on_another_grid() -> None:
    """A mask of another shape is a fault, not something to broadcast."""
    with pytest.raises(InferenceError, match="lesion mask has shape"):
        measured(both_lungs(), np.zeros((1, 10, 14), np.uint8))


def test_refuses_unknown_labels() -> None:
    """A label that is neither finding is not taken for another region."""
    lesions = np.zeros(SHAPE, np.uint8)
    lesions[0, 0, 0] = 3
    with pytest.raises(InferenceError, match="unknown label 3"):
        measured(both_lungs(), lesions)
