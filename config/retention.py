"""How long what is finished is kept: the section ``[retention]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.section import Section

Days = Annotated[float, Field(ge=0)]

#: Room is made below so many times the floor where the site names no figure.
_FLOORS = 5


class RetentionSettings(Section):
    """When the node deletes what is finished. 0 days: kept until the space is needed."""

    received_days: Days = 30.0
    """Images of a series that is analysed, or was not selected, and whose results are delivered."""
    results_days: Days = 90.0
    """Results that every peer has."""
    time_points_days: Days = 1825.0
    """What later scans of a patient are compared with: numbers, masks, coarse densities. 0: for ever."""
    set_aside_days: Days = 30.0
    """What came and cannot be analysed: localizers, reports, damaged copies."""
    quarantine_days: Days = 90.0
    """Images of a series that was refused or failed."""
    make_room_below_mb: Annotated[int, Field(ge=0)] | None = None
    """With less free space the oldest finished things go before their days are over; 0: never."""
    reserve_mb: Annotated[int, Field(ge=0)] = 64
    """Kept allocated, and freed when the disk is full so that this can still be recorded; 0: none."""

    def make_room_mb(self, disk_floor_mb: int) -> int:
        """Return the free space in MiB below which room is made, 0 for never."""
        return _FLOORS * disk_floor_mb if self.make_room_below_mb is None else self.make_room_below_mb

    def cross_faults(self, disk_floor_mb: int) -> list[str]:
        """Return the faults that show only beside the floor of reception."""
        if not self.make_room_below_mb or self.make_room_below_mb > disk_floor_mb:
            return []
        return [
            f"retention.make_room_below_mb: found {self.make_room_below_mb}, wanted more than "
            f"reception.disk_floor_mb ({disk_floor_mb}), at which images are refused already; or 0 for never"
        ]
