"""The document as an Encapsulated PDF (PS3.3 A.45.1): the numbers as text, for people and for printing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian

from core import codes
from core.domain import Analysis, ResultKind
from sr_writer.context import ResultContext
from sr_writer.document.content import document_content
from sr_writer.document.pdf import pdf
from sr_writer.elements import reference
from sr_writer.equipment import code_item, series_description, sign
from sr_writer.identity import SourceIdentity
from sr_writer.uids import ResultUids

#: The header holds text of our own in ASCII, whatever the language of the document.
_TITLE = "Chest CT: lesions of the lungs"


def encapsulated_pdf(
    analysis: Analysis,
    film: Dataset,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Dataset:
    """Write the document of an analysis.

    Parameters
    ----------
    analysis
        Source volume and numbers.
    film
        The Secondary Capture of the same analysis: page 1.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.

    Raises
    ------
    ResultEncodingError
        Where the document cannot be typeset.
    """
    moment = identity.local_time(context.content_datetime_utc)
    content = document_content(analysis, context, moment)
    encoded = pdf(content, _pixels(film), context.content_datetime_utc)
    kind, variant = ResultKind.DOCUMENT, context.language.value
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    result.file_meta.MediaStorageSOPInstanceUID = UID(uids.instance(kind, variant))
    result.SOPClassUID = EncapsulatedPDFStorage
    result.SOPInstanceUID = uids.instance(kind, variant)
    result.SeriesInstanceUID = uids.series(kind, variant)
    result.SeriesNumber = context.series_number(kind)
    result.InstanceNumber = 1
    result.Modality = "DOC"
    result.SeriesDescription = series_description(
        "Lesion document", analysis.volume.headers[0], context, analysis.lesions.model
    )
    result.ConversionType = "WSD"
    result.AcquisitionDateTime = None  # type 2: pages have none, their sources do
    # As on the film: the date of the examination and its numbers can be read off the pages.
    result.BurnedInAnnotation = "YES"
    result.RecognizableVisualFeatures = "NO"
    result.SourceInstanceSequence = [
        *(reference(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in analysis.volume.headers),
        # Not the report: it is another object in every form, and this document is the same in all.
        reference(str(film.SOPClassUID), str(film.SOPInstanceUID)),
    ]
    result.DocumentTitle = _TITLE
    result.ConceptNameCodeSequence = [code_item(codes.IMAGING_MEASUREMENT_REPORT)]
    result.VerificationFlag = "UNVERIFIED"
    result.MIMETypeOfEncapsulatedDocument = "application/pdf"
    result.EncapsulatedDocumentLength = len(encoded)
    result.EncapsulatedDocument = encoded
    identity.apply(result)
    sign(result, identity, context, analysis.lesions.model)
    return result


def pdf_of(document: Dataset) -> bytes:
    """Return the file inside an Encapsulated PDF of ours: it has no padding byte."""
    return bytes(document.EncapsulatedDocument)


def _pixels(film: Dataset) -> NDArray[np.uint8]:
    """Return the picture of a film as (y, x, 3) uint8, red, green, blue."""
    return np.frombuffer(film.PixelData, np.uint8).reshape(film.Rows, film.Columns, 3)
