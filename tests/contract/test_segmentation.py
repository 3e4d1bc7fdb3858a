"""The written segmentation object, judged by its bytes and by programs that are not ours."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy.spatial import cKDTree

from core import codes
from core.domain import Analysis, CtVolume, LesionMask, Region, ResultKind, Side, SourceFrame
from core.errors import ResultEncodingError
from core.regions import region_mask_zyx
from inference.lesions import MeasurementRules, measure
from sr_writer.results import write_results
from sr_writer.segments import MOST_LESIONS
from tests.helpers.analyses import MODEL, Phantom, analysis_of, context_of, encoded
from tests.helpers.judges import dciodvfy_complaints, read_segments, segment_points_lps_mm

FEET_FIRST = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
INCLINED = (1.0, 0.0, 0.0, 0.0, float(np.cos(np.radians(12))), float(np.sin(np.radians(12))))
OBLIQUE = (0.96, 0.28, 0.0, -0.28, 0.96, 0.0)
MINIMAL = {
    "PatientBirthDate": None,
    "PatientSex": None,
    "StudyTime": None,
    "StudyID": None,
    "AccessionNumber": None,
    "ReferringPhysicianName": None,
    "PositionReferenceIndicator": None,
    "Manufacturer": None,
    "BodyPartExamined": None,
    "PatientPosition": None,
    "TimezoneOffsetFromUTC": None,
    "SpecificCharacterSet": None,
}
CASES = {
    "both lungs": Phantom(),
    "no lesion": Phantom(lesion_sides=()),
    "one lung": Phantom(lungs=(Side.LEFT,)),
    "one-sided lesions": Phantom(lesion_sides=(Side.RIGHT,)),
    "feet first": Phantom(orientation=FEET_FIRST),
    "prone": Phantom(orientation=PRONE),
    "oblique": Phantom(orientation=OBLIQUE),
    "tilted gantry": Phantom(orientation=INCLINED, tilt_deg=12.0),
    "rows that end within a byte": Phantom(shape_zyx=(9, 61, 67)),
    "minimal header": Phantom(attributes=MINIMAL),
    "enhanced": Phantom(enhanced=True),
    "mixed lesion": Phantom(dense_radii_mm=(5.0, 5.0, 7.5)),
}


#: Lesions of 1.34 ml on the right and 0.85 ml on the left: both or one of them get a segment.
BOTH_LESIONS, LARGER_LESION, NO_LESION = 0.5, 1.0, 2.0
MIXED = (5.0, 5.0, 7.5)


def segmentation_of(analysis: Analysis, lesions_from_ml: float = LARGER_LESION) -> Dataset:
    """Return the SEG of an analysis, read back from its bytes."""
    context = context_of(analysis, lesions_from_ml=lesions_from_ml)
    result = write_results(analysis, context).objects[0]
    assert result.kind is ResultKind.SEGMENTATION
    return result.dataset


def points_lps_mm(analysis: Analysis, region: Region) -> np.ndarray:
    """Return the centres of a region's voxels as they were analysed."""
    mask = region_mask_zyx(region, analysis.lungs, analysis.lesions)
    return analysis.volume.geometry.to_lps_mm(np.argwhere(mask))


def assert_same_points(found: np.ndarray, expected: np.ndarray) -> None:
    """Fail unless both are the same set of points, to a thousandth of a millimetre."""
    assert len(found) == len(expected)
    if len(found):
        distance_mm, partner = cKDTree(expected).query(found)
        assert distance_mm.max() < 1e-3
        assert len(set(partner)) == len(found)


@pytest.mark.parametrize("phantom", CASES.values(), ids=CASES.keys())
def test_validator_finds_no_fault(phantom: Phantom, tmp_path: Path) -> None:
    """The SEG of every kind of source conforms to its IOD."""
    path = tmp_path / "seg.dcm"
    path.write_bytes(encoded(segmentation_of(analysis_of(phantom))))
    complaints = dciodvfy_complaints(path)
    if phantom.attributes == MINIMAL:  # what the source does not say cannot be made up
        complaints = [line for line in complaints if "needed to build DICOMDIR" not in line]
    assert complaints == []


