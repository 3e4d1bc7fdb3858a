"""The pixels of a label map (Supplement 243): one label per voxel.

A voxel has one meaning, so a lung's label is what of it is no lesion. The whole lung is several labels
together, and so are all lesions; a report refers to as many. Single lesions have no labels of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from core.domain import FINDING_LABEL, LUNG_LABEL, Analysis, Region
from sr_writer.segment_pixels import EncodedSegments
from sr_writer.segments import Segment
from sr_writer.uids import ResultUids

#: Labels that a region consists of; a region that is not here is no union of labels.
LABELS_OF: Mapping[int, tuple[int, ...]] = {
    Region.LUNG_RIGHT.value: (1, 3, 5),
    Region.LUNG_LEFT.value: (2, 4, 6),
    Region.GROUND_GLASS_RIGHT.value: (3,),
    Region.GROUND_GLASS_LEFT.value: (4,),
    Region.CONSOLIDATION_RIGHT.value: (5,),
    Region.CONSOLIDATION_LEFT.value: (6,),
    Region.LESIONS.value: (3, 4, 5, 6),
}
_LABELLED = tuple(region for region in Region if region is not Region.LESIONS)
_LUNGS = (Region.LUNG_RIGHT, Region.LUNG_LEFT)
_FINDINGS = len(FINDING_LABEL) + 1


def label_segments(segments: Sequence[Segment], uids: ResultUids) -> tuple[Segment, ...]:
    """Describe the labels, given the segments of a binary segmentation."""
    by_number = {segment.number: segment for segment in segments}
    labels = [by_number[region.value] for region in _LABELLED]
    for region in _LUNGS:
        at = region.value - 1
        label = f"{labels[at].label}, without lesions"
        labels[at] = replace(labels[at], label=label, tracking_uid=uids.rest_tracking(region))
    return tuple(labels)


def encode_label_map(
    analysis: Analysis, segments: Sequence[Segment], *, every_plane: bool
) -> EncodedSegments:
    """Encode the regions as one label per voxel, 8 bits.

    Parameters
    ----------
    analysis
        Masks.
    segments
        `label_segments`.
    every_plane
        Whether slices without a label have a frame too.
    """
    lungs, lesions = analysis.lungs.labels_zyx, analysis.lesions.labels_zyx
    planes = np.flatnonzero(every_plane | lungs.any(axis=(1, 2)))
    table = _label_of_pair()
    pixels = np.empty((len(planes), *lungs.shape[1:]), np.uint8)
    for at, plane in enumerate(planes):
        np.take(table, lungs[plane] * np.uint8(_FINDINGS) + lesions[plane], out=pixels[at], mode="clip")
    frames = tuple((None, int(plane)) for plane in planes)
    data = pixels.tobytes()
    return EncodedSegments(tuple(segments), frames, data + b"\0" * (len(data) % 2), overlap=False)


def _label_of_pair() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return the label of each pair of a lung's label and a finding's; without a lung there is none."""
    table = np.zeros((len(LUNG_LABEL) + 1) * _FINDINGS, np.uint8)
    for region in _LABELLED:
        assert region.side is not None  # every labelled region is of one lung
        finding = 0 if region.finding is None else FINDING_LABEL[region.finding]
        table[LUNG_LABEL[region.side] * _FINDINGS + finding] = region.value
    return table
