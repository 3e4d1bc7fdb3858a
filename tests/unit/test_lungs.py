"""Lung segmentation on simple phantoms of known truth, in every orientation, and on real series."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.metrics import dice
from core.domain import CtVolume, LungMask
from core.errors import NotAChest
from core.geometry import Geometry
from inference.lung_grid import close_notches
from inference.lungs import coverage_remarks, segment_lungs
from lesionnode.phantom.spec import Phantom

DATA = Path(os.environ.get("LESION_NODE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SERIES = DATA / "ct-series"

SPACING_MM = (4.0, 3.0, 3.0)
SHAPE = (72, 112, 128)


@dataclass(frozen=True, eq=False)
class Chest:
    """A canonical phantom: HU, the true lungs, and coordinates in mm from the middle of the thorax."""

    hu: NDArray[np.int16]
    lungs: NDArray[np.uint8]
    z: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]

    def ball(self, centre_zyx: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
        """Return the voxels of a ball, mm."""
        cz, cy, cx = centre_zyx
        return (self.z - cz) ** 2 + (self.y - cy) ** 2 + (self.x - cx) ** 2 <= radius**2


def _axis(count: int, spacing: float) -> NDArray[np.float64]:
    return (np.arange(count) - (count - 1) / 2) * spacing


def chest(noise_hu: float = 15.0) -> Chest:
    """Build a trunk with two lungs, heart, spine, ribs, trachea, stomach gas and a table."""
    z, y, x = np.meshgrid(*(_axis(n, s) for n, s in zip(SHAPE, SPACING_MM, strict=True)), indexing="ij")
    hu = np.full(SHAPE, -1000.0)
    hu[(x / 170) ** 2 + (y / 120) ** 2 <= 1] = 40

    def cavity(margin: float) -> NDArray[np.bool_]:
        """Return the inside of the rib cage, widened by a margin in mm."""
        across = (y / (84 + margin)) ** 2 + (x / (130 + margin)) ** 2
        return np.asarray((z / (115 + margin)) ** 2 + across <= 1)

    hu[cavity(11) & ~cavity(5) & (y > -60)] = 400
    heart = (z / 60) ** 2 + ((y + 20) / 55) ** 2 + ((x - 15) / 50) ** 2 <= 1
    lungs = np.zeros(SHAPE, np.uint8)
    for label, side in ((1, -1), (2, 1)):
        lungs[cavity(0) & ~heart & (side * x > 24)] = label
    hu[lungs > 0] = -850
    hu[((x / 18) ** 2 + ((y - 80) / 18) ** 2) <= 1] = 300
    hu[(((x / 9) ** 2 + ((y - 20) / 9) ** 2) <= 1) & (z > 20)] = -980
    hu[(z + 128) ** 2 + (y + 60) ** 2 + (x - 60) ** 2 <= 22**2] = -990
    hu[(np.abs(y - 130) < 3) | (np.abs(y - 150) < 3)] = -150
    hu += np.random.default_rng(1).normal(0, noise_hu, SHAPE)
    return Chest(np.clip(hu, -1024, 3000).astype(np.int16), lungs, z, y, x)


def canonical_volume(hu: NDArray[np.int16]) -> CtVolume:
    """Wrap HU in canonical order."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(SPACING_MM)[[2, 1, 0]]
    return CtVolume(hu, Geometry(affine, hu.shape, "1.2.3"), (), ())


@pytest.fixture(scope="module")
def healthy() -> Chest:
    """A phantom without disease."""
    return chest()


@pytest.fixture(scope="module")
def found(healthy: Chest) -> NDArray[np.uint8]:
    """Its segmented lungs."""
    return segment_lungs(canonical_volume(healthy.hu)).labels_zyx


def test_finds_each_lung_on_its_side(healthy: Chest, found: NDArray[np.uint8]) -> None:
    """Right (smaller LPS x) is 1, left is 2, both close to the truth and never swapped."""
    assert found.dtype == np.uint8
    assert found.shape == healthy.hu.shape
    for label in (1, 2):
        assert dice(found == label, healthy.lungs == label) > 0.96
        assert not np.any((found == label) & (healthy.lungs == 3 - label))


