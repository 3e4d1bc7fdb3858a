"""``lesion-node trace`` for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lesionnode.status_page import coloured, moment, shown
from lesionnode.timeline import kind_name, timeline
from lesionnode.verdict import verdict


def print_story(story: Mapping[str, Any], out: Console) -> None:
    """Print why a series has a result or none, then when what happened, then its objects.

    Parameters
    ----------
    story
        `custody.ledger.story.story_of`.
    out
        Where to.
    """
    series = story["series"]
    good, said = verdict(story)
    out.print(f"[bold {'green' if good else 'yellow'}]{shown(said)}[/]")
    if series["flag"]:
        out.print(f"[bold red]Look at it: {shown(series['flag'])}.[/]")
    for name in ("series_instance_uid", "study_instance_uid"):
        out.print(f"{_LABELS[name]}  {shown(series[name])}", soft_wrap=True)
    ids = ", ".join(f"{one['id']} (generation {one['generation']})" for one in story["jobs"])
    out.print(f"Kept as  {series['id']}{f', job {ids}' if ids else ''}", soft_wrap=True)
    out.print(_timeline_table(story))
    for job in story["jobs"]:
        if job["objects"]:
            out.print(_objects_table(job, several=len(story["jobs"]) > 1))
        if job["deliveries"]:
            out.print(_deliveries_table(job["deliveries"]))
    if any(one.get("unreadable_manifests") for one in story["images"]):
        out.print("[red]A manifest of this series cannot be read: run `lesion-node verify`.[/]")


_LABELS = {"series_instance_uid": "Series ", "study_instance_uid": "Study  "}


def _timeline_table(story: Mapping[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("When", no_wrap=True)
    table.add_column("After", no_wrap=True, justify="right")
    table.add_column("What", ratio=1)
    begin = before = None
    for event in timeline(story):
        begin = event.at if begin is None else begin
        when = moment(event.at)
        table.add_row("" if when == before else when, _after(event.at - begin), shown(event.what))
        before = when
    return table


def _objects_table(job: Mapping[str, Any], *, several: bool) -> Table:
    title = "Objects"
    if several:
        title += f" of generation {job['generation']}"
    table = _table(title, "Object", "Encoding", "SOP Instance UID", "MiB", "SHA-256")
    for one in job["objects"]:
        encoding = f"{one['variant']}{' (corrected identity)' if one['corrected'] else ''}"
        size = f"{one['size_bytes'] / 2**20:.2f}" if one["size_bytes"] else "-"
        uid, digest = f"...{one['sop_instance_uid'][-12:]}", one["sha256"][:12]
        table.add_row(kind_name(one["kind"]), shown(encoding), shown(uid), size, digest)
    return table


def _deliveries_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Deliveries", "Peer", "Object", "State", "Tries", "When", "Answer")
    for one in rows:
        status = f"0x{one['status']:04X}" if one["status"] is not None else ""
        promised = f"commitment {one['commitment']['state']}" if one["commitment"] else ""
        said = "; ".join(part for part in (status, one["reason"] or "", promised) if part)
        when = one["delivered_at"] or one["due_at"]
        table.add_row(
            shown(one["peer"]),
            kind_name(one["kind"]),
            coloured(one["state"]),
            str(one["attempt"]),
            moment(when),
            shown(said),
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def _after(seconds: float) -> str:
    if seconds < 0.05:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours}:{minutes:02}:{rest:02}"
