"""The film as a Secondary Capture image (PS3.3 A.8.1): what every PACS can show."""

from __future__ import annotations

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from core.domain import Analysis, ResultKind
from sr_writer.context import ResultContext
from sr_writer.elements import lossy_attributes, refer_to_sources, reference
from sr_writer.equipment import series_description, sign
from sr_writer.film.page import film, slices_shown
from sr_writer.identity import SourceIdentity
from sr_writer.uids import ResultUids


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
    pixels = film(analysis, context)
    kind, variant = ResultKind.FILM, context.language.value
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    result.file_meta.MediaStorageSOPInstanceUID = UID(uids.instance(kind, variant))
    result.SOPClassUID = SecondaryCaptureImageStorage
    result.SOPInstanceUID = uids.instance(kind, variant)
    result.SeriesInstanceUID = uids.series(kind, variant)
    result.SeriesNumber = context.series_number(kind)
    result.InstanceNumber = 1
    result.Modality = "OT"
    result.SeriesDescription = series_description(
        "Lesion film", analysis.volume.headers[0], context, analysis.lesions.model
    )
    result.PatientOrientation = None  # type 2C: a page has no directions
    # Both lungs are shown. Laterality of the series would be required for a paired body part without this.
    result.ImageLaterality = "B"
    result.ConversionType = "WSD"
    result.ImageType = ["DERIVED", "SECONDARY"]
    result.DerivationDescription = "Page with key slices, outlines and measurements"
    # The date of the examination and its numbers are part of the picture: whoever de-identifies has to look.
    result.BurnedInAnnotation = "YES"
    result.RecognizableVisualFeatures = "NO"
    result.LossyImageCompression = "00"
    result.update(lossy_attributes(analysis.volume.headers))
    headers = analysis.volume.headers
    frames = [analysis.volume.frames[index] for index in slices_shown(analysis)]
    sources = [
        reference(str(headers[0].SOPClassUID), frame.sop_instance_uid, frame.frame_number) for frame in frames
    ]
    refer_to_sources(result, str(headers[0].SeriesInstanceUID), sources)
    result.SamplesPerPixel = 3
    result.PhotometricInterpretation = "RGB"
    result.PlanarConfiguration = 0
    result.Rows, result.Columns = pixels.shape[:2]
    result.BitsAllocated = result.BitsStored = 8
    result.HighBit = 7
    result.PixelRepresentation = 0
    result.add_new("PixelData", "OB", pixels.tobytes())
    identity.apply(result, ("BodyPartExamined",))
    sign(result, identity, context, analysis.lesions.model)
    return result
