"""The outlined stack as one Multi-frame True Color Secondary Capture image (PS3.3 A.8.5).

Frames are compressed with loss (JPEG, as a photograph would be): they are pictures to look at, and three
hundred uncompressed ones would be 240 MB. Whoever measures takes the source images and the segmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import JPEGBaseline8Bit, MultiFrameTrueColorSecondaryCaptureImageStorage

from core.domain import Analysis, ResultKind
from sr_writer.context import ResultContext
from sr_writer.film.stack import stack_pictures, stack_slices
from sr_writer.identity import SourceIdentity
from sr_writer.secondary_capture import Page, capture, set_image_pixel, sources_of
from sr_writer.uids import ResultUids

_QUALITY = 90
#: Pillow's name for half the chroma columns, which is what YBR_FULL_422 says.
_SUBSAMPLING_422 = 1
_PAGE_NUMBER_VECTOR = Tag("PageNumberVector")


def overlay_capture(
    analysis: Analysis, identity: SourceIdentity, context: ResultContext, uids: ResultUids
) -> Dataset:
    """Write every slice of the lungs with outlines as one multi-frame colour image.

    Parameters
    ----------
    analysis
        Source volume and masks.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    page = Page(
        kind=ResultKind.OVERLAY,
        sop_class=MultiFrameTrueColorSecondaryCaptureImageStorage,
        title="Lesion overlay",
        derivation="Slices with outlines of lungs and lesions",
        variant=context.language.value,
        headers=analysis.volume.headers,
        sources=sources_of(analysis, stack_slices(analysis)),
        model=analysis.lesions.model,
    )
    result = capture(page, identity, context, uids)
    _set_frames(result, list(_compressed(stack_pictures(analysis, context))), analysis)
    return result


def _compressed(pictures: Iterator[NDArray[np.uint8]]) -> Iterator[bytes]:
    for picture in pictures:
        buffer = BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, subsampling=_SUBSAMPLING_422)
        yield buffer.getvalue()


def _set_frames(result: Dataset, frames: list[bytes], analysis: Analysis) -> None:
    """Fill the Multi-frame and SC Multi-frame modules too (PS3.3 C.7.6.6, C.8.6.3, C.8.6.4)."""
    rows, columns = analysis.volume.geometry.shape_zyx[1:]
    result.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    set_image_pixel(result, rows, columns, "YBR_FULL_422")
    result.NumberOfFrames = len(frames)
    result.FrameIncrementPointer = _PAGE_NUMBER_VECTOR
    result.PageNumberVector = list(range(1, len(frames) + 1))
    result.LossyImageCompression = "01"
    ratio = rows * columns * 3 * len(frames) / sum(map(len, frames))
    result.LossyImageCompressionRatio = f"{ratio:.1f}"
    result.LossyImageCompressionMethod = "ISO_10918_1"
    result[Tag("PixelData")] = DataElement(
        Tag("PixelData"), "OB", encapsulate(frames), is_undefined_length=True
    )
