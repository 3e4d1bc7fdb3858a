"""Preamble, prefix and File Meta Information before a received data set, PS3.10 7.1."""

from __future__ import annotations

import struct

from core.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_PREFIX = b"\0" * 128 + b"DICM"
#: File Meta Information Version (0002,0001), OB.
_VERSION = struct.pack("<HH2sHL", 0x0002, 0x0001, b"OB", 0, 2) + b"\0\1"


def file_meta(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str
) -> bytes:
    """Return what stands before the data set in a file.

    It is the same seven elements for every instance, so they are put together here and not by way of data
    sets.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        Checked UIDs.
    source_ae_title
        Source Application Entity Title (0002,0016): who sent it.
    """
    elements = (
        _VERSION
        + _element(0x0002, b"UI", sop_class_uid)
        + _element(0x0003, b"UI", sop_instance_uid)
        + _element(0x0010, b"UI", transfer_syntax_uid)
        + _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
        + _element(0x0016, b"AE", source_ae_title)
    )
    return _PREFIX + struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(elements)) + elements


def _element(number: int, vr: bytes, text: str) -> bytes:
    """Encode an element of group 0002 in explicit VR little endian; UIDs are padded with NULL (PS3.5 6.2)."""
    value = text.encode("ascii")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value
