"""What spool and ledger hold when all is over, read without the node's own code.

The ledger is reflected from the database, files are read byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from sqlalchemy import Engine, MetaData, Table, create_engine, select

from benchmarks.crash.deployment import Deployment

#: Preamble and prefix, then File Meta Information Group Length (0002,0000) with its value, PS3.10 7.1.
_META_STARTS, _META_LENGTH_AT = 144, 140


class LedgerRows:
    """The tables of a ledger as lists of dictionaries.

    Parameters
    ----------
    url
        Of the database, for SQLAlchemy.
    """

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(url)
        self._tables: MetaData | None = None

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return every row of a table, none where the ledger has no such table."""
        if self._tables is None:
            self._tables = MetaData()
            self._tables.reflect(self._engine)
        table: Table | None = self._tables.tables.get(name)
        if table is None:
            return []
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def save(self, path: Path) -> None:
        """Write every table into one JSON file."""
        self.of("job")
        names = self._tables.tables if self._tables is not None else ()
        path.write_text(json.dumps({name: self.of(name) for name in names}, default=str, indent=1))

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()


@dataclass(frozen=True)
class Evidence:
    """Everything that is left.

    Parameters
    ----------
    jobs, series, deliveries, commitments, objects
        Rows of the ledger; `objects` by id.
    in_spool
        (SOP Instance UID, digest of the data set) of every whole received file.
    in_ledger
        The same of what the ledger knows, by itself or through the manifests that it names.
    sealed
        The same by series id, for what belongs to a generation.
    damaged
        Received files whose bytes are not those that the ledger means, or that it does not know or knows
        twice, and manifests that do not fit.
    parts
        Files that were cut off and are still there.
    unrecorded
        Whole files that were moved aside.
    """

    jobs: list[dict[str, Any]]
    series: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]
    commitments: list[dict[str, Any]]
    objects: dict[str, dict[str, Any]]
    in_spool: frozenset[tuple[str, str]]
    in_ledger: frozenset[tuple[str, str]]
    sealed: dict[str, set[tuple[str, str]]]
    damaged: list[str]
    parts: list[str]
    unrecorded: int


def ledger_url(node: Deployment, url: str) -> str:
    """Return where the ledger is: the given URL, or the SQLite file in the data folder."""
    return url or f"sqlite:///{node.data_folders[0] / 'ledger.sqlite'}"


def gather(rows: LedgerRows, folders: Sequence[Path]) -> Evidence:
    """Read everything."""
    received = [path.resolve() for path in _files(folders, "received/*/*.dcm")]
    digests = {path: data_set_digest(path) for path in received}
    known: list[tuple[Path, dict[str, Any]]] = []
    damaged: list[str] = []
    manifests = [{**row, "path": _found(folders, row["path"])} for row in rows.of("manifest")]
    for instance in (*rows.of("instance"), *_in_manifests(manifests, damaged)):
        path = _found(folders, instance["path"])
        if digests.get(path) != instance["sha256"]:
            damaged.append(f"{path} is not what the ledger says of it")
        known.append((path, instance))
    damaged += [f"the ledger does not know {path}" for path in sorted(digests.keys() - dict(known).keys())]
    kept = Counter((one["series_id"], one["sop_instance_uid"], one["sha256"]) for _, one in known)
    damaged += [f"{uid} of series {name} is kept {n} times" for (name, uid, _), n in kept.items() if n > 1]
    pairs = {path: (one["sop_instance_uid"], one["sha256"]) for path, one in known}
    sealed: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for path, one in known:
        if one["generation"]:
            sealed[one["series_id"]].add(pairs[path])
    return Evidence(
        jobs=rows.of("job"),
        series=rows.of("series"),
        deliveries=rows.of("delivery"),
        commitments=rows.of("commitment"),
        objects={
            row["id"]: {**row, "path": str(_found(folders, row["path"]))} for row in rows.of("result_object")
        },
        in_spool=frozenset((_sop_instance_uid(path), digest) for path, digest in digests.items()),
        in_ledger=frozenset(pairs.values()),
        sealed=dict(sealed),
        damaged=damaged,
        parts=[str(path) for path in _files(folders, "re*/*/*.part")],
        unrecorded=sum(1 for _ in _files(folders, "unrecorded/*")),
    )


def _found(folders: Sequence[Path], name: str | Path) -> Path:
    """Return the file that the ledger means: as it stands, or below the data folder that holds it."""
    places = [(folder / name).resolve() for folder in folders]
    return next((place for place in places if place.exists()), places[0])


def data_set_digest(path: Path) -> str:
    """Return the SHA-256 of the data set in a Part 10 file, without its File Meta Information."""
    content = path.read_bytes()
    length = int.from_bytes(content[_META_LENGTH_AT:_META_STARTS], "little")
    return hashlib.sha256(content[_META_STARTS + length :]).hexdigest()


def _sop_instance_uid(path: Path) -> str:
    return str(dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)


def _files(folders: Iterable[Path], pattern: str) -> Iterator[Path]:
    for folder in folders:
        yield from folder.glob(pattern)


def _in_manifests(manifests: list[dict[str, Any]], damaged: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the instances of every manifest that the ledger names, after checking its checksum."""
    for row in manifests:
        path = Path(row["path"])
        try:
            content = json.loads(path.read_bytes())
            body = content["body"]
            encoded = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
            if not hashlib.sha256(encoded).hexdigest() == content["sha256"] == row["sha256"]:
                damaged.append(f"the checksum of {path} is wrong")
            for one in body["instances"]:
                yield {**one, "path": path.parent / one["file"], "series_id": body["series_id"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            damaged.append(f"{path}: {type(error).__name__}: {error}")