@pytest.mark.parametrize("phantom", CASES.values(), ids=CASES.keys())
def test_another_reader_finds_the_same_anatomy(phantom: Phantom, tmp_path: Path) -> None:
    """dcmqi reads each segment with the volume that was measured, where it was measured."""
    analysis = analysis_of(phantom)
    path = tmp_path / "seg.dcm"
    path.write_bytes(encoded(segmentation_of(analysis)))
    segments = read_segments(path, tmp_path)
    for region in Region:
        expected = points_lps_mm(analysis, region)
        measured = analysis.measurements.of(region)
        if len(expected) == 0:
            assert region.value not in segments or not segments[region.value].mask_kji.any()
            continue
        read = segments[region.value]
        assert read.volume_ml == pytest.approx(measured.volume_ml, rel=1e-5)
        if phantom.tilt_deg:
            continue  # dcmqi stacks frames along their normal, wherever their positions are
        assert_same_points(read.points_lps_mm(), expected)
        if region.side is not None:
            assert np.sign(read.points_lps_mm()[:, 0].mean()) == (-1 if region.side is Side.RIGHT else 1)


@pytest.mark.parametrize("enhanced", [False, True])
def test_frames_of_a_tilted_gantry_repeat_the_positions_of_their_images(enhanced: bool) -> None:
    """Each frame stands where its image stands, digit by digit; spacing is that along the normal."""
    analysis = analysis_of(Phantom(orientation=INCLINED, tilt_deg=12.0, enhanced=enhanced))
    seg = segmentation_of(analysis)
    positions = _source_positions(analysis.volume)
    seen = set()
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        key = (source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber"))
        assert groups.PlanePositionSequence[0].ImagePositionPatient == positions[key]
        seen.add(tuple(positions[key]))
    # The table moves along the patient; what is written is the distance of the planes.
    heights = sorted(float(position[2]) for position in seen)
    assert np.diff(heights) == pytest.approx(5.0 / np.cos(np.radians(12.0)), abs=1e-3)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(5.0)
    for region in Region:
        points = segment_points_lps_mm(seg, region.value)
        assert_same_points(points, points_lps_mm(analysis, region))
        by_reader_ml = len(points) * float(measures.SpacingBetweenSlices) * 1.25 * 1.0 / 1000
        assert by_reader_ml == pytest.approx(analysis.measurements.of(region).volume_ml, rel=1e-3)


def test_highdicom_reads_its_volume() -> None:
    """highdicom accepts the object as a segmentation and gives back every mask as one volume."""
    analysis = analysis_of()
    seg = hd.seg.Segmentation.from_dataset(segmentation_of(analysis))
    assert seg.segment_numbers == [*(region.value for region in Region), 8]
    volume = seg.get_volume(segment_numbers=[Region.LUNG_RIGHT.value], combine_segments=True)
    found = volume.map_indices_to_reference(np.argwhere(volume.array > 0))
    assert_same_points(found, points_lps_mm(analysis, Region.LUNG_RIGHT))


@st.composite
def orientations(draw: st.DrawFn) -> tuple[float, ...]:
    """Draw any pair of orthogonal directions: reversed, oblique, feet first, decubitus."""
    vector = st.tuples(*[st.floats(-1, 1) for _ in range(3)]).map(np.array)
    x = draw(vector.filter(lambda v: np.linalg.norm(v) > 0.2))
    x = x / np.linalg.norm(x)
    y = draw(vector.filter(lambda v: np.linalg.norm(v) > 0.2 and np.linalg.norm(np.cross(x, v)) > 0.2))
    y = y - x * (x @ y)
    y = y / np.linalg.norm(y)
    return tuple(round(float(value), 9) for value in (*x, *y))


@settings(max_examples=16)
@given(
    orientation=orientations(),
    tilt_deg=st.sampled_from([0.0, 3.0, -17.0, 30.0]),
    along=st.tuples(st.floats(-1, 1), st.floats(0.1, 1)),
    enhanced=st.booleans(),
    columns=st.integers(41, 48),
)
def test_voxels_are_where_they_were_found(
    orientation: tuple[float, ...], tilt_deg: float, along: tuple[float, float], enhanced: bool, columns: int
) -> None:
    """In any orientation and tilt, each voxel of the SEG lies where the analysis had it in the patient."""
    phantom = Phantom(
        shape_zyx=(16, 44, columns),
        spacing_zyx_mm=(3.0, 1.25, 1.0),
        orientation=orientation,
        tilt_deg=tilt_deg,
        tilt_direction=along,
        enhanced=enhanced,
    )
    analysis = analysis_of(phantom)
    seg = segmentation_of(analysis)
    for region in Region:
        assert_same_points(segment_points_lps_mm(seg, region.value), points_lps_mm(analysis, region))


def test_each_frame_refers_to_the_image_it_lies_on() -> None:
    """The source image of a frame has the frame's position, also in a multi-frame source stored backwards."""
    for phantom in (Phantom(), Phantom(enhanced=True)):
        analysis = analysis_of(phantom)
        seg = segmentation_of(analysis)
        positions = _source_positions(analysis.volume)
        for groups in seg.PerFrameFunctionalGroupsSequence:
            source = groups.DerivationImageSequence[0].SourceImageSequence[0]
            key = (source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber"))
            assert groups.PlanePositionSequence[0].ImagePositionPatient == positions[key]


def test_parts_of_a_concatenation_are_each_referred_to() -> None:
    """A multi-frame source that came in parts gets a SEG; each frame names its part and its number there."""
    whole = analysis_of(Phantom(enhanced=True))
    volume = _in_two_parts(whole.volume)
    analysis = replace(whole, volume=volume)
    seg = segmentation_of(analysis)
    positions = _source_positions(volume)
    named = set()
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        named.add(source.ReferencedSOPInstanceUID)
        key = (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber)
        assert groups.PlanePositionSequence[0].ImagePositionPatient == positions[key]
    assert named == {header.SOPInstanceUID for header in volume.headers}
    assert_same_points(segment_points_lps_mm(seg, 1), points_lps_mm(analysis, Region.LUNG_RIGHT))


def test_frame_of_an_unknown_part_is_refused() -> None:
    """A slice of a part whose header is missing cannot be placed."""
    volume = _in_two_parts(analysis_of(Phantom(enhanced=True)).volume)
    with pytest.raises(ResultEncodingError, match="not among the volume's headers"):
        _write(replace(volume, headers=volume.headers[:1]))


def _in_two_parts(volume: CtVolume) -> CtVolume:
    """Return a volume as the reader makes it of a concatenation: a header per part, frames numbered in it."""
    (header,) = volume.headers
    per_frame = list(header.PerFrameFunctionalGroupsSequence)
    cut = len(per_frame) // 3
    parts = []
    for number, items in enumerate((per_frame[:cut], per_frame[cut:]), start=1):
        part = deepcopy(header)
        part.SOPInstanceUID = f"{header.SOPInstanceUID}.{number}"
        part.PerFrameFunctionalGroupsSequence = items
        part.NumberOfFrames = len(items)
        parts.append(part)
    numbers = [frame.frame_number or 0 for frame in volume.frames]
    frames = tuple(
        SourceFrame(parts[number > cut].SOPInstanceUID, number - cut if number > cut else number)
        for number in numbers
    )
    return replace(volume, frames=frames, headers=tuple(parts))


def _source_positions(volume: CtVolume) -> dict[tuple[str, int | None], object]:
    if "PerFrameFunctionalGroupsSequence" not in volume.headers[0]:
        return {(item.SOPInstanceUID, None): item.ImagePositionPatient for item in volume.headers}
    return {
        (header.SOPInstanceUID, number): groups.PlanePositionSequence[0].ImagePositionPatient
        for header in volume.headers
        for number, groups in enumerate(header.PerFrameFunctionalGroupsSequence, start=1)
    }


def test_segment_numbers_are_the_same_in_every_case() -> None:
    """A region without voxels is described under its own number and has no frames."""
    seg = segmentation_of(analysis_of(Phantom(lesion_sides=(Side.LEFT,))), NO_LESION)
    assert [item.SegmentNumber for item in seg.SegmentSequence] == [1, 2, 3, 4, 5, 6, 7]
    assert [item.SegmentLabel for item in seg.SegmentSequence][2] == "Ground glass opacity, right"
    with_frames = {
        groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for groups in seg.PerFrameFunctionalGroupsSequence
    }
    assert with_frames == {1, 2, 4, 6, 7}


def test_no_region_no_segmentation() -> None:
    """Where neither lungs nor lesions were found, no SEG is written, and it is said why."""
    analysis = analysis_of(Phantom(lungs=()))
    results = write_results(analysis, context_of(analysis))
    kinds = [item.kind for item in results.objects]
    asked_for = {ResultKind.REJECTION_NOTE, ResultKind.OVERLAY}
    assert set(kinds) == set(ResultKind) - {ResultKind.SEGMENTATION, *asked_for}
    assert "neither lungs nor lesions" in results.remarks[0]


def test_segments_are_described_in_codes() -> None:
    """Category, type, anatomy and side of each segment are coded."""
    seg = segmentation_of(analysis_of())
    lung, opacity, lesions = (seg.SegmentSequence[at] for at in (0, 3, 6))
    assert lung.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    kind = lung.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) == (
        "39607008",
        "Right",
    )
    assert opacity.SegmentedPropertyTypeCodeSequence[0].CodeValue == "112120"
    anatomy = opacity.AnatomicRegionSequence[0]
    assert (anatomy.CodeValue, anatomy.AnatomicRegionModifierSequence[0].CodeMeaning) == ("39607008", "Left")
    assert lesions.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    assert opacity.SegmentAlgorithmName == MODEL.name
    assert lung.SegmentAlgorithmName != MODEL.name
    colours = {tuple(item.RecommendedDisplayCIELabValue) for item in seg.SegmentSequence}
    assert len(colours) == len(seg.SegmentSequence) == 8


def test_larger_lesions_have_segments_of_their_own(tmp_path: Path) -> None:
    """After the regions, lesions follow by size; each segment is that lesion alone, where it was found."""
    analysis = analysis_of()
    seg = segmentation_of(analysis, BOTH_LESIONS)
    path = tmp_path / "seg.dcm"
    path.write_bytes(encoded(seg))
    segments = read_segments(path, tmp_path)
    assert [item.SegmentNumber for item in seg.SegmentSequence] == list(range(1, 10))
    assert [item.SegmentLabel for item in seg.SegmentSequence][7:] == ["Lesion 1", "Lesion 2"]
    for lesion, described in zip(analysis.measurements.lesions, seg.SegmentSequence[7:], strict=True):
        points = segments[described.SegmentNumber].points_lps_mm()
        side = Region.LUNG_RIGHT if lesion.side is Side.RIGHT else Region.LUNG_LEFT
        mask = region_mask_zyx(Region.LESIONS, analysis.lungs, analysis.lesions)
        mask &= region_mask_zyx(side, analysis.lungs, analysis.lesions)  # one lesion in each lung
        assert_same_points(points, analysis.volume.geometry.to_lps_mm(np.argwhere(mask)))
        assert points.mean(axis=0) == pytest.approx(lesion.centroid_lps_mm, abs=1e-3)
        assert segments[described.SegmentNumber].volume_ml == pytest.approx(lesion.volume_ml, rel=1e-5)
        assert described.SegmentAlgorithmName == MODEL.name
        modifier = described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]
        assert modifier.CodeMeaning.lower() == lesion.side


