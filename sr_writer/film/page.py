"""Where everything stands on the film, and its drawing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from noto_cjk_sans_otc import FONT_PATH
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.domain import HIGHEST_SEVERITY_SCORE, Analysis, Finding
from sr_writer.context import ResultContext
from sr_writer.film.content import FilmContent, film_content
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

_PAPER, _INK, _FAINT, _LINE = (10, 12, 16), (236, 236, 232), (168, 172, 176), (64, 70, 78)
_WARNING = (255, 205, 90)
#: Of the severity bar, from none to 24: light to strong on a dark page.
_BAR = ((72, 120, 90), (170, 160, 70), (205, 120, 50), (200, 60, 50))
_TITLE_PX, _TABLE_PX, _TEXT_PX, _SMALL_PX = 34, 24, 21, 18
#: Face of the font collection whose forms are those of simplified Chinese; its Latin is the same in all.
_FACE = 2
_MOST_REMARKS = 2
#: What stays on one line: a word, or a Chinese character, each with the punctuation that follows it.
_BREAKABLE = re.compile(r"(?:[!-~]+|[^!-~])[，。；：、）]*\s*")


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
        (`HEIGHT`, `WIDTH`, 3) uint8, red, green, blue.
    """
    content = film_content(analysis, context)
    page = _Page()
    page.head(content)
    indices = slices_shown(analysis)
    captions = [_caption(analysis, content, index) for index in indices]
    page.slices(slice_views(analysis, indices, _TILE), captions)
    if content.notice:
        page.notice(content)
    page.overview(overview(analysis, *_OVERVIEW_BOX), content)
    page.table(content)
    page.severity(content)
    page.lesions(content)
    page.foot(content)
    return page.pixels()


def slices_shown(analysis: Analysis) -> list[int]:
    """Return which slices of the volume the film of an analysis shows."""
    return key_slices(analysis, _COLUMNS * _ROWS)


def _caption(analysis: Analysis, content: FilmContent, index: int) -> str:
    """Return the number by which a viewer finds the slice."""
    frame = analysis.volume.frames[index]
    headers = analysis.volume.headers
    number: object = frame.frame_number
    if number is None and len(headers) == analysis.volume.hu_zyx.shape[0]:
        number = headers[index].get("InstanceNumber")
    return content.words.image.format(number=number) if number is not None else ""


