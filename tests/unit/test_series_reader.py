"""The series reader: what it reads, in which order, and in which words it refuses."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from core.domain import CtVolume
from core.errors import (
    InconsistentGeometry,
    MissingSlices,
    OtherImages,
    SeriesRejected,
    SpoolError,
    UnsupportedImage,
)
from core.uid import derived_uid
from inference.pixel_decoding import hounsfield_table
from inference.series_frames import StoredFormat, ValueMapping
from inference.series_reader import read_series
from tests.helpers.ct_series import EVERYDAY, CtSpec, ct_datasets, enhanced_ct, hu_pattern, write

DATA = Path(os.environ.get("LESION_NODE_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
Change = Callable[[list[Dataset]], object]


def read(folder: Path, change: Change = lambda _datasets: None, spec: CtSpec = EVERYDAY) -> CtVolume:
    """Read an everyday series after a change to its data sets."""
    datasets = ct_datasets(spec)
    change(datasets)
    return read_series(write(folder, datasets))


def each(**attributes: object) -> Change:
    """Change attributes of every image; None deletes."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            for keyword, value in attributes.items():
                if value is None:
                    del ds[keyword]
                else:
                    setattr(ds, keyword, value)

    return change


def one(**attributes: object) -> Change:
    """Change attributes of the sixth image; None deletes."""
    return lambda datasets: each(**attributes)(datasets[5:6])


# --- what is read -----------------------------------------------------------------------------------------


def test_slices_stand_in_the_order_of_their_positions(tmp_path: Path) -> None:
    """Neither file names nor Instance Numbers (both misleading here) order the slices."""
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.hu_zyx, hu_pattern(EVERYDAY.shape_zyx))
    assert volume.hu_zyx.dtype == np.int16
    assert [int(header.InstanceNumber) for header in volume.headers] == list(range(16, 0, -1))
    assert [frame.sop_instance_uid for frame in volume.frames] == [h.SOPInstanceUID for h in volume.headers]
    assert {frame.frame_number for frame in volume.frames} == {None}
    assert volume.remarks == ()


def test_geometry_comes_from_positions(tmp_path: Path) -> None:
    """Slice spacing is the distance of positions, whatever Slice Thickness and Spacing Between Slices say."""
    volume = read(tmp_path, each(SpacingBetweenSlices="2.5", SliceThickness="4.5"))
    assert volume.geometry.spacing_zyx_mm == pytest.approx((5.0, 0.8, 0.7))
    assert volume.geometry.shape_zyx == (16, 32, 32)
    assert volume.geometry.frame_of_reference_uid == derived_uid("frame of reference")
    corner = volume.geometry.to_lps_mm(np.array([15, 31, 31]))
    np.testing.assert_allclose(corner, (-100 + 31 * 0.7, -120 + 31 * 0.8, -40 + 15 * 5.0), atol=1e-6)


