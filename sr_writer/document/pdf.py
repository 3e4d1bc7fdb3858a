"""The document as a PDF file: PDF/A-2a and PDF/UA-1, text that can be selected, fonts inside."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from datetime import datetime
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import typst
from noto_cjk_sans_otc import FONT_PATH
from numpy.typing import NDArray
from PIL import Image

from core.errors import ResultEncodingError
from sr_writer.document.content import DocumentContent

_LAYOUT = Path(__file__).with_name("layout.typ")
#: Speed counts here: the typesetter decodes the picture and compresses it anew.
_PNG_LEVEL = 1
#: By the remainder of the file's length: one end of line may follow its end (ISO 19005-2, 6.1.3). An even
#: length needs no padding in DICOM; and Orthanc takes a last byte that ends no line for padding.
_END_OF_LINE = (b"\r\n", b"\n")


def pdf(content: DocumentContent, film: NDArray[np.uint8], moment_utc: datetime) -> bytes:
    """Typeset the document.

    The same content, film and moment give the same bytes: no font of the machine is used, and no clock.

    Parameters
    ----------
    content
        Every text of it.
    film
        (y, x, 3) uint8, red, green, blue; page 1.
    moment_utc
        Creation date of the file, to the second; aware.

    Returns
    -------
    bytes
        The file: of even length, its last byte the end of a line.

    Raises
    ------
    ResultEncodingError
        Where the document cannot be typeset, for example because the font lacks a character.
    """
    try:
        made = typst.compile(
            _LAYOUT.read_bytes(),
            font_paths=_fonts(),
            ignore_system_fonts=True,
            sys_inputs={
                "content": json.dumps(asdict(content)),
                "film": _picture(film),
                "upright": "yes" if film.shape[0] > film.shape[1] else "no",
            },
            # For archives, with text that can be extracted and read aloud (ISO 19005-2, ISO 14289-1).
            pdf_standards=["a-2a", "ua-1"],
            timestamp=int(moment_utc.timestamp()),
        )
    except typst.TypstError as error:
        raise ResultEncodingError(f"The document could not be typeset: {error.message}") from error
    return bytes(made) + _END_OF_LINE[len(made) % 2]


def _picture(film: NDArray[np.uint8]) -> str:
    """Return the film as an SVG file: the typesetter takes from memory only what is text."""
    height, width = film.shape[:2]
    png = BytesIO()
    Image.fromarray(film).save(png, "PNG", compress_level=_PNG_LEVEL)
    size = f'width="{width}" height="{height}"'
    link = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><image {size} href="{link}"/></svg>'


@cache
def _fonts() -> typst.Fonts:
    return typst.Fonts(
        include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(Path(FONT_PATH).parent)]
    )
