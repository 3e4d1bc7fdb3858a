"""Label maps, and segmentations with a frame for every slice: the same voxels in other encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from core.domain import Analysis, Region, ResultKind, Side
from core.forms import LABEL_MAP_SEGMENTATION_STORAGE, ResultForm, SegmentationEncoding
from core.regions import region_mask_zyx
from sr_writer.label_map import LABELS_OF
from sr_writer.results import write_results
from tests.helpers.analyses import Phantom, analysis_of, context_of, encoded
from tests.helpers.judges import dciodvfy_complaints, read_segments
from tests.helpers.reports import content_items, name_of

LABEL_MAP = ResultForm(SegmentationEncoding.LABELMAP)
EVERY_FRAME = ResultForm(empty_frames=True)
PHANTOMS = {
    "usual": Phantom(),
    "clean": Phantom(lesion_sides=()),
    "one lung": Phantom(lungs=(Side.LEFT,)),
    "feet first, prone": Phantom(orientation=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
    "enhanced": Phantom(enhanced=True),
}
#: dciodvfy does not know yet that a label map is a segmentation too, whose segments can be referred to.
_OLD = "Shall not be present for Referenced SOP Class that is not segmentation"


def written(analysis: Analysis, form: ResultForm) -> dict[ResultKind, Dataset]:
    """Write the results of an analysis in one form."""
    context = context_of(analysis, lesions_from_ml=0.5)
    return {one.kind: one.dataset for one in write_results(analysis, context, [form]).objects}


def labels_zyx(analysis: Analysis, result: Dataset) -> NDArray[np.uint8]:
    """Return a label map on the grid of its source, each frame at the slice that it names."""
    uids = [str(one.sop_instance_uid) for one in analysis.volume.frames]
    frames = np.asarray(result.pixel_array).reshape(-1, result.Rows, result.Columns)
    labels = np.zeros(analysis.volume.hu_zyx.shape, np.uint8)
    for frame, groups in zip(frames, result.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        number = source.get("ReferencedFrameNumber")
        if number is None:
            plane = uids.index(str(source.ReferencedSOPInstanceUID))
        else:
            plane = [one.frame_number for one in analysis.volume.frames].index(number)
        labels[plane] = frame
    return labels


@pytest.mark.parametrize("name", list(PHANTOMS))
@pytest.mark.parametrize("empty_frames", [False, True])
def test_every_region_is_the_union_of_its_labels(name: str, empty_frames: bool, tmp_path: Path) -> None:
    """Each voxel of each region bears one of the region's labels and no other voxel does."""
    analysis = analysis_of(PHANTOMS[name])
    form = ResultForm(SegmentationEncoding.LABELMAP, empty_frames)
    result = written(analysis, form)[ResultKind.SEGMENTATION]
    assert result.SOPClassUID == LABEL_MAP_SEGMENTATION_STORAGE
    labels = labels_zyx(analysis, result)
    for region in Region:
        expected = region_mask_zyx(region, analysis.lungs, analysis.lesions)
        assert np.array_equal(np.isin(labels, LABELS_OF[region.value]), expected), region
    path = tmp_path / "seg.dcm"
    path.write_bytes(encoded(result))
    assert dciodvfy_complaints(path) == []


def test_the_library_reads_a_label_map(tmp_path: Path) -> None:
    """highdicom finds six labels, and for each the voxels that were written."""
    analysis = analysis_of()
    path = tmp_path / "seg.dcm"
    path.write_bytes(encoded(written(analysis, LABEL_MAP)[ResultKind.SEGMENTATION]))
    seg = hd.seg.segread(path)
    assert list(seg.segment_numbers) == list(range(1, 7))
    volume = seg.get_volume(combine_segments=True)
    for region in (Region.GROUND_GLASS_RIGHT, Region.CONSOLIDATION_LEFT):
        expected = region_mask_zyx(region, analysis.lungs, analysis.lesions)
        assert int((volume.array == region.value).sum()) == int(expected.sum())
    assert seg.get_segment_description(1).segment_label == "Right lung, without lesions"


def groups_of(report: Dataset) -> list[Dataset]:
    """Return the measurement groups of a report."""
    return [item for item in content_items(report) if name_of(item) == "125007"]


