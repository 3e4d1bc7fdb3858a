"""Takes up the state that an earlier run left behind, however it ended."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

from config import Settings
from core.log import get_logger
from custody.late_flush import LateFlush
from custody.ledger import (
    Ledger,
    commitment_requests,
    commitments,
    deliveries,
    incidents,
    jobs,
    prior_claims,
    reception,
)
from custody.ledger.clock import pull_back
from custody.ledger.incidents import IncidentKind
from custody.spool import Spool
from lesionnode.paths import node_name, owner_prefix
from lesionnode.roles import Role

#: Folders that changed this long before the last look are looked at again: clocks and file systems differ.
_MARGIN_S = 3600.0


def recover(ledger: Ledger, spool: Spool, settings: Settings, roles: Collection[Role]) -> None:
    """Take up what an earlier process of this node with these roles left behind.

    Other processes on the same ledger may be at work this moment; what is theirs is left alone.
    """
    now = time.time()
    if not ledger.shared:  # on a shared one the clocks of several machines meet, and none is the right one
        pull_back(ledger, now)
    found: dict[str, int] = {}
    if Role.RECEIVE in roles:
        dead = _dead_owners(ledger, settings, Role.RECEIVE)
        found["associations_lost"] = reception.close_associations_of(ledger, dead, now)
        if not ledger.shared:
            reception.adopt_rows(ledger, node_name(settings))
        found["commitment_requests_released"] = commitment_requests.release_owners(ledger, dead, now)
        found["prior_searches_released"] = prior_claims.release_owners(ledger, dead, now)
        found |= _swept(ledger, spool, settings, now)
        late_flush = LateFlush(ledger, spool, node_name(settings))
        found["files_not_on_disk"] = late_flush.take_up(goes_on=settings.reception.flushes_late)
    if Role.ANALYSE in roles:
        dead = _dead_owners(ledger, settings, Role.ANALYSE)
        found["jobs_released"] = jobs.release_owners(ledger, dead, now)
    if Role.DELIVER in roles:
        dead = _dead_owners(ledger, settings, Role.DELIVER)
        found["deliveries_released"] = deliveries.release_owners(ledger, dead, now)
        found["commitments_released"] = commitments.release_owners(ledger, dead, now)
        _note_unknown_destinations(ledger, settings)
    get_logger().info("recovered", **found)


def _dead_owners(ledger: Ledger, settings: Settings, role: Role) -> str:
    """Return how the owners begin that can only be dead, because this process has the role's lock.

    On a ledger of our own that is everybody, whatever an earlier version called them.
    """
    return owner_prefix(settings, role) if ledger.shared else ""


def _swept(ledger: Ledger, spool: Spool, settings: Settings, now: float) -> dict[str, int]:
    mark = settings.node.data_folder / "swept"
    since = mark.stat().st_mtime - _MARGIN_S if mark.exists() else 0.0
    node = node_name(settings)
    recorded = list(reception.recorded_paths(ledger, node))
    parts, strangers = spool.sweep(recorded, since)
    if strangers:
        where = f"{strangers} files that the ledger does not know were moved to {spool.unrecorded}"
        _note(ledger, IncidentKind.FILES_UNRECORDED, "data folder", where)
    here = [path for path in recorded if path.is_relative_to(spool.received)]
    missing = [path for path in here if not path.exists()]
    if missing:
        why = "received files are gone from the spool: have their series sent again"
        reception.mark_missing(ledger, node, missing, why, now)
    _touch(mark, now)
    return {"part_files_deleted": parts, "files_unrecorded": strangers, "files_missing": len(missing)}


def _touch(mark: Path, now: float) -> None:
    mark.touch()
    os.utime(mark, (now, now))


def _note_unknown_destinations(ledger: Ledger, settings: Settings) -> None:
    """Results for a peer that was renamed or removed wait for ever; somebody has to know."""
    for peer in sorted(deliveries.peers_with_deliveries(ledger) - {peer.name for peer in settings.peers}):
        what = f'results wait for peer "{peer}", which is not configured any more: add [[peers]] of that name'
        _note(ledger, IncidentKind.DESTINATION_UNKNOWN, peer, what)


def _note(ledger: Ledger, kind: IncidentKind, subject: str, reason: str) -> None:
    get_logger().warning(kind.value, subject=subject, reason=reason)
    with ledger.write() as connection:
        incidents.note(connection, kind, subject, reason, time.time())
