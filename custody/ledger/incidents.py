"""What a person should know about, one row for each kind and subject, with a count."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection

from custody.ledger.dialect import upsert
from custody.ledger.tables import incident

#: More different subjects than this of one kind are counted together: a port scan must not fill the disk.
_MOST_SUBJECTS = 500


class IncidentKind(StrEnum):
    """What happened."""

    ASSOCIATION_REFUSED = "association_refused"
    INSTANCE_REFUSED = "instance_refused"
    INSTANCE_SET_ASIDE = "instance_set_aside"
    DISK_UNDER_FLOOR = "disk_under_floor"
    DISK_FULL = "disk_full"
    OWN_RESULT_RETURNED = "own_result_returned"
    FILES_UNRECORDED = "files_unrecorded"
    FILES_MISSING = "files_missing"
    DESTINATION_UNKNOWN = "destination_unknown"
    DELIVERY_GIVEN_UP = "delivery_given_up"
    OBJECT_LEFT_OUT = "object_left_out"
    COMMITMENT_DENIED = "commitment_denied"
    COMMITMENT_GIVEN_UP = "commitment_given_up"
    COMMITMENT_UNANSWERED = "commitment_unanswered"
    PATIENT_DIFFERS = "patient_differs"
    WORKER_CANNOT_START = "worker_cannot_start"


def note(connection: Connection, kind: IncidentKind, subject: str, reason: str, now: float) -> None:
    """Record an incident, or count it where the same is known already.

    Parameters
    ----------
    connection
        A writing transaction.
    kind, subject
        What happened, to whom; at most 160 characters of the subject are kept.
    reason
        The newest reason, in the user's words; no patient identifiers.
    now
        Seconds since 1970 UTC.
    """
    kinds = incident.select().where(incident.c.kind == kind.value).with_only_columns(incident.c.subject)
    known = {row.subject for row in connection.execute(kinds)}
    key = subject[:160]
    if key not in known and len(known) >= _MOST_SUBJECTS:
        key = "(others)"
    upsert(
        connection,
        incident,
        {"kind": kind.value, "subject": key, "reason": reason, "count": 1, "first_at": now, "last_at": now},
        key=("kind", "subject"),
        changes={"count": incident.c.count + 1, "last_at": now, "reason": reason},
    )
