"""``lesion-node probe`` for people."""

from __future__ import annotations

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import PeerSettings
from scp.probe import TRANSFER_SYNTAXES, Probed

_HEADINGS = ("Explicit", "Implicit", "Deflated")


def print_probe(peer: PeerSettings, found: Probed, console: Console | None = None) -> None:
    """Print what a peer takes, and the settings that follow from it.

    Parameters
    ----------
    peer
        Its settings as they are.
    found
        What it said.
    console
        Where to; standard output by default.
    """
    out = console or Console(highlight=False, soft_wrap=True)
    if found.unreachable:
        out.print(f"[red]FAILED [/] {peer.name}: {escape(found.unreachable)}")
        return
    where = f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port})"
    table = Table(title=f"What {where} takes", title_justify="left")
    for heading in ("Object", "SOP Class", *_HEADINGS[: len(TRANSFER_SYNTAXES)]):
        table.add_column(heading, no_wrap=True)
    shown = None
    for kind, name, accepted in found.rows():
        marks = ["[green]yes[/]" if one else "[dim]no[/]" for one in accepted]
        table.add_row(kind.value if kind is not shown else "", name, *marks)
        shown = kind
    out.print(table)
    proposal = found.proposal()
    if not proposal:
        out.print("The defaults fit: nothing needs to be set in its \\[\\[peers]] block.")
        return
    if all(getattr(peer, key) == _as_set(peer, key, value) for key, value in proposal.items()):
        out.print("Its settings fit.")
        return
    out.print(f'Proposed for the \\[\\[peers]] block of "{peer.name}":')
    for key, value in proposal.items():
        out.print(f"  {key} = {escape(json.dumps(value))}")


def _as_set(peer: PeerSettings, key: str, value: object) -> object:
    """Return a proposed value as the settings would hold it."""
    return getattr(PeerSettings.model_validate({**peer.model_dump(), key: value}), key)
