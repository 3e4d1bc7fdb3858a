"""Multi-frame CT: functional groups, stacks and phases, concatenations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from core.ct_header import LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE
from core.errors import InconsistentGeometry, MissingSlices, SeriesRejected, UnsupportedImage
from core.uid import derived_uid
from inference.series_reader import read_series
from tests.helpers.ct_series import (
    EVERYDAY,
    CtSpec,
    concatenation,
    ct_datasets,
    enhanced_ct,
    hu_pattern,
    write,
)

Change = Callable[[Dataset], object]


def per_frame(sequence: str, keyword: str, values: Callable[[int], object]) -> Change:
    """Set an attribute of a functional group in every frame."""

    def change(ds: Dataset) -> None:
        for at, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
            if sequence not in groups:
                setattr(groups, sequence, [Dataset()])
            setattr(groups[sequence].value[0], keyword, values(at))

    return change


def without(where: str, sequence: str) -> Change:
    """Delete a functional group."""

    def change(ds: Dataset) -> None:
        for groups in ds[where].value:
            del groups[sequence]

    return change


@pytest.mark.parametrize("spec", [EVERYDAY, CtSpec(is_signed=True, bits_stored=16, intercept=0.0)])
def test_frames_stand_in_the_order_of_their_positions(tmp_path: Path, spec: CtSpec) -> None:
    """Frames stored from head to foot come out along the normal, each with its 1-based number."""
    ds = enhanced_ct(spec)
    volume = read_series(write(tmp_path, [ds]))
    np.testing.assert_array_equal(volume.hu_zyx, hu_pattern(spec.shape_zyx))
    assert [frame.frame_number for frame in volume.frames] == list(range(16, 0, -1))
    assert {frame.sop_instance_uid for frame in volume.frames} == {ds.SOPInstanceUID}
    assert len(volume.headers) == 1
    assert "PixelData" not in volume.headers[0]
    assert volume.geometry.spacing_zyx_mm == pytest.approx(spec.spacing_zyx_mm)
    np.testing.assert_allclose(volume.geometry.to_lps_mm(np.zeros(3)), spec.origin_mm)


def test_it_equals_the_same_slices_as_single_images(tmp_path: Path) -> None:
    """Enhanced and single-frame encodings of one stack give one volume."""
    (tmp_path / "single").mkdir()
    enhanced = read_series(write(tmp_path, [enhanced_ct()], ImplicitVRLittleEndian))
    single = read_series(write(tmp_path / "single", ct_datasets()))
    np.testing.assert_array_equal(enhanced.hu_zyx, single.hu_zyx)
    np.testing.assert_allclose(enhanced.geometry.affine_lps, single.geometry.affine_lps)


def test_legacy_converted_is_read(tmp_path: Path) -> None:
    """Legacy Converted Enhanced CT has the same functional groups."""
    ds = enhanced_ct()
    ds.SOPClassUID = LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE
    np.testing.assert_array_equal(read_series(write(tmp_path, [ds])).hu_zyx, hu_pattern(EVERYDAY.shape_zyx))


def test_large_functional_groups_are_kept(tmp_path: Path) -> None:
    """Functional groups beyond the limit for other values are not dropped with them."""
    ds = enhanced_ct()
    per_frame("FrameContentSequence", "FrameComments", lambda _at: "x" * 9000)(ds)
    assert read_series(write(tmp_path, [ds], ImplicitVRLittleEndian)).hu_zyx.shape == (16, 32, 32)


def test_rescale_is_applied_frame_by_frame(tmp_path: Path) -> None:
    """Each frame has its own intercept."""
    ds = enhanced_ct()
    per_frame("PixelValueTransformationSequence", "RescaleIntercept", lambda at: -1024 + at)(ds)
    expected = hu_pattern(EVERYDAY.shape_zyx) + np.arange(15, -1, -1)[:, None, None]
    np.testing.assert_array_equal(read_series(write(tmp_path, [ds])).hu_zyx, expected)


def test_shared_groups_stand_in_for_missing_ones(tmp_path: Path) -> None:
    """A group of the frame wins over a shared one; a shared one serves all frames without their own."""
    ds = enhanced_ct()
    shared = ds.SharedFunctionalGroupsSequence[0]
    rescale = ds.PerFrameFunctionalGroupsSequence[0].PixelValueTransformationSequence
    shared.PixelValueTransformationSequence = copy.deepcopy(rescale)
    without("PerFrameFunctionalGroupsSequence", "PixelValueTransformationSequence")(ds)
    wrong = Dataset()
    wrong.PixelSpacing = [9.0, 9.0]
    for groups in ds.PerFrameFunctionalGroupsSequence:
        groups.PixelMeasuresSequence = shared.PixelMeasuresSequence
    shared.PixelMeasuresSequence = [wrong]
    volume = read_series(write(tmp_path, [ds]))
    np.testing.assert_array_equal(volume.hu_zyx, hu_pattern(EVERYDAY.shape_zyx))
    assert volume.geometry.spacing_zyx_mm == pytest.approx((5.0, 0.8, 0.7))


@pytest.mark.parametrize("lengths", [(16,), (10, 6), (5, 5, 6)])
def test_a_concatenation_is_joined(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    """Parts in any order make one volume; frame numbers count within their part."""
    parts = concatenation(EVERYDAY, lengths)
    volume = read_series(list(reversed(write(tmp_path, parts))))
    np.testing.assert_array_equal(volume.hu_zyx, hu_pattern(EVERYDAY.shape_zyx))
    expected = [(part.SOPInstanceUID, at + 1) for part in parts for at in range(part.NumberOfFrames)]
    assert [(frame.sop_instance_uid, frame.frame_number) for frame in volume.frames] == expected[::-1]
    assert [header.InConcatenationNumber for header in volume.headers] == list(range(1, len(lengths) + 1))


def broken(change: Callable[[list[Dataset]], object]) -> list[Dataset]:
    """Return a concatenation of three parts after a change."""
    parts = concatenation(EVERYDAY, (5, 5, 6))
    change(parts)
    return parts


def set_each(keyword: str, value: object) -> Callable[[list[Dataset]], None]:
    """Set an attribute in every part; None deletes."""

    def change(parts: list[Dataset]) -> None:
        for part in parts:
            if value is None:
                del part[keyword]
            else:
                setattr(part, keyword, value)

    return change


def unnumbered_gap(parts: list[Dataset]) -> None:
    """Lose the middle part where no total tells."""
    set_each("InConcatenationTotalNumber", None)(parts)
    del parts[1]
    parts[1].InConcatenationNumber = 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda parts: parts.pop(), MissingSlices, r"part 3 of 3 of the multi-frame image is missing: send"),
        (lambda parts: parts.pop(0), MissingSlices, r"part 1 of 3"),
        (unnumbered_gap, MissingSlices, r"frames 6 to 10 of the multi-frame image are missing"),
        (set_each("InConcatenationNumber", 1), MissingSlices, r"part 2, 3 of 3"),
        (set_each("ConcatenationFrameOffsetNumber", 0), MissingSlices, r"overlap at frame 1"),
        (set_each("ConcatenationUID", None), InconsistentGeometry, r"3 multi-frame images in one series"),
        (lambda parts: setattr(parts[0], "ConcatenationUID", "1.2"), InconsistentGeometry, r"3 multi-frame"),
    ],
)
def test_incomplete_concatenations_are_refused(
    tmp_path: Path, change: Callable[[list[Dataset]], object], error: type[SeriesRejected], message: str
) -> None:
    """A part that is missing, or contradicts the others, is named."""
    with pytest.raises(error, match=message):
        read_series(write(tmp_path, broken(change)))


def middle_out(ds: Dataset) -> None:
    """Lose one frame of the stack."""
    del ds.PerFrameFunctionalGroupsSequence[8]
    ds.NumberOfFrames = 15
    ds.PixelData = ds.PixelData[: 15 * 2 * 32 * 32]


REFUSALS = [
    (
        per_frame("FrameContentSequence", "StackID", lambda at: "12"[at % 2]),
        InconsistentGeometry,
        r"2 stacks in one image \(1, 2\): send one",
    ),
    (
        per_frame("FrameContentSequence", "TemporalPositionIndex", lambda at: 1 + at % 4),
        InconsistentGeometry,
        r"4 temporal positions",
    ),
    (
        per_frame(
            "CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", lambda at: 35.0 + at % 2
        ),
        InconsistentGeometry,
        r"2 cardiac phases in one image \(35\.0, 36\.0\)",
    ),
    (
        per_frame(
            "CTImageFrameTypeSequence", "FrameType", lambda _at: ["DERIVED", "PRIMARY", "AXIAL", "NONE"]
        ),
        UnsupportedImage,
        r"a frame is not an original image \(Frame Type DERIVED\)",
    ),
    (
        per_frame(
            "CTImageFrameTypeSequence", "FrameType", lambda _at: ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
        ),
        UnsupportedImage,
        r"a frame is a localizer",
    ),
    (
        per_frame("PixelValueTransformationSequence", "RescaleType", lambda _at: "MGML"),
        UnsupportedImage,
        r"not Hounsfield units",
    ),
    (middle_out, MissingSlices, r"1 slice missing between z = -10\.0 and 0\.0 mm"),
    (
        lambda ds: setattr(ds, "NumberOfFrames", 15),
        UnsupportedImage,
        r"Number of Frames is 15, .* there for 16",
    ),
    (lambda ds: setattr(ds, "NumberOfFrames", 10**9), UnsupportedImage, r"Number of Frames is 1000000000"),
    (
        lambda ds: setattr(ds, "PixelData", ds.PixelData[:-2]),
        UnsupportedImage,
        r"1 of 16 images: .* cut short",
    ),
    (without("SharedFunctionalGroupsSequence", "PixelMeasuresSequence"), UnsupportedImage, r"PixelMeasuresS"),
    (
        without("PerFrameFunctionalGroupsSequence", "PlanePositionSequence"),
        UnsupportedImage,
        r"PlanePositionS",
    ),
    (
        without("PerFrameFunctionalGroupsSequence", "PixelValueTransformationSequence"),
        UnsupportedImage,
        r"PixelValueTransformationSequence is missing",
    ),
    (lambda ds: delattr(ds, "PerFrameFunctionalGroupsSequence"), UnsupportedImage, r"there for 0"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSALS)
def test_multi_frame_images_that_are_no_one_stack_are_refused(
    tmp_path: Path, change: Change, error: type[SeriesRejected], message: str
) -> None:
    """Several volumes in one image, derived frames and lost groups are refused, naming them."""
    ds = enhanced_ct()
    change(ds)
    with pytest.raises(error, match=message):
        read_series(write(tmp_path, [ds]))


def test_single_and_multi_frame_images_are_not_mixed(tmp_path: Path) -> None:
    """A series of both kinds is refused rather than half of it chosen."""
    with pytest.raises(InconsistentGeometry, match="1 multi-frame and 16 single-frame images"):
        read_series(write(tmp_path, [*ct_datasets(), enhanced_ct()]))


def test_an_enhanced_localizer_is_left_out(tmp_path: Path) -> None:
    """A multi-frame localizer beside the volume in the same series is left out with a remark."""
    localizer = enhanced_ct(name="localizer")
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    localizer.SOPInstanceUID = derived_uid("localizer")
    volume = read_series(write(tmp_path, [localizer, enhanced_ct()]))
    assert volume.hu_zyx.shape == (16, 32, 32)
    assert len(volume.headers) == 1
    assert any("a localizer" in remark for remark in volume.remarks)
