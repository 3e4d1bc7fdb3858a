"""Where everything stands on the film, and its drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.domain import HIGHEST_SEVERITY_SCORE, Analysis, Finding
from sr_writer.context import ResultContext
from sr_writer.film.canvas import FAINT, LINE, SMALL_PX, TABLE_PX, TEXT_PX, TITLE_PX, WARNING, Canvas
from sr_writer.film.comparison_page import comparison_page
from sr_writer.film.content import FilmContent, film_content, image_number
from sr_writer.film.pairs import slices_compared
from sr_writer.film.views import COLOURS, Overview, SliceView, key_slices, overview, slice_views

#: Pixels. At two thirds of it, 1024 pixels wide, every word can still be read.
WIDTH, HEIGHT = 1536, 1152

_MARGIN, _GAP = 28, 12
_COLUMNS, _ROWS, _TILE = 3, 2, 316
_GRID_TOP = 104
_RIGHT = _MARGIN + _COLUMNS * (_TILE + _GAP) + 12
_TABLE_TOP = _GRID_TOP + _ROWS * (_TILE + _GAP) + 22
_OVERVIEW_BOX = (WIDTH - _MARGIN - _RIGHT, 450)
_SEVERITY_TOP, _LESIONS_TOP = 666, 830
_FOOT_TOP = HEIGHT - 116
_FIRST_COLUMN, _TABLE_PITCH = 124, 48
#: Right edges of the other columns of the table, as shares of what the first leaves.
_COLUMN_EDGES = (0.125, 0.32, 0.51, 0.66, 0.83, 1.0)

#: Of the severity bar, from none to 24: light to strong on a dark page.
_BAR = ((72, 120, 90), (170, 160, 70), (205, 120, 50), (200, 60, 50))
_MOST_REMARKS = 2
_SINCE_WIDTH = 820


def film(analysis: Analysis, context: ResultContext) -> NDArray[np.uint8]:
    """Draw the film of an analysis.

    Parameters
    ----------
    analysis
        Volume, masks and numbers.
    context
        Node, language, generation.

    Returns
    -------
    ndarray
        (`HEIGHT`, `WIDTH`, 3) uint8, red, green, blue; twice as high where the scan is compared with an
        earlier one: the comparison stands below.
    """
    content = film_content(analysis, context)
    page = _Page(WIDTH, HEIGHT)
    page.head(content)
    indices = key_slices(analysis, _COLUMNS * _ROWS)
    captions = [_caption(analysis, content, index) for index in indices]
    page.slices(slice_views(analysis, indices, _TILE), captions)
    if content.notice:
        page.notice(content)
    page.overview(overview(analysis, *_OVERVIEW_BOX), content)
    page.table(content)
    page.severity(content)
    page.lesions(content)
    page.foot(content)
    if analysis.comparison is None:
        return page.pixels()
    below = comparison_page(analysis, analysis.comparison, context, (WIDTH, HEIGHT))
    return np.concatenate([page.pixels(), below])


def slices_shown(analysis: Analysis) -> list[int]:
    """Return which slices of the volume the film of an analysis shows, each once."""
    own = key_slices(analysis, _COLUMNS * _ROWS)
    if analysis.comparison is None:
        return own
    return list(dict.fromkeys([*own, *slices_compared(analysis, analysis.comparison)]))


def _caption(analysis: Analysis, content: FilmContent, index: int) -> str:
    """Return the number by which a viewer finds the slice."""
    number = image_number(analysis, index)
    return content.words.image.format(number=number) if number else ""


class _Page(Canvas):
    """The parts of the film."""

    def head(self, content: FilmContent) -> None:
        """Title, what was examined, and the warning that nobody may overlook."""
        self.text((_MARGIN, 20), content.title, TITLE_PX)
        self.text((_MARGIN, 66), content.subtitle, SMALL_PX, FAINT)
        if content.warning:
            self.text((WIDTH - _MARGIN, 28), content.warning, TEXT_PX, WARNING, anchor="ra")
        since = self.cut(content.since, TEXT_PX, _SINCE_WIDTH)
        self.text((WIDTH - _MARGIN, 62), since, TEXT_PX, anchor="ra")

    def slices(self, views: Sequence[SliceView], captions: Sequence[str]) -> None:
        """The key slices in rows, with their directions and numbers."""
        for at, (view, caption) in enumerate(zip(views, captions, strict=True)):
            left = _MARGIN + (at % _COLUMNS) * (_TILE + _GAP)
            top = _GRID_TOP + (at // _COLUMNS) * (_TILE + _GAP)
            self.image.paste(Image.fromarray(view.picture), (left, top))
            middle = _TILE // 2
            for letter, (x, y), anchor in zip(
                view.letters,
                ((8, middle), (_TILE - 8, middle), (middle, 4), (middle, _TILE - 6)),
                ("lm", "rm", "ma", "md"),
                strict=True,
            ):
                self.text((left + x, top + y), letter, TEXT_PX, anchor=anchor, halo=True)
            self.text((left + 8, top + 4), caption, SMALL_PX, halo=True)

    def notice(self, content: FilmContent) -> None:
        """That nothing was found, below the table: the most important sentence of such a page."""
        self.text((_MARGIN, _TABLE_TOP + 4 * _TABLE_PITCH), content.notice, TITLE_PX, WARNING)

    def overview(self, shown: Overview, content: FilmContent) -> None:
        """Both lungs from the front, beside each zone its score."""
        self.text((_RIGHT, _GRID_TOP - 4), content.words.overview, TEXT_PX)
        width, height = shown.picture.shape[1], shown.picture.shape[0]
        left = _RIGHT + (_OVERVIEW_BOX[0] - width) // 2
        top = _GRID_TOP + 32
        self.image.paste(Image.fromarray(shown.picture), (left, top))
        self.text((left + 8, top + 6), "R", TEXT_PX, halo=True)
        self.text((left + width - 8, top + 6), "L", TEXT_PX, anchor="ra", halo=True)
        for zone in content.zones:
            if zone.zone in shown.zones:
                x, y = shown.zones[zone.zone]
                self.text((left + x, top + y), zone.text, TEXT_PX, anchor="mm", halo=True)
        self.wrapped(
            (_RIGHT, top + height + 8), content.words.overview_note, SMALL_PX, _OVERVIEW_BOX[0], FAINT
        )

    def table(self, content: FilmContent) -> None:
        """Volumes by lung; its heads are the legend of the colours."""
        right = _RIGHT - 24
        first = _MARGIN + _FIRST_COLUMN
        edges = [first + round((right - first) * share) for share in _COLUMN_EDGES]
        heads: tuple[Finding | str | None, ...] = (None, *Finding, "", "", "")
        y = _TABLE_TOP
        for x, text, what in zip(edges, content.table_head[1:], heads, strict=True):
            box = self.text((x, y), text, SMALL_PX, FAINT, anchor="ra")
            if what != "":
                colour = COLOURS[what]  # type: ignore[index]
                self.draw.rectangle((box[0] - 20, y + 6, box[0] - 8, y + 18), outline=colour, width=3)
        for row in content.table:
            y += _TABLE_PITCH
            self.draw.line((_MARGIN, y - 8, right, y - 8), LINE, 1)
            self.text((_MARGIN, y), row[0], TABLE_PX)
            for x, text in zip(edges, row[1:], strict=True):
                self.text((x, y), text, TABLE_PX, anchor="ra")
        self.draw.line((_MARGIN, y + _TABLE_PITCH - 8, right, y + _TABLE_PITCH - 8), LINE, 1)

    def lesions(self, content: FilmContent) -> None:
        """The largest single lesions."""
        y = _LESIONS_TOP
        self.text((_RIGHT, y), content.listed, TEXT_PX)
        right = WIDTH - _MARGIN
        columns = (
            (_RIGHT, "la"),
            (_RIGHT + 26, "la"),
            (_RIGHT + 124, "la"),
            (right - 172, "ra"),
            (right - 96, "ra"),
            (right, "ra"),
        )
        for row in content.lesions:
            y += 30
            for (x, anchor), text in zip(columns, row, strict=True):
                self.text((x, y), text, SMALL_PX, anchor=anchor)

    def severity(self, content: FilmContent) -> None:
        """The score as a bar of 24 parts."""
        top = _SEVERITY_TOP + 38
        words = content.words
        width = _OVERVIEW_BOX[0]
        self.text((_RIGHT, top - 38), words.severity.format(score=content.score), TEXT_PX)
        step = width / HIGHEST_SEVERITY_SCORE
        for at in range(HIGHEST_SEVERITY_SCORE):
            colour = _BAR[at * len(_BAR) // HIGHEST_SEVERITY_SCORE]
            box = (_RIGHT + at * step + 1, top, _RIGHT + (at + 1) * step - 1, top + 22)
            if at < content.score:
                self.draw.rectangle(box, fill=colour)
            else:
                self.draw.rectangle(box, outline=LINE)
        self.wrapped((_RIGHT, top + 30), words.severity_note, SMALL_PX, width, FAINT)

    def foot(self, content: FilmContent) -> None:
        """Who made it, and what a reader has to know."""
        self.draw.line((_MARGIN, _FOOT_TOP, WIDTH - _MARGIN, _FOOT_TOP), LINE, 1)
        self.text((_MARGIN, _FOOT_TOP + 10), content.foot, SMALL_PX, FAINT)
        shown = list(content.remarks[:_MOST_REMARKS])
        if len(content.remarks) > _MOST_REMARKS:
            shown[-1] += f"  (+ {len(content.remarks) - _MOST_REMARKS})"
        left = _MARGIN
        for row, remark in enumerate(shown):
            y = _FOOT_TOP + 40 + 28 * row
            if row == 0:
                left = round(self.text((_MARGIN, y), content.words.remarks, SMALL_PX, FAINT)[2]) + 16
            text = self.cut(remark, SMALL_PX, WIDTH - _MARGIN - left)
            self.text((left, y), text, SMALL_PX, WARNING)