@given(
    angles_deg=st.tuples(st.floats(-180, 180), st.floats(-20, 20), st.floats(-20, 20)),
    upside_down=st.booleans(),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_any_near_axial_orientation_keeps_every_voxel_in_its_place(
    tmp_path_factory: pytest.TempPathFactory, angles_deg: tuple[float, float, float], upside_down: bool
) -> None:
    """Rotated in-plane, oblique and with the normal to the feet: each slice stands where its header says."""
    turn = Rotation.from_euler("zyx", angles_deg, degrees=True).as_matrix()
    rows, columns = turn[:, 0], turn[:, 1] * (-1 if upside_down else 1)
    spec = CtSpec(orientation=tuple(float(value) for value in (*rows, *columns)))
    volume = read(tmp_path_factory.mktemp("oblique"), spec=spec)
    np.testing.assert_array_equal(volume.hu_zyx, hu_pattern(spec.shape_zyx))
    for z, header in enumerate(volume.headers):
        origin = volume.geometry.to_lps_mm(np.array([z, 0, 0]))
        np.testing.assert_allclose(origin, np.array(header.ImagePositionPatient, dtype=float), atol=1e-3)


def test_headers_are_kept_without_pixels_and_bulk(tmp_path: Path) -> None:
    """A header holds what the writers copy, and no pixels, overlays or long private values."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            ds.add_new(0x60003000, "OW", bytes(128))
            ds.add_new(0x00290010, "LO", "PRIVATE")
            ds.add_new(0x00291001, "OB", bytes(70_000))
            ds.add_new(0x00291002, "OB", bytes(100))

    header = read(tmp_path, change).headers[0]
    assert header.PatientID == "TEST-1"
    assert "PixelData" not in header
    assert 0x60003000 not in header
    assert 0x00291001 not in header
    assert 0x00291002 in header


def test_progress_rises_to_one(tmp_path: Path) -> None:
    """Progress is a share that never falls and ends at 1."""
    told: list[float] = []
    read_series(write(tmp_path, ct_datasets()), progress=told.append)
    assert told == sorted(told)
    assert told[0] > 0
    assert told[-1] == pytest.approx(1.0)


def test_an_image_that_came_twice_counts_once(tmp_path: Path) -> None:
    """The same instance in two files, File Meta Information aside, is one slice."""
    datasets = ct_datasets()
    paths = write(tmp_path, datasets)
    again = copy.deepcopy(datasets[4])
    again.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    again.save_as(tmp_path / "again.dcm", enforce_file_format=True)
    assert read_series([*paths, tmp_path / "again.dcm"]).hu_zyx.shape == (16, 32, 32)


def test_localizers_and_foreign_objects_are_left_out_and_told(tmp_path: Path) -> None:
    """A localizer and a secondary capture inside the series do not stop it; a remark names them."""

    def change(datasets: list[Dataset]) -> None:
        localizer, capture = copy.deepcopy(datasets[:2])
        localizer.SOPInstanceUID, capture.SOPInstanceUID = derived_uid("localizer"), derived_uid("capture")
        localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        localizer.ImageOrientationPatient = list(CORONAL)
        capture.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        del capture.ImagePositionPatient
        datasets += [localizer, capture]

    volume = read(tmp_path, change)
    assert volume.hu_zyx.shape[0] == 16
    assert any("a localizer" in remark for remark in volume.remarks)
    assert any("not a CT image" in remark for remark in volume.remarks)


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"SliceThickness": "1"}, "not imaged"),
        ({"SliceThickness": "8"}, "overlap"),
        ({"GantryDetectorTilt": "12"}, "not sheared"),
        ({"LossyImageCompression": "01"}, "compressed with loss"),
    ],
)
def test_oddities_are_remarked(tmp_path: Path, attributes: dict[str, object], word: str) -> None:
    """What is odd but no reason to refuse is told."""
    assert any(word in remark for remark in read(tmp_path, each(**attributes)).remarks)


def test_wide_spacing_is_remarked(tmp_path: Path) -> None:
    """Slices more than 10 mm apart are analysed with a warning."""
    volume = read(tmp_path, spec=CtSpec(spacing_zyx_mm=(12.0, 0.8, 0.7)))
    assert any("12 mm apart" in remark for remark in volume.remarks)


# --- values -----------------------------------------------------------------------------------------------


def test_rescale_is_applied_slice_by_slice(tmp_path: Path) -> None:
    """Each slice has its own Rescale Slope and Intercept, fractions included, rounded to whole HU."""

    def change(datasets: list[Dataset]) -> None:
        for at, ds in enumerate(datasets):
            ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + at / 100:.2f}", f"{-1024.25 + at:.2f}"

    stored = hu_pattern(EVERYDAY.shape_zyx).astype(np.float64) + 1024
    at = np.arange(16)[:, None, None]
    expected = np.clip(
        np.rint(stored * np.round(0.5 + at / 100, 2) + np.round(-1024.25 + at, 2)), -1024, None
    )
    np.testing.assert_array_equal(read(tmp_path, change).hu_zyx, expected)


@pytest.mark.parametrize(
    "spec", [CtSpec(), CtSpec(is_signed=True, intercept=0.0)], ids=["unsigned", "signed"]
)
def test_unused_bits_are_ignored(tmp_path: Path, spec: CtSpec) -> None:
    """Overlays and garbage above High Bit change neither value nor sign."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            words = np.frombuffer(ds.PixelData, np.uint16) & 0x0FFF
            ds.PixelData = (words | (np.arange(words.size) % 16 << 12).astype(np.uint16)).tobytes()

    np.testing.assert_array_equal(read(tmp_path, change, spec).hu_zyx, hu_pattern(spec.shape_zyx))


def test_left_aligned_values_are_shifted(tmp_path: Path) -> None:
    """With High Bit 15 and Bits Stored 12 the values stand in the upper bits."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            ds.HighBit = 15
            ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) << 4).astype(np.uint16).tobytes()

    np.testing.assert_array_equal(read(tmp_path, change).hu_zyx, hu_pattern(EVERYDAY.shape_zyx))


@pytest.mark.parametrize(
    ("value", "limit", "is_signed", "padded"),
    [
        (-2000, None, True, [-2000]),
        (63536, None, True, [-2000]),  # the same bits, written as US
        (-2000, -1990, True, [-2000, -1995, -1990]),
        (3000, 3010, True, [3000, 3005, 3010]),
        (3000, None, False, [3000]),
    ],
)
def test_padding_becomes_air(
    tmp_path: Path, value: int, limit: int | None, is_signed: bool, padded: list[int]
) -> None:
    """Pixel Padding Value, alone or as a range with its limit, becomes −1024 whatever its VR says."""
    spec = CtSpec(is_signed=is_signed, bits_stored=16, intercept=0.0 if is_signed else -1024.0)

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            ds.add_new("PixelPaddingValue", "US" if value >= 0 else "SS", value)
            if limit is not None:
                ds.add_new("PixelPaddingRangeLimit", "US" if limit >= 0 else "SS", limit)
            words = np.frombuffer(ds.PixelData, np.int16).copy()
            words[100 : 100 + len(padded)] = padded
            ds.PixelData = words.tobytes()

    expected = hu_pattern(spec.shape_zyx)
    expected.reshape(16, -1)[:, 100 : 100 + len(padded)] = -1024
    np.testing.assert_array_equal(read(tmp_path, change, spec).hu_zyx, expected)


@pytest.mark.parametrize("outside", [-3024, -2000, -1025])
def test_values_below_air_are_air(tmp_path: Path, outside: int) -> None:
    """Scanners fill what lies outside the field of view with −2000 or −3024; it becomes −1024."""
    spec = CtSpec(is_signed=True, bits_stored=16, intercept=0.0)

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            words = np.frombuffer(ds.PixelData, np.int16).copy()
            words[words == -1024] = outside
            ds.PixelData = words.tobytes()

    np.testing.assert_array_equal(read(tmp_path, change, spec).hu_zyx, hu_pattern(spec.shape_zyx))


def test_padding_that_tissue_can_have_is_remarked(tmp_path: Path) -> None:
    """Padding with the value of water is honoured, but told."""
    volume = read(tmp_path, each(PixelPaddingValue=1024))
    assert not (volume.hu_zyx == 0).any()
    assert any("would be 0 HU" in remark for remark in volume.remarks)


def test_modality_lut_is_applied(tmp_path: Path) -> None:
    """A Modality LUT in HU stands in place of slope and intercept; without air in it, nothing is in HU."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            item = Dataset()
            item.add_new("LUTDescriptor", "US", [4096, 0, 16])
            item.ModalityLUTType = "HU"
            item.add_new("LUTData", "US", list(range(4096)))
            ds.ModalityLUTSequence = [item]
            del ds.RescaleSlope, ds.RescaleIntercept

    with pytest.raises(UnsupportedImage, match="values from 0 to"):
        read(tmp_path, change)


@given(
    bits_stored=st.integers(8, 16),
    is_signed=st.booleans(),
    slope=st.floats(0.01, 100),
    intercept=st.floats(-5000, 5000),
    word=st.integers(0, 65535),
)
@settings(max_examples=100)
def test_table_agrees_with_the_definition(
    bits_stored: int, is_signed: bool, slope: float, intercept: float, word: int
) -> None:
    """Each table entry is the rescaled value of its word, by the arithmetic of PS3.3 C.11.1.1.2."""
    stored = StoredFormat(32, 32, bits_stored, bits_stored - 1, is_signed, "MONOCHROME2")
    value = word % 2**bits_stored
    if is_signed and value >= 2 ** (bits_stored - 1):
        value -= 2**bits_stored
    expected = min(max(round(value * slope + intercept), -1024), 32767)
    table = hounsfield_table(stored, ValueMapping(slope, intercept, None, None))
    assert table[word] == expected


# --- what is refused --------------------------------------------------------------------------------------


def shift(at: int, axis: int, by_mm: float) -> Change:
    """Move one slice."""

    def change(datasets: list[Dataset]) -> None:
        position = [float(value) for value in datasets[at].ImagePositionPatient]
        position[axis] += by_mm
        datasets[at].ImagePositionPatient = position

    return change


def shear(tilt_deg: float, *, said: str | None = None, axis: int = 1) -> Change:
    """Let every slice slide, as a tilted gantry does."""

    def change(datasets: list[Dataset]) -> None:
        for z, ds in enumerate(datasets):
            if said is not None:
                ds.GantryDetectorTilt = said
            position = [float(value) for value in ds.ImagePositionPatient]
            position[axis] += z * 5.0 * np.tan(np.radians(tilt_deg))
            ds.ImagePositionPatient = [f"{value:.4f}" for value in position]

    return change


def bent(datasets: list[Dataset]) -> None:
    """Let the upper half of the slices slide, and the lower half stand."""
    shear(25.0)(datasets[8:])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("tilt_deg", [-30.0, -12.0, 0.6, 15.0, 30.0])
def test_slices_of_a_tilted_gantry_keep_their_places(tmp_path: Path, tilt_deg: float, axis: int) -> None:
    """A stack that slides evenly is read as it is, each slice where its position says; that is told."""
    volume = read(tmp_path, shear(tilt_deg, axis=axis))
    geometry = volume.geometry
    assert geometry.is_sheared
    assert geometry.spacing_zyx_mm == pytest.approx((5.0, 0.8, 0.7))
    assert geometry.tilt_deg == pytest.approx(abs(tilt_deg), abs=0.01)
    for z, header in enumerate(volume.headers):
        position = [float(value) for value in header.ImagePositionPatient]
        np.testing.assert_allclose(geometry.to_lps_mm(np.array([z, 0, 0])), position, atol=1e-3)
    np.testing.assert_array_equal(volume.hu_zyx, hu_pattern(EVERYDAY.shape_zyx))
    assert any(f"tilted by {abs(tilt_deg):.1f} degrees" in remark for remark in volume.remarks)


def test_frames_of_an_enhanced_ct_may_slide_too(tmp_path: Path) -> None:
    """Functional groups place the frames of a tilted gantry as top-level attributes do."""
    single = ct_datasets()
    shear(15.0)(single)
    ds = enhanced_ct()
    for groups, source in zip(ds.PerFrameFunctionalGroupsSequence, reversed(single), strict=True):
        groups.PlanePositionSequence[0].ImagePositionPatient = source.ImagePositionPatient
    details = Dataset()
    details.GantryDetectorTilt = "9"
    ds.SharedFunctionalGroupsSequence[0].CTAcquisitionDetailsSequence = [details]
    volume = read_series(write(tmp_path, [ds]))
    (tmp_path / "single").mkdir()
    expected = read_series(write(tmp_path / "single", single))
    np.testing.assert_allclose(volume.geometry.affine_lps, expected.geometry.affine_lps)
    assert any("Tilt is 9 degrees, but the slice positions are those of 15.0" in r for r in volume.remarks)


@pytest.mark.parametrize(
    ("said", "contradicts"),
    [(None, False), ("15", False), ("-15", False), ("14.2", False), ("0", True), ("9", True)],
)
def test_positions_are_believed_and_contradiction_is_told(
    tmp_path: Path, said: str | None, contradicts: bool
) -> None:
    """The header's tilt changes nothing; its sign is the maker's affair, its size is compared."""
    volume = read(tmp_path, shear(15.0, said=said))
    assert volume.geometry.slide_yx == pytest.approx((5.0 * np.tan(np.radians(15.0)) / 0.8, 0.0), abs=1e-4)
    assert any("Gantry/Detector Tilt is" in remark for remark in volume.remarks) is contradicts


@pytest.mark.parametrize(("inclined_deg", "leaves"), [(15.0, False), (0.0, True), (-15.0, True)])
def test_a_tilt_that_leaves_the_table_is_told(tmp_path: Path, inclined_deg: float, leaves: bool) -> None:
    """Slices of a tilted gantry follow the table; where they do not, orientation and positions disagree."""
    cos, sin = (float(of(np.radians(inclined_deg))) for of in (np.cos, np.sin))
    spec = CtSpec(orientation=(1.0, 0.0, 0.0, 0.0, cos, sin))

    def change(datasets: list[Dataset]) -> None:
        slide_mm = 5.0 * np.tan(np.radians(15.0)) * np.array([0.0, cos, sin])
        for z, ds in enumerate(datasets):
            ds.ImagePositionPatient = list(np.array(ds.ImagePositionPatient, float) + z * slide_mm)

    remarks = read(tmp_path, change, spec).remarks
    assert any("leans from the patient's long axis" in remark for remark in remarks) is leaves


def test_a_slide_within_a_pixel_is_no_tilt(tmp_path: Path) -> None:
    """What rounded cosines may do to positions leaves the stack straight, and nothing is said."""
    volume = read(tmp_path, shear(0.4))
    assert not volume.geometry.is_sheared
    assert volume.remarks == ()


def test_a_straight_grid_that_would_not_fit_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grid that holds slices that slide is larger than they are; both have a limit."""
    monkeypatch.setattr("inference.series_stack.MAX_VOXELS", 16 * 32 * 40)
    assert read(tmp_path, shear(4.0)).hu_zyx.shape == (16, 32, 32)
    with pytest.raises(UnsupportedImage, match="16 slices of 82 × 32 are too many"):
        read(tmp_path, shear(28.0))


def second_phase(datasets: list[Dataset]) -> None:
    """Add every slice again, as another acquisition."""
    for at, ds in enumerate(copy.deepcopy(datasets)):
        ds.SOPInstanceUID, ds.AcquisitionNumber = derived_uid("again", str(at)), 2
        datasets.append(ds)


def drop(*which: int) -> Change:
    """Lose slices."""

    def change(datasets: list[Dataset]) -> None:
        for at in sorted(which, reverse=True):
            del datasets[at]

    return change


def keep(count: int) -> Change:
    """Keep the first slices only."""

    def change(datasets: list[Dataset]) -> None:
        del datasets[count:]

    return change


def same_identity(datasets: list[Dataset]) -> None:
    """Give two slices one SOP Instance UID."""
    datasets[3].SOPInstanceUID = datasets[4].SOPInstanceUID


def cut_pixels(datasets: list[Dataset]) -> None:
    """Lose the end of one slice's pixels."""
    datasets[3].PixelData = datasets[3].PixelData[:-200]


def without_bed(datasets: list[Dataset]) -> None:
    """Fill everything with water."""
    for ds in datasets:
        ds.PixelData = np.full(32 * 32, 1024, np.uint16).tobytes()


GEOMETRY_REFUSALS = [
    (
        drop(7),
        MissingSlices,
        r"^1 slice missing between z = -10\.0 and 0\.0 mm \(spacing 5 mm\): send the series",
    ),
    (drop(7, 8, 9), MissingSlices, r"^3 slices missing between z = -10\.0 and 10\.0 mm"),
    (
        drop(1, 7, 8),
        MissingSlices,
        r"^3 slices missing in 2 gaps, the first between z = -40\.0 and -30\.0 mm",
    ),
    (drop(14), MissingSlices, r"^1 slice missing between z = 25\.0 and 35\.0 mm"),
    (shift(5, 2, 2.0), MissingSlices, r"uneven slice positions: 3\.00 to 7\.00 mm apart, mostly 5\.00 mm"),
    (shift(5, 2, 5.0), InconsistentGeometry, r"16 images at 15 places: send one"),
    (
        second_phase,
        InconsistentGeometry,
        r"32 images at 16 places \(2 at each: several phases .*\), from 2 acq",
    ),
    (
        shear(32.0),
        InconsistentGeometry,
        r"slide sideways by up to 46\.9 mm, .* tilted by 32\.0 degrees \(up to 30 can be analysed\): send",
    ),
    (shift(5, 0, 3.0), InconsistentGeometry, r"slide sideways by up to 3\.0 mm, and not evenly"),
    (shift(15, 1, 3.0), InconsistentGeometry, r"not evenly .*: one lies 2\.8 mm off the line of the others"),
    (bent, InconsistentGeometry, r"not evenly as with a tilted gantry: one lies 8\.7 mm off"),
    (
        one(ImageOrientationPatient=list(CORONAL)),
        InconsistentGeometry,
        r"2 orientations .* \(of 15 and 1 images\)",
    ),
    (one(ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]), InconsistentGeometry, r"2 orientations"),
    (one(PixelSpacing=[0.8, 0.71]), InconsistentGeometry, r"2 pixel spacings .*0\.8\\0\.7 mm in 15 images"),
    (one(FrameOfReferenceUID="1.2.3"), InconsistentGeometry, r"2 Frames of Reference"),
    (keep(7), OtherImages, r"7 slices, at least 8 are needed: send the series again"),
    (keep(1), OtherImages, r"1 slice, at least 8 are needed"),
    (keep(9), OtherImages, r"cover 45 mm, at least 50 mm"),
    (same_identity, InconsistentGeometry, r"two different images have the same SOP Instance UID"),
    (one(SeriesInstanceUID="1.2.3"), InconsistentGeometry, r"images of 2 series"),
    (one(PatientID="TEST-2"), InconsistentGeometry, r"images of 2 patients"),
    (one(IssuerOfPatientID="ELSEWHERE"), InconsistentGeometry, r"images of 2 patients"),
]


