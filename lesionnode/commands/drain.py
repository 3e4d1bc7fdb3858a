"""``lesion-node drain``: finish what is here, accept nothing new."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lesionnode.commands.common import ConfigOption, actor, read_settings

if TYPE_CHECKING:
    from custody.ledger import Ledger
    from custody.ledger.remaining import Remaining

_LOOK_S = 1.0


def drain(
    wait: Annotated[bool, typer.Option("--wait", help="Return when nothing is left to do.")] = False,
    end: Annotated[bool, typer.Option("--end", help="Accept again.")] = False,
    config: ConfigOption = None,
) -> None:
    """Finish what is here and accept nothing new, until `drain --end`; survives restarts.

    New associations are rejected as temporary congestion; most senders try again by themselves. An open one
    may bring the rest of series that are here; images of new series are answered 0xA700.
    """
    from custody.ledger import audit, switches
    from lesionnode.opened import opened_ledger

    if wait and end:
        raise typer.BadParameter("--wait and --end exclude each other")
    settings, out = read_settings(config), Console(highlight=False, soft_wrap=True)
    with opened_ledger(settings) as ledger:
        now, by = time.time(), actor()
        with ledger.write() as connection:
            was_on = switches.DRAINING in switches.all_on(connection)
            if end:
                switches.set_off(connection, switches.DRAINING)
            else:
                switches.set_on(connection, switches.DRAINING, {"by": by}, now)
            if was_on == end:
                audit.record(connection, by, "drain_end" if end else "drain", "node", {}, now)
        if end:
            out.print("The node accepts again." if was_on else "The node was not draining.")
            return
        out.print("Draining: nothing new is accepted until `lesion-node drain --end`.")
        _report(ledger, out, wait=wait)


def _report(ledger: Ledger, out: Console, *, wait: bool) -> None:
    """Say what is left; with `wait`, until nothing is."""
    from custody.ledger.remaining import remaining

    said = ""
    while True:
        with ledger.read() as connection:
            left = remaining(connection)
        told = _told(left)
        if told != said:
            out.print(told)
            said = told
        if not (left and wait):
            return
        time.sleep(_LOOK_S)


def _told(left: Remaining) -> str:
    if not left:
        return "[green]Nothing is left to do.[/]"
    parts = [f"open associations of {', '.join(left.callers)}"] if left.callers else []
    parts += [f"images that are not sealed yet: {left.images}"] if left.images else []
    parts += [f"analyses: {left.analyses}"] if left.analyses else []
    parts += [f"deliveries to {peer}: {number}" for peer, number in sorted(left.deliveries.items())]
    parts += [f"commitments of {peer}: {number}" for peer, number in sorted(left.commitments.items())]
    parts += [f"senders' requests for commitment: {left.requests}"] if left.requests else []
    return f"Left: {'; '.join(parts)}."
