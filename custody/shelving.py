"""Moves what the ledger says of single instances into manifests beside their files, once they are sealed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.errors import SpoolError
from core.log import get_logger
from custody.holdings import Holdings
from custody.ledger import Ledger, manifests
from custody.ledger.manifests import Sealed
from custody.spool import Spool

#: A series of which nothing can be analysed is never sealed. It is shelved after so long without an image.
_ASIDE_QUIET_S = 60.0
_MOST_SERIES = 64


class Shelving:
    """Keeps the ledger small: one row for each sealed series instead of one for each instance.

    The files are flushed first, then the ledger forgets the rows; a crash in between leaves a manifest that
    the ledger does not know, and another one is written.

    Parameters
    ----------
    ledger, spool, holdings
        What is shelved, and where; publishes it where machines share it.
    node
        Whose files are in this spool.
    now
        Clock, seconds since 1970 UTC.
    flush
        Called with our id of a series before it is listed; False where its images are not safe yet.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        holdings: Holdings,
        node: str = "",
        now: Callable[[], float] = time.time,
        flush: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._spool = spool
        self._node = node
        self._now = now
        self._flush = flush
        self._after = ""

    def step(self) -> int:
        """Shelve what is sealed; return how many manifests were written."""
        now = self._now()
        with self._ledger.read() as connection:
            found = manifests.sealed_rows(
                connection,
                node=self._node,
                quiet_before=now - _ASIDE_QUIET_S,
                after=self._after,
                limit=_MOST_SERIES,
            )
        # Where more is waiting the next step goes on behind these, also behind those that cannot be shelved.
        more = len({sealed.manifest.series_id for sealed in found}) == _MOST_SERIES
        self._after = found[-1].manifest.series_id if more else ""
        return sum(self._try_to_shelve(sealed, now) for sealed in found)

    def _try_to_shelve(self, sealed: Sealed, now: float) -> bool:
        """One series that cannot be shelved now must not hold up the others."""
        try:
            return self._shelve(sealed, now)
        except SpoolError as error:
            series_id = sealed.manifest.series_id
            get_logger().warning("series_not_shelved", series=series_id, reason=str(error))
            return False

    def _shelve(self, sealed: Sealed, now: float) -> bool:
        if not self._flush(sealed.manifest.series_id):
            return False
        folder = self._spool.series_folder(sealed.manifest.series_id)
        listed = replace(
            sealed.manifest,
            instances=tuple(
                replace(one, file=_relative(Path(one.file), folder)) for one in sealed.manifest.instances
            ),
        )
        content, sha256 = listed.encoded()
        path = self._spool.keep_manifest(listed.series_id, listed.generation, sha256, content)
        package = self._holdings.publish_series(listed.series_id, path, sha256)
        return manifests.record_manifest(
            self._ledger, replace(sealed, manifest=listed), path, sha256, package, now
        )


def _relative(file: Path, folder: Path) -> str:
    """Return a name that still holds when the data folder is moved."""
    return file.name if file.parent == folder else str(file)
