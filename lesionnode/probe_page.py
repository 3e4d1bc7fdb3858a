"""``lesion-node probe`` for people."""

from __future__ import annotations

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import PatientRule, PeerSettings
from scp.probe import SOP_CLASSES, Probed

#: Of `scp.probe.TRANSFER_SYNTAXES`, in their order.
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
    if found.negotiates:
        out.print(_table(f"What {peer.name} ({found.address}) takes", found))
    else:
        out.print(
            f"{peer.name} ({found.address}) is there. STOW-RS has no negotiation, so what it takes shows "
            "when results are sent: what it refuses goes in another encoding, or is given up with the reason."
        )
    queries = "answers" if found.answers_queries else "does not answer"
    out.print(f"It {queries} queries for studies, which check_patient needs.")
    if peer.check_patient is not PatientRule.OFF and not found.answers_queries:
        out.print(f'[red]check_patient = "{peer.check_patient.value}" holds every result back.[/]')
    if not found.negotiates:
        return
    if not any(found.takes(one) for kind in peer.objects for one in SOP_CLASSES[kind]):
        out.print("[red]It takes none of the objects that it is to get.[/]")
        return
    proposal = found.proposal(peer)
    if not proposal:
        out.print("[green]Its settings fit.[/]")
        return
    out.print(f'Proposed for the \\[\\[peers]] block of "{peer.name}":')
    for key, value in proposal.items():
        out.print(f"  {key} = {escape(json.dumps(value))}")


def _table(title: str, found: Probed) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("Object", no_wrap=True)
    table.add_column("SOP Class", overflow="fold")
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=True, min_width=len(heading))
    shown = None
    for kind, name, accepted in found.rows():
        marks = ["[green]yes[/]" if one else "[dim]no[/]" for one in accepted]
        table.add_row(kind.value if kind is not shown else "", name.removesuffix(" Storage"), *marks)
        shown = kind
    return table
