"""The measurement report: TID 1500, every group a TID 1411.

Every number belongs to a segment of the SEG, so that a reader can count the voxels itself. What belongs to no
segment (that there is no lesion, the total severity) stands in the Qualitative Evaluations of TID 1500.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from core.domain import Analysis
from core.forms import ResultForm
from sr_writer.context import ResultContext
from sr_writer.group_parts import MeasurementGroup, ReportInput
from sr_writer.identity import SourceIdentity
from sr_writer.measurement_groups import GROUP_KINDS
from sr_writer.qualitative_evaluations import qualitative_evaluations
from sr_writer.report_document import ReportFrame, report_document
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
        material = ReportInput.of(analysis, segmentation, form, context, uids)
        groups = [group for make_groups in GROUP_KINDS for group in make_groups(material)]
    frame = ReportFrame(
        title="Lesion measurements",
        headers=analysis.volume.headers,
        segmentation=segmentation,
        model=analysis.lesions.model,
        form=form,
        prior=None if analysis.comparison is None else analysis.comparison.prior,
    )
    return report_document(frame, groups, qualitative_evaluations(analysis), identity, context, uids)
