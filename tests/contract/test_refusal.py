"""What a PACS gets in place of a result that there will not be: a page and a report with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from core.domain import Language, Refusal, ResultKind
from core.errors import ResultEncodingError
from core.forms import ReportClass, ResultForm
from core.own_results import is_own_result
from sr_writer.film.canvas import PAPER
from sr_writer.film.refusal_page import FOOT_TOP, HEIGHT, WIDTH, refusal_page
from sr_writer.results import write_refusal
from tests.helpers.analyses import MODEL, Phantom, analysis_of, context_of, encoded, results_of
from tests.helpers.dcmtk import dsrdump
from tests.helpers.judges import dciodvfy_complaints

REASON = (
    "3 slices missing between z = -112.5 and -107.5 mm (spacing 1.25 mm): send the series again, complete"
)


def refusal_of(phantom: Phantom | None = None, reason: str = REASON) -> Refusal:
    """Return the refusal of a phantom's images."""
    return Refusal(analysis_of(phantom).volume.headers, reason, MODEL)


def refused(phantom: Phantom | None = None, **changes: Any) -> dict[ResultKind, Dataset]:
    """Write what is sent for a refusal."""
    context = context_of(analysis_of(phantom), **changes)
    return {one.kind: one.dataset for one in write_refusal(refusal_of(phantom), context).objects}


def comments(report: Dataset) -> list[str]:
    """Return every text of a report."""
    texts = [str(report.TextValue)] if report.get("TextValue") else []
    return texts + [text for item in report.get("ContentSequence", ()) for text in comments(item)]


@pytest.mark.parametrize("language", list(Language))
def test_page_and_report_are_well_formed(tmp_path: Path, language: Language) -> None:
    """No judge has an error or a warning against either object."""
    for kind, result in refused(language=language).items():
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(encoded(result))
        assert dciodvfy_complaints(path) == [], kind
    assert "Not analysed because" in dsrdump(tmp_path / "measurement_report.dcm")


def test_the_report_says_why_and_claims_nothing(tmp_path: Path) -> None:
    """The reason in full; whether there is a lesion is undetermined; not one number."""
    report = refused()[ResultKind.MEASUREMENT_REPORT]
    assert f"Not analysed because: {REASON}" in comments(report)
    text = dsrdump(_file(tmp_path, report))
    assert '<contains CODE:(,,"Lesion")=(373068000,SCT,"Undetermined")>' in text
    assert "NUM:" not in text
    assert report.SeriesDescription.startswith("NOT ANALYSED")
    assert "Research use only." in comments(report)


def _file(folder: Path, result: Dataset) -> Path:
    path = folder / "object.dcm"
    path.write_bytes(encoded(result))
    return path


def test_objects_take_the_places_of_a_result_under_uids_of_their_own() -> None:
    """Report and page have the series numbers that a result's have, so presets apply; no UID is shared."""
    analysis = analysis_of()
    results, notices = results_of(analysis), refused()
    assert set(notices) == {ResultKind.MEASUREMENT_REPORT, ResultKind.FILM}
    for kind, notice in notices.items():
        assert notice.SeriesNumber == results[kind].SeriesNumber
        assert notice.SOPInstanceUID != results[kind].SOPInstanceUID
        assert notice.SeriesInstanceUID != results[kind].SeriesInstanceUID
        assert notice.PatientName == results[kind].PatientName
        assert notice.StudyInstanceUID == results[kind].StudyInstanceUID
        assert is_own_result(notice)


def test_the_same_refusal_gives_the_same_bytes() -> None:
    """A repeated attempt after a crash writes what was written before."""
    first, second = refused(), refused()
    assert {kind: encoded(one) for kind, one in first.items()} == {
        kind: encoded(one) for kind, one in second.items()
    }


def test_every_class_of_report_is_written_where_it_may_be_needed() -> None:
    """A PACS that does not know Comprehensive 3D SR gets the reason too."""
    forms = ResultForm().alternatives()
    context = context_of(analysis_of())
    reports = [
        one
        for one in write_refusal(refusal_of(), context, forms).objects
        if one.kind is ResultKind.MEASUREMENT_REPORT
    ]
    assert [one.variant.split()[0] for one in reports] == list(ReportClass)
    assert len({one.sop_instance_uid for one in reports}) == 2
    assert len({one.dataset.SOPClassUID for one in reports}) == 2


@pytest.mark.parametrize("missing", ["FrameOfReferenceUID", "ImagePositionPatient", "PatientID"])
def test_images_that_could_not_be_measured_can_be_refused(missing: str, tmp_path: Path) -> None:
    """What stops an analysis, such as a missing frame of reference, does not stop the word about it."""
    phantom = Phantom(attributes={missing: None})
    for result in refused(phantom).values():
        errors = [one for one in dciodvfy_complaints(_file(tmp_path, result)) if one.startswith("Error")]
        assert errors == []


def test_nothing_is_said_where_it_is_not_certain_whose_images_they_are() -> None:
    """Two patients in one series: no object, for neither."""
    analysis = analysis_of()
    headers = analysis.volume.headers
    headers[3].PatientID = "P-0002"
    with pytest.raises(ResultEncodingError, match="Patient ID"):
        write_refusal(Refusal(headers, REASON, MODEL), context_of(analysis))


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("length", [1, 8])
def test_the_page_holds_its_reason(language: Language, length: int) -> None:
    """Even a long reason stays on the page: nothing is drawn on its edge or over the foot's line."""
    analysis = analysis_of()
    reason = ". ".join([REASON] * length)
    pixels = refusal_page(refusal_of(reason=reason), context_of(analysis, language=language))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    paper = np.array(PAPER)
    assert (pixels[:, :20] == paper).all()
    assert (pixels[:, -20:] == paper).all()
    assert (pixels[-8:] == paper).all()
    assert (pixels[FOOT_TOP - 12 : FOOT_TOP - 1] == paper).all()
