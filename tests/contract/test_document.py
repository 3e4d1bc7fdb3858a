"""The document: what it says, what other programs read in it, and the Encapsulated PDF that carries it."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from config import DimsePeerSettings
from core.domain import (
    Analysis,
    BoxedMask,
    Finding,
    Language,
    Lesion,
    LesionClass,
    Region,
    ResultKind,
    Side,
)
from core.errors import ResultEncodingError
from core.own_results import is_own_result
from sr_writer.context import plain_text
from sr_writer.document.content import DocumentContent, attenuation, document_content
from sr_writer.document.pdf import pdf
from sr_writer.document.tables import Table, amount
from sr_writer.document.words import DOCUMENT_WORDS
from sr_writer.encapsulated_pdf import pdf_of
from sr_writer.film.page import film
from tests.helpers.analyses import Phantom, analysis_of, context_of, encoded, results_of
from tests.helpers.dcmtk import dcm2pdf
from tests.helpers.judges import dciodvfy_complaints
from tests.helpers.poppler import facts_of, fonts_of, pictures_of, text_of

#: Enough for the typesetter where only the text matters.
SMALL_FILM = np.zeros((4, 4, 3), np.uint8)
MARKUP = '#panic() $x_1$ *bold* _it_ [a](b) <label> @ref = head // gone /* gone */ `raw` "q" -- ~ #sys.inputs'


def document(analysis: Analysis, **changes: object) -> Dataset:
    """Write the results of an analysis; return the document as it would be sent."""
    return results_of(analysis, **changes)[ResultKind.DOCUMENT]


def content_of(analysis: Analysis, language: Language = Language.ENGLISH) -> DocumentContent:
    """Return what the document of an analysis says."""
    context = context_of(analysis, language=language)
    return document_content(analysis, context, context.content_datetime_utc)


def with_lesions(analysis: Analysis, count: int) -> Analysis:
    """Return the analysis with so many single lesions, no two alike."""
    kinds, sides = list(LesionClass), list(Side)
    lesions = tuple(
        Lesion(
            at,
            kinds[at % 3],
            sides[at % 2],
            900.0 / at,
            at % 100 / 100,
            -100.0 - at,
            (0.0, 0.0, float(at)),
            10.0 + at,
            at / 2,
            BoxedMask((0, 0, 0), np.ones((1, 1, 1), np.bool_)),
        )
        for at in range(1, count + 1)
    )
    measurements = replace(analysis.measurements, lesions=lesions, listed_from_ml=0.1)
    return replace(analysis, measurements=measurements)


def with_remarks(analysis: Analysis, *remarks: str) -> Analysis:
    """Return the analysis with remarks."""
    return replace(analysis, volume=replace(analysis.volume, remarks=remarks))


def rows(content: DocumentContent) -> list[str]:
    """Return every row of every table as a line of text."""
    tables: tuple[Table, ...] = (content.regions, content.zones, content.lesions)
    return [" ".join(row) for table in tables for row in table.rows]


# --- what it says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", list(Language))
def test_numbers_are_those_of_the_analysis(language: Language) -> None:
    """Each finding in each lung has its volume, share and attenuation; zones and lesions theirs."""
    analysis = with_lesions(analysis_of(), 4)
    content, numbers = content_of(analysis, language), analysis.measurements
    for row, side in zip(content.regions.rows, (Side.RIGHT, Side.LEFT), strict=False):
        assert row[1] == amount(numbers.of(Region[f"LUNG_{side.name}"]).volume_ml)
        for at, finding in enumerate(Finding):
            measured = numbers.of(Region[f"{finding.name}_{side.name}"])
            cells = (
                amount(measured.volume_ml),
                amount(measured.percent_of_lung),
                attenuation(measured.mean_hu),
            )
            assert row[2 + 3 * at : 5 + 3 * at] == cells
        assert row[9] == amount(numbers.of(Region[f"LUNG_{side.name}"]).percent_of_lung)
    every = numbers.of(Region.LESIONS)
    shown = (amount(every.volume_ml), amount(every.percent_of_lung), attenuation(every.mean_hu))
    assert content.regions.rows[2][8:11] == shown
    zones = [cells for row in content.zones.rows for cells in (row[1:4], row[4:7])]
    by_zone = {zone.zone.value: zone for zone in numbers.zones}
    names = [f"{third}_{side}" for third in ("upper", "middle", "lower") for side in Side]
    assert zones == [
        (amount(by_zone[name].lesion_ml), amount(by_zone[name].percent), str(by_zone[name].score))
        for name in names
    ]
    assert str(numbers.severity_score) in content.zones.caption
    assert [row[0] for row in content.lesions.rows] == ["1", "2", "3", "4"]
    assert [row[3] for row in content.lesions.rows] == ["900.0", "450.0", "300.0", "225.0"]
    assert [row[5] for row in content.lesions.rows] == ["−101", "−102", "−103", "−104"]


def test_heads_span_exactly_the_columns() -> None:
    """Every row of heads and every row of cells of a table has the same number of columns."""
    content = content_of(with_lesions(analysis_of(), 2))
    for table in (content.regions, content.zones, content.lesions):
        widths = {sum(head.columns for head in heads) for heads in table.heads}
        assert widths | {len(row) for row in table.rows} == {len(table.heads[-1])}


def test_every_word_is_there_in_every_language() -> None:
    """No language lacks a text, and what is filled in has the same names everywhere."""
    english = DOCUMENT_WORDS[Language.ENGLISH]
    assert set(DOCUMENT_WORDS) == set(Language)
    for words in DOCUMENT_WORDS.values():
        for one in fields(words):
            text, model = getattr(words, one.name), getattr(english, one.name)
            assert text
            if isinstance(model, str):
                assert _names(text) == _names(model), one.name
            else:
                assert text.keys() == model.keys()


def _names(text: str) -> set[str]:
    return {part.split("}")[0] for part in text.split("{")[1:]}


def test_traces_are_not_nothing() -> None:
    """Small amounts keep their meaning when they are rounded; a missing attenuation is a dash."""
    assert [amount(value) for value in (0.0, 0.04, 0.1, 12.34)] == ["0", "< 0.1", "0.1", "12.3"]
    assert [attenuation(value) for value in (None, -0.2, -612.7)] == ["–", "0", "−613"]


def test_no_lesion_and_no_lung_are_said() -> None:
    """A clean scan says so; without lungs nobody claims that they are clean, or scores them."""
    healthy = content_of(analysis_of(Phantom(lesion_sides=())))
    assert healthy.summary.startswith("No lesion was found. ")
    assert "0 of 24" in healthy.summary
    assert healthy.lesions.rows == ()
    assert healthy.regions.rows[2][8:] == ("0", "0", "–")
    empty = content_of(analysis_of(Phantom(lungs=())))
    assert empty.summary == "No lungs were found."
    assert empty.regions.rows[2][8:] == ("0", "–", "–")


def test_nothing_that_names_the_patient_is_in_it() -> None:
    """Two patients whose scans are alike have the same document, byte by byte."""
    patients = (
        {"PatientName": "Doe^Jane", "PatientID": "1"},
        {"PatientName": "Roe^Richard", "PatientID": "2", "PatientSex": "M", "AccessionNumber": "B-1"},
    )
    one, two = (pdf_of(document(analysis_of(Phantom(attributes=patient)))) for patient in patients)
    assert one == two


def test_research_software_says_so_and_released_software_does_not() -> None:
    """The warning stands exactly where the model asks for it."""
    analysis = analysis_of()
    model = replace(analysis.lesions.model, research_only=False)
    released = replace(analysis, lesions=replace(analysis.lesions, model=model))
    assert content_of(analysis).warning
    assert content_of(released).warning == ""


# --- what other programs read -----------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("language", list(Language))
def test_every_row_can_be_selected(tmp_path: Path, language: Language) -> None:
    """pdftotext finds title, summary, warning, remarks and every cell of every table, row by row."""
    analysis = with_remarks(with_lesions(analysis_of(), 5), "Slices are far apart.", MARKUP)
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf_of(document(analysis, language=language)))
    lines, content = text_of(path, first_page=2), content_of(analysis, language)
    text = "\n".join(lines)
    for row in rows(content):
        assert any(row in line for line in lines), row
    for part in (content.title, content.subtitle, content.summary, content.warning, *content.remarks):
        assert part in text, part
    for _, facts in content.facts:
        for name, value in facts:
            if name != DOCUMENT_WORDS[language].computed:  # in the time zone of the study there
                assert f"{name} {value}" in text, name
    assert "2026-03-01 11:30 +0100" in text


@pytest.mark.interop
@pytest.mark.parametrize("language", list(Language))
def test_fonts_are_inside_and_the_file_is_for_archives(tmp_path: Path, language: Language) -> None:
    """Every font is embedded with its map to Unicode; the pages are A4 and tagged; the date is ours."""
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf_of(document(analysis_of(), language=language)))
    fonts = fonts_of(path)
    assert fonts
    assert all(font.embedded and font.subset and font.to_unicode for font in fonts)
    facts = facts_of(path)
    assert (facts["Pages"], facts["Tagged"], facts["Encrypted"]) == ("2", "yes", "no")
    assert "(A4)" in facts["Page size"]
    assert facts["CreationDate"].startswith("Sun Mar  1 10:30:15 2026")
    metadata = path.read_bytes()
    assert b"<pdfaid:part>2</pdfaid:part><pdfaid:conformance>A</pdfaid:conformance>" in metadata
    assert b"<pdfuaid:part>1</pdfuaid:part>" in metadata


@pytest.mark.interop
def test_page_one_is_the_film_pixel_by_pixel(tmp_path: Path) -> None:
    """The picture inside is that of the Secondary Capture, without loss."""
    analysis = analysis_of()
    results = results_of(analysis)
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf_of(results[ResultKind.DOCUMENT]))
    (picture,) = pictures_of(path, tmp_path)
    np.testing.assert_array_equal(picture, results[ResultKind.FILM].pixel_array)
    np.testing.assert_array_equal(picture, film(analysis, context_of(analysis)))


@pytest.mark.interop
def test_all_of_many_lesions_are_listed_on_further_pages(tmp_path: Path) -> None:
    """A table that is longer than a page goes on, two rows of lesions beside each other."""
    analysis = with_lesions(analysis_of(), 250)
    content = content_of(analysis)
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf(content, SMALL_FILM, context_of(analysis).content_datetime_utc))
    text = "\n".join(text_of(path))
    assert [row for row in rows(content) if row not in text] == []
    assert int(facts_of(path)["Pages"]) > 3


@given(remark=st.text(max_size=300))
@hypothesis_settings(max_examples=40)
def test_any_remark_can_be_typeset(remark: str) -> None:
    """Whatever a remark holds, it is text: it neither breaks the document nor changes its layout."""
    analysis = with_remarks(analysis_of(Phantom(shape_zyx=(6, 32, 32))), remark)
    content = content_of(analysis)
    assert content.remarks == (plain_text(remark),)
    assert pdf(content, SMALL_FILM, context_of(analysis).content_datetime_utc).startswith(b"%PDF-1.7")


def test_text_without_a_sign_in_the_font_is_refused_not_shown_as_boxes() -> None:
    """No caller can put text on a page that a reader could not read."""
    analysis = analysis_of()
    content = replace(content_of(analysis), title="𓀀")
    with pytest.raises(ResultEncodingError, match="typeset"):
        pdf(content, SMALL_FILM, context_of(analysis).content_datetime_utc)


# --- the object -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "phantom",
    [
        Phantom(),
        Phantom(lesion_sides=()),
        Phantom(lungs=()),
        Phantom(enhanced=True),
        Phantom(attributes={"BodyPartExamined": "LUNG", "SeriesNumber": 4}),
        Phantom(
            attributes={"SpecificCharacterSet": "ISO_IR 192"}, raw={"PatientName": "Wang=王^小东".encode()}
        ),
    ],
    ids=["usual", "clean", "no lungs", "enhanced", "paired body part", "Chinese name"],
)
@pytest.mark.parametrize("language", list(Language))
def test_the_validator_has_nothing_against_it(tmp_path: Path, phantom: Phantom, language: Language) -> None:
    """dciodvfy finds nothing in any case."""
    path = tmp_path / "document.dcm"
    path.write_bytes(encoded(document(analysis_of(phantom), language=language)))
    assert dciodvfy_complaints(path) == []


@pytest.mark.interop
@pytest.mark.parametrize("remark", ["x", "xx", "xxx"])
def test_dcmtk_takes_out_the_very_file(tmp_path: Path, remark: str) -> None:
    """dcm2pdf gives the bytes that were typeset; no byte was padded, none can be taken for padding."""
    found = document(with_remarks(analysis_of(), remark))
    path = tmp_path / "document.dcm"
    path.write_bytes(encoded(found))
    assert dcm2pdf(path, tmp_path) == pdf_of(found)
    assert found.EncapsulatedDocumentLength == len(pdf_of(found))
    assert len(pdf_of(found)) % 2 == 0
    assert pdf_of(found).endswith((b"%%EOF\n", b"%%EOF\r\n"))


@pytest.mark.parametrize("enhanced", [False, True])
def test_it_belongs_to_patient_and_study_and_names_its_sources(enhanced: bool) -> None:
    """Patient and study are those of the source; images and film are named as what it came from."""
    analysis = analysis_of(Phantom(enhanced=enhanced))
    results = results_of(analysis)
    found, source = results[ResultKind.DOCUMENT], analysis.volume.headers[0]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
        assert found[keyword].value == source[keyword].value
    assert (found.Modality, found.MIMETypeOfEncapsulatedDocument) == ("DOC", "application/pdf")
    assert (found.BurnedInAnnotation, found.VerificationFlag) == ("YES", "UNVERIFIED")
    assert found.SeriesDescription.endswith("Research use only")
    assert int(found.SeriesNumber) == 9005
    assert is_own_result(found)
    named = [str(one.ReferencedSOPInstanceUID) for one in found.SourceInstanceSequence]
    film_uid = str(results[ResultKind.FILM].SOPInstanceUID)
    assert named == [*dict.fromkeys(frame.sop_instance_uid for frame in analysis.volume.frames), film_uid]


def test_the_same_analysis_gives_the_same_bytes_and_another_language_another_object() -> None:
    """One digest per UID: the object is the same each time, and never two languages under one UID."""
    analysis = analysis_of()
    moment = datetime(2026, 3, 1, 10, 30, 15, 123456, tzinfo=UTC)
    one, again = (encoded(document(analysis, content_datetime_utc=moment)) for _ in range(2))
    assert one == again
    english, chinese = (document(analysis, language=language) for language in Language)
    assert english.SOPInstanceUID != chinese.SOPInstanceUID
    assert english.SeriesInstanceUID != chinese.SeriesInstanceUID
    assert pdf_of(english) != pdf_of(chinese)


def test_a_peer_gets_it_only_where_it_is_asked_for() -> None:
    """It is no default: a PACS that wants it names it."""
    peer = {"name": "pacs", "ae_title": "PACS", "host": "192.0.2.10", "port": 104}
    assert ResultKind.DOCUMENT not in DimsePeerSettings.model_validate(peer).objects
    asked = DimsePeerSettings.model_validate({**peer, "objects": ["document"]})
    assert asked.objects == (ResultKind.DOCUMENT,)
