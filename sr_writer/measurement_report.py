"""The measurement report: TID 1500, every group a TID 1411.

Every number belongs to a segment of the SEG, so that a reader can count the voxels itself. What belongs to no
segment (that there is no lesion, the total severity) stands in the Qualitative Evaluations of TID 1500.
"""

from __future__ import annotations

from highdicom import sr
from pydicom.dataset import Dataset

from core import codes
from core.codes import Code
from core.domain import HIGHEST_SEVERITY_SCORE, Analysis, Region
from core.forms import ResultForm
from sr_writer.concepts import ABSENT, PRESENT, UNDETERMINED
from sr_writer.context import ResultContext, plain_text
from sr_writer.identity import SourceIdentity
from sr_writer.measurement_groups import GROUP_KINDS, MeasurementGroup, ReportInput
from sr_writer.report_document import (
    ReportFrame,
    code_answer,
    report_document,
    research_comment,
    text_item,
)
from sr_writer.uids import ResultUids


def measurement_report(
    analysis: Analysis,
    segmentation: Dataset | None,
    form: ResultForm,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Dataset:
    """Write the measurements of an analysis as a structured report.

    Parameters
    ----------
    analysis
        Source volume and measurements.
    segmentation
        The SEG of the same analysis and form; None where no region has a voxel.
    form
        Chooses the SOP Class, and is part of the UIDs.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    groups: list[MeasurementGroup] = []
    if segmentation is not None:
        material = ReportInput(analysis, segmentation, context, uids)
        groups = [group for make_groups in GROUP_KINDS for group in make_groups(material)]
    frame = ReportFrame(
        title="Lesion measurements",
        headers=analysis.volume.headers,
        segmentation=segmentation,
        model=analysis.lesions.model,
        form=form,
    )
    return report_document(frame, groups, _evaluations(analysis), identity, context, uids)


def _evaluations(analysis: Analysis) -> list[sr.ContentItem]:
    """Return what is said about the examination as a whole, remarks included (TID 1500 rows 12 to 14)."""
    evaluations = [code_answer(codes.LESION, _presence(analysis))]
    if _lungs_in_view(analysis):
        score = f"{analysis.measurements.severity_score} of {HIGHEST_SEVERITY_SCORE}"
        evaluations.append(text_item(codes.SEVERITY_SCORE, score))
    evaluations += research_comment(analysis.lesions.model)
    return evaluations + [text_item(codes.COMMENT, plain_text(one)) for one in analysis.volume.remarks]


def _presence(analysis: Analysis) -> Code:
    """Return whether there is any lesion; without a lung nobody looked, so that is not known."""
    if analysis.measurements.of(Region.LESIONS).volume_ml > 0:
        return PRESENT
    return ABSENT if _lungs_in_view(analysis) else UNDETERMINED


def _lungs_in_view(analysis: Analysis) -> bool:
    lungs = (Region.LUNG_RIGHT, Region.LUNG_LEFT)
    return any(analysis.measurements.of(lung).volume_ml > 0 for lung in lungs)