class _Page:
    """A dark page and what is drawn on it."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def pixels(self) -> NDArray[np.uint8]:
        """Return what was drawn."""
        return np.asarray(self._image, dtype=np.uint8)

    def head(self, content: FilmContent) -> None:
        """Title, what was examined, and the warning that nobody may overlook."""
        self._text((_MARGIN, 20), content.title, _TITLE_PX)
        self._text((_MARGIN, 66), content.subtitle, _SMALL_PX, _FAINT)
        if content.warning:
            self._text((WIDTH - _MARGIN, 28), content.warning, _TEXT_PX, _WARNING, anchor="ra")

    def slices(self, views: Sequence[SliceView], captions: Sequence[str]) -> None:
        """The key slices in rows, with their directions and numbers."""
        for at, (view, caption) in enumerate(zip(views, captions, strict=True)):
            left = _MARGIN + (at % _COLUMNS) * (_TILE + _GAP)
            top = _GRID_TOP + (at // _COLUMNS) * (_TILE + _GAP)
            self._image.paste(Image.fromarray(view.picture), (left, top))
            middle = _TILE // 2
            for letter, (x, y), anchor in zip(
                view.letters,
                ((8, middle), (_TILE - 8, middle), (middle, 4), (middle, _TILE - 6)),
                ("lm", "rm", "ma", "md"),
                strict=True,
            ):
                self._text((left + x, top + y), letter, _TEXT_PX, anchor=anchor, halo=True)
            self._text((left + 8, top + 4), caption, _SMALL_PX, halo=True)

    def notice(self, content: FilmContent) -> None:
        """That nothing was found, across the slices."""
        y = _GRID_TOP + _ROWS * (_TILE + _GAP) - _GAP // 2 - 30
        self._text((_MARGIN + 8, y), content.notice, _TEXT_PX, _WARNING, halo=True)

    def overview(self, shown: Overview, content: FilmContent) -> None:
        """Both lungs from the front, beside each zone its score."""
        self._text((_RIGHT, _GRID_TOP - 4), content.words.overview, _TEXT_PX)
        width, height = shown.picture.shape[1], shown.picture.shape[0]
        left = _RIGHT + (_OVERVIEW_BOX[0] - width) // 2
        top = _GRID_TOP + 32
        self._image.paste(Image.fromarray(shown.picture), (left, top))
        self._text((left + 8, top + 6), "R", _TEXT_PX, halo=True)
        self._text((left + width - 8, top + 6), "L", _TEXT_PX, anchor="ra", halo=True)
        for zone in content.zones:
            if zone.zone in shown.zones:
                x, y = shown.zones[zone.zone]
                self._text((left + x, top + y), zone.text, _TEXT_PX, anchor="mm", halo=True)
        self._wrapped(
            (_RIGHT, top + height + 8), content.words.overview_note, _SMALL_PX, _OVERVIEW_BOX[0], _FAINT
        )

    def table(self, content: FilmContent) -> None:
        """Volumes by lung; its heads are the legend of the colours."""
        right = _RIGHT - 24
        first = _MARGIN + _FIRST_COLUMN
        edges = [first + round((right - first) * share) for share in _COLUMN_EDGES]
        heads: tuple[Finding | str | None, ...] = (None, *Finding, "", "", "")
        y = _TABLE_TOP
        for x, text, what in zip(edges, content.table_head[1:], heads, strict=True):
            box = self._text((x, y), text, _SMALL_PX, _FAINT, anchor="ra")
            if what != "":
                colour = COLOURS[what]  # type: ignore[index]
                self._draw.rectangle((box[0] - 20, y + 6, box[0] - 8, y + 18), outline=colour, width=3)
        for row in content.table:
            y += _TABLE_PITCH
            self._draw.line((_MARGIN, y - 8, right, y - 8), _LINE, 1)
            self._text((_MARGIN, y), row[0], _TABLE_PX)
            for x, text in zip(edges, row[1:], strict=True):
                self._text((x, y), text, _TABLE_PX, anchor="ra")
        self._draw.line((_MARGIN, y + _TABLE_PITCH - 8, right, y + _TABLE_PITCH - 8), _LINE, 1)

    def lesions(self, content: FilmContent) -> None:
        """The largest single lesions."""
        y = _LESIONS_TOP
        self._text((_RIGHT, y), content.listed, _TEXT_PX)
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
                self._text((x, y), text, _SMALL_PX, anchor=anchor)

    def severity(self, content: FilmContent) -> None:
        """The score as a bar of 24 parts."""
        top = _SEVERITY_TOP + 38
        words = content.words
        width = _OVERVIEW_BOX[0]
        self._text((_RIGHT, top - 38), words.severity.format(score=content.score), _TEXT_PX)
        step = width / HIGHEST_SEVERITY_SCORE
        for at in range(HIGHEST_SEVERITY_SCORE):
            colour = _BAR[at * len(_BAR) // HIGHEST_SEVERITY_SCORE]
            box = (_RIGHT + at * step + 1, top, _RIGHT + (at + 1) * step - 1, top + 22)
            if at < content.score:
                self._draw.rectangle(box, fill=colour)
            else:
                self._draw.rectangle(box, outline=_LINE)
        self._wrapped((_RIGHT, top + 30), words.severity_note, _SMALL_PX, width, _FAINT)

    def foot(self, content: FilmContent) -> None:
        """Who made it, and what a reader has to know."""
        self._draw.line((_MARGIN, _FOOT_TOP, WIDTH - _MARGIN, _FOOT_TOP), _LINE, 1)
        self._text((_MARGIN, _FOOT_TOP + 10), content.foot, _SMALL_PX, _FAINT)
        shown = list(content.remarks[:_MOST_REMARKS])
        if len(content.remarks) > _MOST_REMARKS:
            shown[-1] += f"  (+ {len(content.remarks) - _MOST_REMARKS})"
        left = _MARGIN
        for row, remark in enumerate(shown):
            y = _FOOT_TOP + 40 + 28 * row
            if row == 0:
                left = round(self._text((_MARGIN, y), content.words.remarks, _SMALL_PX, _FAINT)[2]) + 16
            text = self._cut(remark, _SMALL_PX, WIDTH - _MARGIN - left)
            self._text((left, y), text, _SMALL_PX, _WARNING)

    def _text(
        self,
        at: tuple[float, float],
        text: str,
        size: int,
        colour: tuple[int, int, int] = _INK,
        *,
        anchor: str = "la",
        halo: bool = False,
    ) -> tuple[float, float, float, float]:
        font = _font(size)
        stroke = 3 if halo else 0
        self._draw.text(at, text, colour, font, anchor, stroke_width=stroke, stroke_fill=_PAPER)
        return self._draw.textbbox(at, text, font, anchor)

    def _wrapped(
        self, at: tuple[float, float], text: str, size: int, width: int, colour: tuple[int, int, int]
    ) -> None:
        """Write text in as many lines as it needs."""
        line, y = "", at[1]
        for part in _BREAKABLE.findall(text):
            if line and _font(size).getlength(line + part.rstrip()) > width:
                self._text((at[0], y), line.rstrip(), size, colour)
                line, y = part, y + round(size * 1.35)
            else:
                line += part
        self._text((at[0], y), line.rstrip(), size, colour)

    def _cut(self, text: str, size: int, width: int) -> str:
        """Shorten text to a width; the report holds all of it."""
        if _font(size).getlength(text) <= width:
            return text
        while text and _font(size).getlength(f"{text} …") > width:
            text = text[:-1]
        return f"{text} …"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT_PATH), size, index=_FACE)