def test_leaves_out_airway_heart_bowel_table_and_room(healthy: Chest, found: NDArray[np.uint8]) -> None:
    """Nothing but lung is labelled, apart from voxels along its border."""
    trachea = ((healthy.x / 9) ** 2 + ((healthy.y - 20) / 9) ** 2 <= 1) & (healthy.z > 20)
    stomach = healthy.ball((-128, -60, 60), 22)
    heart = (healthy.z / 50) ** 2 + ((healthy.y + 20) / 45) ** 2 + ((healthy.x - 15) / 40) ** 2 <= 1
    outside = (healthy.x / 136) ** 2 + (healthy.y / 90) ** 2 > 1
    for name, region in (("trachea", trachea), ("stomach", stomach), ("heart", heart), ("outside", outside)):
        assert not found[region].any(), name


def test_parts_lungs_that_touch() -> None:
    """An open anterior junction line does not give one lung to the other side."""
    case = chest()
    bridge = (np.abs(case.x) <= 27) & (np.abs(case.y + 60) <= 6) & (np.abs(case.z - 70) <= 16)
    case.hu[bridge] = -860
    labels = segment_lungs(canonical_volume(case.hu)).labels_zyx
    for label in (1, 2):
        assert dice(labels == label, case.lungs == label) > 0.95
        assert np.count_nonzero((labels == label) & (case.lungs == 3 - label)) < 20


def test_keeps_ground_glass() -> None:
    """Ground glass up to −350 HU, also at the pleura, stays inside the lung."""
    case = chest()
    lesion = (case.ball((-20, 20, -110), 30) | case.ball((30, 40, 80), 25)) & (case.lungs > 0)
    case.hu[lesion] = np.random.default_rng(2).normal(-450, 30, np.count_nonzero(lesion))
    labels = segment_lungs(canonical_volume(case.hu)).labels_zyx
    assert np.mean(labels[lesion] == case.lungs[lesion]) > 0.99


@pytest.mark.parametrize(
    "centre_zyx",
    [
        pytest.param((10, 0, -125), id="lateral"),
        pytest.param((10, 40, 115), id="posterolateral"),
        pytest.param((20, -50, -105), id="anterolateral"),
        pytest.param((0, 10, -80), id="central"),
        pytest.param((-30, 80, 75), id="posterior"),
    ],
)
def test_recovers_consolidation(centre_zyx: tuple[float, float, float]) -> None:
    """At least 80 % of a consolidation counts as lung, at the chest wall as well as inside."""
    case = chest()
    lesion = case.ball(centre_zyx, 26) & (case.lungs > 0)
    case.hu[lesion] = np.random.default_rng(3).normal(40, 15, np.count_nonzero(lesion))
    labels = segment_lungs(canonical_volume(case.hu)).labels_zyx
    assert np.mean(labels[lesion] == case.lungs[lesion]) >= 0.8


def test_recovers_consolidation_beside_the_spine(small_phantom: Phantom) -> None:
    """Three quarters of each lung's consolidation count, though in the left one it lies against the spine."""
    labels = segment_lungs(CtVolume(small_phantom.hu_zyx, small_phantom.geometry, (), ())).labels_zyx
    truth = small_phantom.truth
    for lung in (1, 2):
        dense = (truth.lesions_zyx == 2) & (truth.lungs_zyx == lung)
        assert np.mean(labels[dense] == lung) >= 0.75


def _dependent(case: Chest) -> NDArray[np.bool_]:
    """Return the lowest part of the left lung of a supine patient."""
    return (case.lungs == 2) & (case.y > 35) & (case.x > 45)


@pytest.mark.parametrize(
    ("hu", "counts"), [pytest.param(45, True, id="dense"), pytest.param(5, False, id="fluid")]
)
def test_tells_dependent_consolidation_from_effusion(hu: int, counts: bool) -> None:
    """A thick layer before the ribs counts as lung where it is denser than fluid, and stays out otherwise."""
    case = chest()
    layer = _dependent(case)
    case.hu[layer] = np.random.default_rng(4).normal(hu, 10, np.count_nonzero(layer))
    labels = segment_lungs(canonical_volume(case.hu)).labels_zyx
    share = float(np.mean(labels[layer] == 2))
    assert share >= 0.8 if counts else share <= 0.4


def test_keeps_a_part_that_disease_cuts_off() -> None:
    """An aerated apex beyond a consolidated belt still belongs to its lung."""
    case = chest()
    belt = (case.lungs == 1) & (case.z > 40) & (case.z < 68)
    case.hu[belt] = 40
    labels = segment_lungs(canonical_volume(case.hu)).labels_zyx
    apex = (case.lungs == 1) & (case.z > 76)
    assert np.mean(labels[apex] == 1) > 0.9