def test_lesions_below_the_sites_limit_have_no_segment() -> None:
    """The site's limit decides which lesions get a segment; regions stay as they are."""
    analysis = analysis_of()
    numbers = {
        limit: [item.SegmentNumber for item in segmentation_of(analysis, limit).SegmentSequence]
        for limit in (BOTH_LESIONS, LARGER_LESION, NO_LESION)
    }
    assert {limit: found[7:] for limit, found in numbers.items()} == {
        BOTH_LESIONS: [8, 9],
        LARGER_LESION: [8],
        NO_LESION: [],
    }


def test_no_more_than_the_largest_lesions_have_segments() -> None:
    """Of very many lesions the largest get segments; all of them stay in the segment of all lesions."""
    analysis = _spotted()
    lesions = analysis.measurements.lesions
    assert len(lesions) > MOST_LESIONS
    seg = segmentation_of(analysis, 0.0)
    assert len(seg.SegmentSequence) == len(Region) + MOST_LESIONS
    everywhere = len(segment_points_lps_mm(seg, Region.LESIONS.value))
    assert everywhere * analysis.volume.geometry.voxel_ml == pytest.approx(
        sum(lesion.volume_ml for lesion in lesions)
    )
    for lesion in lesions[:MOST_LESIONS]:
        voxels = len(segment_points_lps_mm(seg, lesion.number + len(Region)))
        assert voxels * analysis.volume.geometry.voxel_ml == pytest.approx(lesion.volume_ml)


