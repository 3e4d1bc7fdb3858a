"""The key slices as a Key Object Selection: a viewer leads the reader to them."""

from __future__ import annotations

from pydicom.dataset import Dataset

from core import codes
from core.domain import Analysis, ResultKind
from sr_writer.context import ResultContext
from sr_writer.documents import result_evidence, source_evidence
from sr_writer.elements import reference
from sr_writer.identity import SourceIdentity
from sr_writer.key_object_document import Selection, content_item, key_object_document
from sr_writer.uids import ResultUids

_LESIONS = "Slices with most lesion, as shown on the film, and the film itself."
_NO_LESION = "No lesion was found: slices at even distances, as shown on the film, and the film itself."


def key_objects(
    analysis: Analysis,
    film: Dataset,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Dataset:
    """Select the slices that the film shows, and the film.

    Parameters
    ----------
    analysis
        Source volume.
    film
        The Secondary Capture of the same analysis; its source images are selected.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    headers = analysis.volume.headers
    images = [
        reference(
            str(one.ReferencedSOPClassUID),
            str(one.ReferencedSOPInstanceUID),
            one.get("ReferencedFrameNumber"),
        )
        for one in film.SourceImageSequence
    ]
    shown = {str(one.ReferencedSOPInstanceUID) for one in images}
    sources = [header for header in headers if str(header.SOPInstanceUID) in shown]
    images.append(reference(str(film.SOPClassUID), str(film.SOPInstanceUID)))
    selection = Selection(
        kind=ResultKind.KEY_OBJECTS,
        # It refers to the film, which is another object in every language: so is this.
        variant=f"of-interest-{context.language.value}",
        title=codes.OF_INTEREST,
        name="Key slices",
        description=_LESIONS if analysis.lesions.labels_zyx.any() else _NO_LESION,
        items=[content_item(image) for image in images],
        all_series=[source_evidence(sources), result_evidence(film)],
    )
    return key_object_document(selection, headers[0], analysis.lesions.model, identity, context, uids)
