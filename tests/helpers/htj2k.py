"""A tiny High-Throughput JPEG 2000 encoder, because no installed library writes it.

ISO 15444-15 with everything reduced that can be: reversible, no wavelet, one tile of 2 × 2 samples for each
code-block, so that every block is a single quad in its initial context. What remains is real: significance,
exponents, MagSgn bits, and the sign flag of the codestream. After the DC level shift no sample may be zero,
nor a whole quad ±1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# Codewords of ISO 15444-15 Annex C for context 0, all four samples significant, exponent above the
# predicted one: (known exponent bits, their value, codeword, its length).
_CODEWORDS = (
    (0b1110, 0b0010, 0b011001, 6),
    (0b1111, 0b0100, 0b101001, 6),
    (0b1111, 0b1000, 0b111001, 6),
    (0b1111, 0b0101, 0b0001011, 7),
    (0b1001, 0b1001, 0b0011011, 7),
    (0b1111, 0b1100, 0b0101011, 7),
    (0b1111, 0b0001, 0b0110011, 7),
    (0b1011, 0b1010, 0b1101011, 7),
    (0b0110, 0b0110, 0b1110011, 7),
)


def encode_htj2k(pixels_yx: NDArray[np.integer], *, precision: int, is_signed: bool) -> bytes:
    """Return the lossless HTJ2K codestream of one frame.

    Parameters
    ----------
    pixels_yx
        Even numbers of rows and columns.
    precision
        Bits of a sample.
    is_signed
        Sign flag of the codestream; unsigned samples are shifted by half their range.
    """
    values = pixels_yx.astype(np.int64) - (0 if is_signed else 1 << (precision - 1))
    rows, columns = values.shape
    stream = _main_header(rows, columns, precision, is_signed)
    quads = values.reshape(rows // 2, 2, columns // 2, 2).transpose(0, 2, 3, 1).reshape(-1, 4)
    for tile, quad in enumerate(quads.tolist()):
        packet = _packet(_code_block(quad), precision - 1)
        stream += struct.pack(">HHHIBB", 0xFF90, 10, tile, 14 + len(packet), 0, 1) + b"\xff\x93" + packet
    return stream + b"\xff\xd9"


def _main_header(rows: int, columns: int, precision: int, is_signed: bool) -> bytes:
    size = struct.pack(
        ">H8IHBBB", 0x4000, columns, rows, 0, 0, 2, 2, 0, 0, 1, is_signed << 7 | precision - 1, 1, 1
    )
    return (
        b"\xff\x4f\xff\x51"
        + struct.pack(">H", len(size) + 2)
        + size
        + struct.pack(">HHIH", 0xFF50, 8, 0x00020000, 8)  # CAP: Part 15
        + struct.pack(">HHBBHBBBBBB", 0xFF52, 12, 0, 0, 1, 0, 0, 0, 0, 0x40, 1)  # COD: HT, no wavelet, 5-3
        + struct.pack(">HHBB", 0xFF5C, 4, 1 << 5, precision << 3)  # QCD: reversible, one guard bit
    )


def _code_block(quad: list[int]) -> bytes:
    """Encode the four samples (down, then right) of one quad in a cleanup pass."""
    codes = [2 * (abs(value) - 1) + (value < 0) for value in quad]
    exponent = max(code.bit_length() for code in codes)
    largest = sum((code.bit_length() == exponent) << at for at, code in enumerate(codes))
    known, _, word, length = next(entry for entry in _CODEWORDS if largest & entry[0] == entry[1])
    magnitudes = [
        (code & (1 << exponent - (known >> at & 1)) - 1, exponent - (known >> at & 1))
        for at, code in enumerate(codes)
    ]
    tail = _bits(((word, length), *_exponent_code(exponent - 1)))
    return _pack(_bits(magnitudes), first=8) + _tail(tail)


def _exponent_code(u: int) -> tuple[tuple[int, int], ...]:
    if u <= 2:
        return ((1, 1),) if u == 1 else ((0b10, 2),)
    return ((0b100, 3), (u - 3, 1)) if u <= 4 else ((0, 3), (u - 5, 5))


def _tail(bits: list[int]) -> bytes:
    """Return one MEL byte that says "significant", and the VLC bits backwards, then their length."""
    body = bytes([0]) + bytes(reversed([_byte(bits[at : at + 8]) for at in range(4, len(bits), 8)]))
    length = len(body) + 2
    return body + bytes([_byte(bits[:4]) << 4 | length & 15, length >> 4])


def _packet(block: bytes, missing_bit_planes: int) -> bytes:
    """Put a packet header before the only code-block."""
    width = max(3, len(block).bit_length())
    text = "11" + "0" * missing_bit_planes + "10" + "1" * (width - 3) + "0" + format(len(block), f"0{width}b")
    header, at = bytearray(), 0
    while at < len(text):
        room = 7 if header[-1:] == b"\xff" else 8
        header.append(int(text[at : at + room].ljust(room, "0"), 2))
        at += room
    return bytes(header) + (b"\x00" if header[-1] == 0xFF else b"") + block


def _pack(bits: list[int], first: int) -> bytes:
    packed, at, room = bytearray(), 0, first
    while at < len(bits):
        packed.append(_byte(bits[at : at + room]))
        at += room
        room = 7 if packed[-1] == 0xFF else 8
    return bytes(packed) + (b"\x00" if packed[-1] == 0xFF else b"")


def _bits(fields: Iterable[tuple[int, int]]) -> list[int]:
    return [value >> at & 1 for value, length in fields for at in range(length)]


def _byte(bits: list[int]) -> int:
    return sum(bit << at for at, bit in enumerate(bits))
