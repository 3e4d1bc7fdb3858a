"""``lesion-node status`` for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import Settings

_COLOURS = {
    "analysed": "green",
    "delivered": "green",
    "running": "cyan",
    "sending": "cyan",
    "publishing": "cyan",
    "queued": "cyan",
    "asked": "cyan",
    "waiting": "cyan",
    "committed": "green",
    "answered": "green",
    "due": "yellow",
    "refused": "yellow",
    "left_out": "yellow",
    "not_selected": "dim",
    "failed": "red",
}

#: Title, key of the report, and which columns say whom it concerns and how many there are.
_COMMITMENTS = (
    ("Storage commitment asked of peers", "commitments", "peer", "objects"),
    ("Storage commitment asked of this node", "commitment_requests", "calling_ae_title", "requests"),
)
_HEADINGS = {"peer": "Peer", "objects": "Objects", "calling_ae_title": "Asked by", "requests": "Requests"}


def print_status(found: dict[str, Any], settings: Settings, console: Console | None = None) -> None:
    """Print what `custody.ledger.report.status` found.

    Parameters
    ----------
    found
        The report.
    settings
        Whose node it is.
    console
        Where to; standard output by default.
    """
    out = console or Console(highlight=False)
    counts = found["counts"]
    jobs = ", ".join(f"{number} {state}" for state, number in counts["jobs"].items()) or "none yet"
    out.print(
        f"[bold]{settings.node.ae_title}[/] port {settings.node.port}, last 24 hours: "
        f"{counts['instances']} images in {counts['series']} series ({counts['instances_set_aside']} set "
        f"aside); analyses: {jobs}. {counts['open_associations']} open associations."
    )
    draining = found["switches"].get("draining")
    if draining:
        out.print(
            f"[yellow]Draining[/] since {moment(draining['since'])} ({shown(draining['by'])}): nothing new "
            "is accepted. `lesion-node drain --end` ends it."
        )
    for service in found["services"]:
        models = service["detail"].get("models", {})
        if models:
            listed = ", ".join(f"{model} on {provider}" for model, provider in models.items())
            out.print(f"Models: {listed} (since {moment(service['heartbeat_at'])})")
    out.print(_disk_line(found))
    for series in found["receiving"]:
        out.print(
            f"Receiving: {series['instances']} images so far of series "
            f"...{series['series_instance_uid'][-12:]}, the last at {moment(series['last_received_at'])}"
        )
    if found["series"]:
        out.print(_series_table(found["series"]))
    if found["deliveries"]:
        out.print(_delivery_table(found["deliveries"]))
    for title, rows, whom, what in _COMMITMENTS:
        if found.get(rows):
            out.print(_commitment_table(title, found[rows], whom, what))
    if found["incidents"]:
        out.print(_incident_table(found["incidents"]))


def _disk_line(found: dict[str, Any]) -> str:
    """Say how much room there is, how far back files are kept, and what had to stay longer than its days."""
    disk, kept = found["disk"], found["kept"]
    days = disk["days"]
    line = (
        f"Disk: {disk['free_mb'] / 1024:.1f} GiB free (room is made below "
        f"{disk['make_room_below_mb'] / 1024:.1f}, images are refused below {disk['floor_mb'] / 1024:.1f}). "
        f"Images since {_day(kept['oldest_received_at'])} ({_kept_for(days['received'])}), results since "
        f"{_day(kept['oldest_results_at'])} ({_kept_for(days['results'])})."
    )
    if kept["purged_manifests"] or kept["purged_results"]:
        line += (
            f" Deleted in 24 hours: images of {kept['purged_manifests']} series "
            f"({kept['purged_bytes'] / 2**30:.1f} GiB), results of {kept['purged_results']}."
        )
    for service in found["services"]:
        for reason, number in service["detail"].get("held", {}).items():
            line += f" {number} kept longer: {reason}."
    return line


def _kept_for(days: float | None) -> str:
    return "until the room is needed" if days is None else f"kept {days:g} days"


def _day(seconds: float | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%d %b %Y")


def _series_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Newest series", title_justify="left", expand=True)
    for heading in ("Sealed", "From", "Series", "State"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Result or reason", ratio=1)
    for row in rows:
        generation = f" ({row['generation']})" if row["generation"] > 1 else ""
        table.add_row(
            moment(row["sealed_at"]),
            shown(row["calling_ae_title"]),
            f"...{row['series_instance_uid'][-12:]}{generation}",
            coloured(row["state"]),
            shown(_outcome(row)),
        )
    return table


def _outcome(row: dict[str, Any]) -> str:
    result = row["result"]
    if row["state"] != "analysed" or not result:
        return str(row["reason"] or row["evidence"])
    burden = result["burden"]
    seconds = (row["finished_at"] or 0) - row["sealed_at"]
    return (
        f"{burden['total_ml']:.1f} ml, {burden['percent_of_lung']:.1f} % of lung, "
        f"score {result['severity_score']}; {seconds:.1f} s after sealing"
    )


def _delivery_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Deliveries", title_justify="left", expand=True)
    for heading in ("Peer", "State", "Objects"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Last, or next attempt and reason", ratio=1)
    for row in rows:
        if row["state"] == "delivered":
            detail = f"last at {moment(row['last_delivered_at'])}"
        elif row["state"] in ("failed", "left_out"):
            detail = f"not sent any more: {row['reason']}"
        elif row["reason"]:
            detail = f"next at {moment(row['next_due_at'])}: {row['reason']}"
        else:
            detail = ""
        table.add_row(row["peer"], coloured(row["state"]), str(row["objects"]), shown(detail))
    return table


def _commitment_table(title: str, rows: list[dict[str, Any]], whom: str, what: str) -> Table:
    table = Table(title=title, title_justify="left", expand=True)
    for heading in (_HEADINGS[whom], "State", _HEADINGS[what]):
        table.add_column(heading, no_wrap=True)
    table.add_column("Last, or next look and reason", ratio=1)
    for row in rows:
        if row["state"] in ("committed", "answered"):
            detail = f"last at {moment(row['last_ended_at'])}"
        elif row["state"] == "failed":
            detail = f"given up: {row['reason']}"
        else:
            detail = (
                f"next at {moment(row['next_due_at'])}{': ' if row['reason'] else ''}{row['reason'] or ''}"
            )
        table.add_row(shown(row[whom]), coloured(row["state"]), str(row[what]), shown(detail))
    return table


def _incident_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Worth knowing", title_justify="left", expand=True)
    for heading in ("Last", "What", "Times"):
        table.add_column(heading, no_wrap=True)
    table.add_column("Whom it concerns, and why", ratio=1)
    for row in rows:
        table.add_row(
            moment(row["last_at"]),
            row["kind"].replace("_", " "),
            str(row["count"]),
            shown(f"{row['subject']}: {row['reason']}"),
        )
    return table


def shown(text: str) -> str:
    """Return text from outside so that neither markup nor control characters of a terminal work in it."""
    return escape("".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text))


def coloured(state: str) -> str:
    """Return a state in words and its colour."""
    colour = _COLOURS.get(state, "white")
    return f"[{colour}]{state.replace('_', ' ')}[/]"


def moment(seconds: float | None) -> str:
    """Return a time as people read it, in the zone of this machine."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%d %b %H:%M:%S")
