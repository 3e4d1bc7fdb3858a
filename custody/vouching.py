"""What this node can say about the files that it keeps."""

from __future__ import annotations

import hashlib
from pathlib import Path

#: Preamble and prefix; then the element with the length of the rest of the File Meta Information, PS3.10 7.1.
_META_BEGINS = 132
_GROUP_LENGTH = 12
_CHUNK = 1 << 20


def data_set_digest(path: Path) -> str:
    """Return the SHA-256 of the raw data set in a Part 10 file that reception wrote.

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
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
