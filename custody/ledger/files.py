"""File names in the ledger: below the data folder, so that it can be moved, or be another one elsewhere."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

#: Execution option of every connection: the data folder of this machine.
OPTION = "files_below"


#: Folder below the data folder for what was brought from another machine; the rest of a name is the same.
COPIES = "copies"


def located(connection: Connection, recorded: str) -> Path:
    """Return where a recorded file is on this machine, or would be; a whole path is taken as it is."""
    below = Path(connection.get_execution_options().get(OPTION, ""))
    own = below / recorded
    copy = below / COPIES / recorded
    return copy if not own.exists() and copy.exists() else own


def recorded(connection: Connection, path: Path) -> str:
    """Return how a file is to be recorded."""
    below = Path(connection.get_execution_options().get(OPTION, ""))
    for folder in (below / COPIES, below):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return str(path)
