"""One process for each role and data folder."""

from __future__ import annotations

import fcntl
import os
from typing import IO

from config import Settings
from core.errors import SpoolError
from lesionnode.paths import lock_path
from lesionnode.roles import Role


def take_lock(settings: Settings, role: Role) -> IO[str]:
    """Make sure that no other process does the same on this data folder; the lock ends with the process.

    Raises
    ------
    SpoolError
        Another one does.
    """
    file = lock_path(settings, role).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise SpoolError(
            f"another lesion-node runs on {settings.node.data_folder} (role {role.value}): stop it, or give "
            "this one a data folder of its own"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
