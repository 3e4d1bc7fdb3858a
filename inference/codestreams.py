"""Compressed frames are checked before a decoder sees them.

Decoders make up the end of a codestream that was cut short, allocate what its header asks for, and gdcm ends
the process on a JPEG whose marker segments are damaged. Damage inside the entropy-coded data itself cannot be
told from an image; the digests of the spool cover that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLossless, JPEGLosslessSV1

from core.errors import UnsupportedImage
from inference.series_frames import StoredFormat

_SEND_AGAIN = "send the image again"

# Markers, ISO 10918-1 table B.1 and ISO 14495-1 C.1.1.
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_START_OF_LOSSLESS_FRAME = 0xC3
_DEFINE_HUFFMAN_TABLES = 0xC4
_START_OF_SCAN = 0xDA
_DEFINE_RESTART_INTERVAL = 0xDD
_PASSED_OVER = frozenset({*range(0xE0, 0xF0), 0xFE})


def check_codestream(encoded: bytes, transfer_syntax: UID, stored: StoredFormat) -> None:
    """Refuse a codestream that is cut short, damaged, or of another matrix than the header says.

    Parameters
    ----------
    encoded
        One frame of JPEG Lossless, JPEG-LS, JPEG 2000 or HTJ2K.
    transfer_syntax
        Transfer Syntax UID.
    stored
        What the header says.

    Raises
    ------
    UnsupportedImage
        The codestream cannot be that of the image.
    ValueError, IndexError, struct.error
        It has no readable header.
    """
    # End of image and end of codestream are the same marker; a fragment may be padded to even length.
    if not encoded.rstrip(b"\x00").endswith(b"\xff\xd9"):
        raise UnsupportedImage(f"the compressed pixels are cut short: {_SEND_AGAIN}")
    if transfer_syntax in JPEG2000TransferSyntaxes:
        matrix = _jpeg_2000_matrix(encoded)
    else:
        if transfer_syntax in (JPEGLossless, JPEGLosslessSV1):
            _require_sound_jpeg_lossless(encoded)
        matrix = _jpeg_matrix(encoded)
    if matrix != (stored.rows, stored.columns, 1):
        raise UnsupportedImage(
            f"the compressed pixels are not {stored.rows} rows of {stored.columns}: {_SEND_AGAIN}"
        )


def _jpeg_2000_matrix(encoded: bytes) -> tuple[int, int, int]:
    """Return rows, columns and components from the SIZ marker segment (ISO 15444-1 A.5.1).

    It is looked for because some archives wrap the codestream into JP2 boxes.
    """
    at = encoded.index(b"\xff\x4f\xff\x51", 0, 512) + 8
    x, y, x0, y0 = struct.unpack_from(">4I", encoded, at)
    (components,) = struct.unpack_from(">H", encoded, at + 32)
    return y - y0, x - x0, components


def _jpeg_matrix(encoded: bytes) -> tuple[int, int, int]:
    """Return rows, columns and components from the frame header."""
    for marker, segment in _segments(encoded):
        if marker in _START_OF_FRAME:
            _, rows, columns, components = struct.unpack_from(">BHHB", segment)
            return rows, columns, components
    raise ValueError("no frame header")


def _segments(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and parameters of each segment up to the scan header, and the scan's data at last."""
    if encoded[:2] != b"\xff\xd8":
        raise ValueError("no start of image")
    at, marker = 2, 0
    while marker != _START_OF_SCAN:
        while encoded[at : at + 2] == b"\xff\xff":
            at += 1
        prefix, marker, length = struct.unpack_from(">BBH", encoded, at)
        if prefix != 0xFF or length < 2 or at + 2 + length > len(encoded):
            raise ValueError("damaged marker segment")
        yield marker, encoded[at + 4 : at + 2 + length]
        at += 2 + length
    yield 0, encoded[at:]


def _require_sound_jpeg_lossless(encoded: bytes) -> None:
    """Refuse what is no one-component JPEG Lossless frame in one scan (ISO 10918-1 annex H)."""
    tables: set[int] = set()
    frames: list[bytes] = []
    scan = b""
    for marker, segment in _segments(encoded):
        if marker == _DEFINE_HUFFMAN_TABLES:
            tables |= _huffman_tables(segment)
        elif marker == _START_OF_LOSSLESS_FRAME:
            frames.append(segment)
        elif marker == _START_OF_SCAN:
            scan = segment
        elif marker == 0:
            _require_clean_scan(segment)
        elif marker not in _PASSED_OVER and not (marker == _DEFINE_RESTART_INTERVAL and len(segment) == 2):
            raise ValueError("foreign marker in JPEG Lossless")
    if len(frames) != 1 or len(frames[0]) != 9 or len(scan) != 6:
        raise ValueError("damaged frame or scan header")
    precision, component, sampling = frames[0][0], frames[0][6], frames[0][7]
    count, selected, table, predictor, end, transform = scan
    if (
        not 2 <= precision <= 16
        or (sampling, count, end) != (0x11, 1, 0)
        or selected != component
        or table >> 4 not in tables
        or not 1 <= predictor <= 7
        or transform >= precision
    ):
        raise ValueError("damaged frame or scan header")


def _huffman_tables(segment: bytes) -> set[int]:
    """Return the numbers of the tables in a DHT segment, having checked each (ISO 10918-1 B.2.4.2)."""
    numbers = set()
    at = 0
    while at < len(segment):
        number, counts = segment[at], segment[at + 1 : at + 17]
        symbols = segment[at + 17 : at + 17 + sum(counts)]
        share = sum(count / 2**length for length, count in enumerate(counts, start=1))
        if number > 3 or len(counts) != 16 or len(symbols) != sum(counts) or not 0 < share <= 1:
            raise ValueError("damaged Huffman table")
        if max(symbols) > 16 or len(set(symbols)) != len(symbols):
            raise ValueError("damaged Huffman table")
        numbers.add(number)
        at += 17 + len(symbols)
    return numbers


def _require_clean_scan(data: bytes) -> None:
    """Refuse entropy-coded data with any marker inside but restarts and the end of image."""
    values = np.frombuffer(data.rstrip(b"\x00"), dtype=np.uint8)
    after = values[1:][values[:-1] == 0xFF]
    markers = after[(after != 0x00) & ((after < 0xD0) | (after > 0xD7))]
    if markers.tolist() != [0xD9]:
        raise ValueError("marker inside a scan")
