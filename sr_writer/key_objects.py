"""The key slices as a Key Object Selection (PS3.3 A.35.4, TID 2010): a viewer leads the reader to them."""

from __future__ import annotations

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from core import codes
from core.domain import Analysis, ResultKind
from sr_writer.concepts import concept
from sr_writer.context import ResultContext
from sr_writer.documents import (
    device_observer,
    evidence,
    evidence_template,
    result_evidence,
    source_evidence,
)
from sr_writer.elements import reference
from sr_writer.equipment import series_description, sign
from sr_writer.identity import SourceIdentity
from sr_writer.uids import ResultUids

#: Encoding of this object; part of its UIDs.
VARIANT = "of-interest"
_DESCRIPTION = "Slices with most lesion, as shown on the film, and the film itself."


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
    kind, volume, model = ResultKind.KEY_OBJECTS, analysis.volume, analysis.lesions.model
    # It refers to the film, which is another object in every language: so is this.
    variant = f"{VARIANT}-{context.language.value}"
    template = evidence_template(film)
    content = KeyObjectSelection(
        document_title=concept(codes.OF_INTEREST),
        referenced_objects=[template],
        observer_device_context=device_observer(context),
        description=_DESCRIPTION,
    )
    result = KeyObjectSelectionDocument(
        evidence=[template],
        content=content,
        series_instance_uid=uids.series(kind, variant),
        series_number=context.series_number(kind),
        sop_instance_uid=uids.instance(kind, variant),
        instance_number=1,
        manufacturer=context.manufacturer,
        series_description=series_description("Key slices", volume.headers[0], context, model),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    images = [
        reference(
            str(one.ReferencedSOPClassUID),
            str(one.ReferencedSOPInstanceUID),
            one.get("ReferencedFrameNumber"),
        )
        for one in film.SourceImageSequence
    ]
    shown = {str(one.ReferencedSOPInstanceUID) for one in images}
    sources = [header for header in volume.headers if str(header.SOPInstanceUID) in shown]
    images.append(reference(str(film.SOPClassUID), str(film.SOPInstanceUID)))
    result.ContentSequence = [
        *(item for item in result.ContentSequence if item.ValueType not in ("IMAGE", "COMPOSITE")),
        *(_image(image) for image in images),
    ]
    result.CurrentRequestedProcedureEvidenceSequence = [
        evidence(identity, [source_evidence(sources), result_evidence(film)])
    ]
    identity.apply(result)
    sign(result, identity, context, model)
    return result


def _image(image: Dataset) -> Dataset:
    """Return a content item without a concept name: TID 2010 row 7 has none."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE"
    item.ReferencedSOPSequence = [image]
    return item
