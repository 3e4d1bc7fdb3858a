"""Two scans of one phantom patient: known change, another breath, another position, two studies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from scipy import ndimage

from core.domain import LUNG_LABEL, LesionClass, Side
from core.geometry import Geometry
from lesionnode.phantom.breathing import Breathing
from lesionnode.phantom.correspondence import corresponding_lps_mm, lung_box_lps_mm, lungs_in_view
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.lesions import place
from lesionnode.phantom.patient import Patient
from lesionnode.phantom.random_pairs import COARSE_GRID, PairGrid, PairKind, random_pair
from lesionnode.phantom.shapes import Points, lattice
from lesionnode.phantom.spec import Phantom, PhantomLesion, PhantomSpec
from lesionnode.phantom.time_points import (
    LUNG_KERNEL,
    Fate,
    LesionChange,
    PairPlan,
    PhantomPair,
    Scan,
    generate_pair,
    write_pair,
)

SMALL = PhantomSpec(shape_zyx=(24, 128, 128), spacing_zyx_mm=(12.5, 2.8, 2.8), slice_thickness_mm=1.3)
#: The quickest grid that shows lesions whole.
LESIONS_SHOWN = Scan(shape_zyx=(64, 128, 128), spacing_zyx_mm=(5.0, 2.8, 2.8), slice_thickness_mm=1.3)
#: One voxel per 40 cm: only the truth, which does not come from voxels, is of use.
TRUTH_ONLY = replace(SMALL, shape_zyx=(1, 8, 8), spacing_zyx_mm=(500.0, 50.0, 50.0))


def lesion(side: Side, up: float, radius_mm: float, **changes: object) -> PhantomLesion:
    """Return a ground-glass lesion in the middle of a lung."""
    ball = (radius_mm, radius_mm, radius_mm)
    return replace(PhantomLesion(LesionClass.GROUND_GLASS, side, up, 0.6, 0.5, ball), **changes)  # type: ignore[arg-type]


CHANGES = (
    LesionChange(lesion(Side.RIGHT, 0.25, 19.0), Fate.RESOLVED),
    LesionChange(lesion(Side.RIGHT, 0.75, 16.0), Fate.GROWN, 2.0),
    LesionChange(lesion(Side.LEFT, 0.35, 20.0), Fate.SHRUNK, 0.5),
    LesionChange(lesion(Side.LEFT, 0.55, 14.0, back=0.3), Fate.NEW),
    LesionChange(lesion(Side.LEFT, 0.80, 15.0), Fate.PERSISTENT),
)
MOVED = replace(
    LESIONS_SHOWN,
    centre_lps_mm=(4.0, 16.0, -20.0),
    inspiration=0.88,
    shift_mm=(9.0, -6.0, 8.0),
    turn_deg=(3.0, -2.0, 4.0),
    kernel=LUNG_KERNEL,
    noise_seed=1,
)


@pytest.fixture(scope="module")
def pair() -> PhantomPair:
    """One lesion of every fate, seen again at less inspiration by another kernel in another position."""
    return generate_pair(PairPlan(replace(SMALL, lesions=()), CHANGES, LESIONS_SHOWN, MOVED))


@pytest.fixture(scope="module", params=[0, 1])
def random(request: pytest.FixtureRequest) -> PhantomPair:
    """Random pairs on a coarse grid."""
    grid = PairGrid(edge=180, in_plane_mm=2.0, slices_mm=(3.0,), slice_thickness_mm=1.3)
    return generate_pair(random_pair(request.param, grid=grid))


def components(phantom: Phantom) -> tuple[list[int], list[float]]:
    """Return the connected component of lesion at each true centre, and the volume of each, ml."""
    labels, _ = ndimage.label(phantom.truth.lesions_zyx > 0)
    sizes = np.bincount(labels.ravel()) * phantom.geometry.voxel_ml
    centres = np.array([one.centre_lps_mm for one in phantom.truth.lesions])
    here = [int(labels[at]) for at in indices(centres, phantom.geometry)]
    return here, sizes.tolist()


def indices(points_lps_mm: NDArray[np.float64], geometry: Geometry) -> list[tuple[int, ...]]:
    """Return the voxels that hold some points."""
    inverse = np.linalg.inv(geometry.affine_lps)
    return [
        tuple(int(part) for part in np.rint(inverse[:3, :3] @ point + inverse[:3, 3]))
        for point in points_lps_mm
    ]


def lungs_off_the_border(phantom: Phantom) -> bool:
    """Return whether no lung touches the border of the grid."""
    lungs = phantom.truth.lungs_zyx
    return not any(np.take(lungs, [0, -1], axis=axis).any() for axis in range(3))


# --- what was there before stays --------------------------------------------------------------------------


def test_phantoms_of_old_are_unchanged() -> None:
    """The default patient's voxels, truth and frame of reference are those of the first release."""
    phantom = generate_phantom(SMALL)
    hu = phantom.hu_zyx.astype(np.int64)
    assert np.bincount(phantom.truth.lungs_zyx.ravel()) == pytest.approx([345997, 24433, 22786], abs=3)
    assert np.bincount(phantom.truth.lesions_zyx.ravel()) == pytest.approx([386728, 5164, 1324], abs=3)
    # Last bits differ between processors, so no digest: sums that any other anatomy or noise would change.
    signs = np.random.default_rng(0).choice((-1, 1), size=hu.shape)
    assert np.sum(signs * hu) == pytest.approx(-128293, abs=60)
    assert [int(hu[k].sum()) for k in (0, 11, 23)] == pytest.approx([-7113989, -10289409, -7608999], abs=60)
    assert phantom.truth.lung_ml == pytest.approx({Side.RIGHT: 2397.096, Side.LEFT: 2240.725}, rel=1e-5)
    volumes = [one.volume_ml for one in phantom.truth.lesions]
    assert volumes == pytest.approx([186.01, 139.122, 22.985, 67.364, 162.349, 61.223], rel=1e-4)
    uid = "2.25.261872485706785608063735717235626753085"
    assert phantom.geometry.frame_of_reference_uid == uid


