"""The lower half of the film of a scan that is compared with an earlier one.

The film is one single-frame picture (Secondary Capture Image Storage), and so it stays: that is what every
PACS takes and shows, whereas a multi-frame picture is another SOP Class, of which some show the first frame
only, and a second instance would need a delivery, a reference and a rejection of its own everywhere. The page
becomes twice as high instead, and its upper half says in one line what changed. Either half is a page of the
usual size, for those who cut it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.comparison import Comparison
from core.domain import Analysis, Finding
from sr_writer.context import ResultContext
from sr_writer.film.canvas import FAINT, LINE, SMALL_PX, TEXT_PX, TITLE_PX, WARNING, Canvas, Colour
from sr_writer.film.change_map import (
    CHANGE_COLOURS,
    HATCHED,
    Became,
    ChangeMap,
    both_from_front,
    change_from_front,
)
from sr_writer.film.comparison_content import ComparisonContent, comparison_content
from sr_writer.film.content import image_number
from sr_writer.film.drawing import stripes
from sr_writer.film.pairs import Pair, pairs
from sr_writer.film.trend import Area, draw_trend
from sr_writer.film.views import COLOURS
from sr_writer.film.words import WORDS

_MARGIN, _GAP = 28, 12
#: Room for the caption above each picture, and all that lies between rows of pictures.
_CAPTION_PX = 25
_ROW_GAP = _CAPTION_PX + 3
#: The same columns as above: pictures and table at the left, the rest at the right.
_RIGHT, _LEFT_END = 1024, 1000
_GRID_TOP = 104
#: Pictures of a plane beside each other: both scans and the change, or both scans of two planes.
_THREE, _FOUR = (316, 202), (236, 190)
_ROWS = 3
_TABLE_TOP, _TABLE_PITCH = 852, 30
#: Right edges of the table's columns; the arrow stands at the left edge of its own.
_COLUMN_EDGES = (300, 436, 454, 604, 748, 972)
_FRONT_HEIGHT, _FRONTS_HEIGHT = 304, 246
_FRONT_LEGEND_TOP, _LESIONS_TOP, _TREND_TOP = 446, 516, 736
_LESION_PITCH = 27
_FOOT_TOP, _FOOT_PITCH, _MOST_CAUTIONS = 1036, 26, 4
_MARK_PX = 14


def comparison_page(
    analysis: Analysis, comparison: Comparison, context: ResultContext, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw the comparison.

    Parameters
    ----------
    analysis, comparison
        The current scan, and the earlier one with what changed.
    context
        Language.
    size
        (width, height) of the page, pixels.

    Returns
    -------
    ndarray
        (height, width, 3) uint8, red, green, blue.
    """
    content = comparison_content(analysis, comparison, context)
    alignment = comparison.alignment
    change = None if alignment is None else ChangeMap.of(analysis, alignment)
    page = _Page(*size)
    page.head(content)
    planes = pairs(analysis, comparison, change, _FOUR if change is None else _THREE)
    page.planes(planes, [_number(analysis, one, context) for one in planes], content)
    if change is None:
        page.apart(*both_from_front(analysis, comparison.prior, page.right_width, _FRONTS_HEIGHT), content)
    else:
        page.change(change_from_front(analysis, change, page.right_width, _FRONT_HEIGHT), content)
        page.lesions(content)
    page.outlines(content, WORDS[context.language].findings)
    page.table(content)
    page.trend(comparison, content)
    page.foot(content)
    return page.pixels()


def _number(analysis: Analysis, plane: Pair, context: ResultContext) -> str:
    """Return the number by which a viewer finds a plane, where it is one of the scan's slices."""
    number = image_number(analysis, plane.slice_index) if plane.is_slice else ""
    return WORDS[context.language].image.format(number=number) if number else ""


