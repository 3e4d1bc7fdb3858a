"""The instances of a sealed series, in a checksummed file beside them.

The ledger keeps the series; what it says of every single instance moves here once the series is sealed, so
that the ledger stays small. With the result sets (`custody.result_set`) the manifests are also what the
ledger can be made anew from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from custody import checked_json

_FORMAT = "lesion-node manifest 1"
_LISTED_UID = re.compile(rb'"sop_instance_uid": "([0-9.]+)"')


@dataclass(frozen=True, slots=True)
class KeptInstance:
    """One received instance and what was noted about it.

    Parameters
    ----------
    id, file
        Our own id; its file beside the manifest, or where an older version had put it.
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        As received.
    sha256, size_bytes
        Of the raw data-set bytes, without File Meta Information.
    received_at
        Seconds since 1970 UTC.
    source, calling_ae_title
        Who sent it first.
    generation
        In which its series was sealed with it; None for one that was set aside.
    set_aside
        Why it takes no part in the analysis, or None.
    move_originator_ae_title, move_originator_message_id
        Of the C-STORE command, PS3.7 9.1.1.1.
    facts
        `core.ct_facts.CtFacts.as_json`.
    """

    id: str
    file: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sha256: str
    size_bytes: int
    received_at: float
    source: str
    calling_ae_title: str
    generation: int | None
    set_aside: str | None
    move_originator_ae_title: str | None
    move_originator_message_id: int | None
    facts: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Sealing:
    """What was decided about a generation when it was sealed: enough to make its job anew.

    Parameters
    ----------
    job_id, state, reason, evidence, model, calling_ae_title, lane, sealed_at
        As in the ledger; `state` is ``queued`` or ``not_selected``.
    acquisition
        The scan that it belongs to, with our id of it.
    purpose
        `custody.ledger.states.JobPurpose`.
    """

    job_id: str
    state: str
    reason: str | None
    evidence: str
    model: str
    calling_ae_title: str
    lane: int
    sealed_at: float
    acquisition: Mapping[str, Any]
    purpose: str = "report"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was sealed, and what it holds.

    Parameters
    ----------
    series_id, key, modality
        Which series.
    generation
        Its generation; 0 for a series of which nothing can be analysed.
    node
        Whose spool holds the files.
    instances
        In the order in which they came.
    sealing
        The decision about it; None where nothing was sealed.
    """

    series_id: str
    key: SeriesKey
    modality: str
    generation: int
    node: str
    instances: tuple[KeptInstance, ...]
    sealing: Sealing | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the data sets."""
        return sum(one.size_bytes for one in self.instances)

    def encoded(self) -> tuple[bytes, str]:
        """Return the content of the file, and the checksum that the ledger keeps."""
        body = {
            "series_id": self.series_id,
            "study_instance_uid": self.key.study_instance_uid,
            "series_instance_uid": self.key.series_instance_uid,
            "patient_digest": self.key.patient_digest,
            "modality": self.modality,
            "generation": self.generation,
            "node": self.node,
            "instances": [asdict(one) for one in self.instances],
            "sealing": asdict(self.sealing) if self.sealing is not None else None,
        }
        return checked_json.encode(_FORMAT, body)


def read_manifest(path: Path, sha256: str | None = None) -> Manifest:
    """Read a manifest and verify it.

    Parameters
    ----------
    path
        The file.
    sha256
        What the ledger says of it; None to trust the checksum inside.

    Raises
    ------
    SpoolDamaged
        It is gone, damaged, or another one than the ledger means.
    """
    try:
        return _read(path, sha256)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise checked_json.unreadable("manifest", path, error) from None


def reread_manifest(path: Path, sha256: str | None = None) -> Manifest:
    """Read a manifest as it is on the disk this moment, even if it was read before; see `read_manifest`."""
    try:
        return _read.__wrapped__(path, sha256)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise checked_json.unreadable("manifest", path, error) from None


def checksum_in(path: Path) -> str:
    """Return the checksum inside a manifest that was read without error."""
    return str(json.loads(path.read_bytes())["sha256"])


def may_list(path: Path, sop_instance_uids: Set[str]) -> bool:
    """Tell whether a manifest seems to list any of these instances: ten times as fast as reading it.

    Nothing is verified; a manifest that cannot be read lists nothing.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return not sop_instance_uids.isdisjoint(one.decode() for one in _LISTED_UID.findall(content))


@lru_cache(maxsize=32)  # a sealed series that is sent again asks once for each image; manifests never change
def _read(path: Path, sha256: str | None) -> Manifest:
    body = checked_json.decode(path.read_bytes(), _FORMAT, sha256)
    names = {one.name for one in fields(KeptInstance)}
    return Manifest(
        series_id=body["series_id"],
        key=SeriesKey(
            StudyInstanceUID(body["study_instance_uid"]),
            SeriesInstanceUID(body["series_instance_uid"]),
            body["patient_digest"],
        ),
        modality=body["modality"],
        generation=body["generation"],
        node=body["node"],
        instances=tuple(
            KeptInstance(**{name: value for name, value in one.items() if name in names})
            for one in body["instances"]
        ),
        sealing=_sealing(body.get("sealing")),
    )


def _sealing(body: Mapping[str, Any] | None) -> Sealing | None:
    if body is None:
        return None
    body = {"purpose": "report", **body}  # written before earlier scans were fetched
    return Sealing(**{one.name: body[one.name] for one in fields(Sealing)})
