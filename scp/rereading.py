"""What reception made of a received file, from the file alone: for a ledger that has to be made anew."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from core.ct_facts import CtFacts
from core.errors import SpoolDamaged, UnparsableDataSet
from custody.instance_files import data_set_start
from custody.ledger.reception import NewInstance
from custody.rebuilding import Reread
from scp.dataset_walk import walk
from scp.reception import READ_TAGS, read_header, series_key, why_set_aside


def reread(path: Path, node: str) -> Reread:
    """Return what the ledger knew of a file in the spool.

    Raises
    ------
    SpoolDamaged
        It is none of ours, or it cannot be told whose image it is.
    """
    try:
        meta = read_file_meta_info(path)
        content = path.read_bytes()
        data = content[data_set_start(path) :]
        walked = walk(data, str(meta.TransferSyntaxUID), READ_TAGS)
        header = read_header(walked)
        key = series_key(header)
    except (OSError, InvalidDicomError, UnparsableDataSet, ValueError, AttributeError, KeyError) as error:
        raise SpoolDamaged(f"{path} cannot be read ({type(error).__name__})") from None
    set_aside = why_set_aside(header, walked, other_content=False)
    modality = str(header.get("Modality", "") or "")
    new = NewInstance(
        id=path.stem,
        sop_class_uid=str(meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        path=path,
        modality=modality,
        move_originator_ae_title=None,
        move_originator_message_id=None,
        set_aside=set_aside,
        facts=CtFacts.from_header(header).as_json() if set_aside is None else None,
        node=node,
    )
    calling = str(meta.get("SourceApplicationEntityTitle", "") or "").strip()
    return Reread(key, modality, calling, path.stat().st_mtime, new)
