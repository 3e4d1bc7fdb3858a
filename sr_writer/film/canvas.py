"""A dark page to write on: colours, fonts, wrapping."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from noto_cjk_sans_otc import FONT_PATH
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER, INK, FAINT, LINE = (10, 12, 16), (236, 236, 232), (168, 172, 176), (64, 70, 78)
WARNING = (255, 205, 90)
TITLE_PX, TABLE_PX, TEXT_PX, SMALL_PX = 34, 24, 21, 18

#: Face of the font collection whose forms are those of simplified Chinese; its Latin is the same in all.
_FACE = 2
_LINE_PITCH = 1.35
#: What stays on one line: a word, or a Chinese character, each with the punctuation that follows it.
_BREAKABLE = re.compile(r"(?:[!-~]+|[^!-~])[，。；：、）]*\s*")


class Canvas:
    """A page and what is drawn on it.

    Parameters
    ----------
    width, height
        Pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    @classmethod
    def on(cls, picture: NDArray[np.uint8]) -> Canvas:
        """Return a page that is a picture: (height, width, 3) uint8, red, green, blue."""
        page = cls(picture.shape[1], picture.shape[0])
        page.image.paste(Image.fromarray(picture))
        return page

    def pixels(self) -> NDArray[np.uint8]:
        """Return what was drawn: (height, width, 3) uint8, red, green, blue."""
        return np.asarray(self.image, dtype=np.uint8)

    def text(
        self,
        at: tuple[float, float],
        text: str,
        size: int,
        colour: Colour = INK,
        *,
        anchor: str = "la",
        halo: bool = False,
    ) -> tuple[float, float, float, float]:
        """Write one line and return its box; a halo keeps it legible on a picture."""
        font = _font(size)
        stroke = 3 if halo else 0
        self.draw.text(at, text, colour, font, anchor, stroke_width=stroke, stroke_fill=PAPER)
        return self.draw.textbbox(at, text, font, anchor)

    def wrapped(
        self,
        at: tuple[float, float],
        text: str,
        size: int,
        width: int,
        colour: Colour = INK,
        *,
        most_lines: int = 99,
    ) -> None:
        """Write text in as many lines as it needs; the last of `most_lines` is cut where that is too few."""
        lines = [""]
        for part in _BREAKABLE.findall(text):
            full = _font(size).getlength(lines[-1] + part.rstrip()) > width
            if lines[-1] and full and len(lines) < most_lines:
                lines.append("")
            lines[-1] += part
        for row, line in enumerate(lines):
            y = at[1] + row * round(size * _LINE_PITCH)
            self.text((at[0], y), self.cut(line.rstrip(), size, width), size, colour)

    def width_of(self, text: str, size: int) -> float:
        """Return how wide a line is, pixels."""
        return float(_font(size).getlength(text))

    def cut(self, text: str, size: int, width: int) -> str:
        """Shorten text to a width; the report holds all of it."""
        if _font(size).getlength(text) <= width:
            return text
        while text and _font(size).getlength(f"{text} …") > width:
            text = text[:-1]
        return f"{text} …"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT_PATH), size, index=_FACE)
