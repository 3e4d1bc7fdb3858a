"""The plot of all scans of a patient: which share of the lungs is lesion, over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from core.comparison import HistoryPoint, peak_of
from core.domain import Finding
from sr_writer.film.canvas import FAINT, INK, LINE, PAPER, SMALL_PX, Canvas, Colour
from sr_writer.film.comparison_words import ComparisonWords
from sr_writer.film.views import COLOURS

#: Of each line of the plot; the largest is drawn last.
_COLOURS: dict[Finding | None, Colour] = {**{one: COLOURS[one] for one in Finding}, None: INK}
#: Neighbours on the axis of time are at least that share of its length apart, so that they can be told apart.
_LEAST_GAP = 0.035
#: Room for the numbers of the axes, pixels.
_LEFT, _BOTTOM, _TOP, _RIGHT = 46, 28, 48, 14
_DOT_PX = 4
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Area:
    """Where the plot stands on a page, pixels."""

    left: float
    top: float
    right: float
    bottom: float


def shares(point: HistoryPoint) -> dict[Finding | None, float]:
    """Return which percentage of both lungs each finding is, and all lesion (None)."""
    parts = {
        Finding.GROUND_GLASS: point.ground_glass_ml,
        Finding.CONSOLIDATION: point.consolidation_ml,
    }
    shown: dict[Finding | None, float] = {
        one: 100.0 * ml / point.lung_ml if point.lung_ml > 0 else 0.0 for one, ml in parts.items()
    }
    return {**shown, None: point.percent_of_lung}


def positions(moments: Sequence[datetime | None]) -> list[float]:
    """Return where scans stand on the axis of time, from 0 to 1, rising.

    Scans of one day are kept apart. Where a date is missing, or all are the same, distances are even.
    """
    count = len(moments)
    if count < 2:
        return [0.5] * count
    dated = [one for one in moments if one is not None]
    span_s = (dated[-1] - dated[0]).total_seconds() if len(dated) == count else 0.0
    if span_s <= 0.0:
        return [at / (count - 1) for at in range(count)]
    least = min(_LEAST_GAP, 1.0 / (count - 1))
    steps = [max((after - before).total_seconds() / span_s, least) for before, after in pairwise(dated)]
    at, places = 0.0, [0.0]
    for step in steps:
        at += step
        places.append(at)
    return [place / at for place in places]


def axis_end(largest: float) -> tuple[float, float]:
    """Return the end of an axis from 0 and the distance of its lines: round numbers, at most 5 of them."""
    least = max(largest, 0.1) * 1.02 / 4
    power = 10.0 ** math.floor(math.log10(least))
    step = next(one * power for one in _STEPS if one * power >= least * (1 - 1e-9))
    return step * math.ceil(max(largest, 0.1) * 1.02 / step), step


def draw_trend(page: Canvas, area: Area, history: Sequence[HistoryPoint], words: ComparisonWords) -> None:
    """Draw the plot with its axes, the key of its lines and its peak.

    Parameters
    ----------
    page
        What to draw on.
    area
        Where, everything included.
    history
        Scans, oldest first, the current one last.
    words
        Of the page's language.
    """
    inner = Area(area.left + _LEFT, area.top + _TOP, area.right - _RIGHT, area.bottom - _BOTTOM)
    values = [shares(point) for point in history]
    end, step = axis_end(max(max(one.values()) for one in values))
    _lines(page, inner, end, step)
    places = positions([point.facts.scanned_at for point in history])
    xs = [inner.left + place * (inner.right - inner.left) for place in places]

    def height(value: float) -> float:
        return inner.bottom - value / end * (inner.bottom - inner.top)

    breaks = _breaks(history)
    _between_models(page, inner, [(xs[at - 1] + xs[at]) / 2 for at in breaks], words)
    for what, colour in _COLOURS.items():
        dots = [(x, height(one[what])) for x, one in zip(xs, values, strict=True)]
        for first, last in pairwise([0, *breaks, len(dots)]):
            if last - first > 1:
                page.draw.line(dots[first:last], colour, 2, joint="curve")
        for dot in dots:
            _dot(page, dot, what, colour)
    _dates(page, inner, xs, history, words)
    _peak(page, inner, [(x, height(one[None])) for x, one in zip(xs, values, strict=True)], history, words)
    _key(page, area, words)


def _breaks(history: Sequence[HistoryPoint]) -> list[int]:
    """Return before which scans the model changes: no line goes on there, as numbers cannot be compared."""
    return [at for at in range(1, len(history)) if not history[at].is_by_the_model_of(history[at - 1])]


def _between_models(page: Canvas, inner: Area, xs: Sequence[float], words: ComparisonWords) -> None:
    """Draw where another model begins: a dashed line, which is named where there is room."""
    half, free_from = page.width_of(words.other_model, SMALL_PX) / 2, inner.left
    for x in xs:
        for y in range(round(inner.top), round(inner.bottom), 10):
            page.draw.line((x, y, x, min(y + 5, inner.bottom)), FAINT, 1)
        middle = min(max(x, inner.left + half), inner.right - half)
        if middle - half >= free_from:
            page.text((middle, inner.bottom - 6), words.other_model, SMALL_PX, FAINT, anchor="md", halo=True)
            free_from = middle + half + 8


def _lines(page: Canvas, inner: Area, end: float, step: float) -> None:
    for at in range(round(end / step) + 1):
        y = inner.bottom - at * step / end * (inner.bottom - inner.top)
        page.draw.line((inner.left - 8, y, inner.right + 8, y), LINE, 1)
        page.text((inner.left - 14, y), f"{at * step:g}", SMALL_PX, FAINT, anchor="rm")


def _dot(page: Canvas, at: tuple[float, float], what: Finding | None, colour: Colour) -> None:
    """Draw a point, whose form tells the lines apart without colour: ring, square, disc."""
    x, y = at
    box = (x - _DOT_PX, y - _DOT_PX, x + _DOT_PX, y + _DOT_PX)
    if what is Finding.CONSOLIDATION:
        page.draw.rectangle(box, fill=colour)
    elif what is Finding.GROUND_GLASS:
        page.draw.ellipse(box, fill=PAPER, outline=colour, width=2)
    else:
        page.draw.ellipse(box, fill=colour)


def _dates(
    page: Canvas, inner: Area, xs: Sequence[float], history: Sequence[HistoryPoint], words: ComparisonWords
) -> None:
    """Write the dates: that of the current scan first, then of the oldest, then what has room between."""
    taken: list[tuple[float, float]] = []
    order = [len(xs) - 1, 0, *range(len(xs) - 2, 0, -1)]
    for at in dict.fromkeys(order):
        page.draw.line((xs[at], inner.bottom, xs[at], inner.bottom + 5), FAINT, 1)
        moment = history[at].facts.scanned_at
        text = words.no_date if moment is None else moment.date().isoformat()
        half = page.width_of(text, SMALL_PX) / 2
        middle = min(max(xs[at], inner.left - _LEFT + half), inner.right + _RIGHT - half)
        if all(middle + half + 8 <= low or middle - half - 8 >= high for low, high in taken):
            page.text((middle, inner.bottom + 8), text, SMALL_PX, FAINT, anchor="ma")
            taken.append((middle - half, middle + half))


def _peak(
    page: Canvas,
    inner: Area,
    dots: Sequence[tuple[float, float]],
    history: Sequence[HistoryPoint],
    words: ComparisonWords,
) -> None:
    """Mark the scan with the largest share of lung that is lesion."""
    largest = peak_of(history)
    if largest is None:
        return
    x, y = dots[next(at for at, point in enumerate(history) if point is largest)]
    page.draw.ellipse((x - 9, y - 9, x + 9, y + 9), outline=INK, width=2)
    text = f"{words.peak} {largest.percent_of_lung:.1f} %"
    half = page.width_of(text, SMALL_PX) / 2
    middle = min(max(x, inner.left + half + 4), inner.right + _RIGHT - half)
    page.text((middle, y - 12), text, SMALL_PX, anchor="md", halo=True)


def _key(page: Canvas, area: Area, words: ComparisonWords) -> None:
    x = area.left + _LEFT - 8
    for what in (None, *Finding):
        colour = _COLOURS[what]
        page.draw.line((x, area.top + 2, x + 22, area.top + 2), colour, 2)
        _dot(page, (x + 11, area.top + 2), what, colour)
        box = page.text((x + 28, area.top + 2), words.trend_findings[what], SMALL_PX, FAINT, anchor="lm")
        x = box[2] + 16
