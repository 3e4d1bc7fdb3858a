"""What is in a segmentation: one description of each segment, for the SEG and for the report about it.

Segments come from sources: the fixed regions, then the largest single lesions. A further source is one more
function in `SEGMENT_SOURCES`. How a segment is encoded in pixels is no business of this module: a
description only knows where to ask for its voxels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from core import codes
from core.codes import Code
from core.domain import Analysis, BoxedMask, Lesion, LesionMask, LungMask, Region
from core.regions import Box, bounding_box, region_mask_zyx
from sr_writer.concepts import (
    COLOR_LAB,
    LESION_CLASS_CODE,
    SIDE_CODE,
    Algorithm,
    RegionConcept,
    side_found,
)
from sr_writer.context import ResultContext
from sr_writer.uids import ResultUids

#: Segment Number of the largest lesion; the numbers before it are those of the regions.
FIRST_LESION_SEGMENT = len(Region) + 1
#: Most single lesions in SEG and SR, the largest first. Every one is a segment in viewers' lists and a group
#: to read in the report; nobody reads more, and their volume stands in the group of all lesions.
MOST_LESIONS = 20
# Colours of lesions: one lightness and chroma, hues as far apart as a sequence of any length allows.
_LESION_LIGHTNESS, _LESION_CHROMA = 70.0, 55.0
_GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment, described (PS3.3 C.8.20.4).

    Parameters
    ----------
    number
        Segment Number (0062,0004).
    label
        Segment Label (0062,0005), and Tracking ID (0062,0020).
    tracking_uid
        Tracking UID (0062,0021).
    category, property_type
        What the voxels are: CID 7150; CID 7151 and following.
    anatomy, laterality
        Where they are: CID 4030, CID 244.
    algorithm
        What drew it.
    color_lab
        Recommended Display CIELab Value (0062,000D): L*, a*, b*.
    voxels
        Returns the voxels, on the grid of the source. They are made when asked for: a report needs none, and
        a SEG one segment's at a time.
    """

    number: int
    label: str
    tracking_uid: str
    category: Code
    property_type: Code
    anatomy: Code
    laterality: Code
    algorithm: Algorithm
    color_lab: tuple[float, float, float]
    voxels: Callable[[], BoxedMask]


class _RegionVoxels:
    """The voxels of each region; only the box around the lungs is looked at, every region lies in them.

    Parameters
    ----------
    analysis
        The masks.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    @cached_property
    def _box(self) -> Box:
        return bounding_box(self._analysis.lungs.labels_zyx)

    def of(self, region: Region) -> BoxedMask:
        """Return the voxels of a region."""
        lungs = LungMask(self._analysis.lungs.labels_zyx[self._box])
        lesions = self._analysis.lesions
        lesions = LesionMask(lesions.labels_zyx[self._box], lesions.model)
        z, y, x = (span.start for span in self._box)
        return BoxedMask((z, y, x), region_mask_zyx(region, lungs, lesions))


def segments_of(analysis: Analysis, context: ResultContext, uids: ResultUids) -> tuple[Segment, ...]:
    """Describe the segments of an analysis.

    Parameters
    ----------
    analysis
        Masks and measurements.
    context, uids
        Circumstances and UIDs.

    Returns
    -------
    tuple of Segment
        By number, without gaps from 1 on. Those of regions are there in every case, with or without voxels;
        those of lesions have voxels always.
    """
    return tuple(one for source in SEGMENT_SOURCES for one in source(analysis, context, uids))


def lesions_of_their_own(analysis: Analysis, context: ResultContext) -> tuple[Lesion, ...]:
    """Return the single lesions that have a segment and a group of their own, largest first."""
    listed = analysis.measurements.lesions
    return tuple(one for one in listed if one.volume_ml >= context.lesions_from_ml)[:MOST_LESIONS]


def lesion_segment_number(lesion: Lesion) -> int:
    """Return the Segment Number (0062,0004) of a lesion, which follows its rank by volume."""
    return FIRST_LESION_SEGMENT + lesion.number - 1


def _regions(analysis: Analysis, context: ResultContext, uids: ResultUids) -> list[Segment]:
    """Describe every fixed region."""
    voxels = _RegionVoxels(analysis)
    segments = []
    for region in Region:
        names = RegionConcept.of(region)
        segments.append(
            Segment(
                number=region.value,
                label=names.label,
                tracking_uid=uids.tracking(region),
                category=names.category,
                property_type=names.property_type,
                anatomy=names.anatomy,
                laterality=side_found(region, analysis.measurements),
                algorithm=Algorithm.of(region, analysis.lesions.model, context),
                color_lab=COLOR_LAB[region],
                voxels=partial(voxels.of, region),
            )
        )
    return segments


def _lesions(analysis: Analysis, context: ResultContext, uids: ResultUids) -> list[Segment]:
    """Describe the single lesions; all were drawn by what drew all lesions together."""
    algorithm = Algorithm.of(Region.LESIONS, analysis.lesions.model, context)
    return [
        Segment(
            number=lesion_segment_number(lesion),
            label=f"Lesion {lesion.number}",
            tracking_uid=uids.lesion_tracking(lesion.number),
            category=codes.MORPHOLOGICALLY_ALTERED_STRUCTURE,
            property_type=LESION_CLASS_CODE[lesion.lesion_class],
            anatomy=codes.LUNG,
            laterality=SIDE_CODE[lesion.side],
            algorithm=algorithm,
            color_lab=_lesion_color(lesion.number),
            voxels=partial(_given, lesion.voxels),
        )
        for lesion in lesions_of_their_own(analysis, context)
    ]


def _given(voxels: BoxedMask) -> BoxedMask:
    return voxels


def _lesion_color(number: int) -> tuple[float, float, float]:
    hue = number * _GOLDEN_ANGLE
    return _LESION_LIGHTNESS, _LESION_CHROMA * math.cos(hue), _LESION_CHROMA * math.sin(hue)


#: Every source of segments, in the order of their numbers.
SEGMENT_SOURCES: tuple[Callable[[Analysis, ResultContext, ResultUids], list[Segment]], ...] = (
    _regions,
    _lesions,
)
