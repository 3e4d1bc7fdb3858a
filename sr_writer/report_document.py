"""The object around a content tree of TID 1500: Comprehensive (3D) SR (PS3.3 A.35.13, A.35.3).

Both hold the same content. A PACS that does not know the newer class is served with the older one, which has
no three-dimensional coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dcm_codes
from pydicom.uid import ExplicitVRLittleEndian

from core import codes
from core.codes import Code
from core.domain import ModelIdentity, ResultKind
from core.forms import ReportClass, ResultForm
from core.time_point import TimePoint
from sr_writer.concepts import QUALITATIVE_EVALUATIONS, concept, private_scheme
from sr_writer.context import ResultContext
from sr_writer.documents import (
    device_observer,
    earlier_evidence,
    evidence,
    evidence_in,
    evidence_template,
    referenced_requests,
    result_evidence,
    source_evidence,
)
from sr_writer.elements import uid_element
from sr_writer.equipment import series_description, sign
from sr_writer.group_parts import PRIOR_SERIES_PLACEHOLDER, SOURCE_SERIES_PLACEHOLDER, MeasurementGroup
from sr_writer.identity import SourceIdentity
from sr_writer.uids import ResultUids

# CID 100
_PROCEDURE_REPORTED = Code("25045-6", "LN", "CT unspecified body region")
_CT_CHEST = Code("24627-2", "LN", "CT Chest")
# A viewer that shows the text alone shows no Series Description, which says so too.
_RESEARCH_ONLY = "Research use only."
_SOP_CLASSES = {
    ReportClass.COMPREHENSIVE_3D: sr.Comprehensive3DSR,
    ReportClass.COMPREHENSIVE: sr.ComprehensiveSR,
}


@dataclass(frozen=True, slots=True, eq=False)
class ReportFrame:
    """What a report is about, whatever it says.

    Parameters
    ----------
    title
        What it is called in the Series Description.
    headers
        Of the source images, all of one series.
    segmentation
        The SEG that it refers to; None where there is none.
    model
        The algorithm that looked, or was to look, at the images.
    form
        Chooses the SOP Class, and is part of the UIDs.
    purpose
        What tells its UIDs from those of another report of the same form.
    prior
        The scan that it compares with; None where there is none.
    """

    title: str
    headers: Sequence[Dataset]
    segmentation: Dataset | None
    model: ModelIdentity
    form: ResultForm
    purpose: str = ""
    prior: TimePoint | None = None

    @property
    def form_variant(self) -> str:
        """Name of this encoding."""
        return self.form.variant(ResultKind.MEASUREMENT_REPORT)


def report_document(
    frame: ReportFrame,
    groups: Sequence[MeasurementGroup],
    evaluations: Sequence[sr.ContentItem],
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Dataset:
    """Write a report.

    Parameters
    ----------
    frame
        What it is about.
    groups
        Measurement groups, none where nothing was measured.
    evaluations
        Items of the Qualitative Evaluations (TID 1500 rows 12 to 14).
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    replaced = context.predecessor(ResultKind.MEASUREMENT_REPORT, frame.form_variant)
    # What a report cites is part of its content, so of its UIDs.
    after = "" if replaced is None else f" after {replaced.sop_instance_uid}"
    variant = f"{frame.purpose}{frame.form_variant}{after}"
    result = _document(frame, variant, _content(groups, evaluations, context), context, uids)
    series = {SOURCE_SERIES_PLACEHOLDER: str(frame.headers[0].SeriesInstanceUID)}
    if frame.prior is not None:
        series[PRIOR_SERIES_PLACEHOLDER] = frame.prior.facts.series_instance_uid
    _name_source_series(result, series)
    _add_evidence(result, frame, identity)
    if replaced is not None:
        result.PredecessorDocumentsSequence = [evidence(identity, earlier_evidence([replaced]))]
    identity.apply(result)
    requests = referenced_requests(identity)
    if requests:
        result.ReferencedRequestSequence = requests
    if identity.header.get("ProcedureCodeSequence"):
        result.PerformedProcedureCodeSequence = result.ProcedureCodeSequence
    sign(result, identity, context, frame.model)
    return result


def research_comment(model: ModelIdentity) -> list[sr.ContentItem]:
    """Return the warning that a model needs as an item of the Qualitative Evaluations."""
    return [text_item(codes.COMMENT, _RESEARCH_ONLY)] if model.research_only else []


