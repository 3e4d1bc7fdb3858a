"""How long this node keeps what, from its settings; and its disk, for ``status``."""

from __future__ import annotations

import math
import shutil
from typing import Any

from config import CommitmentRule, Settings
from custody.holdings import Holdings
from custody.ledger import Ledger
from custody.retention import Retention, RetentionRules
from custody.spool import Spool
from custody.time_points import TimePoints
from lesionnode.loops import Loop
from lesionnode.paths import node_name

_MB = 2**20
_DAY_S = 86_400.0


def rules_of(settings: Settings) -> RetentionRules:
    """Return the rules of retention that the configuration asks for."""
    wanted, floor_mb = settings.retention, settings.reception.disk_floor_mb
    return RetentionRules(
        received_s=_seconds(wanted.received_days),
        set_aside_s=_seconds(wanted.set_aside_days),
        quarantine_s=_seconds(wanted.quarantine_days),
        results_s=_seconds(wanted.results_days),
        make_room_below_bytes=wanted.make_room_mb(floor_mb) * _MB,
        floor_bytes=floor_mb * _MB,
        reserve_bytes=wanted.reserve_mb * _MB,
        owed_to=frozenset(source.name for source in settings.sources),
        kept_for_good=frozenset(
            source.name for source in settings.sources if source.storage_commitment is CommitmentRule.HERE
        ),
        node=node_name(settings),
    )


def retention_loop(settings: Settings, ledger: Ledger, spool: Spool, holdings: Holdings) -> Loop:
    """Return the service that keeps the disk free."""
    retention = Retention(ledger, spool, holdings, rules_of(settings))
    points = TimePoints(ledger, spool, holdings, time_points_kept_s(settings))

    def step() -> bool:
        retention.step()
        points.step()
        return False  # it paces itself

    return Loop("retention", settings.node.data_folder, step, lambda: retention.pause_s)


def time_points_kept_s(settings: Settings) -> float:
    """Return how long what later scans are compared with is kept, s."""
    return _seconds(settings.retention.time_points_days)


def disk_report(settings: Settings) -> dict[str, Any]:
    """Return the free space and its marks in MiB, and how long what is kept in days (None: until needed)."""
    wanted, floor_mb = settings.retention, settings.reception.disk_floor_mb
    days = {
        "received": wanted.received_days,
        "results": wanted.results_days,
        "time_points": wanted.time_points_days,
        "set_aside": wanted.set_aside_days,
        "quarantine": wanted.quarantine_days,
    }
    return {
        "free_mb": shutil.disk_usage(settings.node.data_folder).free // _MB,
        "floor_mb": floor_mb,
        "make_room_below_mb": wanted.make_room_mb(floor_mb),
        "days": {name: value or None for name, value in days.items()},
    }


def _seconds(days: float) -> float:
    return days * _DAY_S if days else math.inf
