"""Every slice of the lungs with its outlines: what a PACS shows that knows no segmentations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from core.domain import Analysis
from sr_writer.context import ResultContext
from sr_writer.film.canvas import SMALL_PX, WARNING, Canvas
from sr_writer.film.content import image_number
from sr_writer.film.views import SliceView, whole_slice
from sr_writer.film.words import WORDS


def stack_slices(analysis: Analysis) -> list[int]:
    """Return the slices that show lung, from head to foot; every slice where there is no lung."""
    shown = np.flatnonzero(analysis.lungs.labels_zyx.any(axis=(1, 2)))
    if not shown.size:
        shown = np.arange(len(analysis.lungs.labels_zyx))
    rises = analysis.volume.geometry.affine_lps[2, 0] > 0
    return [int(index) for index in (shown[::-1] if rises else shown)]


def stack_pictures(analysis: Analysis, context: ResultContext) -> Iterator[NDArray[np.uint8]]:
    """Draw each of `stack_slices`, pixel for pixel as the source has it.

    Yields
    ------
    ndarray
        (rows, columns, 3) uint8, red, green, blue.
    """
    words, research_only = WORDS[context.language], analysis.lesions.model.research_only
    for index in stack_slices(analysis):
        view = whole_slice(analysis, index)
        page = Canvas.on(view.picture)
        number = image_number(analysis, index)
        if number:
            page.text((6, 4), words.image.format(number=number), SMALL_PX, halo=True)
        if research_only:
            bottom = view.picture.shape[0] - 6
            page.text((6, bottom), words.research_only, SMALL_PX, WARNING, anchor="ld", halo=True)
        _directions(page, view)
        yield page.pixels()


def _directions(page: Canvas, view: SliceView) -> None:
    """Write where the patient's sides are at the left and right edge."""
    rows, columns = view.picture.shape[:2]
    page.text((6, rows // 2), view.letters[0], SMALL_PX, anchor="lm", halo=True)
    page.text((columns - 6, rows // 2), view.letters[1], SMALL_PX, anchor="rm", halo=True)
