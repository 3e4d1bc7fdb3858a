"""What the document says of the change since an earlier scan: a table, the largest changes, the cautions."""

from __future__ import annotations

from dataclasses import dataclass

from core.comparison import Change, Comparison, LesionChange, is_known
from core.domain import Language
from sr_writer.change_texts import change_facts, change_warnings
from sr_writer.context import plain_text
from sr_writer.document.tables import DASH, Head, Table, amount, signed
from sr_writer.document.words import DOCUMENT_WORDS, DocumentWords
from sr_writer.film.comparison_words import COMPARISON_WORDS, ComparisonWords
from sr_writer.film.words import WORDS, Words

#: Single lesions in the table, the largest changes first; the report holds all.
MOST_CHANGES = 12
_LESION_TEXTS = 4


@dataclass(frozen=True, slots=True)
class ChangeSection:
    """All text about the change.

    Parameters
    ----------
    caption
        The course, and since when.
    because
        The rule that told the course; English in every language, as remarks are.
    numbers
        What was measured then and now.
    lesions
        The largest changes of single lesions; without a row where places were not compared.
    facts
        What else is to be known about it, in English as well.
    warnings_caption, warnings
        Why numbers may differ without a change.
    """

    caption: str
    because: str
    numbers: Table
    lesions: Table
    facts: tuple[str, ...]
    warnings_caption: str
    warnings: tuple[str, ...]


def change_section(comparison: Comparison | None, language: Language) -> ChangeSection | None:
    """Put a comparison into words and tables; None of none."""
    if comparison is None:
        return None
    words = DOCUMENT_WORDS[language]
    return ChangeSection(
        caption=_caption(comparison, COMPARISON_WORDS[language]),
        because=plain_text(comparison.because),
        numbers=_numbers(comparison, words, COMPARISON_WORDS[language]),
        lesions=_lesions(comparison, words, COMPARISON_WORDS[language], WORDS[language]),
        facts=tuple(plain_text(fact) for fact in change_facts(comparison)),
        warnings_caption=COMPARISON_WORDS[language].cautions,
        warnings=tuple(plain_text(warning) for warning in change_warnings(comparison)),
    )


def change_summary(comparison: Comparison | None, language: Language) -> list[str]:
    """Return the sentences of the summary about the change; none of no comparison."""
    if comparison is None:
        return []
    words, share = DOCUMENT_WORDS[language], comparison.total.percent_of_lung
    scanned_at = comparison.prior.facts.scanned_at
    sentence = words.burden_before if scanned_at else words.burden_before_undated
    return [
        sentence.format(
            date="" if scanned_at is None else f"{scanned_at:%Y-%m-%d}",
            volume=amount(comparison.total.volume_ml.prior),
            percent=amount(share.prior),
            points=signed(share.absolute),
            course=COMPARISON_WORDS[language].courses[comparison.course],
        )
    ]


def _caption(comparison: Comparison, film: ComparisonWords) -> str:
    course, scanned_at = film.courses[comparison.course], comparison.prior.facts.scanned_at
    if scanned_at is None:
        text = film.headline_undated.format(course=course)
    else:
        text = film.headline.format(course=course, date=f"{scanned_at:%Y-%m-%d}")
    return text[0].upper() + text[1:]


def _numbers(comparison: Comparison, words: DocumentWords, film: ComparisonWords) -> Table:
    volumes = (
        (film.rows["lesions"], comparison.total.volume_ml),
        *((film.rows[one.finding], one.volume_ml) for one in comparison.findings),
        (film.rows["lungs"], comparison.lung_ml),
    )
    return Table(
        _caption(comparison, film),
        ((Head(""), *(Head(head) for head in _heads(words, film))),),
        (
            *((f"{name}, ml", *_cells(change, words)) for name, change in volumes),
            (f"{film.rows['share']}, %", *_cells(comparison.total.percent_of_lung, words)),
        ),
    )


def _heads(words: DocumentWords, film: ComparisonWords) -> tuple[str, ...]:
    return film.then, film.now, film.change, film.percent, film.limit, words.difference


def _cells(change: Change, words: DocumentWords) -> tuple[str, ...]:
    """Return then, now, the change, the same in percent, its limit, and what it is called."""
    known = is_known(change.limit)
    return (
        amount(change.prior),
        amount(change.current),
        signed(change.absolute),
        _percent(change.percent),
        amount(change.limit) if known else DASH,
        words.directions[change.direction if known else "undetermined"],
    )


def _percent(percent: float | None) -> str:
    if percent is None:
        return DASH
    return f"{round(percent):+d}".replace("-", "−") if round(percent) else "0"


def _lesions(comparison: Comparison, words: DocumentWords, film: ComparisonWords, general: Words) -> Table:
    by_size = sorted(comparison.lesions, key=lambda one: abs(one.volume_ml.absolute), reverse=True)
    heads = (words.number, words.number_before, words.side, words.fate, *_heads(words, film)[:5])
    return Table(
        film.changes.format(count=len(comparison.lesions)),
        (tuple(Head(head) for head in heads),),
        tuple(_lesion(one, words, film, general) for one in by_size[:MOST_CHANGES]),
        texts=_LESION_TEXTS,
    )


def _lesion(
    change: LesionChange, words: DocumentWords, film: ComparisonWords, general: Words
) -> tuple[str, ...]:
    now, then = (
        ", ".join(str(one.number) for one in lesions) or DASH for lesions in (change.current, change.prior)
    )
    cells = _cells(change.volume_ml, words)[:5]
    return now, then, general.lungs[change.side], film.fates[change.fate], *cells
