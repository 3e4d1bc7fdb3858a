"""Pixels of one frame to Hounsfield units, in every transfer syntax that a CT may come in.

Native frames are read straight from their place in the file. Compressed frames go through pydicom with one
named decoder each, never "whichever is installed", because decoders differ in what they do to signed values:

- JPEG Lossless (…57, …70): gdcm, the only one; it returns the bit pattern.
- JPEG-LS: pyjpegls (CharLS). The codestream does not know signs; pydicom restores them from Pixel
  Representation.
- JPEG 2000 and HTJ2K: pylibjpeg-openjpeg. The codestream has a sign flag of its own, and archives hold images
  where it contradicts Pixel Representation; pydicom compares both. Pillow ignores the flag and gdcm does not
  read HTJ2K.
- RLE: pydicom's own decoder. pylibjpeg-rle is faster, but a damaged segment makes it panic, which is no
  `Exception` and would end the process.

Whatever a decoder returns is taken as a 16-bit word of which Bits Stored count, so the sign is extended here
and nowhere else. What decoders do to damaged codestreams is prevented by `inference.codestreams`.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom import uid as uids
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut

from core.errors import SpoolError, UnsupportedImage
from inference.codestreams import check_codestream
from inference.series_files import PARSE_FAILURES, SeriesFile, read_bytes
from inference.series_frames import Frame, StoredFormat, ValueMapping

#: HU of everything that is no image.
PADDING_HU = -1024

_NATIVE = frozenset(
    {
        uids.ImplicitVRLittleEndian,
        uids.ExplicitVRLittleEndian,
        uids.ExplicitVRBigEndian,
        uids.DeflatedExplicitVRLittleEndian,
    }
)
_DECODING_PLUGIN = {
    uids.JPEGLossless: "gdcm",
    uids.JPEGLosslessSV1: "gdcm",
    uids.JPEGLSLossless: "pyjpegls",
    uids.JPEGLSNearLossless: "pyjpegls",
    uids.JPEG2000Lossless: "pylibjpeg",
    uids.JPEG2000: "pylibjpeg",
    uids.HTJ2KLossless: "pylibjpeg",
    uids.HTJ2KLosslessRPCL: "pylibjpeg",
    uids.HTJ2K: "pylibjpeg",
    uids.RLELossless: "pydicom",
}
#: Transfer syntaxes whose frames are read.
READABLE_TRANSFER_SYNTAXES = _NATIVE | frozenset(_DECODING_PLUGIN)

_PIXEL_DATA = 0x7FE00010
_UNDEFINED_LENGTH = 0xFFFFFFFF
_SEND_AGAIN = "send the image again"


def hounsfield_table(stored: StoredFormat, mapping: ValueMapping) -> NDArray[np.int16]:
    """Return the HU of every possible 16-bit word.

    Unused bits (garbage, overlays) are ignored, the sign is extended, the rescale applied and rounded,
    padding and everything below −1024 becomes −1024.

    Returns
    -------
    ndarray
        (65536,) int16.
    """
    words = np.arange(65536, dtype=np.uint16)
    left_aligned = np.left_shift(words, 15 - stored.high_bit)
    if stored.is_signed:
        left_aligned = left_aligned.view(np.int16)
    values = np.right_shift(left_aligned, 16 - stored.bits_stored).astype(np.int32)
    hu: NDArray[np.floating[Any]]
    if mapping.modality_lut is not None:
        hu = apply_modality_lut(values, mapping.modality_lut.holder).astype(np.float64)
    else:
        hu = values * mapping.slope + mapping.intercept
    table: NDArray[np.int16] = np.clip(np.rint(hu), PADDING_HU, 32767).astype(np.int16)
    if mapping.padding is not None:
        low, high = mapping.padding
        table[(values >= low) & (values <= high)] = PADDING_HU
        if not np.any(values == low):
            # Scanners pad with values that Bits Stored cannot hold; those are found in the whole word.
            table[low & 0xFFFF] = PADDING_HU
    return table


def read_words(frame: Frame) -> NDArray[np.uint16]:
    """Read the stored words of a frame.

    Returns
    -------
    ndarray
        (y, x) uint16: bit patterns, of which `StoredFormat` tells the meaning.

    Raises
    ------
    UnsupportedImage
        The transfer syntax is not read, or the pixels are damaged or cut short.
    SpoolError
        The disk does not yield them.
    """
    file = frame.file
    if file.transfer_syntax_uid not in READABLE_TRANSFER_SYNTAXES:
        name = uids.UID(file.transfer_syntax_uid).name or "none given"
        raise UnsupportedImage(
            f"transfer syntax {name} is not read: send uncompressed or losslessly compressed images"
        )
    try:
        if file.pixel_offset is None:
            return _deflated_words(frame)
        with file.path.open("rb") as stream:
            stream.seek(file.pixel_offset)
            length = _pixel_data_length(stream, file)
            if file.transfer_syntax_uid in _NATIVE:
                return _native_words(stream, length, frame)
            return _decoded_words(_encoded_frame(stream, length, frame), frame)
    except PARSE_FAILURES as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise SpoolError(f"an image file cannot be read from disk: {exc.strerror}") from exc
        raise UnsupportedImage(f"the pixels are damaged: {_SEND_AGAIN}") from None


def _pixel_data_length(stream: BinaryIO, file: SeriesFile) -> int:
    """Read the element header of Pixel Data (PS3.5 7.1.2, 7.1.3) and return its value length."""
    order = ">" if file.transfer_syntax_uid == uids.ExplicitVRBigEndian else "<"
    group, element = struct.unpack(f"{order}2H", stream.read(4))
    if group << 16 | element != _PIXEL_DATA:
        raise UnsupportedImage(f"there is no integer Pixel Data: {_SEND_AGAIN}")
    is_explicit = file.transfer_syntax_uid != uids.ImplicitVRLittleEndian
    if is_explicit and stream.read(4)[:2] not in (b"OW", b"OB", b"UN"):
        raise UnsupportedImage(f"Pixel Data has a wrong Value Representation: {_SEND_AGAIN}")
    return int(struct.unpack(f"{order}I", stream.read(4))[0])


def _native_words(stream: BinaryIO, length: int, frame: Frame) -> NDArray[np.uint16]:
    stored = frame.stored
    size = 2 * stored.rows * stored.columns
    skipped = ((frame.number or 1) - 1) * size
    content = b""
    if length != _UNDEFINED_LENGTH and length >= skipped + size:
        stream.seek(skipped, 1)
        content = stream.read(size)
    if len(content) < size:
        raise UnsupportedImage(f"the pixels are cut short: {_SEND_AGAIN}")
    order = ">" if frame.file.transfer_syntax_uid == uids.ExplicitVRBigEndian else "<"
    words = np.frombuffer(content, dtype=f"{order}u2").reshape(stored.rows, stored.columns)
    return words.astype(np.uint16, copy=False)


def _deflated_words(frame: Frame) -> NDArray[np.uint16]:
    content = dcmread(BytesIO(read_bytes(frame.file.path))).PixelData
    return _native_words(BytesIO(content), len(content), frame)


def _encoded_frame(stream: BinaryIO, length: int, frame: Frame) -> bytes:
    """Return the codestream of one frame from encapsulated Pixel Data (PS3.5 A.4)."""
    if length != _UNDEFINED_LENGTH:
        raise UnsupportedImage(
            f"the pixels are not encapsulated as their transfer syntax says: {_SEND_AGAIN}"
        )
    header = frame.file.header
    offsets = None
    if header.get("ExtendedOffsetTable") and header.get("ExtendedOffsetTableLengths"):
        offsets = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
    count = int(header.get("NumberOfFrames") or 1)
    return get_frame(stream, (frame.number or 1) - 1, extended_offsets=offsets, number_of_frames=count)


def _decoded_words(encoded: bytes, frame: Frame) -> NDArray[np.uint16]:
    stored, syntax = frame.stored, uids.UID(frame.file.transfer_syntax_uid)
    if syntax != uids.RLELossless:
        check_codestream(encoded, syntax, stored)
    options: dict[str, Any] = {
        "rows": stored.rows,
        "columns": stored.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": stored.bits_stored,
        "photometric_interpretation": stored.photometric_interpretation,
        "pixel_representation": int(stored.is_signed),
        "pixel_keyword": "PixelData",
    }
    pixels, _ = get_decoder(syntax).as_array(
        encapsulate([encoded], has_bot=False),
        index=0,
        raw=True,
        decoding_plugin=_DECODING_PLUGIN[syntax],
        **options,
    )
    if pixels.shape != (stored.rows, stored.columns):
        raise UnsupportedImage(f"the pixels do not fill the matrix: {_SEND_AGAIN}")
    return pixels.astype(np.uint16)
