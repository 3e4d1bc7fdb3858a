"""Patient text from any character set into a result without harm (PS3.3 C.12.1.1.2, PS3.5 6.1).

Two ways, chosen once per source:

- One character set without code extensions: the bytes are copied as they stand under the same Specific
  Character Set. Nothing is decoded, so even mislabelled text (GBK bytes under ISO_IR 100) comes out as it
  went in.
- ISO 2022 code extensions: many readers get escape sequences wrong (some keep them as text, some write none),
  so the text is decoded here, strictly, and written as ISO_IR 192. Where it cannot be decoded, it is
  mislabelled, and the bytes are copied after all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

from core.errors import ResultEncodingError

UTF_8_TERM = "ISO_IR 192"

_ESC = b"\x1b"
# PS3.5 6.1.2.5.3: these end a designation; the initial one holds again after them.
_RESETTING = b"\t\n\f\r"
_PERSON_NAME_DELIMITERS = b"^="
# Two-byte sets in G0; Python's codecs need the escape sequence to know them.
_TWO_BYTE_G0 = {b"\x1b$B": "iso2022_jp", b"\x1b$(D": "iso2022_jp_2"}
_SINGLE_BYTE_G0 = (b"\x1b(B", b"\x1b(J")
_MISSPELT = re.compile(r"ISO[-_ ]?IR[-_ ]?(\d+)")


@dataclass(frozen=True, slots=True)
class TextPlan:
    """How text of one source gets into its results.

    Parameters
    ----------
    source_terms
        Specific Character Set (0008,0005) of the source; empty for the default repertoire.
    transcode
        Whether text is decoded and written as ISO_IR 192; otherwise bytes are copied.
    """

    source_terms: tuple[str, ...]
    transcode: bool

    @property
    def result_terms(self) -> tuple[str, ...]:
        """Specific Character Set of the result."""
        return (UTF_8_TERM,) if self.transcode else self.source_terms

    def convert(self, raw: bytes, *, person_name: bool) -> bytes:
        """Return the bytes of a text value in the character set of the result.

        Raises
        ------
        ResultEncodingError
            Where the text is not what the source's character set says; only when transcoding.
        """
        if not self.transcode:
            return raw
        try:
            return decode_code_extensions(raw, self.source_terms, person_name=person_name).encode()
        except UnicodeDecodeError as error:
            raise ResultEncodingError(
                "Text of a source image is not in its Specific Character Set "
                f"({_shown(self.source_terms)}). Have the sender corrected."
            ) from error

    def decode(self, raw: bytes) -> str | None:
        """Return text of a result for software that reads no DICOM, None where it is mislabelled.

        Parameters
        ----------
        raw
            Bytes in the character set of the result.
        """
        if _ESC in raw:
            return None
        try:
            return raw.decode(_initial_codec(self.result_terms or ("",)))
        except UnicodeDecodeError:
            return None

    def encode(self, text: str) -> bytes:
        """Return the bytes of text that was decoded before it came here.

        Raises
        ------
        ResultEncodingError
            Where characters were already lost on reading, or the character set does not hold them.
        """
        # One reader leaves the designation of GB 2312 in the text; it is no character of the name.
        text = text.replace("\x1b$)A", "")
        if "\ufffd" in text:
            raise ResultEncodingError(
                "Patient or study text of the source could not be read in its Specific Character Set "
                f"({_shown(self.source_terms)}). Have the sender corrected."
            )
        codec = python_encoding[self.result_terms[0] if self.result_terms else ""]
        try:
            return text.encode(codec)
        except UnicodeEncodeError as error:
            raise ResultEncodingError(
                "Patient or study text of the source does not fit its Specific Character Set "
                f"({_shown(self.source_terms)}). Have the sender corrected."
            ) from error


def plan_text(terms: Iterable[str], texts: Iterable[tuple[bytes, bool]]) -> TextPlan:
    """Choose how text gets from a source into its results.

    Parameters
    ----------
    terms
        Values of Specific Character Set (0008,0005) of the source.
    texts
        Raw values of its text, each with whether it is a person name.

    Raises
    ------
    ResultEncodingError
        Where a term is unknown and the text is not plain ASCII.
    """
    known = tuple(_corrected(term) for term in terms)
    while known and known[-1] == "":
        known = known[:-1]
    texts = tuple(texts)
    if any(term not in python_encoding for term in known):
        if all(raw.isascii() and _ESC not in raw for raw, _ in texts):
            return TextPlan((), transcode=False)
        raise ResultEncodingError(
            f"Specific Character Set of the source is {_shown(known)}, which DICOM does not define, and its "
            "text is not plain ASCII. Have the sender corrected."
        )
    # A second value after GB18030, GBK or ISO_IR 192 is an error of the sender; the first one holds.
    if len(known) > 1 and known[0] in {UTF_8_TERM, "GB18030", "GBK"}:
        known = known[:1]
    if len(known) < 2:
        return TextPlan(known, transcode=False)
    try:
        for raw, person_name in texts:
            decode_code_extensions(raw, known, person_name=person_name)
    except UnicodeDecodeError:
        return TextPlan(known, transcode=False)
    return TextPlan(known, transcode=True)


def decode_code_extensions(raw: bytes, terms: tuple[str, ...], *, person_name: bool) -> str:
    """Decode text with ISO 2022 code extensions, strictly.

    Parameters
    ----------
    raw
        Value bytes.
    terms
        Specific Character Set; the first value is the initial one.
    person_name
        Whether ``^`` and ``=`` delimit components, which ends a designation.

    Raises
    ------
    UnicodeDecodeError
        On an unknown escape sequence or a byte that the designated set does not define.
    """
    codec = initial = _initial_codec(terms)
    resetting = _RESETTING + b"\\" + (_PERSON_NAME_DELIMITERS if person_name else b"")
    pieces: list[str] = []
    two_byte: bytes | None = None
    position = 0
    while position < len(raw):
        if raw[position : position + 1] == _ESC:
            escape = _escape_at(raw, position)
            position += len(escape)
            if escape in _TWO_BYTE_G0 or escape in _SINGLE_BYTE_G0:
                two_byte = escape if escape in _TWO_BYTE_G0 else None
            else:
                codec = CODES_TO_ENCODINGS[escape]
            continue
        end = _end_of_run(raw, position, None if two_byte else resetting)
        run = raw[position:end]
        if two_byte:
            pieces.append((two_byte + run + b"\x1b(B").decode(_TWO_BYTE_G0[two_byte]))
        else:
            pieces.append(run.decode(codec))
            codec = initial if run[-1] in resetting else codec
        position = end
    return "".join(pieces)


def _initial_codec(terms: tuple[str, ...]) -> str:
    codec = python_encoding[terms[0]]
    # The library's name for the default repertoire, which ends at 127 (PS3.5 6.1.1).
    return "ascii" if codec == "iso8859" else codec


def _escape_at(raw: bytes, position: int) -> bytes:
    for length in (4, 3):
        if raw[position : position + length] in CODES_TO_ENCODINGS:
            return raw[position : position + length]
    raise UnicodeDecodeError("iso2022", raw, position, position + 1, "unknown escape sequence")


def _end_of_run(raw: bytes, start: int, resetting: bytes | None) -> int:
    """Return where the run of bytes of one designation ends; a resetting byte belongs to its run."""
    for position in range(start, len(raw)):
        if raw[position : position + 1] == _ESC:
            return position
        if resetting is not None and raw[position] in resetting:
            return position + 1
    return len(raw)


def _corrected(term: str) -> str:
    """Return a defined term for common misspellings such as ISO_IR_100 or ISO-IR 192."""
    term = term.strip()
    found = _MISSPELT.fullmatch(term)
    return f"ISO_IR {found.group(1)}" if found and term not in python_encoding else term


def _shown(terms: tuple[str, ...]) -> str:
    return "\\".join(terms) if terms else "absent"
