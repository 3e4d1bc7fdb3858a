"""Whether the volumes of a report are those of the segments that it refers to, counted by others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from core import codes
from tests.helpers.judges import dcmjs, dcmqi
from tests.helpers.judges.dcmjs import read_with_dcmjs
from tests.helpers.judges.dcmqi import read_segments
from tests.helpers.judges.panel import READ_BY_DCMQI

#: SOP Instance UID of a segmentation, Segment Number.
SegmentKey = tuple[str, int]
#: The same with the Segment Numbers of a group, which are several where a label map is referred to.
GroupKey = tuple[str, tuple[int, ...]]


def reported_volumes_ml(report: Dataset) -> dict[GroupKey, float]:
    """Return the volume of each measurement group of a report, by the segments that the group refers to."""
    volumes: dict[GroupKey, float] = {}
    for group in _containers(report):
        volume_ml, segment = None, None
        for item in group.ContentSequence:
            name = (item.get("ConceptNameCodeSequence") or [Dataset()])[0].get("CodeValue")
            if item.ValueType == "NUM" and name == codes.VOLUME.value:
                volume_ml = float(item.MeasuredValueSequence[0].NumericValue)
            for reference in item.get("ReferencedSOPSequence", ()):
                if "ReferencedSegmentNumber" in reference:
                    uid = str(reference.ReferencedSOPInstanceUID)
                    numbers = reference.ReferencedSegmentNumber
                    segment = (uid, (numbers,) if isinstance(numbers, int) else tuple(numbers))
        if volume_ml is not None and segment is not None:
            volumes[segment] = volume_ml
    return volumes


def _containers(item: Dataset) -> Iterator[Dataset]:
    if "ContentSequence" in item:
        yield item
        for child in item.ContentSequence:
            yield from _containers(child)


def _counted_by_dcmqi(paths: Sequence[Path]) -> dict[SegmentKey, float]:
    counted = {}
    for path in paths:
        header = dcmread(path, stop_before_pixels=True)
        if header.SOPClassUID in READ_BY_DCMQI:
            with tempfile.TemporaryDirectory(prefix="dcmqi-") as folder:
                for number, segment in read_segments(path, Path(folder)).items():
                    counted[str(header.SOPInstanceUID), number] = segment.volume_ml
    return counted


def _counted_by_dcmjs(paths: Sequence[Path]) -> dict[SegmentKey, float]:
    counted: dict[SegmentKey, float] = {}
    for read in read_with_dcmjs(paths):
        segments: Mapping[str, Any] = read["segments"]
        for number, segment in segments.items():
            counted[read["sopInstanceUID"], int(number)] = segment["volumeMl"]
    return counted


#: Who counts voxels.
COUNTERS: Mapping[str, Callable[[Sequence[Path]], dict[SegmentKey, float]]] = {
    dcmqi.NAME: _counted_by_dcmqi,
    dcmjs.NAME: _counted_by_dcmjs,
}


def deviations_percent(reports: Sequence[Path], segmentations: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Compare the volumes of reports with the voxels of segmentations.

    Parameters
    ----------
    reports, segmentations
        Part 10 files.

    Returns
    -------
    dict
        For each counter, by its name, the deviation of every volume that is reported of a segment which that
        counter can read: reported minus counted, percent of the counted one, by "report: segment of SEG".
    """
    found: dict[str, dict[str, float]] = {}
    for counter, count in COUNTERS.items():
        counted = count(segmentations)
        found[counter] = {
            f"{report.stem}: segment {', '.join(map(str, numbers))} of {uid}": _deviation_percent(
                volume_ml, sum(counted[uid, number] for number in numbers)
            )
            for report in reports
            for (uid, numbers), volume_ml in reported_volumes_ml(dcmread(report)).items()
            if all((uid, number) in counted for number in numbers)
        }
    return found


def _deviation_percent(reported_ml: float, counted_ml: float) -> float:
    return 100.0 * (reported_ml - counted_ml) / counted_ml if counted_ml else float("inf")
