"""The command line ``lesion-node``. Only it and `lesionnode.commands` print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import PeerSettings, Settings
from core.errors import ConfigurationError, NodeError
from core.log import configure_logging
from lesionnode.commands import (
    again,
    analyse,
    discard,
    drain,
    history,
    patients,
    rebuild,
    reproduce,
    trace,
    verify,
)
from lesionnode.commands.common import ConfigOption, read_settings
from lesionnode.roles import Role

#: sysexits.h: something was found in an unconfigured or misconfigured state.
EX_CONFIG = 78
EX_UNAVAILABLE = 69

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Chest CT in by C-STORE; lesion segmentation and structured report back to the PACS.",
)
model_app = typer.Typer(no_args_is_help=True, help="Look at model packages.")
app.add_typer(model_app, name="model")
ledger_app = typer.Typer(no_args_is_help=True, help="Repair the ledger.")
app.add_typer(ledger_app, name="ledger")
patient_app = typer.Typer(no_args_is_help=True, help="Patients whose identity changed.")
app.add_typer(patient_app, name="patient")


def main() -> None:
    """Run the command line; errors of ours end in one clear line and an exit status, never a traceback."""
    try:
        app()
    except ConfigurationError as error:
        _complain("The configuration cannot be used:", error.faults)
        sys.exit(EX_CONFIG)
    except NodeError as error:
        _complain("lesion-node cannot go on:", [str(error)])
        sys.exit(EX_UNAVAILABLE)
    except OSError as error:
        _complain("lesion-node cannot go on:", [str(error)])
        sys.exit(EX_UNAVAILABLE)


@app.command()
def run(
    config: ConfigOption = None,
    roles: Annotated[
        str, typer.Option(help="What this process does: receive, analyse, deliver, separated by commas.")
    ] = ",".join(Role),
) -> None:
    """Run the node until it is told to stop."""
    from lesionnode.node import Node

    settings = read_settings(config)
    configure_logging(settings.node.log_level)
    _require_usable(settings)
    Node(settings, _roles(roles)).run()


@app.command("check-config")
def check_config(config: ConfigOption = None) -> None:
    """Check the configuration and report every fault at once; exit status 78 if there is one."""
    from lesionnode.installed_models import require_models
    from lesionnode.reachable import shared_parts

    settings = read_settings(config)
    _require_usable(settings)
    require_models(settings)
    shared = list(shared_parts(settings))
    console = Console()
    node = settings.node
    console.print(f"[green]The configuration is sound.[/] {node.ae_title} listens on port {node.port}.")
    for source in settings.sources:
        networks = ", ".join(str(network) for network in source.networks)
        console.print(
            f"  {source.name}: {', '.join(source.ae_titles)} from {networks} -> "
            f"{source.model} -> {', '.join(source.send_to)}",
            soft_wrap=True,
            highlight=False,
        )
    for line in shared:
        console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)


@app.command()
def echo(
    peer: Annotated[str | None, typer.Argument(help="Name of a peer; all of them if left out.")] = None,
    config: ConfigOption = None,
) -> None:
    """Ask every peer for a sign of life (C-ECHO, or a query by DICOMweb) and say what the answer means."""
    from scp.echo import echo as ask

    settings = read_settings(config)
    console = Console()
    verdicts = [ask(settings, one) for one in _peers(settings, peer)]
    for verdict in verdicts:
        mark = "[green]ok     [/]" if verdict.ok else "[red]FAILED [/]"
        console.print(f"{mark} {verdict.peer}: {escape(verdict.verdict)}", soft_wrap=True, highlight=False)
    if not all(verdict.ok for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def probe(
    peer: Annotated[str | None, typer.Argument(help="Name of a peer; all of them if left out.")] = None,
    config: ConfigOption = None,
) -> None:
    """Ask peers which objects and encodings they take, and propose settings; nothing is stored there."""
    from lesionnode.probe_page import print_probe
    from scp.probe import probe as ask

    settings = read_settings(config)
    answers = [(one, ask(settings, one)) for one in _peers(settings, peer)]
    for one, answer in answers:
        print_probe(one, answer)
    if any(answer.unreachable for _, answer in answers):
        raise typer.Exit(1)


app.command("analyse")(analyse.analyse)
app.command("trace")(trace.trace)
app.command("verify")(verify.verify)
app.command("retry")(again.retry)
app.command("resend")(again.resend)
app.command("discard")(discard.discard)
app.command("drain")(drain.drain)
app.command("history")(history.history)
app.command("forget")(patients.forget)
app.command("reproduce")(reproduce.reproduce)
ledger_app.command("rebuild")(rebuild.rebuild)
patient_app.command("merge")(patients.merge)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the picture and files.")] = Path(
        "demo-output"
    ),
    slices: Annotated[int, typer.Option(min=24, max=400, help="Slices of the phantom.")] = 120,
) -> None:
    """Start a node and a small PACS on this machine, send a phantom study, show what comes back."""
    from lesionnode.demo import run_demo

    if not run_demo(output, slices):
        raise typer.Exit(1)


@app.command()
def status(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show what the node received, did and still has to do."""
    from custody.ledger.report import status as ledger_status
    from lesionnode.opened import opened_ledger
    from lesionnode.retaining import disk_report
    from lesionnode.status_page import print_status

    settings = read_settings(config)
    with opened_ledger(settings) as ledger:
        found = {**ledger_status(ledger), "disk": disk_report(settings)}
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print_status(found, settings)


@model_app.command("list")
def model_list(config: ConfigOption = None) -> None:
    """List the model packages that sources may name."""
    from lesionnode.installed_models import describe_models

    table = Table("Name", "Version", "Licence", "Remark")
    for row in describe_models(read_settings(config, optional=True)):
        table.add_row(*(escape(value) for value in row))
    Console().print(table)


@model_app.command("check")
def model_check(path: Annotated[Path, typer.Argument(help="Folder of a model package.")]) -> None:
    """Say what is wrong with a model package."""
    from inference.model_check import check_package

    faults = check_package(path)
    if faults:
        _complain(f"{path} is not a usable model package:", faults)
        raise typer.Exit(1)
    Console().print(f"[green]{path} is a sound model package.[/]", soft_wrap=True, highlight=False)


@app.command()
def version() -> None:
    """Print the version."""
    from lesionnode import __version__

    print(f"lesion-node {__version__}")


def _roles(text: str) -> frozenset[Role]:
    wanted = {name.strip() for name in text.split(",")}
    unknown = wanted - set(Role)
    if unknown:
        raise ConfigurationError(
            [f'--roles: found "{name}", wanted some of {", ".join(Role)}' for name in sorted(unknown)]
        )
    return frozenset(Role(name) for name in wanted)


def _peers(settings: Settings, name: str | None) -> list[PeerSettings]:
    """Return the peer of that name, or all of them."""
    wanted: list[PeerSettings] = [one for one in settings.peers if name in (None, one.name)]
    if not wanted:
        names = ", ".join(one.name for one in settings.peers) or "none"
        raise NodeError(f"no peer to call; configured: {names}")
    return wanted


def _require_usable(settings: Settings) -> None:
    """A node without sources or peers would start and never do anything."""
    faults = []
    if not settings.sources:
        faults.append("sources: none is configured, so nobody may send; wanted at least one [[sources]]")
    if not settings.peers:
        faults.append("peers: none is configured, so results go nowhere; wanted at least one [[peers]]")
    if faults:
        raise ConfigurationError(faults)


def _complain(headline: str, lines: list[str]) -> None:
    print(headline, file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)
