"""Drawn pages as Secondary Capture images (PS3.3 A.8.1): what every PACS can show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from core.domain import Analysis, ModelIdentity, Refusal, ResultKind
from sr_writer.context import ResultContext
from sr_writer.elements import lossy_attributes, refer_to_sources, reference
from sr_writer.equipment import series_description, sign
from sr_writer.film.page import film, slices_shown
from sr_writer.film.refusal_page import refusal_page
from sr_writer.identity import SourceIdentity
from sr_writer.uids import ResultUids

_DERIVATION = "Page with key slices, outlines and measurements"
_DERIVATION_COMPARED = f"{_DERIVATION}, and the comparison with an earlier scan"


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A picture that was made here, and what it was made from.

    Parameters
    ----------
    kind, sop_class
        What it is, and its SOP Class UID.
    title, derivation
        For the Series Description, and Derivation Description (0008,2111).
    variant
        What tells its UIDs from those of any other page.
    headers, sources
        Of the source series, and the images of it that the page shows (SOP Instance Reference macro).
    model
        The algorithm.
    """

    kind: ResultKind
    sop_class: UID
    title: str
    derivation: str
    variant: str
    headers: Sequence[Dataset]
    sources: Sequence[Dataset]
    model: ModelIdentity


def film_capture(
    analysis: Analysis, identity: SourceIdentity, context: ResultContext, uids: ResultUids
) -> Dataset:
    """Write the film of an analysis as one colour image.

    Parameters
    ----------
    analysis
        Source volume, masks and numbers.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    page = Page(
        kind=ResultKind.FILM,
        sop_class=SecondaryCaptureImageStorage,
        title="Lesion film",
        derivation=_DERIVATION if analysis.comparison is None else _DERIVATION_COMPARED,
        variant=context.language.value,
        headers=analysis.volume.headers,
        sources=sources_of(analysis, slices_shown(analysis)),
        model=analysis.lesions.model,
    )
    result = capture(page, identity, context, uids)
    _set_pixels(result, film(analysis, context))
    return result


def refusal_capture(
    refusal: Refusal, identity: SourceIdentity, context: ResultContext, uids: ResultUids
) -> Dataset:
    """Write the page of a series that could not be analysed as one image.

    Parameters
    ----------
    refusal
        What was refused and why.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    first = refusal.headers[0]
    page = Page(
        kind=ResultKind.FILM,
        sop_class=SecondaryCaptureImageStorage,
        title="NOT ANALYSED",
        derivation="Page that says why a series was not analysed",
        variant=f"refusal-{context.language.value}",
        headers=refusal.headers,
        sources=[reference(str(first.SOPClassUID), str(first.SOPInstanceUID))],
        model=refusal.model,
    )
    result = capture(page, identity, context, uids)
    _set_pixels(result, refusal_page(refusal, context))
    return result


def capture(page: Page, identity: SourceIdentity, context: ResultContext, uids: ResultUids) -> Dataset:
    """Return a Secondary Capture image with everything but its pixels."""
    kind = page.kind
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.file_meta.MediaStorageSOPClassUID = page.sop_class
    result.file_meta.MediaStorageSOPInstanceUID = UID(uids.instance(kind, page.variant))
    result.SOPClassUID = page.sop_class
    result.SOPInstanceUID = uids.instance(kind, page.variant)
    result.SeriesInstanceUID = uids.series(kind, page.variant)
    result.SeriesNumber = context.series_number(kind)
    result.InstanceNumber = 1
    result.Modality = "OT"
    result.SeriesDescription = series_description(page.title, page.headers[0], context, page.model)
    result.PatientOrientation = None  # type 2C: a page has no directions
    # Both lungs are shown. Laterality of the series would be required for a paired body part without this.
    result.ImageLaterality = "B"
    result.ConversionType = "WSD"
    result.ImageType = ["DERIVED", "SECONDARY"]
    result.DerivationDescription = page.derivation
    # The date of the examination and its numbers are part of the picture: whoever de-identifies has to look.
    result.BurnedInAnnotation = "YES"
    result.RecognizableVisualFeatures = "NO"
    result.LossyImageCompression = "00"
    result.update(lossy_attributes(page.headers))
    refer_to_sources(result, str(page.headers[0].SeriesInstanceUID), page.sources)
    identity.apply(result, ("BodyPartExamined",))
    sign(result, identity, context, page.model)
    return result


def sources_of(analysis: Analysis, slices: Iterable[int]) -> list[Dataset]:
    """Return the images behind some slices (SOP Instance Reference macro)."""
    sop_class = str(analysis.volume.headers[0].SOPClassUID)
    frames = (analysis.volume.frames[index] for index in slices)
    return [reference(sop_class, frame.sop_instance_uid, frame.frame_number) for frame in frames]


def set_image_pixel(result: Dataset, rows: int, columns: int, photometric_interpretation: str) -> None:
    """Describe colour pixels of 8 bits (Image Pixel module, PS3.3 C.7.6.3)."""
    result.SamplesPerPixel = 3
    result.PhotometricInterpretation = photometric_interpretation
    result.PlanarConfiguration = 0
    result.Rows, result.Columns = rows, columns
    result.BitsAllocated = result.BitsStored = 8
    result.HighBit = 7
    result.PixelRepresentation = 0


def _set_pixels(result: Dataset, pixels: NDArray[np.uint8]) -> None:
    set_image_pixel(result, pixels.shape[0], pixels.shape[1], "RGB")
    result.add_new("PixelData", "OB", pixels.tobytes())
