"""Part 10 files of one series: their headers, and where their pixels begin.

A header is parsed up to Pixel Data and kept without bulky elements; pixels are read later, frame by frame, by
`inference.pixel_decoding`. Nothing in a file is trusted: whatever is wrong with it ends in one
`core.errors.SeriesRejected`.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from core.errors import SpoolError, UnsupportedImage

#: What parsers and decoders raise on damaged input; everything else is a fault of this program. Their texts
#: quote the data, which may be a patient's name, so refusals hide them (``from None``).
PARSE_FAILURES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
)

#: A single longer value (private blobs, embedded documents) is not kept in the header, bytes.
MAX_HEADER_VALUE = 64 * 1024
#: A deflated data set may not inflate beyond this, bytes.
MAX_INFLATED = 2 * 1024**3

_FUNCTIONAL_GROUPS = frozenset({Tag(0x5200, 0x9229), Tag(0x5200, 0x9230)})
_OFFSET_TABLES = frozenset({Tag(0x7FE0, 0x0001), Tag(0x7FE0, 0x0002)})
_ICON_IMAGE = Tag(0x0088, 0x0200)


@dataclass(frozen=True, slots=True, eq=False)
class SeriesFile:
    """One image file.

    Parameters
    ----------
    path
        Part 10 file.
    header
        Data set without pixels, overlays and bulky values; `file_meta` included.
    transfer_syntax_uid
        Transfer Syntax UID (0002,0010), empty where it is absent.
    pixel_offset
        Where the Pixel Data element (its tag) begins, bytes from the start of the file; None in a deflated
        file, which has no such place.
    """

    path: Path
    header: Dataset
    transfer_syntax_uid: str
    pixel_offset: int | None


def open_series_file(path: Path) -> SeriesFile:
    """Parse the header of a Part 10 file.

    Raises
    ------
    UnsupportedImage
        It is no Part 10 file, or its header is damaged.
    SpoolError
        The disk does not yield the file; that says nothing about the image.
    """
    content = read_bytes(path)
    try:
        deflated = _is_deflated(content)
        stream = BytesIO(content)
        header: Dataset = dcmread(stream, stop_before_pixels=True)
        file_meta = getattr(header, "file_meta", FileMetaDataset())
        transfer_syntax = str(file_meta.get("TransferSyntaxUID", "") or "")
        _drop_bulk(header)
    except InvalidDicomError:
        raise UnsupportedImage("not a DICOM file: send the images as DICOM Part 10 files") from None
    except PARSE_FAILURES:
        raise UnsupportedImage("the header is damaged: send the image again") from None
    if not header:
        raise UnsupportedImage("the file holds no data set: send the image again")
    return SeriesFile(path, header, transfer_syntax, None if deflated else stream.tell())


def readable_headers(paths: Iterable[Path]) -> tuple[Dataset, ...]:
    """Return the headers that can be read among some files, each image once: whose a refused series is.

    Raises
    ------
    SpoolError
        The disk does not yield a file.
    """
    headers: dict[str, Dataset] = {}
    for path in paths:
        with contextlib.suppress(UnsupportedImage):
            header = open_series_file(path).header
            headers.setdefault(str(header.get("SOPInstanceUID", "")), header)
    headers.pop("", None)
    return tuple(headers.values())


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises
    ------
    SpoolError
        The disk does not yield it.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SpoolError(f"an image file cannot be read from disk: {exc.strerror}") from exc


def data_set_bytes(path: Path) -> bytes:
    """Return the raw data set of a Part 10 file, without preamble and File Meta Information.

    The File Meta Information is left out because each sender writes its own around the same image.
    """
    content = read_bytes(path)
    return content[_read_meta(content)[1] :]


def _read_meta(content: bytes) -> tuple[Dataset, int]:
    """Return group 0002 (PS3.10 7.1, always Explicit VR Little Endian) and where the data set begins."""
    stream = BytesIO(content)
    read_preamble(stream, force=False)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    return meta, stream.tell()


def _is_deflated(content: bytes) -> bool:
    """Tell whether a file is deflated, refusing one too large for memory before it is inflated."""
    meta, start = _read_meta(content)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return False
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pending = content[start:]
    inflated = 0
    while pending and not inflater.eof:
        inflated += len(inflater.decompress(pending, 1 << 24))
        pending = inflater.unconsumed_tail
        if inflated > MAX_INFLATED:
            raise ValueError("deflated data set beyond the limit")
    return True


def _drop_bulk(header: Dataset) -> None:
    """Delete overlays, curves, icons and long values, which only cost memory here."""
    for tag in list(header.keys()):
        if _is_bulk(header, tag):
            del header[tag]


def _is_bulk(header: Dataset, tag: BaseTag) -> bool:
    if tag in _FUNCTIONAL_GROUPS or tag in _OFFSET_TABLES:
        return False
    if tag == _ICON_IMAGE or tag.group & 0xFF00 in (0x5000, 0x6000):
        return True
    element = header.get_item(tag)
    return isinstance(element, RawDataElement) and MAX_HEADER_VALUE < element.length < 0xFFFFFFFF
