"""What this node can say about the files that it keeps."""

from __future__ import annotations

import hashlib
from pathlib import Path

from custody.durable import flush_file, flush_folder

#: Preamble and prefix; then the element with the length of the rest of the File Meta Information, PS3.10 7.1.
_META_BEGINS = 132
_GROUP_LENGTH = 12
_CHUNK = 1 << 20


def durable_digest(path: Path) -> str:
    """Return the SHA-256 of the raw data set in a Part 10 file that reception wrote, after flushing it.

    Whatever was flushed when the file was acknowledged: nobody relies on it before it survives a power cut.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no such file.
    """
    with path.open("rb") as file:
        head = file.read(_META_BEGINS + _GROUP_LENGTH)
        if head[128:132] != b"DICM" or head[132:138] != b"\x02\x00\x00\x00UL":
            raise ValueError("no Part 10 file with a group length")
        file.seek(len(head) + int.from_bytes(head[140:144], "little"))
        flush_file(file.fileno())
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    for folder in (path.parent, path.parent.parent):
        flush_folder(folder)
    return digest.hexdigest()