@settings(max_examples=12)
@given(
    axes=st.permutations([0, 1, 2]),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    tilt=st.tuples(*[st.floats(-0.2, 0.2)] * 3),
)
def test_is_independent_of_the_storage_order(
    axes: list[int], flips: tuple[bool, bool, bool], tilt: tuple[float, float, float]
) -> None:
    """The same patient stored along other axes, reversed or obliquely gives the same voxels."""
    hu, expected = _reference()
    stored = hu.transpose(axes)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    affine = np.eye(4)
    columns = np.diag(SPACING_MM)[[2, 1, 0]]
    turn = _rotation(tilt)
    for source, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[:3, source] = turn @ columns[:, axis] * (-1 if flip else 1)
    volume = CtVolume(np.ascontiguousarray(stored), Geometry(affine, stored.shape, ""), (), ())
    labels = segment_lungs(volume).labels_zyx
    wanted = expected.transpose(axes)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    assert np.array_equal(labels, wanted)


def _rotation(angles: tuple[float, float, float]) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn


@cache
def _reference() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return the phantom and its labels in canonical order."""
    hu = chest().hu
    return hu, segment_lungs(canonical_volume(hu)).labels_zyx


@given(
    width=st.integers(1, 24),
    column=st.integers(10, 50),
    pixel_mm=st.sampled_from([0.6, 0.8, 1.0]),
    flipped=st.booleans(),
)
def test_fills_narrow_notches_of_the_outline_and_no_wide_ones(
    width: int, column: int, pixel_mm: float, flipped: bool
) -> None:
    """A cleft of up to 5 mm from the border becomes lung but for its mouth, one of 7 mm or more stays."""
    assume(not 5 < width * pixel_mm < 7)
    whole = np.zeros((1, 60, 90), np.uint8)
    whole[0, 20:50, 5:85] = 1
    cleft = np.zeros(whole.shape, bool)
    cleft[0, 20:45, column : column + width] = True
    labels = np.where(cleft, np.uint8(0), whole)
    close_notches(labels[:, ::-1] if flipped else labels, (pixel_mm, pixel_mm))
    assert not labels[whole == 0].any()
    assert labels[(whole > 0) & ~cleft].all()
    if width * pixel_mm <= 5:
        mouth = 20 + round(3 / pixel_mm)  # rows in which the closing's disc rounds the edge
        assert labels[0, mouth:45, column : column + width].all()
    else:
        assert np.mean(labels[cleft]) < 0.3


def test_closing_notches_takes_nothing_from_the_other_lung() -> None:
    """Where the left lung fills a narrow cleft of the right one, it stays left."""
    labels = np.ones((1, 40, 40), np.uint8)
    labels[0, :30, 19:21] = 2
    before = labels.copy()
    close_notches(labels, (1.0, 1.0))
    assert np.array_equal(labels, before)


def test_gives_the_same_labels_twice(healthy: Chest, found: NDArray[np.uint8]) -> None:
    """Nothing depends on chance or on memory left over from another call."""
    case = segment_lungs(canonical_volume(np.roll(healthy.hu, 5, axis=0)))
    assert case.labels_zyx.any()
    assert np.array_equal(segment_lungs(canonical_volume(healthy.hu)).labels_zyx, found)


def test_works_on_thin_and_on_thick_slices(healthy: Chest) -> None:
    """Volumes agree within 3 % between 1.33 mm and 8 mm slices of one patient."""
    voxel_ml = np.prod(SPACING_MM) / 1000.0
    reference = np.count_nonzero(healthy.lungs) * voxel_ml
    for hu, spacing in ((np.repeat(healthy.hu, 3, axis=0), 4.0 / 3.0), (healthy.hu[::2].copy(), 8.0)):
        affine = np.eye(4)
        affine[:3, :3] = np.diag((spacing, 3.0, 3.0))[[2, 1, 0]]
        labels = segment_lungs(CtVolume(hu, Geometry(affine, hu.shape, ""), (), ())).labels_zyx
        assert np.count_nonzero(labels) * spacing * 9e-3 == pytest.approx(reference, rel=0.03)


@pytest.mark.parametrize("hu", [-1024, 40], ids=["air", "tissue"])
def test_refuses_a_uniform_volume(hu: int) -> None:
    """Without any structure there is no chest."""
    with pytest.raises(NotAChest, match="No pair of air-filled lungs"):
        segment_lungs(canonical_volume(np.full((8, 32, 32), hu, np.int16)))


def test_refuses_a_single_lung(healthy: Chest) -> None:
    """One air-filled lung is no pair; the reason is given."""
    hu = healthy.hu.copy()
    hu[healthy.lungs == 2] = 40
    with pytest.raises(NotAChest, match="send a CT of the whole chest"):
        segment_lungs(canonical_volume(hu))


def test_refuses_bowel_gas(healthy: Chest) -> None:
    """Two loops full of gas, right and left, are no lungs."""
    hu = healthy.hu.copy()
    hu[healthy.lungs > 0] = 40
    hu[healthy.ball((0, -20, -80), 35) | healthy.ball((0, -20, 80), 35)] = -1000
    with pytest.raises(NotAChest):
        segment_lungs(canonical_volume(hu))


@pytest.mark.parametrize("part", [slice(0, 20), slice(52, 72)], ids=["bases", "tips"])
def test_refuses_the_edge_of_the_lungs(healthy: Chest, part: slice) -> None:
    """An abdomen with the lung bases, or a neck with the tips, is refused with the height in view."""
    with pytest.raises(NotAChest, match="in view"):
        segment_lungs(canonical_volume(healthy.hu[part].copy()))


def test_remarks_on_lungs_cut_off(healthy: Chest, found: NDArray[np.uint8]) -> None:
    """Cut ends and sides are told one by one; complete lungs give no remark."""
    volume = canonical_volume(healthy.hu)
    assert coverage_remarks(LungMask(found), volume) == ()
    part = canonical_volume(healthy.hu[24:60].copy())
    remarks = coverage_remarks(segment_lungs(part), part)
    assert [word for word in ("lower", "upper", "side") if any(word in line for line in remarks)] == [
        "lower",
        "upper",
    ]
    lower = canonical_volume(healthy.hu[:60].copy())
    assert [r for r in coverage_remarks(segment_lungs(lower), lower) if "upper end" in r]
    narrow = canonical_volume(np.ascontiguousarray(healthy.hu[:, :, 25:-25]))
    narrow_found = segment_lungs(narrow)
    assert any("side of the image" in line for line in coverage_remarks(narrow_found, narrow))
    truth = healthy.lungs[:, :, 25:-25]
    assert min(dice(narrow_found.labels_zyx == n, truth == n) for n in (1, 2)) > 0.93


def _real(name: str) -> CtVolume:
    reader = pytest.importorskip("inference.series_reader")
    folder = SERIES / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set LESION_NODE_DATA")
    volume = reader.read_series(sorted(folder.iterdir()))
    assert isinstance(volume, CtVolume)
    return volume


@pytest.mark.real_data
def test_agrees_with_an_expert() -> None:
    """Dice of each lung against expert contours is at least 0.97 where the expert sees no tumour."""
    volume = _real("siemens-biograph40-3mm")
    with np.load(SERIES / "siemens-biograph40-3mm-lungs.npz") as expert:
        truth = expert["labels_zyx"]
    labels = segment_lungs(volume).labels_zyx
    if volume.geometry.affine_lps[2, 0] < 0:
        truth = truth[::-1]
    for label in (1, 2):
        assert dice((labels == label) & (truth != 3), truth == label) >= 0.97
        assert not np.any((labels == label) & (truth == 3 - label))


@pytest.mark.real_data
def test_two_kernels_of_one_scan_agree() -> None:
    """A lung kernel and a soft kernel of the same scan give the same volumes within 2 %."""
    sharp, soft = (_real(f"siemens-sensation10-{kernel}-8mm") for kernel in ("b70f", "b40f"))
    found = [segment_lungs(volume).labels_zyx for volume in (sharp, soft)]
    for label in (1, 2):
        counts = [np.count_nonzero(labels == label) for labels in found]
        assert counts[0] == pytest.approx(counts[1], rel=0.02)


@pytest.mark.real_data
def test_refuses_the_abdominal_part_of_a_real_scan() -> None:
    """The slices below the domes of the diaphragm alone are no chest."""
    volume = _real("philips-brilliance16-5mm")
    upwards = volume.geometry.affine_lps[2, 0] > 0
    hu = np.ascontiguousarray(volume.hu_zyx[:17] if upwards else volume.hu_zyx[-17:])
    geometry = Geometry(volume.geometry.affine_lps, hu.shape, "")
    with pytest.raises(NotAChest):
        segment_lungs(CtVolume(hu, geometry, (), ()))
