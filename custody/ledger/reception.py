"""Associations and received instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from core.domain import SeriesKey
from core.errors import SeriesForgotten
from core.log import get_logger
from custody.ledger import incidents
from custody.ledger.dialect import insert_new
from custody.ledger.engine import Ledger, new_id
from custody.ledger.incidents import IncidentKind
from custody.ledger.instances import contents_under
from custody.ledger.tables import association, instance, result_object, series, series_source

#: Why a second content under one SOP Instance UID takes no part in the analysis.
OTHER_CONTENT = "another content is here already under the same SOP Instance UID"
#: Begins the reason why a data set that did not come whole is set aside.
DAMAGED = "truncated or damaged"
#: Why an instance whose file was taken away takes no part any more.
FILE_MISSING = "its file is missing from the spool"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who opened an association, after admission.

    Parameters
    ----------
    association_id
        Row of the association.
    source
        Name of the configured source.
    calling_ae_title, address
        As they came in.
    """

    association_id: str
    source: str
    calling_ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class NewInstance:
    """One instance to be recorded; the file is on disk already.

    Parameters
    ----------
    id
        Our own id, the name of its file.
    sop_class_uid, sop_instance_uid, transfer_syntax_uid, sha256, size_bytes, path
        What was received and where it is.
    modality
        Modality (0008,0060).
    move_originator_ae_title, move_originator_message_id
        Of the C-STORE command where it answers a C-MOVE, PS3.7 9.1.1.1.
    set_aside
        Why it takes no part in the analysis, or None.
    facts
        `core.ct_header.CtFacts.as_json` for an image that does.
    node
        Whose spool has the file.
    """

    id: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sha256: str
    size_bytes: int
    path: Path
    modality: str
    move_originator_ae_title: str | None
    move_originator_message_id: int | None
    set_aside: str | None
    facts: Mapping[str, Any] | None
    node: str = ""


def open_association(ledger: Ledger, caller: Caller, process: str, now: float) -> None:
    """Record that an admitted caller opened an association."""
    with ledger.write() as connection:
        connection.execute(
            association.insert().values(
                id=caller.association_id,
                process=process,
                calling_ae_title=caller.calling_ae_title,
                source=caller.source,
                address=caller.address,
                opened_at=now,
                heartbeat_at=now,
            )
        )


def close_association(ledger: Ledger, association_id: str, ended: str, now: float) -> None:
    """Record that an association ended: ``released``, ``aborted`` or ``lost``."""
    with ledger.write() as connection:
        connection.execute(
            association.update()
            .where(association.c.id == association_id, association.c.closed_at.is_(None))
            .values(closed_at=now, ended=ended)
        )


def heartbeat_associations(ledger: Ledger, association_ids: Collection[str], now: float) -> None:
    """Say that these associations are really open; one whose end could not be recorded is not among them."""
    if not association_ids:
        return
    with ledger.write() as connection:
        connection.execute(
            association.update()
            .where(association.c.id.in_(association_ids), association.c.closed_at.is_(None))
            .values(heartbeat_at=now)
        )


def close_dead_associations(ledger: Ledger, alive_since: float, now: float) -> int:
    """Close associations whose process gave no sign since then; return how many."""
    with ledger.write() as connection:
        return connection.execute(
            association.update()
            .where(association.c.closed_at.is_(None), association.c.heartbeat_at < alive_since)
            .values(closed_at=now, ended="lost")
        ).rowcount


def close_associations_of(ledger: Ledger, prefix: str, now: float) -> int:
    """Close the associations of all processes of that name: they are dead."""
    with ledger.write() as connection:
        return connection.execute(
            association.update()
            .where(
                association.c.closed_at.is_(None), association.c.process.startswith(prefix, autoescape=True)
            )
            .values(closed_at=now, ended="lost")
        ).rowcount


def series_id_of(ledger: Ledger, key: SeriesKey, modality: str, now: float) -> str:
    """Return our id of a series, entering it where it is new."""
    with ledger.write() as connection:
        values = {
            "id": new_id(),
            "study_instance_uid": key.study_instance_uid,
            "series_instance_uid": key.series_instance_uid,
            "patient_digest": key.patient_digest,
            "modality": modality[:16],
            "first_received_at": now,
            "last_received_at": now,
            "generation": 0,
        }
        insert_new(connection, series, values)
        return str(connection.execute(select(series.c.id).where(_has_key(key))).scalar_one())


def is_known(ledger: Ledger, key: SeriesKey) -> bool:
    """Tell whether anything of a series was received."""
    with ledger.read() as connection:
        return connection.execute(select(series.c.id).where(_has_key(key))).first() is not None


def _has_key(key: SeriesKey) -> ColumnElement[bool]:
    return and_(
        series.c.study_instance_uid == key.study_instance_uid,
        series.c.series_instance_uid == key.series_instance_uid,
        series.c.patient_digest == key.patient_digest,
    )


def known_contents(ledger: Ledger, series_id: str, sop_instance_uid: str) -> Mapping[str, str | None]:
    """Return what is recorded under a SOP Instance UID of a series: content digest → why it was set aside."""
    with ledger.read() as connection:
        return known_in(connection, series_id, sop_instance_uid)


def record_instance(ledger: Ledger, series_id: str, caller: Caller, new: NewInstance, now: float) -> bool:
    """Enter a received instance; the transaction may be shared with others that are recorded meanwhile.

    Returns
    -------
    bool
        False where the same content under the same SOP Instance UID was there already, so that the new file
        is superfluous; the caller's claim on the results is recorded all the same.

    Raises
    ------
    SeriesForgotten
        There is no such series any more.
    """
    return ledger.write_together(
        lambda connection: _record_instance(connection, series_id, caller, new, now), order=series_id
    )


