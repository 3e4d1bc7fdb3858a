"""The object around a selection of instances: Key Object Selection (PS3.3 A.35.4, TID 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from core import codes
from core.codes import Code
from core.domain import ModelIdentity, ResultKind
from sr_writer.concepts import concept
from sr_writer.context import ResultContext
from sr_writer.documents import device_observer, evidence, evidence_template, referenced_requests
from sr_writer.equipment import code_item, series_description, sign
from sr_writer.identity import SourceIdentity
from sr_writer.uids import ResultUids


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What is selected and why.

    Parameters
    ----------
    kind, variant
        What it is, and what tells its UIDs from those of another one of its kind.
    title
        Document title, CID 7010.
    modifier
        Why, CID 7011: required of some titles (TID 2010 row 3).
    name, description
        For the Series Description; Key Object Description, a sentence for people.
    items
        `content_item` for each instance.
    all_series
        The same instances as evidence.
    """

    kind: ResultKind
    variant: str
    title: Code
    name: str
    description: str
    items: Sequence[Dataset]
    all_series: Sequence[Dataset]
    modifier: Code | None = None


def key_object_document(
    selection: Selection,
    source: Dataset,
    model: ModelIdentity,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Dataset:
    """Write a selection.

    Parameters
    ----------
    selection
        What is selected and why.
    source
        Header of a source image.
    model
        The algorithm of the result that it belongs to.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    kind, variant = selection.kind, selection.variant
    # The library's items bear a concept name, which TID 2010 does not have, and know nothing of frames. They
    # are replaced.
    template = evidence_template(None)
    result = KeyObjectSelectionDocument(
        evidence=[template],
        content=KeyObjectSelection(
            document_title=concept(selection.title),
            referenced_objects=[template],
            observer_device_context=device_observer(context),
            description=selection.description,
        ),
        series_instance_uid=uids.series(kind, variant),
        series_number=context.series_number(kind),
        sop_instance_uid=uids.instance(kind, variant),
        instance_number=1,
        manufacturer=context.manufacturer,
        series_description=series_description(selection.name, source, context, model),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    modifiers = [] if selection.modifier is None else [_modifier(selection.modifier)]
    result.ContentSequence = [
        *modifiers,
        *(item for item in result.ContentSequence if item.ValueType not in ("IMAGE", "COMPOSITE")),
        *selection.items,
    ]
    result.CurrentRequestedProcedureEvidenceSequence = [evidence(identity, selection.all_series)]
    identity.apply(result)
    requests = referenced_requests(identity)
    if requests:
        result.ReferencedRequestSequence = requests
    sign(result, identity, context, model)
    return result


def _modifier(reason: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType = "HAS CONCEPT MOD"
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = [code_item(codes.DOCUMENT_TITLE_MODIFIER)]
    item.ConceptCodeSequence = [code_item(reason)]
    return item


def content_item(instance: Dataset, value_type: str = "IMAGE") -> Dataset:
    """Return an instance (SOP Instance Reference macro) as a content item, TID 2010 rows 7 and 8."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = value_type
    item.ReferencedSOPSequence = [instance]
    return item
