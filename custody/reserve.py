"""Space that is kept allocated for the moment in which the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

from core.log import get_logger


class Reserve:
    """A file that holds nothing and is deleted when a write finds the disk full.

    What it frees is for the ledger: refusals, ends of jobs and outcomes of deliveries can then still be
    recorded. Reception does not get at it, because its floor refuses first.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def beside(cls, neighbour: Path) -> Reserve:
        """Return the reserve in the folder of a file or folder; processes of a node meet in it."""
        return cls(neighbour.parent / "reserve")

    @property
    def size_bytes(self) -> int:
        """How much it holds; 0 where there is none."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def free(self) -> None:
        """Give the space back to the disk; any process of the node may do so at any moment."""
        size = self.size_bytes
        self._path.unlink(missing_ok=True)
        if size:
            get_logger().error("reserve_freed", mb=size // 2**20)

    def keep(self, wanted_bytes: int, free_bytes: int, floor_bytes: int) -> bool:
        """Make the reserve where it is wanted and the disk stays above its floor with it.

        Returns
        -------
        bool
            Whether it is there now, or none is wanted.
        """
        held = self.size_bytes
        if held == wanted_bytes:
            return True
        if wanted_bytes > held and free_bytes + held - wanted_bytes <= floor_bytes:
            return False
        self._path.unlink(missing_ok=True)
        if wanted_bytes == 0:
            return True
        part = self._path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                # Allocated, not only made long: a file of holes would free nothing.
                os.posix_fallocate(file.fileno(), 0, wanted_bytes)
            part.replace(self._path)
        except OSError:
            part.unlink(missing_ok=True)
            return False
        return True