@pytest.mark.parametrize(("change", "error", "message"), GEOMETRY_REFUSALS)
def test_irregular_series_are_refused_in_words(
    tmp_path: Path, change: Change, error: type[SeriesRejected], message: str
) -> None:
    """What is no complete regular stack of one patient is refused, saying what was found and what to do."""
    with pytest.raises(error, match=message):
        read(tmp_path, change)


def test_mixed_matrix_is_refused(tmp_path: Path) -> None:
    """One slice of another matrix is named with its size."""

    def change(datasets: list[Dataset]) -> None:
        datasets[5].Rows, datasets[5].Columns = 16, 64

    with pytest.raises(InconsistentGeometry, match=r"2 matrix sizes .*32 × 32 in 15 images, 16 × 64 in 1"):
        read(tmp_path, change)


@pytest.mark.parametrize(
    ("orientation", "word"),
    [(CORONAL, "coronal"), (SAGITTAL, "sagittal"), ((1, 0, 0, 0, 0.766, -0.643), "40")],
)
def test_other_planes_are_refused(tmp_path: Path, orientation: tuple[float, ...], word: str) -> None:
    """Coronal, sagittal and steeply tilted stacks are named as such."""
    with pytest.raises(UnsupportedImage, match=f"{word}.*not axial"):
        read(tmp_path, spec=CtSpec(orientation=orientation))


