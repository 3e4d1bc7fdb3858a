"""The withdrawal of an earlier result: a rejection note (IHE RAD TF-2, Imaging Object Change Management).

A PACS that follows the profile stops showing what the note refers to; one that does not files a Key Object
Selection that says the same to people.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from core import codes
from core.domain import ModelIdentity, ResultKind
from sr_writer.context import ResultContext
from sr_writer.documents import predecessor_evidence
from sr_writer.elements import reference
from sr_writer.identity import SourceIdentity
from sr_writer.key_object_document import Selection, content_item, key_object_document
from sr_writer.uids import ResultUids

_DESCRIPTION = "Superseded: images of this series came later, and all of it was looked at again."
_IMAGES = (ResultKind.SEGMENTATION, ResultKind.FILM, ResultKind.OVERLAY)


def rejection_note(
    source: Dataset,
    model: ModelIdentity,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Dataset:
    """Withdraw the objects of the earlier result of a series.

    Parameters
    ----------
    source
        Header of a source image.
    model
        The algorithm of the new result.
    identity, context, uids
        Patient and study, circumstances with at least one predecessor, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    selection = Selection(
        kind=ResultKind.REJECTION_NOTE,
        variant="superseded",
        # The later result is the better one; nobody was endangered, and no worklist was wrong (CID 7011).
        title=codes.REJECTED_FOR_QUALITY,
        name="Withdrawn results",
        description=_DESCRIPTION,
        items=[
            content_item(
                reference(one.sop_class_uid, one.sop_instance_uid),
                "IMAGE" if one.kind in _IMAGES else "COMPOSITE",
            )
            for one in context.predecessors
        ],
        all_series=predecessor_evidence(context.predecessors),
    )
    return key_object_document(selection, source, model, identity, context, uids)
