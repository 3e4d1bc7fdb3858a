"""Says that the disk is full or nearly so even where nobody sends, and keeps the reserve for that moment."""

from __future__ import annotations

from core.log import get_logger
from custody.ledger import Ledger, incidents
from custody.ledger.incidents import IncidentKind
from custody.spool import Spool


class DiskWatch:
    """Looks at the disk of the spool.

    Parameters
    ----------
    ledger, spool
        Where it is recorded, and what is looked at.
    floor_bytes
        With less free space nothing is received.
    reserve_bytes
        What is kept allocated while there is room for it above the floor.
    """

    def __init__(self, ledger: Ledger, spool: Spool, floor_bytes: int, reserve_bytes: int) -> None:
        self._ledger = ledger
        self._spool = spool
        self._floor_bytes = floor_bytes
        self._reserve_bytes = reserve_bytes
        self._had_reserve = False
        self._under_floor = False

    def look(self, now: float) -> None:
        """Record what became of the disk since the last look; make the reserve again where there is room."""
        free, reserve = self._spool.free_bytes(), self._spool.reserve
        if self._had_reserve and not reserve.size_bytes:
            what = "the disk was full and its reserve was freed: free some space"
            self._note(IncidentKind.DISK_FULL, what, now)
            self._had_reserve = False
        under_floor = free < self._floor_bytes
        if under_floor and not self._under_floor:
            what = (
                f"{free // 2**20} MiB free, the floor is {self._floor_bytes // 2**20} MiB: images are "
                "refused until there is space"
            )
            self._note(IncidentKind.DISK_UNDER_FLOOR, what, now)
        self._under_floor = under_floor
        there = reserve.keep(self._reserve_bytes, free, self._floor_bytes)
        self._had_reserve = there and self._reserve_bytes > 0

    def _note(self, kind: IncidentKind, reason: str, now: float) -> None:
        get_logger().error(kind.value, subject="data folder", reason=reason)
        with self._ledger.write() as connection:
            incidents.note(connection, kind, "data folder", reason, now)
