"""The ledger of a node for commands that look at it or change it while the node runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config import Settings
from core.errors import NodeError
from custody.ledger import Ledger
from lesionnode.paths import ledger_location, open_ledger


@contextmanager
def opened_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger that the node of these settings uses; it has to exist already.

    Raises
    ------
    NodeError
        The node has never run with this configuration.
    SpoolError
        The ledger cannot be used, or another version wrote it.
    """
    location = ledger_location(settings)
    if isinstance(location, Path) and not location.exists():
        raise NodeError(f"{location}: there is no ledger yet; has the node ever run with this configuration?")
    ledger = open_ledger(settings)
    try:
        ledger.require_current()
        yield ledger
    finally:
        ledger.close()
