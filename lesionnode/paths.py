"""Where things lie below the data folder, besides the spool's own folders."""

from __future__ import annotations

from pathlib import Path

from config import Settings


def ledger_path(settings: Settings) -> Path:
    """Return the ledger's database file."""
    return settings.node.data_folder / "ledger.sqlite"


def lock_path(settings: Settings) -> Path:
    """Return the file whose lock says that a node runs on this data folder."""
    return settings.node.data_folder / "node.lock"