def _spotted() -> Analysis:
    """Return an analysis with a grid of small lesions in both lungs, of several sizes."""
    analysis = analysis_of(Phantom(lesion_sides=()))
    lesions = np.zeros_like(analysis.lesions.labels_zyx)
    for z, y, x in np.ndindex(lesions.shape):
        if z % 3 == 1 and y % 8 < 4 and x % 5 < 2 + z % 2:
            lesions[z, y, x] = 1
    lesions[analysis.lungs.labels_zyx == 0] = 0
    mask = LesionMask(lesions, MODEL)
    rules = MeasurementRules(smallest_lesion_ml=0.0)
    measurements = measure(analysis.volume, analysis.lungs, mask, rules)
    return replace(analysis, lesions=mask, measurements=measurements)


def test_a_mixed_lesion_declares_the_private_scheme() -> None:
    """A lesion that is both has a private type, whose scheme is declared; without one there is none."""
    mixed = segmentation_of(analysis_of(Phantom(dense_radii_mm=MIXED)))
    kind = mixed.SegmentSequence[7].SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == (codes.MIXED_OPACITY.value, codes.PRIVATE_SCHEME)
    declared = mixed.CodingSchemeIdentificationSequence
    assert [item.CodingSchemeDesignator for item in declared] == [codes.PRIVATE_SCHEME]
    assert "CodingSchemeIdentificationSequence" not in segmentation_of(analysis_of())


