"""The comparison with an earlier scan in the document: its section, the summary, the pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.comparison import Change, Course, Fate
from core.domain import Language
from sr_writer.document.changes import MOST_CHANGES, ChangeSection, change_section
from sr_writer.document.content import document_content
from sr_writer.document.pdf import pdf
from sr_writer.document.tables import amount, signed
from tests.helpers.analyses import Phantom, context_of
from tests.helpers.comparisons import BECAUSE, WARNINGS, Pair
from tests.helpers.poppler import facts_of, text_of

SMALL_FILM = np.zeros((4, 6, 3), np.uint8)
CASES = {
    "all that there is": Pair(),
    "places not compared": Pair(registered=False),
    "repeatability unknown": Pair(repeatability=False),
    "no dates": Pair(dated=False),
    "nothing left": Pair(later=Phantom(lesion_sides=()), earlier=Phantom()),
}
USUAL = CASES["all that there is"]


def section_of(pair: Pair = USUAL, language: Language = Language.ENGLISH) -> ChangeSection:
    """Return what the document says of the change."""
    section = change_section(pair.analysis().comparison, language)
    assert section is not None
    return section


def file_of(pair: Pair, language: Language, film: NDArray[np.uint8] = SMALL_FILM) -> bytes:
    """Return the PDF file of an analysis with a picture in place of the film."""
    analysis = pair.analysis()
    context = context_of(analysis, language=language)
    content = document_content(analysis, context, context.content_datetime_utc)
    return pdf(content, film, context.content_datetime_utc)


def test_numbers_are_those_of_the_comparison() -> None:
    """Then, now, the change, its limit and what it is called, for lesions, findings, lungs and the share."""
    comparison, rows = USUAL.analysis().comparison, section_of().numbers.rows
    assert comparison is not None
    changes: list[Change] = [
        comparison.total.volume_ml,
        *(one.volume_ml for one in comparison.findings),
        comparison.lung_ml,
        comparison.total.percent_of_lung,
    ]
    assert [row[0] for row in rows] == [
        "All lesions, ml",
        "Ground glass, ml",
        "Consolidation, ml",
        "Both lungs, ml",
        "Percent of lung, %",
    ]
    words = {"increase": "increase", "no_significant_change": "no significant change"}
    for row, change in zip(rows, changes, strict=True):
        assert row[1:4] == (amount(change.prior), amount(change.current), signed(change.absolute))
        assert row[5:] == (amount(change.limit), words[change.direction])
    assert [row[4] for row in rows] == ["−3", "−15", "+108", "0", "−3"]


def test_the_largest_changes_of_lesions_come_first() -> None:
    """Numbers then and now, lung, fate; a new one was none, a resolved one is none."""
    rows = section_of().lesions.rows
    assert [row[:2] for row in rows[:3]] == [("1", "2"), ("2", "1"), ("6, 7", "3")]
    by_fate = {row[3]: row for row in rows}
    assert by_fate["new"][:2] == ("4", "–")
    assert by_fate["resolved"][:2] == ("–", "5")
    assert by_fate["merged"][1] == "6, 7"
    assert len(rows) == 7


def test_no_more_lesions_than_people_read() -> None:
    """The table has the largest changes of all; its caption says of how many."""
    comparison = USUAL.analysis().comparison
    assert comparison is not None
    many = replace(comparison, lesions=comparison.lesions * 10)
    section = change_section(many, Language.ENGLISH)
    assert section is not None
    assert len(section.lesions.rows) == MOST_CHANGES
    assert "70" in section.lesions.caption
    grown = sum(one.fate is Fate.GROWN for one in many.lesions)
    assert [row[3] for row in section.lesions.rows[:grown]] == ["grown"] * grown


def test_unknown_repeatability_names_no_direction() -> None:
    """No limit, and a difference that is undetermined; the cautions say why."""
    section = section_of(CASES["repeatability unknown"])
    assert {row[5:] for row in section.numbers.rows} == {("–", "undetermined")}
    assert any("no difference is called a change" in text for text in section.warnings)


def test_cautions_and_reason_are_told() -> None:
    """What makes the two hard to compare, the rule behind the course, and why places were not compared."""
    section = section_of(CASES["places not compared"])
    assert section.because == BECAUSE
    assert section.warnings[:2] == WARNINGS
    assert "overlap is 0.41" in section.warnings[2]
    assert section.lesions.rows == ()


@pytest.mark.parametrize("course", Course)
@pytest.mark.parametrize("language", list(Language))
def test_the_course_heads_the_section_and_ends_the_summary(course: Course, language: Language) -> None:
    """Since when, in either language; without a date it is the earlier scan."""
    pair = Pair(course=course)
    analysis = pair.analysis()
    context = context_of(analysis, language=language)
    summary = document_content(analysis, context, context.content_datetime_utc).summary
    caption = section_of(pair, language).caption
    assert "2026-01-02" in caption
    assert "2026-01-02" in summary
    courses = {section_of(Pair(course=one), language).caption for one in Course}
    assert len(courses) == len(Course)
    undated = section_of(Pair(course=course, dated=False), language).caption
    assert "2026" not in undated
    assert "{" not in caption + undated + summary


def test_signs_are_kept_when_numbers_are_rounded() -> None:
    """A trace of a change is neither nothing nor a direction."""
    assert [signed(value) for value in (0.0, 0.04, -0.04, 1.26, -12.3)] == [
        "0",
        "< 0.1",
        "< 0.1",
        "+1.3",
        "−12.3",
    ]


def test_without_an_earlier_scan_there_is_no_section() -> None:
    """The document is the one that it was."""
    analysis = replace(USUAL.analysis(), comparison=None)
    context = context_of(analysis)
    content = document_content(analysis, context, context.content_datetime_utc)
    assert content.changes is None
    assert "2026-01-02" not in content.summary


@pytest.mark.interop
@pytest.mark.parametrize("pair", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("language", list(Language))
def test_every_row_can_be_selected(pair: Pair, language: Language, tmp_path: Path) -> None:
    """pdftotext finds caption, reason, cautions, facts and every row of both tables."""
    path = tmp_path / "report.pdf"
    path.write_bytes(file_of(pair, language))
    lines, section = text_of(path, first_page=2), section_of(pair, language)
    text = " ".join(lines)
    for row in (*section.numbers.rows, *section.lesions.rows):
        assert any(" ".join(row) in line for line in lines), row
    for part in (section.caption, section.because, *section.warnings, *section.facts):
        assert part in text, part


@pytest.mark.interop
@pytest.mark.parametrize(("shape", "upright"), [((90, 60, 3), True), ((60, 90, 3), False)])
def test_a_film_of_two_pages_gets_an_upright_page(
    shape: tuple[int, int, int], upright: bool, tmp_path: Path
) -> None:
    """A picture that is higher than wide fills a page that is, too; pages of text stay as they are."""
    path = tmp_path / "report.pdf"
    path.write_bytes(file_of(USUAL, Language.ENGLISH, np.full(shape, 200, np.uint8)))
    width, height = (float(part) for part in facts_of(path)["Page size"].split(" pts")[0].split(" x "))
    assert (height > width) is upright
