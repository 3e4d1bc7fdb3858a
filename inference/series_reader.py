"""One CT series: Part 10 files in, one volume in Hounsfield units out, or the reason why not.

Slices are sorted by their position along the slice normal, never by Instance Number or file name. A series
that is not one complete, regular, axial stack in HU is refused in words for the people who run the scanner
and the PACS; nothing is repaired by guessing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEGLSNearLossless

from core.ct_header import ANALYSED_SOP_CLASSES, CT_IMAGE_STORAGE, image_types, reason_not_analysable
from core.domain import CtVolume, SOPInstanceUID, SourceFrame
from core.errors import InconsistentGeometry, OtherImages, SeriesRejected, UnsupportedImage
from inference.enhanced_reader import multi_frame_frames
from inference.header_values import SEND_ONE, text_value
from inference.pixel_decoding import hounsfield_table, read_words
from inference.series_files import PARSE_FAILURES, SeriesFile, data_set_bytes, open_series_file
from inference.series_frames import Frame, single_frame
from inference.series_stack import Stack, build_stack

#: A chest holds air below the first and tissue above the second, HU; a series without them is not in HU.
AIR_HU = -500
TISSUE_HU = -200

#: Image Types of what scanners put beside a stack into its series; it is left out, not refused.
_BESIDE_THE_STACK = frozenset(
    {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCREEN SAVE", "SCREENSHOT", "DOSE_INFO"}
)
_LOSSY_TRANSFER_SYNTAXES = frozenset({JPEGLSNearLossless, JPEG2000, HTJ2K})
#: Share of the progress that reading the headers takes.
_HEADERS_SHARE = 0.2

Progress = Callable[[float], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


def read_series(paths: Sequence[Path], *, threads: int = 2, progress: Progress | None = None) -> CtVolume:
    """Read one CT series.

    Parameters
    ----------
    paths
        Part 10 files of one series, in any order; the same image twice counts once.
    threads
        Workers that read and decode.
    progress
        Is told the share done, rising from 0 to 1, in the calling thread.

    Returns
    -------
    CtVolume
        (z, y, x) int16 HU. A concatenation has one header for each of its parts, in their order.

    Raises
    ------
    SeriesRejected
        One of its subclasses `MissingSlices`, `InconsistentGeometry`, `UnsupportedImage`; the message says
        what was found and what to do.
    SpoolError
        The disk does not yield a file.
    """
    tell = progress or (lambda _share: None)
    if not paths:
        raise UnsupportedImage("the series holds no images: send it again, complete")
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        files = _all_or_reason(
            pool.map(_attempt(open_series_file), paths),
            len(paths),
            lambda done: tell(_HEADERS_SHARE * done),
        )
        files, remarks = _select(_without_repeats(files))
        stack = build_stack(_frames(files))
        hu_zyx = np.empty(stack.geometry.shape_zyx, dtype=np.int16)
        _all_or_reason(
            pool.map(_attempt(_slice_reader(stack, hu_zyx)), range(len(stack.frames))),
            len(stack.frames),
            lambda done: tell(_HEADERS_SHARE + (1 - _HEADERS_SHARE) * done),
        )
    _require_hounsfield_units(hu_zyx)
    return CtVolume(
        hu_zyx=hu_zyx,
        geometry=stack.geometry,
        frames=tuple(_source_frame(frame) for frame in stack.frames),
        headers=_headers(stack, files),
        remarks=(*remarks, *stack.remarks, *_value_remarks(stack)),
    )


def _attempt(function: Callable[[Item], Result]) -> Callable[[Item], Result | SeriesRejected]:
    """Return the function with a refusal as its result, so that all refusals of a series can be counted."""

    def attempt(item: Item) -> Result | SeriesRejected:
        try:
            return function(item)
        except SeriesRejected as exc:
            return exc

    return attempt


def _all_or_reason(
    results: Iterable[Result | SeriesRejected], total: int, tell: Progress = lambda _share: None
) -> list[Result]:
    """Return all results, or raise the first refusal with the number of images that share its fate."""
    good: list[Result] = []
    refusals: list[SeriesRejected] = []
    for done, result in enumerate(results, start=1):
        if isinstance(result, SeriesRejected):
            refusals.append(result)
        else:
            good.append(result)
        tell(done / total)
    if refusals:
        raise type(refusals[0])(f"{len(refusals)} of {total} images: {refusals[0]}") from refusals[0]
    return good


def _without_repeats(files: Sequence[SeriesFile]) -> list[SeriesFile]:
    """Count an image that came twice once, and refuse two images under one identity."""
    known: dict[str, SeriesFile] = {}
    for file in files:
        instance = _identity(file.header)[0]
        if instance not in known:
            known[instance] = file
        elif data_set_bytes(known[instance].path) != data_set_bytes(file.path):
            raise InconsistentGeometry(
                "two different images have the same SOP Instance UID: "
                "correct the UIDs at the source and send the series again"
            )
    identities = [_identity(file.header)[1:] for file in known.values()]
    for what, values in zip(("series", "studies", "patients"), zip(*identities, strict=True), strict=True):
        if len(set(values)) > 1:
            raise InconsistentGeometry(
                f"images of {len(set(values))} {what} under one series: send each alone"
            )
    return list(known.values())


def _identity(header: Dataset) -> tuple[str, str, str, tuple[str, str]]:
    """Return instance, series, study and patient (identifier and issuer) as text."""
    try:
        instance, series, study, patient, issuer = (
            str(header.get(keyword) or "").strip()
            for keyword in (
                "SOPInstanceUID",
                "SeriesInstanceUID",
                "StudyInstanceUID",
                "PatientID",
                "IssuerOfPatientID",
            )
        )
    except PARSE_FAILURES:
        raise UnsupportedImage("the identity of an image is unreadable: send the series again") from None
    if not instance:
        raise UnsupportedImage(
            "an image has no SOP Instance UID: correct the source and send the series again"
        )
    return instance, series, study, (patient, issuer)


def _select(files: Sequence[SeriesFile]) -> tuple[list[SeriesFile], list[str]]:
    """Leave out what only lies beside the stack, and refuse what is no original stack in HU."""
    kept: list[SeriesFile] = []
    beside: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for file in files:
        reason, is_beside = _judge(file.header)
        if reason is None:
            kept.append(file)
        else:
            (beside if is_beside else refused)[reason] += 1
    if refused or not kept:
        reason, count = (refused or beside).most_common(1)[0]
        refusal = UnsupportedImage if kept else OtherImages
        raise refusal(
            f"{count} of {len(files)} images: {reason}: send one original axial reconstruction in HU"
        )
    return kept, [f"Left out of the series: {reason} ({count})." for reason, count in beside.items()]


def _judge(header: Dataset) -> tuple[str | None, bool]:
    try:
        reason = reason_not_analysable(header)
        sop_class = str(header.get("SOPClassUID", ""))
        is_beside = sop_class not in ANALYSED_SOP_CLASSES or bool(
            _BESIDE_THE_STACK.intersection(image_types(header))
        )
    except PARSE_FAILURES:
        raise UnsupportedImage("the kind of an image is unreadable: send the series again") from None
    return reason, is_beside


def _frames(files: Sequence[SeriesFile]) -> Sequence[Frame]:
    multi = [file for file in files if file.header.SOPClassUID != CT_IMAGE_STORAGE]
    if multi and len(multi) < len(files):
        raise InconsistentGeometry(
            f"{len(multi)} multi-frame and {len(files) - len(multi)} single-frame images in one series: "
            f"{SEND_ONE}"
        )
    if multi:
        return multi_frame_frames(multi)
    return _all_or_reason(map(_attempt(single_frame), files), len(files))


def _slice_reader(stack: Stack, hu_zyx: NDArray[np.int16]) -> Callable[[int], None]:
    """Return the function that reads one slice into its place; thread-safe."""
    # Most series have one rescale for all slices, some one for each: a few tables are enough.
    table_of = lru_cache(maxsize=8)(hounsfield_table)

    def read(z: int) -> None:
        frame = stack.frames[z]
        np.take(table_of(frame.stored, frame.mapping), read_words(frame), out=hu_zyx[z], mode="clip")

    return read


def _require_hounsfield_units(hu_zyx: NDArray[np.int16]) -> None:
    """Refuse values that cannot be HU, such as stored values whose Rescale Intercept was lost."""
    lowest, highest = int(hu_zyx.min()), int(hu_zyx.max())
    if lowest > AIR_HU or highest < TISSUE_HU:
        raise UnsupportedImage(
            f"values from {lowest} to {highest} are not Hounsfield units of a body in air: "
            "check Rescale Intercept and Rescale Slope at the source and send the original images"
        )


def _source_frame(frame: Frame) -> SourceFrame:
    return SourceFrame(SOPInstanceUID(str(frame.file.header.SOPInstanceUID)), frame.number)


def _headers(stack: Stack, files: Sequence[SeriesFile]) -> tuple[Dataset, ...]:
    if stack.frames[0].number is None:
        return tuple(frame.file.header for frame in stack.frames)
    parts = sorted(files, key=lambda file: int(file.header.get("InConcatenationNumber") or 0))
    return tuple(part.header for part in parts)


def _value_remarks(stack: Stack) -> list[str]:
    """Tell what the values went through before they came here."""
    remarks = []
    lossy = sum(_may_be_lossy(frame.file) for frame in stack.frames)
    if lossy:
        remarks.append(f"{lossy} of {len(stack.frames)} slices may have been compressed with loss.")
    mapping = stack.frames[0].mapping
    if mapping.padding is not None and mapping.modality_lut is None:
        hu = mapping.padding[0] * mapping.slope + mapping.intercept
        if AIR_HU - 400 < hu < 3000:
            remarks.append(
                f"Pixel Padding Value {mapping.padding[0]} would be {hu:.0f} HU, which tissue can have: "
                "pixels with it were taken as outside the image."
            )
    return remarks


def _may_be_lossy(file: SeriesFile) -> bool:
    """Tell whether Lossy Image Compression (0028,2110) says so, or a lossy syntax does not say otherwise."""
    said = text_value(file.header, "LossyImageCompression")
    return said == "01" or (said != "00" and file.transfer_syntax_uid in _LOSSY_TRANSFER_SYNTAXES)
