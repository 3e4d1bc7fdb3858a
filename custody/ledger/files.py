"""File names in the ledger: below the data folder, so that it can be moved, or be another one elsewhere."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

#: Execution option of every connection: the data folder of this machine.
OPTION = "files_below"


def located(connection: Connection, recorded: str) -> Path:
    """Return where a recorded file is on this machine; a whole path is taken as it is."""
    return Path(connection.get_execution_options().get(OPTION, "")) / recorded


def recorded(connection: Connection, path: Path) -> str:
    """Return how a file is to be recorded."""
    below = Path(connection.get_execution_options().get(OPTION, ""))
    return str(path.relative_to(below) if path.is_relative_to(below) else path)