def _record_instance(
    connection: Connection, series_id: str, caller: Caller, new: NewInstance, now: float
) -> bool:
    _record_source(connection, series_id, caller, now)
    known = known_in(connection, series_id, new.sop_instance_uid)
    if new.sha256 in known:
        return False
    set_aside = new.set_aside
    if set_aside is None and None in known.values():  # it came on another association at the same moment
        set_aside = OTHER_CONTENT
    if set_aside == OTHER_CONTENT:
        connection.execute(series.update().where(series.c.id == series_id).values(flag=OTHER_CONTENT))
    connection.execute(
        instance.insert().values(
            id=new.id,
            series_id=series_id,
            association_id=caller.association_id,
            sop_class_uid=new.sop_class_uid,
            sop_instance_uid=new.sop_instance_uid,
            transfer_syntax_uid=new.transfer_syntax_uid,
            sha256=new.sha256,
            size_bytes=new.size_bytes,
            path=str(new.path),
            received_at=now,
            move_originator_ae_title=new.move_originator_ae_title,
            move_originator_message_id=new.move_originator_message_id,
            set_aside=set_aside,
            facts=dict(new.facts) if new.facts is not None else None,
            node=new.node,
        )
    )
    return True


def record_identical(
    ledger: Ledger, series_id: str, caller: Caller, content: tuple[str, str], now: float
) -> bool:
    """Record that an identical copy came: its sender gets results as well, and the series is still coming.

    Parameters
    ----------
    ledger, series_id, caller, now
        Of what, from whom, when.
    content
        SOP Instance UID and digest of the copy.

    Returns
    -------
    bool
        False where it is not here any more: retention deleted it since it was looked up.
    """

    def work(connection: Connection) -> bool:
        _record_source(connection, series_id, caller, now)  # locks the series: nothing of it is deleted now
        return content[1] in known_in(connection, series_id, content[0])

    return ledger.write_together(work, order=series_id)


def is_own_result(ledger: Ledger, sop_instance_uid: str) -> bool:
    """Tell whether a SOP Instance UID is one of our own results."""
    with ledger.read() as connection:
        found = select(result_object.c.id).where(result_object.c.sop_instance_uid == sop_instance_uid)
        return connection.execute(found).first() is not None


def mark_missing(ledger: Ledger, node: str, paths: Collection[Path], why: str, now: float) -> int:
    """Take note that files of a node are gone, so that a resend of them is stored again.

    Parameters
    ----------
    ledger, node, paths
        Whose files.
    why
        What follows their number in the incident.
    now
        Seconds since 1970 UTC.

    Returns
    -------
    int
        How many were not known to be gone.
    """
    with ledger.write() as connection:
        gone = sum(_mark_missing(connection, node, path) for path in paths)
        if gone:
            incidents.note(connection, IncidentKind.FILES_MISSING, "data folder", f"{gone} {why}", now)
    if gone:
        get_logger().error(IncidentKind.FILES_MISSING.value, subject="data folder", reason=f"{gone} {why}")
    return gone


def _mark_missing(connection: Connection, node: str, path: Path) -> int:
    row = (instance.c.node == node) & (instance.c.path == str(path)) & (instance.c.sha256 != "")
    changed = instance.update().where(row).values(sha256="", set_aside=FILE_MISSING)
    return connection.execute(changed).rowcount


def adopt_rows(ledger: Ledger, node: str) -> None:
    """Say of rows that an earlier version wrote whose spool has their files."""
    with ledger.write() as connection:
        connection.execute(instance.update().where(instance.c.node == "").values(node=node))


def recorded_paths(ledger: Ledger, node: str) -> Iterator[Path]:
    """Yield the file of every instance that has a row and lies in a node's spool.

    Other machines keep theirs under the same names, so names alone say nothing.
    """
    with ledger.read() as connection:
        for row in connection.execute(select(instance.c.path).where(instance.c.node == node)):
            yield Path(row.path)


def recorded_contents(ledger: Ledger, node: str, series_id: str | None = None) -> dict[Path, str]:
    """Return the digest of the data set of every instance of a node that has a row and a file, by file."""
    of_series = [instance.c.series_id == series_id] if series_id is not None else []
    written = select(instance.c.path, instance.c.sha256).where(
        instance.c.node == node, instance.c.sha256 != "", *of_series
    )
    with ledger.read() as connection:
        return {Path(row.path): row.sha256 for row in connection.execute(written)}


def known_in(connection: Connection, series_id: str, sop_instance_uid: str) -> Mapping[str, str | None]:
    """Return what `known_contents` returns, inside a transaction."""
    rows = connection.execute(
        select(instance.c.sha256, instance.c.set_aside).where(
            instance.c.series_id == series_id, instance.c.sop_instance_uid == sop_instance_uid
        )
    )
    known = {row.sha256: row.set_aside for row in rows}
    for sha256, set_aside in contents_under(connection, series_id, sop_instance_uid):
        known.setdefault(sha256, set_aside)
    return known


def _record_source(connection: Connection, series_id: str, caller: Caller, now: float) -> None:
    known = connection.execute(
        series.update()
        .where(series.c.id == series_id)
        .values(last_received_at=now, last_association_id=caller.association_id)
    )
    if known.rowcount == 0:
        raise SeriesForgotten("the series was deleted with its patient")
    values = {
        "series_id": series_id,
        "source": caller.source,
        "calling_ae_title": caller.calling_ae_title,
        "settled": 0,
    }
    insert_new(connection, series_source, values)