def test_research_model_is_marked() -> None:
    """The series of a research model says so in its description, within 64 characters."""
    seg = segmentation_of(analysis_of())
    assert seg.SeriesDescription.endswith("- Research use only")
    assert len(seg.SeriesDescription) <= 64


def test_the_description_names_the_source_series_and_the_update() -> None:
    """Two series of one study, and two generations of one, can be told apart in the PACS."""
    analysis = analysis_of()
    for header in analysis.volume.headers:
        header.SeriesNumber = 203
    results = write_results(analysis, context_of(analysis, generation=2)).objects
    assert [one.dataset.SeriesDescription for one in results] == [
        "Lesion segmentation, series 203, update 2 - Research use only",
        "Lesion measurements, series 203, update 2 - Research use only",
        "Lesion film, series 203, update 2 - Research use only",
        "Key slices, series 203, update 2 - Research use only",
        "Lesion document, series 203, update 2 - Research use only",
    ]


def test_overlap_is_stated_truly() -> None:
    """Segments Overlap is YES only where a lesion lies in a lung."""
    assert segmentation_of(analysis_of()).SegmentsOverlap == "YES"
    assert segmentation_of(analysis_of(Phantom(lesion_sides=()))).SegmentsOverlap == "NO"


def test_missing_slice_thickness_is_supplied() -> None:
    """A scanner that leaves out Slice Thickness still gets a SEG; the slice spacing stands in."""
    phantom = Phantom()
    analysis = analysis_of(phantom)
    for header in analysis.volume.headers:
        del header.SliceThickness
    measures = segmentation_of(analysis).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (5.0, 5.0)


def test_lossy_compression_is_inherited() -> None:
    """Masks from lossily compressed images say so."""
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 10}
    seg = segmentation_of(analysis_of(Phantom(attributes=lossy)))
    assert (seg.LossyImageCompression, seg.LossyImageCompressionRatio) == ("01", 10)


def test_flipped_stack_is_refused() -> None:
    """Headers in another order than the slices would flip the mask, so nothing is written."""
    volume = analysis_of().volume
    flipped = CtVolume(volume.hu_zyx, volume.geometry, volume.frames[::-1], volume.headers[::-1])
    with pytest.raises(ResultEncodingError, match="misplaced"):
        _write(flipped)


def test_headers_of_other_slices_are_refused() -> None:
    """A header that is not of its slice's instance is refused."""
    volume = analysis_of().volume
    shifted = CtVolume(volume.hu_zyx, volume.geometry, volume.frames, volume.headers[1:] + volume.headers[:1])
    with pytest.raises(ResultEncodingError, match="not of the same source image"):
        _write(shifted)


def test_mirrored_rows_are_refused() -> None:
    """A volume whose columns run against its images would mirror the mask, so nothing is written."""
    analysis = analysis_of()
    analysis.volume.geometry.affine_lps[:3, 2] *= -1
    with pytest.raises(ResultEncodingError, match="rows or columns"):
        _write(analysis.volume)


def _write(volume: CtVolume) -> None:
    whole = analysis_of()
    analysis = Analysis(volume, whole.lungs, whole.lesions, whole.measurements)
    write_results(analysis, context_of(analysis))


def test_bytes_are_what_was_verified() -> None:
    """Writing a result again gives the same file, and the file reads as it was."""
    seg = segmentation_of(analysis_of())
    first = encoded(seg)
    assert seg.PatientName == "Doe^Jane"  # reading a value must not change what is sent
    assert encoded(seg) == first
    assert encoded(dcmread(BytesIO(first))) == first
