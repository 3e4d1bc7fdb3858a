"""The data set inside a received Part 10 file: its size and digest as they were when it came."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

_PREAMBLE = 132
_GROUP_LENGTH = 12


def data_set_size(path: Path) -> int:
    """Return the bytes of the data set, without File Meta Information.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It does not begin like a Part 10 file of ours.
    """
    return path.stat().st_size - data_set_start(path)


def data_set_start(path: Path) -> int:
    """Return how many bytes come before the data set; raises as `data_set_size`."""
    with path.open("rb") as file:
        return _start(file)


def data_set_sha256(path: Path) -> str:
    """Return the digest of the data set, without File Meta Information; raises as `data_set_size`."""
    with path.open("rb") as file:
        file.seek(_start(file))
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_in(path: Path) -> tuple[str, str, str, str]:
    """Return SOP Class, SOP Instance and Transfer Syntax UID and the sender of the File Meta Information.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It says none.
    """
    try:
        meta = read_file_meta_info(path)
        return (
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
            str(meta.SourceApplicationEntityTitle).strip(),
        )
    # a damaged byte may lead pydicom anywhere; all of it means the same
    except (InvalidDicomError, AttributeError, KeyError, TypeError, NotImplementedError, struct.error):
        raise ValueError("File Meta Information cannot be read") from None


def _start(file: BinaryIO) -> int:
    """Return where the data set begins: behind File Meta Information Group Length (0002,0000), PS3.10 7.1."""
    head = file.read(_PREAMBLE + _GROUP_LENGTH)
    is_ours = head[128:132] == b"DICM" and head[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
    if len(head) < _PREAMBLE + _GROUP_LENGTH or not is_ours:
        raise ValueError("not a Part 10 file of this node")
    return _PREAMBLE + _GROUP_LENGTH + int.from_bytes(head[140:144], "little")
