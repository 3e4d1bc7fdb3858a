"""Flushes received images before their series is relied upon, where reception answers without flushing.

With ``reception.durability = "seal"`` 0x0000 does not mean that the image is on the disk: a power cut loses
what is not sealed yet. What it loses is found at the next start, by the digests in the ledger, which is
flushed before every answer in both modes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from core.log import get_logger
from custody.durable import flush_folder, write_durably
from custody.instance_files import data_set_sha256
from custody.ledger import Ledger, incidents, reception
from custody.ledger.incidents import IncidentKind
from custody.spool import Spool

#: There while images may lie in the data folder that were never flushed.
MARK = "unflushed"


class LateFlush:
    """Knows which images may not be on the disk, and puts them there.

    Parameters
    ----------
    ledger, spool
        What was received, and its files.
    node
        Whose files are in this spool.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(self, ledger: Ledger, spool: Spool, node: str, now: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._spool = spool
        self._node = node
        self._now = now

    def take_up(self, *, goes_on: bool) -> int:
        """Compare and flush what an earlier run may not have flushed; return how many images were lost.

        Parameters
        ----------
        goes_on
            Whether reception leaves flushing to this class from now on.

        Raises
        ------
        SpoolError
            A folder cannot be flushed.
        """
        mark = self._spool.received.parent / MARK
        lost: list[Path] = []
        if mark.exists():
            contents = reception.unsealed_contents(self._ledger, self._node)
            lost = [path for path, sha256 in contents if _is_damaged(path, sha256)]
            for series_id in () if goes_on else {path.parent.name for path, _ in contents}:
                lost += self._spool.flush_series(series_id)
            self._lose(lost)
        if goes_on:
            write_durably(mark, ())
        elif mark.exists():
            mark.unlink()
            flush_folder(mark.parent)
        return len(lost)

    def flush(self, series_id: str) -> bool:
        """Flush what is here of a series; return whether the disk took all of it.

        What it did not take counts as never received: it is not asked a second time, because after an error
        the system reports the next flush of the same file as done, see its manual on fsync.

        Raises
        ------
        SpoolError
            The folder cannot be flushed.
        """
        lost = self._spool.flush_series(series_id)
        self._lose(lost)
        return not lost

    def _lose(self, paths: Sequence[Path]) -> None:
        """Take note that files are not what was acknowledged, so that a resend is stored again."""
        if not paths:
            return
        reception.mark_missing(self._ledger, self._node, paths)
        for path in filter(Path.exists, paths):
            self._spool.move_aside(path)
        reason = (
            f"{len(paths)} images were acknowledged and did not reach the disk "
            '(reception.durability = "seal"): have their series sent again'
        )
        get_logger().error(IncidentKind.FILES_MISSING.value, subject="data folder", reason=reason)
        with self._ledger.write() as connection:
            incidents.note(connection, IncidentKind.FILES_MISSING, "data folder", reason, self._now())


def _is_damaged(path: Path, sha256: str) -> bool:
    try:
        return data_set_sha256(path) != sha256
    except (OSError, ValueError):
        return True