UNSUPPORTED = [
    (each(Modality="PT"), r"16 of 16 images: Modality is PT"),
    (each(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), r"16 of 16 images: not a CT image"),
    (each(ImageType=["DERIVED", "SECONDARY", "MPR"]), r"multiplanar reformation"),
    (one(ImageType=["DERIVED", "SECONDARY", "MIP"]), r"1 of 16 images: a maximum intensity projection"),
    (each(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), r"16 of 16 images: a localizer"),
    (each(RescaleType="Z_EFF"), r"not Hounsfield units"),
    (each(RescaleSlope=None), r"16 of 16 images: Rescale Slope \(0028,1053\) is missing: send the original"),
    (one(RescaleIntercept=None), r"1 of 16 images: Rescale Intercept"),
    (each(RescaleSlope="0"), r"Rescale Slope 0 and Rescale Intercept -1024 do not yield HU"),
    (each(RescaleSlope="-1"), r"do not yield HU"),
    (each(RescaleIntercept="0"), r"values from 0 to .* are not Hounsfield units"),
    (each(RescaleIntercept="-4096"), r"values from -1024 to -1024 are not"),
    (without_bed, r"values from 0 to 0 are not"),
    (one(ImagePositionPatient=None), r"1 of 16 images: Image Position \(Patient\) \(0020,0032\) is missing"),
    (one(ImageOrientationPatient=None), r"Image Orientation \(Patient\) \(0020,0037\) is missing"),
    (one(PixelSpacing=None), r"Pixel Spacing \(0028,0030\) is missing"),
    (one(ImagePositionPatient=[0, 0]), r"Image Position .* is unusable"),
    (one(PixelSpacing=[0, 0]), r"Pixel Spacing \(0028,0030\) is 0\\0 mm"),
    (one(PixelSpacing=[0.8, -0.7]), r"Pixel Spacing"),
    (one(PixelSpacing=[800, 700]), r"Pixel Spacing"),
    (one(ImageOrientationPatient=[1, 0, 0, 0.5, 0.5, 0]), r"not two orthogonal unit vectors"),
    (one(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), r"not two orthogonal unit vectors"),
    (each(Rows=60000, Columns=60000), r"a matrix of 60000 × 60000 is no CT image"),
    (each(Rows=0), r"a matrix of 0 × 32"),
    (
        each(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
        r"a colour image \(RGB\)",
    ),
    (each(PhotometricInterpretation="PALETTE COLOR"), r"a colour image"),
    (each(BitsAllocated=8, BitsStored=8, HighBit=7), r"Bits Allocated 8"),
    (each(BitsStored=17, HighBit=16), r"Bits Stored 17"),
    (one(NumberOfFrames=2), r"more than one frame"),
    (one(PixelData=None), r"1 of 16 images: the pixels are damaged"),
    (cut_pixels, r"1 of 16 images: the pixels are cut short: send the image again"),
    (each(SOPInstanceUID=None), r"no SOP Instance UID"),
]


@pytest.mark.parametrize(("change", "message"), UNSUPPORTED)
def test_images_that_cannot_be_analysed_are_refused_in_words(
    tmp_path: Path, change: Change, message: str
) -> None:
    """What is no original axial CT in HU is refused, naming the attribute and the number of images."""
    with pytest.raises(UnsupportedImage, match=message):
        read(tmp_path, change)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", [b"nan\\0\\0", b"inf\\0\\0", b"abc\\0\\0", b"1e999\\0\\0"])
def test_positions_that_are_no_numbers_are_refused(tmp_path: Path, value: bytes) -> None:
    """NaN, infinity and text in Image Position do not reach the geometry."""
    paths = write(tmp_path, ct_datasets())
    content = paths[2].read_bytes()
    start = content.index(b"\x20\x00\x32\x00DS")
    length = int.from_bytes(content[start + 6 : start + 8], "little")
    changed = value.ljust(length)[:length]
    paths[2].write_bytes(content[: start + 8] + changed + content[start + 8 + length :])
    with pytest.raises(UnsupportedImage, match=r"Image Position \(Patient\) \(0020,0032\) is unusable"):
        read_series(paths)


def test_no_files_are_refused() -> None:
    """An empty list is a series without images."""
    with pytest.raises(UnsupportedImage, match="no images"):
        read_series([])


@pytest.mark.parametrize("content", [b"", b"not DICOM", bytes(400), bytes(128) + b"DICM", b"\x89PNG" * 100])
def test_files_that_are_no_dicom_are_refused(tmp_path: Path, content: bytes) -> None:
    """Empty files, text and pictures are told from images."""
    paths = write(tmp_path, ct_datasets())
    paths[0].write_bytes(content)
    with pytest.raises(UnsupportedImage, match="1 of 16 images"):
        read_series(paths)


def test_a_file_that_the_disk_does_not_yield_is_no_fault_of_the_series(tmp_path: Path) -> None:
    """A missing file is an error of the spool, which is retried, not a refusal, which is final."""
    with pytest.raises(SpoolError, match="cannot be read from disk"):
        read_series([*write(tmp_path, ct_datasets()), tmp_path / "gone.dcm"])


def test_refusals_hold_no_patient_identifiers(tmp_path: Path) -> None:
    """Messages end in logs, so they hold neither names nor identifiers nor file names."""
    for at, (change, _, _) in enumerate(GEOMETRY_REFUSALS):
        folder = tmp_path / f"TEST-1-{at}"
        folder.mkdir()
        with pytest.raises(SeriesRejected) as caught:
            read(folder, change)
        assert "TEST" not in str(caught.value)
        assert "Patient^" not in str(caught.value)


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deflated file that inflates beyond the limit is refused before it is inflated as a whole."""
    monkeypatch.setattr("inference.series_files.MAX_INFLATED", 1 << 20)
    datasets = ct_datasets()
    datasets[0].add_new(0x00291001, "OB", bytes(1 << 22))
    with pytest.raises(UnsupportedImage, match="1 of 16 images: the header is damaged"):
        read_series(write(tmp_path, datasets, DeflatedExplicitVRLittleEndian))


# --- damage -----------------------------------------------------------------------------------------------


def sample_series(syntax: str) -> list[Dataset]:
    """Return the smallest accepted series in a transfer syntax."""
    datasets = ct_datasets(CtSpec((8, 32, 32), (8.0, 0.8, 0.7)))
    if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        for ds in datasets:
            ds.compress(syntax, generate_instance_uid=False)
    return datasets


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)
@given(data=st.data())
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_damage_ends_in_a_refusal_or_a_volume(
    tmp_path_factory: pytest.TempPathFactory, syntax: str, data: st.DataObject
) -> None:
    """Random damage to a file never raises anything but SeriesRejected."""
    folder = tmp_path_factory.mktemp("damage")
    paths = write(folder, sample_series(syntax), syntax)
    damage(paths[3], data)
    survive(paths)


@pytest.mark.filterwarnings("ignore")
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_damage_to_a_multi_frame_ends_in_a_refusal_or_a_volume(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The same for functional groups."""
    folder = tmp_path_factory.mktemp("damage")
    paths = write(folder, [enhanced_ct(CtSpec((8, 32, 32), (8.0, 0.8, 0.7)))])
    damage(paths[0], data)
    survive(paths)


def damage(path: Path, data: st.DataObject) -> None:
    """Overwrite some bytes, most of them in the header, and sometimes cut the end."""
    content = bytearray(path.read_bytes())
    places = st.one_of(st.integers(0, min(2500, len(content) - 1)), st.integers(0, len(content) - 1))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        content[at] = value
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)


