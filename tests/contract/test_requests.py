"""What an examination was requested by, in the documents about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from core.domain import Refusal, ResultKind
from sr_writer.results import write_refusal
from tests.helpers.analyses import MODEL, Phantom, analysis_of, context_of, encoded, results_of
from tests.helpers.judges import dciodvfy_complaints

DOCUMENTS = (ResultKind.MEASUREMENT_REPORT, ResultKind.KEY_OBJECTS)


def request(number: str, **changes: object) -> Dataset:
    """Return an item of Request Attributes Sequence."""
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "24627-2", "LN", "CT Chest"
    item.RequestedProcedureID, item.RequestedProcedureDescription = number, "CT chest"
    item.RequestedProcedureCodeSequence = [code]
    item.ScheduledProcedureStepID = "SPS"
    for keyword, value in changes.items():
        setattr(item, keyword, value)
    return item


def phantom(*requests: Dataset) -> Phantom:
    """Return a phantom that was requested."""
    return Phantom(attributes={"RequestAttributesSequence": list(requests)} if requests else {})


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_each_request_is_named(kind: ResultKind, tmp_path: Path) -> None:
    """Two procedures under one Accession Number: both stand in the document, with study and number."""
    requests = (request("RP-1"), request("RP-2", AccessionNumber="A-78"))
    document = results_of(analysis_of(phantom(*requests)))[kind]
    first, second = document.ReferencedRequestSequence
    assert [first.RequestedProcedureID, second.RequestedProcedureID] == ["RP-1", "RP-2"]
    assert [first.AccessionNumber, second.AccessionNumber] == ["A-77", "A-78"]
    assert first.StudyInstanceUID == document.StudyInstanceUID
    assert first.RequestedProcedureCodeSequence[0].CodeValue == "24627-2"
    for keyword in ("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"):
        assert first[keyword].value in (None, "")
    path = tmp_path / "document.dcm"
    path.write_bytes(encoded(document))
    assert dciodvfy_complaints(path) == []


def test_nothing_is_made_up_where_nothing_was_requested() -> None:
    """No sequence without a request."""
    results = results_of(analysis_of(phantom()))
    assert all("ReferencedRequestSequence" not in results[kind] for kind in DOCUMENTS)


def test_a_refusal_answers_its_request_too() -> None:
    """Whoever asked gets the reason under the number of the request."""
    analysis = analysis_of(phantom(request("RP-1")))
    written = write_refusal(Refusal(analysis.volume.headers, "no", MODEL), context_of(analysis)).objects
    (report,) = (one.dataset for one in written if one.kind is ResultKind.MEASUREMENT_REPORT)
    assert report.ReferencedRequestSequence[0].RequestedProcedureID == "RP-1"
    # It has no code of ours, so it declares no scheme.
    assert "CodingSchemeIdentificationSequence" not in report
