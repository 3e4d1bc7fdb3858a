"""``lesion-node retry`` and ``resend``: once more, by order of a person."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from core.domain import ResultKind
from core.errors import NodeError
from lesionnode.commands.common import ConfigOption, OptionalSeries, SeriesArgument, actor, read_settings

if TYPE_CHECKING:
    from config import Settings


def retry(
    series: OptionalSeries = None,
    all_failed: Annotated[
        bool,
        typer.Option("--all-failed", help="Every analysis that failed, every delivery that was given up."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Analyse again what failed or was refused, and send again what was given up.

    --all-failed leaves refused series alone: the same images would be refused again.
    """
    from custody.ledger import again
    from custody.ledger.find import the_series
    from lesionnode.opened import opened_ledger

    if (series is None) == (not all_failed):
        raise typer.BadParameter("name a series, or use --all-failed")
    settings, out = read_settings(config), Console(highlight=False, soft_wrap=True)
    order = again.Order(actor(), time.time())
    with opened_ledger(settings) as ledger:
        if series is not None:
            chosen = [the_series(ledger, series).id]
        else:
            with ledger.read() as connection:
                chosen = again.failed_series(connection)
        number = 0
        for one in chosen:
            try:
                with ledger.write() as connection:
                    done = again.retry(connection, one, order)
            except NodeError as error:
                if series is not None:
                    raise
                out.print(f"[yellow]{one}: {error}[/]")
                continue
            number += bool(done)
            for what in done:
                out.print(f"{one}: {what}")
    _wake(settings)
    if not number:
        out.print("Nothing to retry: no analysis failed or was refused, no delivery was given up.")
        raise typer.Exit(1)


def resend(
    series: SeriesArgument,
    to: Annotated[list[str] | None, typer.Option(help="Name of a peer; all of its own if left out.")] = None,
    kind: Annotated[
        list[ResultKind] | None, typer.Option(help="Kind of object; all that a peer is to get if left out.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Deliver the newest result of a series again, also to peers that were not to get it when it was made."""
    from custody.ledger import again
    from custody.ledger.find import the_series
    from lesionnode.opened import opened_ledger
    from scp.completion import destinations

    settings, out = read_settings(config), Console(highlight=False, soft_wrap=True)
    names = [peer.name for peer in settings.peers]
    unknown = [name for name in to or () if name not in names]
    if unknown:
        raise NodeError(f"no peer is called {', '.join(unknown)}; configured: {', '.join(names) or 'none'}")
    wanted = again.Wanted(tuple(to or ()), tuple(one.value for one in kind or ()))
    with opened_ledger(settings) as ledger:
        found = the_series(ledger, series)
        with ledger.write() as connection:
            order = again.Order(actor(), time.time())
            counts = again.resend(connection, found.id, wanted, destinations(settings), order)
    _wake(settings)
    for peer, number in counts.items():
        out.print(f"{number} object{'s are' if number > 1 else ' is'} due to {peer} now.")
    if not counts:
        out.print("Nothing to send: no peer is to get such an object, or it is being sent this moment.")
        raise typer.Exit(1)


def _wake(settings: Settings) -> None:
    """Ring for those who have work now; a bell that nobody hears costs a second."""
    from custody.doorbell import ring
    from scp.completion import WORKER_BELL
    from scp.courier import ring_lanes

    ring(settings.node.data_folder, WORKER_BELL)
    ring_lanes(settings)