def test_without_identity_the_place_in_the_list_chooses_the_shape() -> None:
    """A lesion without identity changes its shape when the one before it is removed."""
    one, other = lesion(Side.RIGHT, 0.3, 20.0), lesion(Side.LEFT, 0.6, 20.0)
    both = Patient.of(replace(TRUTH_ONLY, lesions=(one, other))).lesions
    alone = Patient.of(replace(TRUTH_ONLY, lesions=(other,))).lesions
    assert both[1].seed != alone[0].seed
    assert both[1].centre == alone[0].centre


# --- identity ---------------------------------------------------------------------------------------------


def test_identity_keeps_place_and_shape_when_others_go() -> None:
    """A lesion with an identity is voxel for voxel the same with and without the lesions before it."""
    spec = replace(SMALL, shape_zyx=(3, 128, 128), noise_sd_hu=0.0, centre_lps_mm=(0.0, 16.0, -30.0))
    one, other = (
        lesion(side, 0.5, 25.0, identity=number, irregularity=0.3)
        for number, side in enumerate((Side.RIGHT, Side.LEFT))
    )
    both = generate_phantom(replace(spec, lesions=(one, other)))
    alone = generate_phantom(replace(spec, lesions=(other,)))
    left = both.truth.lungs_zyx == LUNG_LABEL[Side.LEFT]
    assert np.array_equal(left, alone.truth.lungs_zyx == LUNG_LABEL[Side.LEFT])
    assert np.count_nonzero(alone.truth.lesions_zyx[left]) > 100
    assert np.array_equal(both.hu_zyx[left], alone.hu_zyx[left])
    assert np.array_equal(both.truth.lesions_zyx[left], alone.truth.lesions_zyx[left])
    assert both.truth.lesions[1] == alone.truth.lesions[0]


