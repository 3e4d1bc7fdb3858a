"""Frames of Enhanced CT and Legacy Converted Enhanced CT: functional groups, stacks, concatenations."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from core.ct_header import image_types, reason_not_analysable
from core.errors import InconsistentGeometry, MissingSlices, UnsupportedImage
from inference.header_values import SEND_ONE, SEND_ORIGINAL, SEND_SERIES, int_value, text_value
from inference.series_files import PARSE_FAILURES, SeriesFile
from inference.series_frames import Frame, read_mapping, read_plane, read_stored_format

#: More frames are no CT of a chest; checked before they are walked.
MAX_FRAMES = 20_000

# What splits the frames of an instance into several volumes: name, functional group, attribute.
_SPLITS = (
    ("stacks", "FrameContentSequence", "StackID"),
    ("temporal positions", "FrameContentSequence", "TemporalPositionIndex"),
    ("cardiac phases", "CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("respiratory phases", "RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
)


def multi_frame_frames(files: Sequence[SeriesFile]) -> tuple[Frame, ...]:
    """Describe every frame of one multi-frame instance or of one complete concatenation.

    Parameters
    ----------
    files
        The instance, or the parts of a concatenation in any order.

    Returns
    -------
    tuple of Frame
        Parts in concatenation order, frames as stored; numbers are 1-based within their part.

    Raises
    ------
    InconsistentGeometry
        Several instances that are no concatenation; several stacks, temporal positions or phases.
    MissingSlices
        Parts of the concatenation are missing.
    UnsupportedImage
        Functional groups are missing or unusable, or a frame is no original axial CT.
    """
    frames: list[Frame] = []
    values: dict[str, set[str]] = {name: set() for name, _, _ in _SPLITS}
    for file in _concatenated(files):
        try:
            groups = _frame_groups(file.header)
            for number, group in enumerate(groups, start=1):
                frames.append(_frame(file, number, group))
                for name, sequence, keyword in _SPLITS:
                    values[name].add(text_value(group(sequence, required=False), keyword))
        except PARSE_FAILURES:
            raise UnsupportedImage(f"functional groups are damaged: {SEND_ORIGINAL}") from None
    for name, found in values.items():
        if len(found) > 1:
            listed = ", ".join(sorted(value or "none" for value in found)[:6])
            raise InconsistentGeometry(f"{len(found)} {name} in one image ({listed}): {SEND_ONE}")
    return tuple(frames)


class _FrameGroups:
    """Functional groups of one frame: its own ones first, then the shared ones (PS3.3 C.7.6.16)."""

    def __init__(self, own: Dataset, shared: Dataset) -> None:
        self._own = own
        self._shared = shared

    def __call__(self, sequence: str, *, required: bool = True) -> Dataset:
        for groups in (self._own, self._shared):
            items = groups.get(sequence)
            if items:
                item: Dataset = items[0]
                return item
        if required:
            raise UnsupportedImage(f"{sequence} is missing: {SEND_ORIGINAL}")
        return Dataset()


def _frame_groups(header: Dataset) -> list[_FrameGroups]:
    shared_items = header.get("SharedFunctionalGroupsSequence")
    shared = shared_items[0] if shared_items else Dataset()
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    count = int_value(header, "NumberOfFrames", 0)
    if not 0 < count <= MAX_FRAMES or len(own) != count:
        raise UnsupportedImage(
            f"Number of Frames is {count}, functional groups are there for {len(own)}: {SEND_ORIGINAL}"
        )
    return [_FrameGroups(item, shared) for item in own]


def _frame(file: SeriesFile, number: int, group: _FrameGroups) -> Frame:
    header = file.header
    rescale = group("PixelValueTransformationSequence")
    _require_original(header, group("CTImageFrameTypeSequence"), rescale)
    stored = read_stored_format(header, file.transfer_syntax_uid)
    plane = read_plane(
        group("PlanePositionSequence"),
        group("PlaneOrientationSequence"),
        group("PixelMeasuresSequence"),
        _acquisition_facts(header, group),
    )
    return Frame(file, number, plane, stored, read_mapping(rescale, header, stored))


def _acquisition_facts(header: Dataset, group: _FrameGroups) -> Dataset:
    """Return what a plane takes from the top level of a CT Image."""
    facts = Dataset()
    facts.FrameOfReferenceUID = header.get("FrameOfReferenceUID")
    tilt = group("CTAcquisitionDetailsSequence", required=False).get("GantryDetectorTilt")
    facts.GantryDetectorTilt = tilt if tilt is not None else header.get("GantryDetectorTilt")
    return facts


def _require_original(header: Dataset, frame_type: Dataset, rescale: Dataset) -> None:
    """Refuse a frame by its Frame Type (PS3.3 C.8.15.3.1) as an image is refused by its Image Type."""
    facts = Dataset()
    facts.SOPClassUID = header.get("SOPClassUID")
    facts.ImageType = frame_type.get("FrameType")
    facts.RescaleType = rescale.get("RescaleType")
    types = image_types(facts)
    reason = reason_not_analysable(facts)
    if reason is None and types[:1] != ("ORIGINAL",):
        reason = f"not an original image (Frame Type {types[0] if types else 'missing'})"
    if reason is not None:
        raise UnsupportedImage(f"a frame is {reason}: {SEND_ORIGINAL}")


def _concatenated(files: Sequence[SeriesFile]) -> list[SeriesFile]:
    """Return the parts of one concatenation in order (PS3.3 C.7.6.16.2.2.4), or the single instance."""
    names = {text_value(file.header, "ConcatenationUID") for file in files}
    if names == {""} and len(files) == 1:
        return list(files)
    if "" in names or len(names) > 1:
        raise InconsistentGeometry(f"{len(files)} multi-frame images in one series: {SEND_ONE}")
    parts = sorted(files, key=lambda file: int_value(file.header, "InConcatenationNumber", 0))
    numbers = [int_value(part.header, "InConcatenationNumber", 0) for part in parts]
    totals = {int_value(part.header, "InConcatenationTotalNumber", 0) for part in parts} - {0}
    total = max(totals, default=max(numbers))
    missing = sorted(set(range(1, min(total, MAX_FRAMES) + 1)) - set(numbers))
    if missing:
        listed = ", ".join(map(str, missing[:6]))
        raise MissingSlices(f"part {listed} of {total} of the multi-frame image is missing: {SEND_SERIES}")
    _require_seamless(parts, numbers, total)
    return parts


def _require_seamless(parts: Sequence[SeriesFile], numbers: Sequence[int], total: int) -> None:
    """Refuse parts whose numbers or frame offsets contradict each other."""
    if list(numbers) != list(range(1, total + 1)):
        raise InconsistentGeometry(f"parts of a multi-frame image are numbered {numbers}: {SEND_SERIES}")
    expected = 0
    for part in parts:
        offset = int_value(part.header, "ConcatenationFrameOffsetNumber", expected)
        if offset != expected:
            raise MissingSlices(
                f"frames {expected + 1} to {offset} of the multi-frame image are missing: {SEND_SERIES}"
                if offset > expected
                else f"parts of the multi-frame image overlap at frame {offset + 1}: {SEND_SERIES}"
            )
        expected += int_value(part.header, "NumberOfFrames", 0)