def survive(paths: list[Path]) -> None:
    """Read, and let a refusal pass."""
    try:
        volume = read_series(paths, threads=1)
    except SeriesRejected:
        return
    assert volume.hu_zyx.shape == (8, 32, 32)


# --- real scanners ----------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "shape", "spacing", "highest"),
    [
        ("philips-brilliance16-5mm", (64, 512, 512), (5.0, 0.841796875, 0.841796875), 2976),
        ("siemens-biograph40-3mm", (134, 512, 512), (3.0, 0.9765625, 0.9765625), 3034),
        ("siemens-sensation10-b40f-8mm", (30, 512, 512), (8.0, 0.646484375, 0.646484375), 1548),
        ("siemens-sensation10-b70f-8mm", (30, 512, 512), (8.0, 0.646484375, 0.646484375), 1904),
    ],
)
def test_real_series(
    name: str, shape: tuple[int, int, int], spacing: tuple[float, float, float], highest: int
) -> None:
    """Series of three scanners are read with their known shape, spacing and range, and agree with pydicom."""
    folder = DATA / "ct-series" / name
    if not folder.is_dir():
        pytest.skip(f"no real CT data at {folder}")
    volume = read_series(sorted(folder.glob("*.dcm"), reverse=True))
    assert volume.hu_zyx.shape == shape
    assert volume.geometry.spacing_zyx_mm == pytest.approx(spacing)
    assert (volume.hu_zyx.min(), volume.hu_zyx.max()) == (-1024, highest)
    heights = [float(header.ImagePositionPatient[2]) for header in volume.headers]
    assert heights == sorted(heights)
    assert volume.remarks == ()
