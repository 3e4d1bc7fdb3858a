"""What a job ended with, in a checksummed file beside its objects, and receipts of what peers have of them.

With the manifests (`custody.manifest`) these are what the ledger can be made anew from:

``results/<job id>/result-set.json``
    Written and flushed before the ledger records the end of the job.
``results/<job id>/corrected-<digest>.json``
    The same objects under the identity that a PACS has given their patient since.
``results/<job id>/receipts.jsonl``
    A line for each delivery that ended. Not flushed: one that is lost in a power cut means that, were the
    ledger lost too, one object is sent once more.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from core.domain import Predecessor, ResultKind, SeriesInstanceUID, SeriesKey, StudyInstanceUID
from custody import checked_json

RESULT_SET = "result-set"
RECEIPTS = "receipts.jsonl"
_CORRECTED = "corrected-"
_FORMAT = "lesion-node result set 1"
_FORMAT_CORRECTED = "lesion-node corrected objects 1"


@dataclass(frozen=True, slots=True)
class KeptObject:
    """One result object.

    Parameters
    ----------
    kind, variant, sop_class_uid, sop_instance_uid
        What it is.
    file
        Beside the result set.
    sha256, size_bytes
        Of the file.
    """

    kind: str
    variant: str
    sop_class_uid: str
    sop_instance_uid: str
    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file beside the objects that is not sent; its name, and checksum and size of the file."""

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Owed:
    """Which encoding of which kind of object a peer was to get when the job ended."""

    peer: str
    kind: str
    variant: str


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent the series, whether that source was configured, and whether its peers are told of results."""

    source: str
    calling_ae_title: str
    settled: bool
    told: bool = True


@dataclass(frozen=True, slots=True)
class ResultSet:
    """The end of a job, with all that the ledger says of it.

    Parameters
    ----------
    job_id, series_id, key, modality, generation
        Whose result it is.
    state, reason, evidence, model, calling_ae_title, lane, triage, attempt
        As in the ledger.
    sealed_at, started_at, finished_at, first_received_at, last_received_at
        Seconds since 1970 UTC.
    acquisition
        The scan, with our id of it.
    senders, owed
        Who sent it, and who was to get what.
    result
        As in ``result.json``.
    objects
        In sending order.
    files
        What is beside them and is not sent.
    predecessors
        What the objects cite as replaced.
    made_by
        Version, model, settings: what the bytes of the objects depend on besides the images.
    compared_with, notes
        Digests of the earlier scans that it was compared with, and what was said about others.
    purpose
        `custody.ledger.states.JobPurpose`.
    """

    job_id: str
    series_id: str
    key: SeriesKey
    modality: str
    generation: int
    state: str
    reason: str | None
    evidence: str
    model: str
    calling_ae_title: str
    lane: int
    triage: int
    attempt: int
    sealed_at: float
    started_at: float | None
    finished_at: float
    first_received_at: float
    last_received_at: float
    acquisition: Mapping[str, Any]
    senders: tuple[Sender, ...]
    owed: tuple[Owed, ...]
    result: Mapping[str, Any] | None
    objects: tuple[KeptObject, ...]
    files: tuple[KeptFile, ...] = ()
    predecessors: tuple[Predecessor, ...] = ()
    made_by: Mapping[str, Any] | None = None
    compared_with: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    purpose: str = "report"

    def encoded(self) -> bytes:
        """Return the content of the file."""
        body = asdict(self)
        for one in body["predecessors"]:
            one["kind"] = one["kind"].value
            one["peers"] = sorted(one["peers"])
        return checked_json.encode(_FORMAT, body)[0]


@dataclass(frozen=True, slots=True)
class CorrectedSet:
    """All objects of a job under another identity of the patient; `identity` is its digest."""

    job_id: str
    identity: str
    objects: tuple[KeptObject, ...]
    written_at: float

    @property
    def name(self) -> str:
        """Name of the file, without its ending."""
        return f"{_CORRECTED}{self.identity[:16]}"

    def encoded(self) -> bytes:
        """Return the content of the file."""
        return checked_json.encode(_FORMAT_CORRECTED, asdict(self))[0]


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a delivery ended.

    Parameters
    ----------
    peer, kind, variant, identity, sop_instance_uid
        What was sent, in which encoding, under which identity of the patient (empty for that of the images).
    state, reason, status, attempt, created_at, ended_at
        As in the ledger.
    """

    peer: str
    kind: str
    variant: str
    identity: str
    sop_instance_uid: str
    state: str
    reason: str | None
    status: int | None
    attempt: int
    created_at: float
    ended_at: float


def read_result_set(folder: Path) -> ResultSet:
    """Read and verify the result set in the folder of a job.

    Raises
    ------
    SpoolDamaged
        It is gone or damaged.
    """
    path = folder / f"{RESULT_SET}.json"
    try:
        body = checked_json.decode(path.read_bytes(), _FORMAT)
        # What was written before scans were compared has none of these.
        body = {"compared_with": (), "notes": (), "purpose": "report", **body}
        values = {one.name: body[one.name] for one in fields(ResultSet)}
        key = values["key"]
        values["key"] = SeriesKey(
            StudyInstanceUID(key["study_instance_uid"]),
            SeriesInstanceUID(key["series_instance_uid"]),
            key["patient_digest"],
        )
        values["senders"] = tuple(Sender(**one) for one in values["senders"])
        values["owed"] = tuple(Owed(**one) for one in values["owed"])
        values["objects"] = tuple(KeptObject(**one) for one in values["objects"])
        values["files"] = tuple(KeptFile(**one) for one in values["files"])
        values["compared_with"], values["notes"] = tuple(values["compared_with"]), tuple(values["notes"])
        values["predecessors"] = tuple(_predecessor(one) for one in values["predecessors"])
        return ResultSet(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise checked_json.unreadable("result set", path, error) from None


def _predecessor(body: Mapping[str, Any]) -> Predecessor:
    return replace(
        Predecessor(**body), kind=ResultKind(body["kind"]), peers=frozenset(str(one) for one in body["peers"])
    )


def read_corrected(folder: Path) -> Iterator[CorrectedSet]:
    """Yield the corrected objects of a job; a file that is damaged is left out: it is written anew."""
    for path in sorted(folder.glob(f"{_CORRECTED}*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            body = checked_json.decode(path.read_bytes(), _FORMAT_CORRECTED)
            objects = tuple(KeptObject(**one) for one in body["objects"])
            yield CorrectedSet(body["job_id"], body["identity"], objects, body["written_at"])


def append_receipt(folder: Path, receipt: Receipt) -> None:
    """Note beside the objects how a delivery ended; best effort, in a folder that is there."""
    with contextlib.suppress(OSError), (folder / RECEIPTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(receipt)) + "\n")


def read_receipts(folder: Path) -> Iterator[Receipt]:
    """Yield the receipts of a job, the oldest first; a line that was cut off is left out."""
    try:
        lines = (folder / RECEIPTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            yield Receipt(**json.loads(line))
