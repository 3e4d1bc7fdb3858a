"""``lesion-node ledger rebuild``: a new ledger from the spool."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from lesionnode.commands.common import ConfigOption, actor, read_settings, share_bar


def rebuild(
    add: Annotated[
        bool, typer.Option("--add", help="Keep the ledger and enter what only the spool knows.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Make the ledger anew from the spool; the node has to be stopped. The old ledger is kept beside it."""
    from lesionnode.rebuilding import rebuild_ledger
    from lesionnode.status_page import shown

    settings = read_settings(config)
    out = Console(highlight=False, soft_wrap=True)
    with share_bar("reading the spool") as progress:
        outcome = rebuild_ledger(settings, actor(), add=add, progress=progress)
    if outcome.aside is not None:
        out.print(f"The old ledger was moved aside: {shown(outcome.aside)}. Delete it when all is well.")
    found = outcome.rebuilt
    out.print(
        f"[green]The ledger has {found.series} series:[/] {found.manifests} manifests with "
        f"{found.images_listed} images, {found.images_open} images that no manifest lists, "
        f"{found.results} results."
    )
    for fault in found.faults:
        out.print(f"[yellow]{shown(fault)}[/]")
    out.print("Next: start the node, then `lesion-node verify`.")
