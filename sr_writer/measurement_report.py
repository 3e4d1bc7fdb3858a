"""The measurement report: Comprehensive 3D SR (PS3.3 A.35.13), TID 1500, every group a TID 1411.

Every number belongs to a segment of the SEG, so that a reader can count the voxels itself. What belongs to no
segment (that there is no lesion, the total severity) stands in the Qualitative Evaluations of TID 1500.
"""

from __future__ import annotations

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dcm_codes
from pydicom.uid import ExplicitVRLittleEndian

from core.codes import Code
from core.domain import Analysis, ResultKind
from sr_writer.concepts import concept, private_scheme
from sr_writer.context import ResultContext
from sr_writer.documents import (
    device_observer,
    evidence,
    evidence_template,
    result_evidence,
    source_evidence,
)
from sr_writer.elements import uid_element
from sr_writer.equipment import series_description, sign
from sr_writer.identity import SourceIdentity
from sr_writer.measurement_groups import GROUP_KINDS, SOURCE_SERIES_PLACEHOLDER, MeasurementGroup, ReportInput
from sr_writer.qualitative_evaluations import qualitative_evaluations
from sr_writer.uids import ResultUids

#: Encoding of this object; part of its UIDs, because another encoding is another object.
VARIANT = "comprehensive-3d"

# CID 100
_PROCEDURE_REPORTED = Code("25045-6", "LN", "CT unspecified body region")
_CT_CHEST = Code("24627-2", "LN", "CT Chest")


def measurement_report(
    analysis: Analysis,
    segmentation: Dataset | None,
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
        The SEG of the same analysis; None where no region has a voxel.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    groups: list[MeasurementGroup] = []
    if segmentation is not None:
        material = ReportInput.of(analysis, segmentation, context, uids)
        groups = [group for make_groups in GROUP_KINDS for group in make_groups(material)]
    content = _content(groups, analysis, context)
    result = _document(content, segmentation, context, uids, analysis)
    _name_source_series(result, str(analysis.volume.headers[0].SeriesInstanceUID))
    sources = source_evidence(analysis.volume, (str(one.SOPInstanceUID) for one in analysis.volume.headers))
    own = [] if segmentation is None else [result_evidence(segmentation)]
    result.CurrentRequestedProcedureEvidenceSequence = [evidence(identity, [sources, *own])]
    identity.apply(result)
    if identity.header.get("ProcedureCodeSequence"):
        result.PerformedProcedureCodeSequence = result.ProcedureCodeSequence
    sign(result, identity, context, analysis.lesions.model)
    return result


def _document(
    content: sr.MeasurementReport,
    segmentation: Dataset | None,
    context: ResultContext,
    uids: ResultUids,
    analysis: Analysis,
) -> Dataset:
    """Return the object around a content tree, without identity and evidence."""
    source, model = analysis.volume.headers[0], analysis.lesions.model
    kind = ResultKind.MEASUREMENT_REPORT
    return sr.Comprehensive3DSR(
        evidence=[evidence_template(segmentation)],
        content=content[0],
        series_instance_uid=uids.series(kind, VARIANT),
        series_number=context.series_number(kind),
        sop_instance_uid=uids.instance(kind, VARIANT),
        instance_number=1,
        manufacturer=context.manufacturer,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=series_description("Lesion measurements", source, context, model),
        performed_procedure_codes=[concept(_CT_CHEST)],
        coding_schemes=[private_scheme()],
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def _content(
    groups: list[MeasurementGroup], analysis: Analysis, context: ResultContext
) -> sr.MeasurementReport:
    # The library builds no report without a group; where there is none its container is taken out again.
    placeholder = [sr.MeasurementsAndQualitativeEvaluations(sr.TrackingIdentifier("2.25.1", "none"))]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device_observer(context)),
        procedure_reported=concept(_PROCEDURE_REPORTED),
        imaging_measurements=groups or placeholder,
        title=dcm_codes.DCM.ImagingMeasurementReport,
    )
    if not groups:
        del report[0].ContentSequence[-1]
    report[0].ContentSequence.append(qualitative_evaluations(analysis))
    return report


def _name_source_series(item: Dataset, series_instance_uid: str) -> None:
    """Put the source's Series Instance UID where the groups have a placeholder."""
    for child in item.get("ContentSequence", ()):
        if child.get("UID") == SOURCE_SERIES_PLACEHOLDER:
            child.add(uid_element("UID", series_instance_uid))
        _name_source_series(child, series_instance_uid)
