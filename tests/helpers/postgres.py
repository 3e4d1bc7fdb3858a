"""A PostgreSQL server of its own for tests: a fresh cluster in a folder, on a loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from lesionnode.demo.pacs import free_port
from tests.helpers.programs import require_file

#: Where Debian keeps the programs of each version; they are not on the path.
_VERSIONS = Path("/usr/lib/postgresql")
_SERVER_USER = "postgres"
_USER = "lesionnode"


@dataclass(frozen=True)
class Postgres:
    """A running server.

    Parameters
    ----------
    port
        On the loopback interface.
    numbers
        Names for fresh databases.
    """

    port: int
    numbers: Iterator[int]

    @property
    def url(self) -> str:
        """The database that is there from the start, for SQLAlchemy."""
        return self._url("postgres")

    def fresh_database(self) -> str:
        """Create an empty database and return its URL for SQLAlchemy."""
        name = f"ledger_{next(self.numbers)}"
        with psycopg.connect(self._url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://{_USER}@127.0.0.1:{self.port}/{database}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a server for the length of a block, with flushing on; skips where it is not installed.

    Its folder is not among pytest's temporary ones: the server refuses to be root, and those let no other
    user pass.
    """
    versions = require_file(_VERSIONS, "Debian package postgresql")
    bin_folder = max(versions.glob("*/bin"), key=lambda folder: float(folder.parent.name))
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        user = _other_user(folder)
        cluster, port = folder / "cluster", free_port()
        access = ["-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        _run([bin_folder / "initdb", "-D", cluster, *access], user)
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=on"
        control = [bin_folder / "pg_ctl", "-D", cluster, "-w", "-t", "60"]
        _run([*control, "-l", folder / "server.log", "-o", options, "start"], user)
        try:
            yield Postgres(port, count(1))
        finally:
            _run([*control, "-m", "immediate", "stop"], user)  # the cluster is thrown away


def _other_user(folder: Path) -> dict[str, Any]:
    """Return under whom the server has to run: it refuses to be root. The folder becomes that user's."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(_SERVER_USER)
    shutil.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _run(command: list[Any], user: dict[str, Any]) -> None:
    """Run a program of PostgreSQL to its end; what it says is in the error where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd="/",
        timeout=120,
        check=False,
        **user,
    )
    if done.returncode:
        raise AssertionError(f"{Path(command[0]).name} failed:\n{done.stdout.decode(errors='replace')}")
