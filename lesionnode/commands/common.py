"""What several commands need: the settings, the ledger, who gives the order."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from config import Settings, load_settings
from config.loader import ENVIRONMENT_PREFIX

DEFAULT_CONFIG = Path("/etc/lesion-node/lesion-node.toml")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help=f"Configuration file; {DEFAULT_CONFIG} where it exists."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
SeriesArgument = Annotated[
    str,
    typer.Argument(
        help="Series Instance UID, its last characters as `status` shows them, or the id of a job.",
        show_default=False,
    ),
]
OptionalSeries = Annotated[
    str | None,
    typer.Argument(
        help="Series Instance UID, its last characters as `status` shows them, or the id of a job."
    ),
]


def read_settings(config: Path | None, *, optional: bool = False) -> Settings:
    """Read the configuration; with `optional`, the defaults where no file is named and none is installed."""
    chosen = config
    if chosen is None and (DEFAULT_CONFIG.exists() or not optional):
        from_environment = any(name.startswith(ENVIRONMENT_PREFIX) for name in os.environ)
        chosen = DEFAULT_CONFIG if DEFAULT_CONFIG.exists() or not from_environment else None
    return load_settings(chosen, os.environ)


def actor() -> str:
    """Return who gives the order: the operating-system user, and who became it by sudo."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid {os.getuid()}"
    before = os.environ.get("SUDO_USER", "")
    return f"{before} as {user}"[:64] if before.isprintable() and before not in ("", user) else user[:64]


@contextmanager
def share_bar(what: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on a terminal, nothing elsewhere; yields what takes the share done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=1.0)

        def take(share: float) -> None:
            progress.update(task, completed=share)

        yield take
