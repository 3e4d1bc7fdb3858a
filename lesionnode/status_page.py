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
    "queued": "cyan",
    "due": "yellow",
    "refused": "yellow",
    "left_out": "yellow",
    "not_selected": "dim",
    "failed": "red",
}


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
    for series in found["receiving"]:
        out.print(
            f"Receiving: {series['instances']} images so far of series "
            f"...{series['series_instance_uid'][-12:]}, the last at {moment(series['last_received_at'])}"
        )
    if found["series"]:
        out.print(_series_table(found["series"]))
    if found["deliveries"]:
        out.print(_delivery_table(found["deliveries"]))
    if found["incidents"]:
        out.print(_incident_table(found["incidents"]))


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