class _Page(Canvas):
    """The parts of the comparison."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(width, height)
        self.end = width - _MARGIN
        self.right_width = self.end - _RIGHT

    def head(self, content: ComparisonContent) -> None:
        """What changed since when, by which rule, and the warning that nobody may overlook."""
        self.draw.line((_MARGIN, 0, self.end, 0), LINE, 1)
        self.text((_MARGIN, 20), content.headline, TITLE_PX)
        self.text((_MARGIN, 66), self.cut(content.because, SMALL_PX, self.end - _MARGIN), SMALL_PX, FAINT)
        if content.warning:
            self.text((self.end, 28), content.warning, TEXT_PX, WARNING, anchor="ra")

    def planes(self, planes: Sequence[Pair], numbers: Sequence[str], content: ComparisonContent) -> None:
        """Both scans in each plane, and what changed."""
        for at, (pair, number) in enumerate(zip(planes, numbers, strict=True)):
            shown = [(pair.now, content.now), (pair.then, content.then)]
            if pair.change is not None:
                shown.append((pair.change, content.words.change))
            height, width = pair.now.shape[:2]
            in_row, gap = (1, _GAP) if pair.change is not None else (2, 4)
            left = _MARGIN + (at % in_row) * 2 * (width + _GAP)
            top = _GRID_TOP + (at // in_row) * (height + _ROW_GAP)
            for column, (picture, caption) in enumerate(shown):
                self._picture((left + column * (width + gap), top), picture, caption, "bottom")
            self.text((left + 8, top + _CAPTION_PX + 2), number, SMALL_PX, halo=True)

    def change(self, picture: NDArray[np.uint8], content: ComparisonContent) -> None:
        """Both lungs from the front with what became of them, and the key of the colours."""
        self.text((_RIGHT, _GRID_TOP - 4), content.view, TEXT_PX)
        left = _RIGHT + (self.right_width - picture.shape[1]) // 2
        self._picture((left, _GRID_TOP + 32 - _CAPTION_PX), picture, "", "top")
        for at, became in enumerate((Became.NEW, Became.CONSOLIDATED, Became.REMAINED, Became.RESOLVED)):
            x, y = _RIGHT + (at % 2) * 160, _FRONT_LEGEND_TOP + (at // 2) * 28
            self._patch((x, y + 5), became)
            self.text((x + 24, y), content.words.became[became], SMALL_PX, FAINT)

    def apart(self, now: NDArray[np.uint8], then: NDArray[np.uint8], content: ComparisonContent) -> None:
        """The lesions of both scans from the front, each in its own place."""
        self.text((_RIGHT, _GRID_TOP - 4), content.view, TEXT_PX)
        top = _GRID_TOP + 28
        for picture, caption in ((now, content.now), (then, content.then)):
            left = _RIGHT + (self.right_width - picture.shape[1]) // 2
            self._picture((left, top), picture, caption, "top")
            top += picture.shape[0] + _ROW_GAP + 6
        self.text((_RIGHT, top), self.cut(content.listed, SMALL_PX, self.right_width), SMALL_PX, FAINT)

    def outlines(self, content: ComparisonContent, findings: Mapping[Finding, str]) -> None:
        """The key of the outlines, and how places were brought together."""
        tile = _THREE if content.is_matched else _FOUR
        y = _GRID_TOP + _ROWS * (tile[1] + _ROW_GAP) + 4
        names: list[tuple[Finding | None, str]] = [(None, content.words.lung), *findings.items()]
        x = float(_MARGIN)
        for what, name in names:
            self.draw.rectangle((x, y + 7, x + 12, y + 19), outline=COLOURS[what], width=3)
            x = self.text((x + 20, y), name, SMALL_PX, FAINT)[2] + 28
        colour, lines = (FAINT, 1) if content.is_matched else (WARNING, 2)
        width = _LEFT_END - _MARGIN
        self.wrapped((_MARGIN, y + 27), content.matching, SMALL_PX, width, colour, most_lines=lines)

    def table(self, content: ComparisonContent) -> None:
        """Numbers then and now, what changed, and what is no change."""
        y = _TABLE_TOP
        for x, text in zip(_COLUMN_EDGES, content.table_head[1:], strict=True):
            self.text((x + _MARGIN, y), text, SMALL_PX, FAINT, anchor="ra")
        y -= 2
        for row in content.table:
            y += _TABLE_PITCH
            self.draw.line((_MARGIN, y - 1, _LEFT_END, y - 1), LINE, 1)
            self.text((_MARGIN, y - 2), row[0], TEXT_PX)
            for at, (x, text) in enumerate(zip(_COLUMN_EDGES, row[1:], strict=True)):
                if at == 2:
                    self.text((x + _MARGIN, y), text, SMALL_PX)
                else:
                    self.text((x + _MARGIN, y - 2), text, TEXT_PX, anchor="ra")

    def lesions(self, content: ComparisonContent) -> None:
        """The largest changes of single lesions."""
        y = _LESIONS_TOP
        self.text((_RIGHT, y), self.cut(content.listed, TEXT_PX, self.right_width), TEXT_PX)
        y += 6
        columns = (
            (_RIGHT, "la"),
            (_RIGHT + 52, "la"),
            (_RIGHT + 152, "la"),
            (self.end - 116, "ra"),
            (self.end - 97, "ma"),
            (self.end, "ra"),
        )
        for row in content.lesions:
            y += _LESION_PITCH
            for (x, anchor), text in zip(columns, row, strict=True):
                self.text((x, y), text, SMALL_PX, anchor=anchor)

    def trend(self, comparison: Comparison, content: ComparisonContent) -> None:
        """All scans over time."""
        self.text((_RIGHT, _TREND_TOP), content.trend, TEXT_PX)
        area = Area(_RIGHT, _TREND_TOP + 42, self.end, _FOOT_TOP - 12)
        draw_trend(self, area, comparison.history, content.words)

    def foot(self, content: ComparisonContent) -> None:
        """In what the scans differ."""
        self.draw.line((_MARGIN, _FOOT_TOP, self.end, _FOOT_TOP), LINE, 1)
        shown = list(content.cautions[:_MOST_CAUTIONS])
        more = len(content.cautions) - len(shown)
        left = float(_MARGIN)
        for row, caution in enumerate(shown):
            y = _FOOT_TOP + 5 + _FOOT_PITCH * row
            if row == 0:
                left = self.text((_MARGIN, y), content.words.cautions, SMALL_PX, FAINT)[2] + 16
            count = f"  (+ {more})" if more and row == len(shown) - 1 else ""
            room = self.end - left - self.width_of(count, SMALL_PX)
            self.text((left, y), self.cut(caution, SMALL_PX, int(room)) + count, SMALL_PX, WARNING)

    def _picture(self, at: tuple[int, int], picture: NDArray[np.uint8], caption: str, letters: str) -> None:
        """Place a picture under its caption, which hides nothing of it; the patient's right is at its left.

        The letters stand in its upper or lower corners, wherever there is no lung.
        """
        (left, top), (height, width) = at, picture.shape[:2]
        self.text((left, top), self.cut(caption, SMALL_PX, width), SMALL_PX)
        top += _CAPTION_PX
        self.image.paste(Image.fromarray(picture), (left, top))
        y, anchor = (top + 4, "a") if letters == "top" else (top + height - 6, "d")
        self.text((left + 8, y), "R", TEXT_PX, anchor=f"l{anchor}", halo=True)
        self.text((left + width - 8, y), "L", TEXT_PX, anchor=f"r{anchor}", halo=True)

    def _patch(self, at: tuple[int, int], became: Became) -> None:
        """Draw a piece of a colour, hatched where the map is."""
        colour: Colour = CHANGE_COLOURS[became]
        patch = np.zeros((_MARK_PX, _MARK_PX, 3), np.uint8)
        patch[stripes((_MARK_PX, _MARK_PX)) if became in HATCHED else slice(None)] = colour
        self.image.paste(Image.fromarray(patch), at)
