"""``lesion-node discard``: what was given up is not wanted any more, by order of a person."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console

from lesionnode.commands.common import ConfigOption, OptionalSeries, actor, read_settings


def discard(
    series: OptionalSeries = None,
    to: Annotated[str | None, typer.Option(help="Name of a peer; all of them if left out.")] = None,
    all_failed: Annotated[
        bool, typer.Option("--all-failed", help="Every delivery that was given up; with --to of one peer.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Say of deliveries that were given up that nobody wants them any more.

    They hold up the deletion of images and results until then. To send them after all: resend.
    """
    from custody.ledger import discarding
    from custody.ledger.again import Order
    from custody.ledger.find import the_series
    from lesionnode.opened import opened_ledger

    if (series is None) == (not all_failed):
        raise typer.BadParameter("name a series, or use --all-failed")
    settings, out = read_settings(config), Console(highlight=False, soft_wrap=True)
    order = Order(actor(), time.time())
    with opened_ledger(settings) as ledger:
        if series is not None:
            chosen = [the_series(ledger, series).id]
        else:
            with ledger.read() as connection:
                chosen = discarding.given_up(connection, to)
        number = 0
        for one in chosen:
            with ledger.write() as connection:
                number += discarding.discard(connection, one, to, order)
    if not number:
        out.print("Nothing was given up.")
        raise typer.Exit(1)
    out.print(f"Not wanted any more: objects {number}, series {len(chosen)}.")
