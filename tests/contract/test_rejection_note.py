"""A later result of the same series: what it cites, and what it withdraws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from core.domain import Predecessor, Refusal, ResultKind
from core.forms import ResultForm
from sr_writer.results import write_refusal, write_results
from tests.helpers.analyses import MODEL, analysis_of, context_of, encoded, results_of
from tests.helpers.dcmtk import dsrdump
from tests.helpers.judges import dciodvfy_complaints


def predecessors(form: ResultForm | None = None) -> tuple[Predecessor, ...]:
    """Return the objects of a first result, as a ledger knows them."""
    analysis = analysis_of()
    written = write_results(analysis, context_of(analysis), [form or ResultForm()])
    return tuple(
        Predecessor(
            one.kind,
            one.variant,
            str(one.dataset.SeriesInstanceUID),
            str(one.dataset.SOPClassUID),
            one.sop_instance_uid,
            frozenset({"pacs"}),
        )
        for one in written.objects
    )


def cited(report: Dataset) -> list[str]:
    """Return the SOP Instance UIDs of a report's predecessors."""
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def test_a_first_result_replaces_nothing() -> None:
    """No note, and no predecessor."""
    results = results_of(analysis_of())
    assert ResultKind.REJECTION_NOTE not in results
    assert cited(results[ResultKind.MEASUREMENT_REPORT]) == []


def test_the_note_withdraws_every_object_of_the_first_result(tmp_path: Path) -> None:
    """Images as images, documents as such, each in its series; well-formed for dciodvfy and DCMTK."""
    first = predecessors()
    note = results_of(analysis_of(), generation=2, predecessors=first)[ResultKind.REJECTION_NOTE]
    items = [item for item in note.ContentSequence if "ReferencedSOPSequence" in item]
    named = {str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID): item.ValueType for item in items}
    assert named == {
        one.sop_instance_uid: "IMAGE"
        if one.kind in (ResultKind.SEGMENTATION, ResultKind.FILM)
        else "COMPOSITE"
        for one in first
    }
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    evidence = {
        (str(series.SeriesInstanceUID), str(instance.ReferencedSOPInstanceUID))
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert evidence == {(one.series_instance_uid, one.sop_instance_uid) for one in first}
    path = tmp_path / "note.dcm"
    path.write_bytes(encoded(note))
    assert dciodvfy_complaints(path) == []
    assert "Rejected for Quality Reasons" in dsrdump(path)


@pytest.mark.parametrize("form", ResultForm().alternatives())
def test_a_report_cites_the_report_that_it_replaces(form: ResultForm, tmp_path: Path) -> None:
    """That of its own encoding; where only another was sent, that one. It stays well-formed."""
    first = predecessors()
    analysis = analysis_of()
    context = context_of(analysis, generation=2, predecessors=first)
    (report,) = (
        one.dataset
        for one in write_results(analysis, context, [form]).objects
        if one.kind is ResultKind.MEASUREMENT_REPORT
    )
    (expected,) = (one for one in first if one.kind is ResultKind.MEASUREMENT_REPORT)
    assert cited(report) == [expected.sop_instance_uid]
    path = tmp_path / "report.dcm"
    path.write_bytes(encoded(report))
    assert [one for one in dciodvfy_complaints(path) if one.startswith("Error")] == []


def test_a_refusal_cites_a_result_and_withdraws_nothing() -> None:
    """A late image may spoil a series: the earlier result was right for what was there, and stays."""
    analysis = analysis_of()
    first = predecessors()
    context = context_of(analysis, generation=2, predecessors=first)
    written = write_refusal(Refusal(analysis.volume.headers, "two images at one place", MODEL), context)
    by_kind = {one.kind: one.dataset for one in written.objects}
    assert ResultKind.REJECTION_NOTE not in by_kind
    assert cited(by_kind[ResultKind.MEASUREMENT_REPORT]) == [
        one.sop_instance_uid for one in first if one.kind is ResultKind.MEASUREMENT_REPORT
    ]


def test_every_peer_is_told_about_what_it_has() -> None:
    """One peer has everything, another one only the film: each gets a note of its own."""
    analysis = analysis_of()
    first = tuple(
        replace(one, peers=frozenset({"all", "films"} if one.kind is ResultKind.FILM else {"all"}))
        for one in predecessors()
    )
    written = write_results(analysis, context_of(analysis, generation=2, predecessors=first)).objects
    notes = {one.variant: one.dataset for one in written if one.kind is ResultKind.REJECTION_NOTE}
    assert set(notes) == {"for all", "for films"}
    named = {
        variant: {
            str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for item in note.ContentSequence
            if "ReferencedSOPSequence" in item
        }
        for variant, note in notes.items()
    }
    assert named["for all"] == {one.sop_instance_uid for one in first}
    assert named["for films"] == {one.sop_instance_uid for one in first if one.kind is ResultKind.FILM}
    assert len({str(note.SOPInstanceUID) for note in notes.values()}) == 2


def test_the_note_gives_a_reason_as_its_template_asks() -> None:
    """TID 2010 row 3: a title modifier of CID 7011, before anything else."""
    note = results_of(analysis_of(), generation=2, predecessors=predecessors())[ResultKind.REJECTION_NOTE]
    modifier = note.ContentSequence[0]
    assert modifier.RelationshipType == "HAS CONCEPT MOD"
    assert modifier.ConceptNameCodeSequence[0].CodeValue == "113011"
    assert modifier.ConceptCodeSequence[0].CodeValue == "111219"


def test_what_is_replaced_is_part_of_the_uids() -> None:
    """Another predecessor makes another document, so it has another UID."""
    analysis = analysis_of()
    kind = ResultKind.MEASUREMENT_REPORT
    uids = {
        str(results_of(analysis, generation=2, predecessors=some)[kind].SOPInstanceUID)
        for some in ((), predecessors(), predecessors(ResultForm().alternatives()[1]))
    }
    assert len(uids) == 3
