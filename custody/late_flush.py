"""Flushes received images before their series is relied upon, where reception answers without flushing.

With ``reception.durability = "seal"`` 0x0000 does not mean that the image is on the disk: a power cut loses
what is not sealed yet. What it loses is found at the next start, by the digests in the ledger, which is
flushed before every answer in both modes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path

from core.errors import SpoolError
from custody.durable import flush_file, flush_folder, write_durably
from custody.instance_files import data_set_sha256
from custody.ledger import Ledger, reception
from custody.spool import Spool

#: There while images may lie in the data folder that were never flushed.
MARK = "unflushed"
_LOST = (
    'acknowledged images did not reach the disk (reception.durability = "seal"): have their series sent again'
)
#: Of so many series at a time it is remembered what is flushed.
_MOST_REMEMBERED = 64


class LateFlush:
    """Knows which images may not be on the disk, and puts them there; may be used by several threads.

    A flush that fails is never tried again: the system says of the next one of the same file that it went
    well. A file that the disk did not take is moved aside at once and counts as never received.

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
        self._lock = threading.Lock()
        self._flushed: OrderedDict[str, set[Path]] = OrderedDict()
        #: What the disk did not take and would not let go of either.
        self._refused: set[Path] = set()

    def take_up(self, *, goes_on: bool) -> int:
        """Compare what an earlier run may not have flushed; return how many images were lost.

        Parameters
        ----------
        goes_on
            Whether reception leaves flushing to this class from now on; else everything is flushed.

        Raises
        ------
        SpoolError
            Something cannot be flushed.
        """
        mark = self._spool.received.parent / MARK
        lost = 0
        if mark.exists():
            contents = reception.recorded_contents(self._ledger, self._node)
            lost = self._lose([path for path, sha256 in contents.items() if _is_damaged(path, sha256)])
            for series_id in () if goes_on else {path.parent.name for path in contents}:
                self.flush(series_id)
        if goes_on:
            write_durably(mark, ())
        elif mark.exists():
            mark.unlink()
            flush_folder(mark.parent)
        return lost

    def flush(self, series_id: str) -> bool:
        """Flush what is recorded of a series and was not flushed before; return whether the disk took it all.

        Raises
        ------
        SpoolError
            Something cannot be flushed; what is flushed already is not flushed again.
        """
        with self._lock:
            recorded = set(reception.recorded_contents(self._ledger, self._node, series_id))
            known = self._flushed.setdefault(series_id, set())
            self._flushed.move_to_end(series_id)
            while len(self._flushed) > _MOST_REMEMBERED:
                self._flushed.popitem(last=False)
            new = {path for path in recorded - known if path.is_relative_to(self._spool.received)}
            if not new:
                return True
            lost = {path for path in sorted(new) if not self._is_taken(path)}
            self._lose(lost)
            for folder in (self._spool.series_folder(series_id), self._spool.received):
                self._flush_folder(folder)
            known |= new - lost
            return not lost

    def _is_taken(self, path: Path) -> bool:
        if path in self._refused:
            return False
        try:
            with path.open("rb") as file:
                try:
                    flush_file(file.fileno())
                except OSError:
                    return False
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SpoolError(f"{path} cannot be opened to flush it: {error.strerror}") from None
        return True

    def _flush_folder(self, folder: Path) -> None:
        try:
            if folder in self._refused:
                raise SpoolError(f"{folder} could not be flushed: see to the disk and start the node again")
            if folder.is_dir():
                flush_folder(folder)
        except OSError as error:
            self._refused.add(folder)
            raise SpoolError(f"{folder} cannot be flushed: {error.strerror}") from None

    def _lose(self, paths: Collection[Path]) -> int:
        """Take note that files are not what was acknowledged, so that a resend is stored again.

        They are moved first: what is not there any more is found by the next turn or the next start, should
        this one end in between.
        """
        if not paths:
            return 0
        self._refused |= set(paths)
        for path in filter(Path.exists, paths):
            try:
                self._spool.move_aside(path)
            except OSError as error:
                raise SpoolError(f"{path} is damaged and cannot be moved: {error.strerror}") from None
        gone = reception.mark_missing(self._ledger, self._node, paths, _LOST, self._now())
        self._refused -= set(paths)
        return gone


def _is_damaged(path: Path, sha256: str) -> bool:
    try:
        return data_set_sha256(path) != sha256
    except (OSError, ValueError):
        return True
