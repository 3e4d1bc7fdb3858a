"""From an analysis to the objects that are sent: the one entrance to the writers."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from core.domain import Analysis, ModelIdentity, ResultFile, ResultKind, ResultObject, ResultSet
from core.errors import ResultEncodingError
from sr_writer.context import ResultContext, is_plain_text
from sr_writer.encapsulated_pdf import encapsulated_pdf
from sr_writer.fhir_bundle import FILE_NAME, encoded_bundle, fhir_bundle
from sr_writer.identity import SourceIdentity
from sr_writer.key_objects import key_objects
from sr_writer.measurement_report import measurement_report
from sr_writer.secondary_capture import film_capture
from sr_writer.segmentation import segmentation
from sr_writer.uids import ResultUids


def write_results(analysis: Analysis, context: ResultContext) -> ResultSet:
    """Write all results of one analysed series.

    Parameters
    ----------
    analysis
        Source volume, masks, measurements.
    context
        Who writes, when, and from which bytes.

    Returns
    -------
    ResultSet
        The SEG, then the SR that refers to it, the film, the key objects and the document; no SEG where no
        region has a voxel. The FHIR bundle is a file beside them. Each data set was encoded once and read
        back: writing it again gives the very bytes that were verified.

    Raises
    ------
    ResultEncodingError
        Where a result would be wrong: mixed patients, lost characters, masks that cannot be placed.
    """
    _check_model(analysis.lesions.model)
    identity = SourceIdentity.of(analysis.volume)
    uids = ResultUids.of(analysis.volume, identity, context, analysis.lesions.model)
    objects: list[ResultObject] = []
    remarks: list[str] = []
    seg = segmentation(analysis, identity, context, uids)
    if seg is None:
        remarks.append("No segmentation was written: neither lungs nor lesions were found.")
    else:
        seg = _encoded(seg, identity)
        objects.append(ResultObject(ResultKind.SEGMENTATION, seg))
    report = _encoded(measurement_report(analysis, seg, identity, context, uids), identity)
    objects.append(ResultObject(ResultKind.MEASUREMENT_REPORT, report))
    film = _encoded(film_capture(analysis, identity, context, uids), identity)
    objects.append(ResultObject(ResultKind.FILM, film))
    keys = key_objects(analysis, film, identity, context, uids)
    objects.append(ResultObject(ResultKind.KEY_OBJECTS, _encoded(keys, identity)))
    document = encapsulated_pdf(analysis, film, report, identity, context, uids)
    objects.append(ResultObject(ResultKind.DOCUMENT, _encoded(document, identity)))
    bundle = fhir_bundle(analysis, report, identity, context, uids)
    return ResultSet(tuple(objects), tuple(remarks), (ResultFile(FILE_NAME, encoded_bundle(bundle)),))


def _encoded(result: Dataset, identity: SourceIdentity) -> Dataset:
    """Encode a result, verify the bytes and return them parsed."""
    buffer = BytesIO()
    dcmwrite(buffer, result, enforce_file_format=True)
    encoded = buffer.getvalue()
    identity.verify(encoded)
    return dcmread(BytesIO(encoded))


def _check_model(model: ModelIdentity) -> None:
    longest = {"name": 64, "version": 64, "manufacturer": 64, "parameters": 1024}
    for field, length in longest.items():
        text = getattr(model, field)
        if not is_plain_text(text) or len(text) > length:
            raise ResultEncodingError(
                f"{field} of the model package is {text!r}; results need at most {length} printable ASCII "
                "characters without backslash. Correct the package's manifest."
            )
