"""Drawn pages as Secondary Capture images (PS3.3 A.8.1): what every PACS can show."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    """A drawn page and what it was made from.

    Parameters
    ----------
    pixels
        (rows, columns, 3) uint8, red, green, blue.
    title, derivation
        For the Series Description, and Derivation Description (0008,2111).
    variant
        What tells its UIDs from those of any other page.
    headers, sources
        Of the source series, and the images of it that the page shows (SOP Instance Reference macro).
    model
        The algorithm.
    """

    pixels: NDArray[np.uint8]
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
    headers = analysis.volume.headers
    frames = [analysis.volume.frames[index] for index in slices_shown(analysis)]
    page = _Page(
        pixels=film(analysis, context),
        title="Lesion film",
        derivation="Page with key slices, outlines and measurements",
        variant=context.language.value,
        headers=headers,
        sources=[
            reference(str(headers[0].SOPClassUID), frame.sop_instance_uid, frame.frame_number)
            for frame in frames
        ],
        model=analysis.lesions.model,
    )
    return _capture(page, identity, context, uids)


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
    page = _Page(
        pixels=refusal_page(refusal, context),
        title="NOT ANALYSED",
        derivation="Page that says why a series was not analysed",
        variant=f"refusal-{context.language.value}",
        headers=refusal.headers,
        sources=[reference(str(first.SOPClassUID), str(first.SOPInstanceUID))],
        model=refusal.model,
    )
    return _capture(page, identity, context, uids)


def _capture(page: _Page, identity: SourceIdentity, context: ResultContext, uids: ResultUids) -> Dataset:
    kind = ResultKind.FILM
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    result.file_meta.MediaStorageSOPInstanceUID = UID(uids.instance(kind, page.variant))
    result.SOPClassUID = SecondaryCaptureImageStorage
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
    _set_pixels(result, page.pixels)
    identity.apply(result, ("BodyPartExamined",))
    sign(result, identity, context, page.model)
    return result


def _set_pixels(result: Dataset, pixels: NDArray[np.uint8]) -> None:
    """Fill the Image Pixel module (PS3.3 C.7.6.3)."""
    result.SamplesPerPixel = 3
    result.PhotometricInterpretation = "RGB"
    result.PlanarConfiguration = 0
    result.Rows, result.Columns = pixels.shape[:2]
    result.BitsAllocated = result.BitsStored = 8
    result.HighBit = 7
    result.PixelRepresentation = 0
    result.add_new("PixelData", "OB", pixels.tobytes())
