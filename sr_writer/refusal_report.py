"""The report of a series that could not be analysed: the same document as a result, with the reason in it."""

from __future__ import annotations

from pydicom.dataset import Dataset

from core import codes
from core.domain import Refusal
from core.forms import ResultForm
from sr_writer.concepts import UNDETERMINED
from sr_writer.context import ResultContext, plain_text
from sr_writer.identity import SourceIdentity
from sr_writer.report_document import (
    ReportFrame,
    code_answer,
    report_document,
    research_comment,
    text_item,
)
from sr_writer.uids import ResultUids


def refusal_report(
    refusal: Refusal,
    form: ResultForm,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Dataset:
    """Say as a structured report (TID 1500 without measurements) why a series was not analysed.

    Parameters
    ----------
    refusal
        What was refused and why.
    form
        Chooses the SOP Class, and is part of the UIDs.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset
        The object with File Meta Information, not yet encoded.
    """
    evaluations = [
        code_answer(codes.LESION, UNDETERMINED),
        text_item(codes.COMMENT, plain_text(f"Not analysed because: {refusal.reason}")),
        *research_comment(refusal.model),
    ]
    frame = ReportFrame(
        title="NOT ANALYSED",
        headers=refusal.headers,
        segmentation=None,
        model=refusal.model,
        form=form,
        purpose="refusal ",
    )
    return report_document(frame, [], evaluations, identity, context, uids)