@given(scale=st.floats(0.6, 1.7), seed=st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_a_lesion_grows_in_its_own_shape(scale: float, seed: int) -> None:
    """With an identity the distance to another size's surface is that of the shape itself, scaled."""
    radii = (12.0, 10.0, 14.0)
    small = lesion(Side.RIGHT, 0.5, 12.0, radii_mm=radii, irregularity=0.25, identity=3)
    large = replace(small, radii_mm=(scale * radii[0], scale * radii[1], scale * radii[2]))
    room = lattice((-30.0, -30.0, -30.0), (30.0, 30.0, 30.0), 5.0)
    spec, lung = replace(TRUTH_ONLY, seed=seed), np.ones(room.shape, dtype=np.bool_)
    placed, grown = (place(one, lung, room, spec, 0) for one in (small, large))
    x, y, z = placed.centre
    around = lattice((-15.0, -15.0, -15.0), (15.0, 15.0, 15.0), 2.0)
    scaled = Points(*(np.float32(scale) * part for part in (around.x, around.y, around.z)))
    own, other = (
        shape.outer_mm(points.shifted((-x, -y, -z))) for shape, points in ((placed, around), (grown, scaled))
    )
    assert other == pytest.approx(own * scale, abs=0.01)


# --- inspiration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inspiration", [0.75, 0.85, 0.9094205171532198, 0.93, 1.1, 1.3])
def test_inspiration_is_the_ratio_of_lung_volumes(inspiration: float) -> None:
    """The lungs hold the share asked for of their volume at rest, within 1 percent, each within 4 percent."""
    at_rest = generate_phantom(replace(TRUTH_ONLY, lesions=())).truth.lung_ml
    breathing = generate_phantom(replace(TRUTH_ONLY, lesions=(), inspiration=inspiration)).truth.lung_ml
    assert sum(breathing.values()) / sum(at_rest.values()) == pytest.approx(inspiration, rel=0.01)
    for side in Side:
        assert breathing[side] / at_rest[side] == pytest.approx(inspiration, rel=0.04)


@pytest.mark.parametrize("inspiration", [0.85, 1.1])
def test_lungs_keep_their_mass(inspiration: float) -> None:
    """Less air makes lungs denser: the mass of the lungs stays within 5 percent, the apex as it is."""
    spec = replace(
        SMALL,
        shape_zyx=(64, 96, 96),
        spacing_zyx_mm=(5.0, 3.6, 3.6),
        noise_sd_hu=0.0,
        blur_mm=0.0,
        lesions=(),
    )
    at_rest, breathing = (generate_phantom(replace(spec, inspiration=one)) for one in (1.0, inspiration))

    def mass(phantom: Phantom) -> float:
        inside = phantom.hu_zyx[phantom.truth.lungs_zyx > 0].astype(np.float64)
        return float(np.sum(inside + 1000.0)) * phantom.geometry.voxel_ml

    assert mass(breathing) == pytest.approx(mass(at_rest), rel=0.05)
    # Parenchyma alone, where vessels do not count.
    density = [np.median(one.hu_zyx[one.truth.lungs_zyx > 0]) + 1000.0 for one in (at_rest, breathing)]
    assert bool(density[1] > density[0]) is (inspiration < 1.0)
    assert density[1] / density[0] == pytest.approx(1.0 / inspiration, rel=0.06)
    tops = [np.flatnonzero((one.truth.lungs_zyx > 0).any(axis=(1, 2))).max() for one in (at_rest, breathing)]
    assert tops[0] == tops[1]


def test_bones_and_skin_do_not_breathe() -> None:
    """Outside the rib cage nothing changes with inspiration, and the diaphragm moves by centimetres."""
    spec = replace(SMALL, noise_sd_hu=0.0, blur_mm=0.0, lesions=())
    at_rest, breathing = (generate_phantom(replace(spec, inspiration=one)) for one in (1.0, 0.8))
    changed = at_rest.hu_zyx != breathing.hu_zyx
    where = np.argwhere(changed) @ at_rest.geometry.affine_lps[:3, :3].T + at_rest.geometry.affine_lps[:3, 3]
    assert np.abs(where[:, 0]).max() < 138.0  # the inside of the ribs
    foot = [
        (one.geometry.affine_lps @ [*np.argwhere(one.truth.lungs_zyx > 0).min(axis=0), 1.0])[2]
        for one in (at_rest, breathing)
    ]
    assert 25.0 <= foot[1] - foot[0] <= 75.0


def test_lesions_move_but_keep_their_size() -> None:
    """At less inspiration a basal lesion stands higher, an apical one hardly; volumes stay."""
    basal, apical = (lesion(Side.RIGHT, up, 16.0, identity=number) for number, up in enumerate((0.35, 0.85)))
    spec = replace(TRUTH_ONLY, lesions=(basal, apical))
    at_rest, breathing = (generate_phantom(replace(spec, inspiration=one)).truth for one in (1.0, 0.85))
    rise = [
        b.centre_lps_mm[2] - a.centre_lps_mm[2]
        for a, b in zip(at_rest.lesions, breathing.lesions, strict=True)
    ]
    assert rise[0] > 10.0
    assert 0.0 < rise[1] < 3.0
    for before, after in zip(at_rest.lesions, breathing.lesions, strict=True):
        assert after.volume_ml == pytest.approx(before.volume_ml, rel=0.02)


@given(inspiration=st.floats(0.75, 1.3), z=st.floats(-230.0, 150.0))
@settings(max_examples=60)
def test_breathing_goes_both_ways(inspiration: float, z: float) -> None:
    """Where tissue comes from is the inverse of where it goes, and order along z is kept."""
    breathing = Breathing(inspiration)
    there = breathing.moved_vector((5.0, 6.0, z))
    assert there[:2] == (5.0, 6.0)
    points = lattice((4.5, 5.5, there[2] - 0.5), (5.5, 6.5, there[2] + 0.5), 1.0)
    back = breathing.at_rest(points)
    assert float(back.z.ravel()[0]) == pytest.approx(z, abs=0.01)
    assert float(breathing.moved(back).z.ravel()[0]) == pytest.approx(there[2], abs=0.01)
    assert breathing.moved_vector((5.0, 6.0, z + 1.0))[2] > there[2]


@pytest.mark.parametrize("inspiration", [0.5, 1.5])
def test_impossible_inspiration_is_refused(inspiration: float) -> None:
    """An inspiration that no patient reaches is refused."""
    with pytest.raises(ValueError, match="inspiration"):
        replace(SMALL, inspiration=inspiration)


# --- position ---------------------------------------------------------------------------------------------


def test_a_turned_patient_lies_elsewhere_in_an_upright_grid(pair: PhantomPair) -> None:
    """Image axes stay those of the scanner; the patient is what is turned and shifted."""
    steps = pair.second.geometry.affine_lps[:3, :3]
    assert np.array_equal(steps, np.array([[0.0, 0.0, 2.8], [0.0, 2.8, 0.0], [5.0, 0.0, 0.0]]))
    assert pair.first.geometry.frame_of_reference_uid != pair.second.geometry.frame_of_reference_uid


def test_tissue_is_found_again_in_the_other_scan(pair: PhantomPair) -> None:
    """The correspondence takes a lesion's centre in one scan to its centre in the other, and back."""
    first, second = pair.plan.specs()
    kept = [one for one in pair.lesions if one.first is not None and one.second is not None]
    before = np.array([pair.first.truth.lesions[one.first or 0].centre_lps_mm for one in kept])
    after = np.array([pair.second.truth.lesions[one.second or 0].centre_lps_mm for one in kept])
    assert np.linalg.norm(after - before, axis=1).min() > 5.0
    assert corresponding_lps_mm(first, second, before) == pytest.approx(after, abs=0.01)
    assert corresponding_lps_mm(second, first, after) == pytest.approx(before, abs=0.01)


def test_lungs_are_where_the_box_says(pair: PhantomPair) -> None:
    """The box of the lungs holds every lung voxel and is no more than 4 cm too wide."""
    for phantom in (pair.first, pair.second):
        voxels = np.argwhere(phantom.truth.lungs_zyx > 0)
        places = voxels @ phantom.geometry.affine_lps[:3, :3].T + phantom.geometry.affine_lps[:3, 3]
        low, high = lung_box_lps_mm(phantom.spec)
        assert np.all(places.min(axis=0) >= low)
        assert np.all(places.max(axis=0) <= high)
        assert np.all(places.min(axis=0) - low < 40.0)


def test_lungs_out_of_view_are_noticed() -> None:
    """A grid that ends below the apex does not hold the lungs."""
    assert lungs_in_view(replace(SMALL, lesions=()))
    assert not lungs_in_view(replace(SMALL, centre_lps_mm=(0.0, 16.0, -80.0)))
    assert not lungs_in_view(replace(SMALL, shift_mm=(60.0, 0.0, 0.0)))


# --- fates ------------------------------------------------------------------------------------------------


def test_fates_are_true(pair: PhantomPair) -> None:
    """Each lesion's true volumes say what the plan says, and the indices lead to the same lesion."""
    assert [one.change for one in pair.lesions] == list(CHANGES)
    resolved, grown, shrunk, new, persistent = pair.lesions
    assert (resolved.first, resolved.second, resolved.after_ml) == (0, None, 0.0)
    assert (new.first, new.second, new.before_ml) == (None, 2, 0.0)
    assert resolved.before_ml > 20.0
    assert new.after_ml > 8.0
    assert grown.after_ml == pytest.approx(2.0 * grown.before_ml, rel=0.06)
    assert shrunk.after_ml == pytest.approx(0.5 * shrunk.before_ml, rel=0.06)
    assert persistent.after_ml == pytest.approx(persistent.before_ml, rel=0.04)
    assert [one.second for one in pair.lesions] == [None, 0, 1, 2, 3]
    for one in (grown, shrunk, persistent):
        before, after = (
            phantom.truth.lesions[at or 0]
            for phantom, at in ((pair.first, one.first), (pair.second, one.second))
        )
        assert before.lesion.identity == after.lesion.identity
        assert before.lesion.up == after.lesion.up


def test_true_volumes_are_those_of_the_voxels(pair: PhantomPair) -> None:
    """Lungs and lesions of the breathing, turned patient have their true volume in voxels too."""
    for phantom in (pair.first, pair.second):
        for side, label in LUNG_LABEL.items():
            voxels = np.count_nonzero(phantom.truth.lungs_zyx == label) * phantom.geometry.voxel_ml
            assert voxels == pytest.approx(phantom.truth.lung_ml[side], rel=0.02)
        here, sizes = components(phantom)
        for component, truth in zip(here, phantom.truth.lesions, strict=True):
            assert sizes[component] == pytest.approx(truth.volume_ml, rel=0.06)


def test_lesions_may_grow_into_each_other() -> None:
    """Two neighbours that grow become one component whose volume is the sum of both true volumes."""
    changes = tuple(
        LesionChange(lesion(Side.RIGHT, up, 15.0, irregularity=0.05), Fate.GROWN, 2.6) for up in (0.45, 0.62)
    )
    scan = replace(LESIONS_SHOWN, shape_zyx=(40, 96, 96), centre_lps_mm=(-60.0, 16.0, -40.0))
    pair = generate_pair(PairPlan(replace(SMALL, lesions=()), changes, scan, replace(scan, noise_seed=1)))
    apart, _ = components(pair.first)
    together, sizes = components(pair.second)
    assert len(set(apart)) == 2
    assert len(set(together)) == 1
    assert sizes[together[0]] == pytest.approx(sum(one.after_ml for one in pair.lesions), rel=0.05)


@pytest.mark.parametrize(
    ("fate", "factor"),
    [(Fate.GROWN, 0.9), (Fate.GROWN, 1.0), (Fate.SHRUNK, 1.2), (Fate.SHRUNK, 0.0), (Fate.PERSISTENT, 2.0)],
)
def test_contradictory_change_is_refused(fate: Fate, factor: float) -> None:
    """A factor that contradicts the fate is refused."""
    with pytest.raises(ValueError, match="volume factor"):
        LesionChange(lesion(Side.LEFT, 0.5, 10.0), fate, factor)


def test_a_patient_without_lesions_has_two_scans_too() -> None:
    """A plan without changes gives two scans without lesions."""
    first, second = PairPlan(SMALL, ()).specs()
    assert first.lesions == second.lesions == ()
    assert (first.visit, second.visit) == (0, 1)


# --- random pairs -----------------------------------------------------------------------------------------


def test_random_pairs_are_reproducible() -> None:
    """The same seed gives the same plan, another seed another one."""
    assert random_pair(7, grid=COARSE_GRID) == random_pair(7, grid=COARSE_GRID)
    assert random_pair(7, grid=COARSE_GRID) != random_pair(8, grid=COARSE_GRID)


@pytest.mark.parametrize("seed", range(100, 106))
def test_random_pairs_are_within_bounds(seed: int) -> None:
    """Number, side, growth, breath, position and view are what the documentation says."""
    plan = random_pair(seed)
    first, second = plan.specs()
    assert 3 <= len(plan.changes) <= 6
    assert {change.lesion.side for change in plan.changes} == set(Side)
    for change in plan.changes:
        match change.fate:
            case Fate.GROWN:
                assert 1.4 <= change.volume_factor <= 3.0
            case Fate.SHRUNK:
                assert 0.25 <= change.volume_factor <= 0.7
    assert 0.85 <= second.inspiration <= 1.1
    assert np.linalg.norm(second.shift_mm) <= 15.0
    assert np.linalg.norm(second.turn_deg) <= 6.0
    for spec in (first, second):
        assert lungs_in_view(spec)
        assert 1.0 <= spec.spacing_zyx_mm[0] <= 3.0
    assert first.noise_seed != second.noise_seed


def test_kinds_of_pairs_have_their_fates() -> None:
    """Progression only grows, regression only shrinks, stable stays, mixed does both."""
    fates = {
        kind: [{one.fate for one in random_pair(seed, kind, COARSE_GRID).changes} for seed in range(2)]
        for kind in PairKind
    }
    assert fates[PairKind.PROGRESSION] == [{Fate.GROWN}] * 2
    assert fates[PairKind.REGRESSION] == [{Fate.SHRUNK}] * 2
    assert fates[PairKind.STABLE] == [{Fate.PERSISTENT}] * 2
    assert all(one >= {Fate.GROWN, Fate.SHRUNK} for one in fates[PairKind.MIXED])


def test_seeds_choose_varied_patients() -> None:
    """Few seeds show every fate, both kernels, and change in most patients, but not in all."""
    plans = [random_pair(seed, grid=COARSE_GRID) for seed in range(16)]
    assert set(Counter(change.fate for plan in plans for change in plan.changes)) == set(Fate)
    assert {plan.second.kernel.name for plan in plans} == {"SOFT", "LUNG"}
    changed = sum(any(one.fate is not Fate.PERSISTENT for one in plan.changes) for plan in plans)
    assert 10 <= changed < 16


def test_random_lesions_lie_apart(random: PhantomPair) -> None:
    """At both times every lesion is one component of its own, of the size that the truth says."""
    for phantom in (random.first, random.second):
        here, sizes = components(phantom)
        assert sorted(here) == list(range(1, len(sizes)))
        for component, truth in zip(here, phantom.truth.lesions, strict=True):
            assert 2.0 < truth.volume_ml < 85.0
            assert sizes[component] == pytest.approx(truth.volume_ml, rel=0.08)
        others, _ = ndimage.label(phantom.truth.lesions_zyx > 0)
        for component in here:
            far = ndimage.distance_transform_edt(others != component, phantom.spec.spacing_zyx_mm)
            beyond = (others > 0) & (others != component)
            # 8 mm between the shapes, voxels lose up to one at either end.
            assert not beyond.any() or far[beyond].min() > 8.0 - 3.0


def test_random_fates_are_true(random: PhantomPair) -> None:
    """True volumes change by the factor asked for within 10 percent."""
    for one in random.lesions:
        match one.change.fate:
            case Fate.NEW:
                assert one.before_ml == 0.0 < one.after_ml
            case Fate.RESOLVED:
                assert one.after_ml == 0.0 < one.before_ml
            case _:
                ratio = one.after_ml / one.before_ml
                assert ratio == pytest.approx(one.change.volume_factor, rel=0.1)


def test_both_lungs_are_in_view(random: PhantomPair) -> None:
    """No lung touches the border of either grid, and the second lungs have the volume asked for."""
    assert lungs_off_the_border(random.first)
    assert lungs_off_the_border(random.second)
    ratio = sum(random.second.truth.lung_ml.values()) / sum(random.first.truth.lung_ml.values())
    assert ratio == pytest.approx(random.plan.second.inspiration, rel=0.01)


def test_too_small_a_grid_is_refused() -> None:
    """A grid that cannot hold both lungs is refused instead of cutting them off."""
    with pytest.raises(ValueError, match="do not hold both lungs"):
        random_pair(1, grid=PairGrid(edge=128, in_plane_mm=1.4))


# --- studies ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few() -> PhantomPair:
    """A pair of two slices each."""
    scan = Scan(shape_zyx=(2, 48, 48), spacing_zyx_mm=(5.0, 7.5, 7.5), slice_thickness_mm=1.3)
    second = replace(scan, kernel=LUNG_KERNEL, inspiration=0.9, noise_seed=1)
    return generate_pair(PairPlan(replace(SMALL, lesions=()), (), scan, second))


def test_a_pair_is_two_studies_of_one_patient(few: PhantomPair, tmp_path: Path) -> None:
    """Patient and institution are shared; study, series, frame of reference and instances are not."""
    header = StudyHeader(patient_id="P7", study_date="20251220", acquisition_date="20251221")
    first, second = write_pair(tmp_path, few, header, days_between=30)
    assert (len(first), len(second)) == (2, 2)
    earlier, later = dcmread(first[0]), dcmread(second[0])
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        assert earlier[keyword].value == later[keyword].value
    for keyword in (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "SOPInstanceUID",
        "AccessionNumber",
    ):
        assert earlier[keyword].value != later[keyword].value
    assert (earlier.StudyDate, later.StudyDate) == ("20251220", "20260119")
    assert (earlier.AcquisitionDate, later.AcquisitionDate) == ("20251221", "20260120")
    assert (earlier.ConvolutionKernel, later.ConvolutionKernel) == ("SOFT", "LUNG")
    assert later.SeriesDescription == "Chest 5 mm lung"


def test_a_pair_written_twice_is_the_same(few: PhantomPair, tmp_path: Path) -> None:
    """UIDs follow content: the same pair under the same header is the same two studies."""
    once, again = (write_pair(tmp_path / name, few) for name in ("once", "again"))
    for one, other in zip((*once[0], *once[1]), (*again[0], *again[1]), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_uids_given_for_the_first_study_are_not_used_for_the_second(few: PhantomPair, tmp_path: Path) -> None:
    """Explicit UIDs belong to the first study only."""
    header = StudyHeader(
        study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", frame_of_reference_uid="1.2.3.5"
    )
    first, second = write_pair(tmp_path, few, header)
    earlier, later = dcmread(first[0]), dcmread(second[0])
    assert earlier.StudyInstanceUID == "1.2.3"
    assert later.StudyInstanceUID not in ("1.2.3", "")
    assert later.FrameOfReferenceUID == few.second.geometry.frame_of_reference_uid


@pytest.mark.parametrize("days", [0, -3])
def test_the_first_study_is_the_earlier_one(few: PhantomPair, days: int, tmp_path: Path) -> None:
    """A second study that would not be later is refused before anything is written."""
    with pytest.raises(ValueError, match="later"):
        write_pair(tmp_path / "pair", few, days_between=days)
    assert not (tmp_path / "pair").exists()
