"""What the comparison says on the film: every text and number of it, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.comparison import Change, Comparison, Direction, LesionChange, is_known
from core.domain import Analysis, Finding
from sr_writer.context import ResultContext
from sr_writer.film.comparison_words import COMPARISON_WORDS, ComparisonWords
from sr_writer.film.words import WORDS, Words
from sr_writer.rounding import volume_text

#: Single lesions in the list, the largest changes first; the report holds all.
MOST_CHANGES = 6
_DASH, _MINUS = "–", "−"
_ARROWS = {
    Direction.INCREASE: "▲",
    Direction.DECREASE: "▼",
    Direction.NO_SIGNIFICANT_CHANGE: "=",
}


@dataclass(frozen=True, slots=True)
class ComparisonContent:
    """All text of the comparison.

    Parameters
    ----------
    headline, because, warning
        Head: the course, the rule that told it, and that it is for research, where it is.
    now, then
        Captions of the two scans, with their dates.
    matching
        How places were brought together, or why not.
    is_matched
        Whether they were.
    view
        Above the pictures from the front.
    table_head, table
        Columns and rows.
    listed, lesions
        Head and rows of the largest changes of single lesions.
    trend
        Above the plot.
    cautions
        In what the scans differ.
    words
        The words of its language.
    """

    headline: str
    because: str
    warning: str
    now: str
    then: str
    matching: str
    is_matched: bool
    view: str
    table_head: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    listed: str
    lesions: tuple[tuple[str, ...], ...]
    trend: str
    cautions: tuple[str, ...]
    words: ComparisonWords


def comparison_content(
    analysis: Analysis, comparison: Comparison, context: ResultContext
) -> ComparisonContent:
    """Put a comparison into words.

    Parameters
    ----------
    analysis, comparison
        The current scan, and the earlier one with what changed.
    context
        Language.
    """
    words = COMPARISON_WORDS[context.language]
    matched = comparison.alignment is not None
    quality = comparison.registration
    overlap = f"{100 * quality.lung_overlap:.0f}"
    return ComparisonContent(
        headline=_headline(comparison, words),
        because=comparison.because,
        warning=WORDS[context.language].research_only if analysis.lesions.model.research_only else "",
        now=f"{words.now} {date_text(comparison.scanned_at)}".rstrip(),
        then=f"{words.then} {date_text(comparison.prior.facts.scanned_at)}".rstrip(),
        matching=words.matched.format(overlap=overlap)
        if matched
        else words.apart.format(reason=quality.reason),
        is_matched=matched,
        view=words.change_view if matched else words.lesions_view,
        table_head=("", words.then, words.now, "", words.change, words.percent, words.limit),
        table=_table(comparison, words),
        listed=_listed(comparison, words),
        lesions=_lesions(comparison, words, WORDS[context.language]),
        trend=words.trend.format(count=len(comparison.history)),
        cautions=comparison.warnings,
        words=words,
    )


def since_line(comparison: Comparison, context: ResultContext) -> str:
    """Say in one line what changed: for the part of the film that every PACS shows first."""
    words, share = COMPARISON_WORDS[context.language], comparison.total.percent_of_lung
    date = date_text(comparison.prior.facts.scanned_at)
    template = words.since if date else words.since_undated
    return template.format(
        date=date,
        course=words.courses[comparison.course],
        prior=share_text(share.prior),
        current=share_text(share.current),
    )


def date_text(scanned_at: datetime | None) -> str:
    """Return the day of a scan as ISO 8601, empty where it is not known."""
    return "" if scanned_at is None else scanned_at.date().isoformat()


def share_text(percent: float) -> str:
    """Show a share with a decimal, without its unit: a difference of two has to be seen."""
    return "< 0.1" if 0 < percent < 0.05 else f"{percent:.1f}"


def _headline(comparison: Comparison, words: ComparisonWords) -> str:
    date = date_text(comparison.prior.facts.scanned_at)
    course = words.courses[comparison.course]
    template = words.headline if date else words.headline_undated
    text = template.format(course=course, date=date)
    if comparison.days is not None:
        whole = round(abs(comparison.days))
        several = words.one_day if whole == 1 else words.days.format(count=whole)
        text += f" ({several if whole else words.within_a_day})"
    return text[:1].upper() + text[1:]


def _table(comparison: Comparison, words: ComparisonWords) -> tuple[tuple[str, ...], ...]:
    volumes: list[tuple[Finding | str, Change]] = [("lesions", comparison.total.volume_ml)]
    volumes += [(one.finding, one.volume_ml) for one in comparison.findings]
    return (
        *(_volumes(words.rows[row], change, words) for row, change in volumes),
        _shares(words.rows["share"], comparison.total.percent_of_lung, words),
        _volumes(words.rows["lungs"], comparison.lung_ml, words),
    )


def _volumes(name: str, change: Change, words: ComparisonWords) -> tuple[str, ...]:
    return (
        name,
        volume_text(change.prior),
        volume_text(change.current),
        _ARROWS[change.direction],
        _signed_volume(change.absolute),
        _percent(change),
        f"± {volume_text(change.limit)}" if is_known(change.limit) else words.unknown_limit,
    )


def _shares(name: str, change: Change, words: ComparisonWords) -> tuple[str, ...]:
    """Return the row of the share of the lungs, whose change is one of percentage points."""
    return (
        name,
        f"{share_text(change.prior)} %",
        f"{share_text(change.current)} %",
        _ARROWS[change.direction],
        f"{_sign(round(change.absolute, 1))}{abs(change.absolute):.1f}",
        _percent(change),
        f"± {change.limit:.1f}" if is_known(change.limit) else words.unknown_limit,
    )


def _percent(change: Change) -> str:
    if change.percent is None:
        return _DASH
    whole = round(change.percent)
    return "> +999 %" if whole > 999 else f"{_sign(whole)}{abs(whole)} %"


def _signed_volume(volume_ml: float) -> str:
    if 0 < abs(volume_ml) < 0.1:
        return "≈ 0 ml"
    return f"{_sign(volume_ml)}{volume_text(abs(volume_ml))}"


def _sign(value: float) -> str:
    if value == 0:
        return ""
    return "+" if value > 0 else _MINUS


def _listed(comparison: Comparison, words: ComparisonWords) -> str:
    if comparison.alignment is None:
        return words.not_matched
    if not comparison.lesions:
        return words.no_lesion
    return words.changes.format(count=len(comparison.lesions))


def _lesions(comparison: Comparison, words: ComparisonWords, general: Words) -> tuple[tuple[str, ...], ...]:
    largest = sorted(comparison.lesions, key=lambda one: -abs(one.volume_ml.absolute))
    return tuple(_lesion(one, words, general) for one in largest[:MOST_CHANGES])


def _lesion(change: LesionChange, words: ComparisonWords, general: Words) -> tuple[str, ...]:
    numbers = [str(one.number) for one in change.current]
    shown = "+".join(numbers[:2]) + ("+…" if len(numbers) > 2 else "")
    return (
        shown or _DASH,
        general.lungs[change.side],
        words.fates[change.fate],
        volume_text(change.volume_ml.prior),
        "→",
        volume_text(change.volume_ml.current),
    )