def _volume_and_references(group: Dataset) -> tuple[float, list[int], Any]:
    volume = next(
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in group.ContentSequence
        if name_of(item) == "118565006"
    )
    instance = next(
        item.ReferencedSOPSequence[0]
        for item in group.ContentSequence
        if "ReferencedSegmentNumber" in item.get("ReferencedSOPSequence", [Dataset()])[0]
    )
    numbers = instance.ReferencedSegmentNumber
    return volume, [numbers] if isinstance(numbers, int) else list(numbers), instance


@pytest.mark.parametrize("name", list(PHANTOMS))
def test_the_report_of_a_label_map_refers_to_as_many_labels_as_it_is_about(name: str, tmp_path: Path) -> None:
    """The volume of each group is that of its labels together; single lesions have no group there."""
    analysis = analysis_of(PHANTOMS[name])
    results = written(analysis, LABEL_MAP)
    segmentation, report = results[ResultKind.SEGMENTATION], results[ResultKind.MEASUREMENT_REPORT]
    labels = labels_zyx(analysis, segmentation)
    groups = groups_of(report)
    assert groups
    for group in groups:
        volume_cm3, numbers, instance = _volume_and_references(group)
        assert instance.ReferencedSOPClassUID == segmentation.SOPClassUID
        assert instance.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        voxels = int(np.isin(labels, numbers).sum())
        assert volume_cm3 == pytest.approx(voxels * analysis.volume.geometry.voxel_ml, rel=1e-5)
    assert len(groups) <= len(Region)
    path = tmp_path / "report.dcm"
    path.write_bytes(encoded(report))
    assert [one for one in dciodvfy_complaints(path) if one.startswith("Error") and _OLD not in one] == []


def test_with_empty_frames_every_segment_has_a_frame_for_every_slice(tmp_path: Path) -> None:
    """Frame k of a segment is slice k; dcmqi reads the same voxels as from the segmentation without them."""
    analysis = analysis_of()
    full = written(analysis, EVERY_FRAME)[ResultKind.SEGMENTATION]
    plain = written(analysis, ResultForm())[ResultKind.SEGMENTATION]
    slices, segments = analysis.volume.hu_zyx.shape[0], len(full.SegmentSequence)
    assert full.NumberOfFrames == slices * segments
    assert full.SOPInstanceUID != plain.SOPInstanceUID
    for number in range(segments):
        for plane in range(slices):
            groups = full.PerFrameFunctionalGroupsSequence[number * slices + plane]
            source = groups.DerivationImageSequence[0].SourceImageSequence[0]
            assert groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number + 1
            assert source.ReferencedSOPInstanceUID == analysis.volume.frames[plane].sop_instance_uid
    read = {}
    for name, result in (("full", full), ("plain", plain)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "seg.dcm").write_bytes(encoded(result))
        assert dciodvfy_complaints(folder / "seg.dcm") == []
        read[name] = read_segments(folder / "seg.dcm", folder)
    assert read["full"].keys() == read["plain"].keys()
    for number, segment in read["full"].items():
        assert segment.volume_ml == pytest.approx(read["plain"][number].volume_ml)


def test_tracking_uids_tell_a_lung_from_what_of_it_is_no_lesion() -> None:
    """The group about the whole lung keeps the lung's UID; the label has one of its own."""
    analysis = analysis_of()
    label_map, binary = (written(analysis, form) for form in (LABEL_MAP, ResultForm()))
    background, *labels = label_map[ResultKind.SEGMENTATION].SegmentSequence
    assert background.SegmentNumber == 0
    of_labels = {str(one.TrackingUID) for one in labels}
    of_segments = [str(one.TrackingUID) for one in binary[ResultKind.SEGMENTATION].SegmentSequence]
    assert len(of_labels) == 6
    assert of_labels.isdisjoint(of_segments[:2])
    assert set(of_segments[2:6]) <= of_labels
    tracked = {
        form: [str(item.UID) for item in content_items(report) if name_of(item) == "112040"]
        for form, report in (
            ("label map", label_map[ResultKind.MEASUREMENT_REPORT]),
            ("binary", binary[ResultKind.MEASUREMENT_REPORT]),
        )
    }
    assert tracked["label map"] == tracked["binary"][: len(tracked["label map"])]
