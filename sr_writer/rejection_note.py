"""The withdrawal of an earlier result: a rejection note (IHE RAD TF-2, Imaging Object Change Management).

A PACS that follows the profile stops showing what the note refers to; one that does not files a Key Object
Selection that says the same to people.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from core import codes
from core.domain import ModelIdentity, ResultKind
from core.forms import note_variant
from sr_writer.context import ResultContext
from sr_writer.documents import earlier_evidence
from sr_writer.elements import reference
from sr_writer.identity import SourceIdentity
from sr_writer.key_object_document import Selection, content_item, key_object_document
from sr_writer.uids import ResultUids

_DESCRIPTION = "Superseded: images of this series came later, and all of it was analysed again."
_IMAGES = (ResultKind.SEGMENTATION, ResultKind.FILM, ResultKind.OVERLAY)


def rejection_notes(
    source: Dataset,
    model: ModelIdentity,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> dict[str, Dataset]:
    """Withdraw the objects of the earlier results of a series.

    Parameters
    ----------
    source
        Header of a source image.
    model
        The algorithm of the new result.
    identity, context, uids
        Patient and study, circumstances with the objects that are replaced, UIDs.

    Returns
    -------
    dict of str to Dataset
        By name of peer, each with File Meta Information, not yet encoded: a PACS may refuse a note that names
        an object which it never got, so every peer gets one about those that it has.
    """
    peers = sorted({peer for one in context.predecessors for peer in one.peers})
    return {
        peer: key_object_document(_selection(peer, context), source, model, identity, context, uids)
        for peer in peers
    }


def _selection(peer: str, context: ResultContext) -> Selection:
    there = [one for one in context.predecessors if peer in one.peers]
    return Selection(
        kind=ResultKind.REJECTION_NOTE,
        # What a note names is its content, so part of its UIDs.
        variant=" ".join((note_variant(peer), *(one.sop_instance_uid for one in there))),
        # The later result is the better one; nobody was endangered, and no worklist was wrong (CID 7010).
        title=codes.REJECTED_FOR_QUALITY,
        modifier=codes.INAPPROPRIATE_PROCESSING,
        name="Withdrawn results",
        description=_DESCRIPTION,
        items=[
            content_item(
                reference(one.sop_class_uid, one.sop_instance_uid),
                "IMAGE" if one.kind in _IMAGES else "COMPOSITE",
            )
            for one in there
        ],
        all_series=earlier_evidence(there),
    )
