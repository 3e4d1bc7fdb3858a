"""Whether what several machines share can be used from here, for whoever configures it."""

from __future__ import annotations

from collections.abc import Iterator

from config import Settings
from lesionnode.paths import open_ledger, open_storage


def shared_parts(settings: Settings) -> Iterator[str]:
    """Try the ledger's database and the shared storage; yield a line for each that works.

    Nothing is yielded for a node that works alone: its files are made at the first start.

    Raises
    ------
    SpoolError
        One of them cannot be used; the message says what to look at.
    """
    if settings.ledger.url:
        ledger = open_ledger(settings)
        try:
            ledger.require_readable()
        finally:
            ledger.close()
        yield f"ledger {ledger.name}: reachable"
    storage = open_storage(settings)
    if storage is not None:
        with storage:
            remarks = storage.check()
        yield f"shared storage {settings.storage.shared}: a file was written, read and removed"
        yield from remarks