def text_item(name: Code, text: str) -> sr.ContentItem:
    """Return a sentence about the examination."""
    return sr.TextContentItem(concept(name), text, sr.RelationshipTypeValues.CONTAINS)


def code_answer(name: Code, value: Code) -> sr.ContentItem:
    """Return a coded answer about the examination."""
    return sr.CodeContentItem(concept(name), concept(value), sr.RelationshipTypeValues.CONTAINS)


def _document(
    frame: ReportFrame, variant: str, content: sr.MeasurementReport, context: ResultContext, uids: ResultUids
) -> Dataset:
    """Return the object around a content tree, without identity and evidence.

    The library copies a tree and searches it for references, which takes longer than building it; the
    evidence is written here. So it gets the root alone, and the tree is put below it afterwards.
    """
    kind = ResultKind.MEASUREMENT_REPORT
    document: Dataset = _SOP_CLASSES[frame.form.report](
        evidence=[evidence_template(frame.segmentation)],
        content=_content([], [], context)[0],
        series_instance_uid=uids.series(kind, variant),
        series_number=context.series_number(kind),
        sop_instance_uid=uids.instance(kind, variant),
        instance_number=1,
        manufacturer=context.manufacturer,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=series_description(frame.title, frame.headers[0], context, frame.model),
        performed_procedure_codes=[concept(_CT_CHEST)],
        coding_schemes=[private_scheme()] if _uses_private_codes(content[0]) else None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    document.ContentSequence = content[0].ContentSequence
    if "PertinentOtherEvidenceSequence" in document:
        del document.PertinentOtherEvidenceSequence
    return document


def _uses_private_codes(item: Dataset) -> bool:
    """Tell whether a code of ours is anywhere below a content item."""
    return any(
        element.keyword == "CodingSchemeDesignator" and element.value == codes.PRIVATE_SCHEME
        for element in item.iterall()
    )


def _content(
    groups: Sequence[MeasurementGroup], evaluations: Sequence[sr.ContentItem], context: ResultContext
) -> sr.MeasurementReport:
    # The library builds no report without a group; where there is none its container is taken out again.
    placeholder = [sr.MeasurementsAndQualitativeEvaluations(sr.TrackingIdentifier("2.25.1", "none"))]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device_observer(context)),
        procedure_reported=concept(_PROCEDURE_REPORTED),
        imaging_measurements=list(groups) or placeholder,
        title=dcm_codes.DCM.ImagingMeasurementReport,
    )
    if not groups:
        del report[0].ContentSequence[-1]
    container = sr.ContainerContentItem(
        concept(QUALITATIVE_EVALUATIONS), relationship_type=sr.RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = sr.ContentSequence(list(evaluations))
    report[0].ContentSequence.append(container)
    return report


def _add_evidence(result: Dataset, frame: ReportFrame, identity: SourceIdentity) -> None:
    """Name every instance that the content refers to, each in its study (PS3.3 C.17.2.3).

    What is of another study was made for another request, so it is no evidence of the current one.
    """
    own = [] if frame.segmentation is None else [result_evidence(frame.segmentation)]
    current = [source_evidence(frame.headers), *own]
    if frame.prior is not None:
        named = set(_referenced(result))
        earlier = earlier_evidence(one for one in frame.prior.results if one.sop_instance_uid in named)
        study = frame.prior.facts.study_instance_uid
        if study == identity.text("StudyInstanceUID"):
            current += earlier
        elif earlier:
            result.PertinentOtherEvidenceSequence = [evidence_in(study, earlier)]
    result.CurrentRequestedProcedureEvidenceSequence = [evidence(identity, current)]


def _referenced(item: Dataset) -> Iterator[str]:
    """Yield the SOP Instance UIDs that the content below an item refers to."""
    for child in item.get("ContentSequence", ()):
        for instance in child.get("ReferencedSOPSequence", ()):
            yield str(instance.ReferencedSOPInstanceUID)
        yield from _referenced(child)


def _name_source_series(item: Dataset, series: Mapping[str, str]) -> None:
    """Put the Series Instance UIDs of sources where the groups have placeholders."""
    for child in item.get("ContentSequence", ()):
        placeholder = str(child.get("UID", ""))
        if placeholder in series:
            child.add(uid_element("UID", series[placeholder]))
            # The library's spelling is not that of PS3.16 D, and validators compare.
            child.ConceptNameCodeSequence[0].CodeMeaning = "Source series for segmentation"
        _name_source_series(child, series)
