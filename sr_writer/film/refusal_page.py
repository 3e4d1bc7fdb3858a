"""The page of a series that could not be analysed: that nobody has to wait, and why."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.domain import Refusal
from sr_writer.context import ResultContext
from sr_writer.film.canvas import FAINT, LINE, SMALL_PX, TABLE_PX, TEXT_PX, TITLE_PX, WARNING, Canvas
from sr_writer.film.content import made_by, subtitle
from sr_writer.film.words import WORDS

#: Pixels.
WIDTH, HEIGHT = 1024, 480
#: Row of the line above the foot.
FOOT_TOP = HEIGHT - 92

_MARGIN = 28
_REASON_TOP = 160
_MOST_LINES = 6


def refusal_page(refusal: Refusal, context: ResultContext) -> NDArray[np.uint8]:
    """Draw the page.

    Parameters
    ----------
    refusal
        What was refused and why.
    context
        Node, language, generation.

    Returns
    -------
    ndarray
        (`HEIGHT`, `WIDTH`, 3) uint8, red, green, blue.
    """
    words, model = WORDS[context.language], refusal.model
    page = Canvas(WIDTH, HEIGHT)
    page.text((_MARGIN, 20), words.not_analysed, TITLE_PX, WARNING)
    page.text((_MARGIN, 66), subtitle(refusal.headers[0], context, words), SMALL_PX, FAINT)
    page.text((_MARGIN, _REASON_TOP - 34), words.because, TEXT_PX, FAINT)
    reason = refusal.reason[:1].upper() + refusal.reason[1:]
    page.wrapped((_MARGIN, _REASON_TOP), reason, TABLE_PX, WIDTH - 2 * _MARGIN, most_lines=_MOST_LINES)
    page.draw.line((_MARGIN, FOOT_TOP, WIDTH - _MARGIN, FOOT_TOP), LINE, 1)
    page.text((_MARGIN, FOOT_TOP + 12), words.no_statement, TEXT_PX)
    foot = made_by(context, model, words)
    if model.research_only:
        foot += f"  –  {words.research_only}"
    page.text((_MARGIN, FOOT_TOP + 52), foot, SMALL_PX, FAINT)
    return page.pixels()
