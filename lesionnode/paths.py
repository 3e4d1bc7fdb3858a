"""Where things lie below the data folder, besides the spool's own folders."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

from config import Settings
from custody.durable import write_durably
from custody.ledger import Ledger
from custody.shared_storage import S3Access, SharedStorage
from lesionnode.roles import Role


def ledger_location(settings: Settings) -> Path | str:
    """Return the URL of the ledger's database where one is set, else its file below the data folder."""
    return settings.ledger.url or settings.node.data_folder / "ledger.sqlite"


def node_name(settings: Settings) -> str:
    """Return what tells this node from others that use the same ledger: made once, kept beside the spool."""
    path = settings.node.data_folder / "node-name"
    if not path.exists():
        name = uuid.uuid4().hex[:12]
        with contextlib.suppress(FileExistsError):  # of two processes that start together one wins
            write_durably(path, [f"{name}\n".encode()], part=path.with_suffix(f".{name}.part"), replace=False)
    return path.read_text().strip()


def owner_prefix(settings: Settings, role: Role) -> str:
    """Return how the owners of claims begin that processes of this node make in a role."""
    return f"{node_name(settings)}-{role.value}-"


def open_ledger(settings: Settings) -> Ledger:
    """Return the node's ledger; nothing is read yet."""
    return Ledger(ledger_location(settings), settings.node.data_folder)


def open_storage(settings: Settings) -> SharedStorage | None:
    """Return the storage that this machine shares with others, None where it works alone."""
    chosen = settings.storage
    if not chosen.shared:
        return None
    access = S3Access(
        endpoint=chosen.endpoint,
        region=chosen.region,
        key=chosen.key,
        secret=chosen.secret.get_secret_value(),
        ca_file=chosen.ca_file,
        timeout_s=chosen.timeout_s,
    )
    return SharedStorage.open(chosen.shared, access)


def lock_path(settings: Settings, role: Role) -> Path:
    """Return the file whose lock says that a node runs on this data folder in that role."""
    return settings.node.data_folder / f"{role.value}.lock"
