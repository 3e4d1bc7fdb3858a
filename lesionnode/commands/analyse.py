"""``lesion-node analyse``: the images of a folder, without a network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from config import DEFAULT_MODEL
from core.log import configure_logging
from lesionnode.commands.common import ConfigOption, read_settings

#: The series cannot be analysed; the reason is in result.json.
EX_REFUSED = 3


def analyse(
    folder: Annotated[Path, typer.Argument(help="Folder with the images of a CT series.", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    model: Annotated[str, typer.Option(help="Model package.")] = DEFAULT_MODEL,
    config: ConfigOption = None,
    accept_licence: Annotated[
        list[str] | None, typer.Option(help="Accept a restricted licence by name, e.g. research.")
    ] = None,
    prior: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with an earlier scan of the patient; may be given again.", exists=True),
    ] = None,
) -> None:
    """Analyse a folder without any network: DICOM objects, PDF, FHIR bundle and result.json."""
    from lesionnode.folder import analyse_folder

    settings = read_settings(config, optional=True)
    configure_logging("warning")
    if accept_licence:
        models = settings.models.model_copy(update={"accept_licence": tuple(accept_licence)})
        settings = settings.model_copy(update={"models": models})
    with _steps() as report:
        result = analyse_folder(folder, output, model, settings, report, prior or ())
    _print_result(result, output)
    if result["status"] == "refused":
        raise typer.Exit(EX_REFUSED)


@contextmanager
def _steps() -> Iterator[Any]:
    """Show a bar on a terminal and one plain line for each step elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        seen: set[str] = set()

        def line(step: str, _share: float) -> None:
            if step not in seen:
                seen.add(step)
                print(f"{step} ...", file=sys.stderr, flush=True)

        yield line
        return
    columns = (TextColumn("{task.description:18}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)

        def bar(step: str, share: float) -> None:
            progress.update(task, description=step, completed=share)

        yield bar


def _print_result(result: dict[str, Any], output: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if result["status"] == "refused":
        console.print(f"[yellow]Not analysed:[/] {escape(result['reason'])}")
    else:
        burden, lungs = result["burden"], result["lungs"]
        console.print(
            f"Lesions {burden['total_ml']:.1f} ml, {burden['percent_of_lung']:.1f} % of lung "
            f"(ground-glass {burden['ground_glass_ml']:.1f} ml, consolidation "
            f"{burden['consolidation_ml']:.1f} ml); {len(result['lesions'])} lesion(s), severity score "
            f"{result['severity_score']} of 24"
        )
        console.print(f"Lungs: right {lungs['right_ml']:.0f} ml, left {lungs['left_ml']:.0f} ml")
        if result["comparison"] is not None:
            console.print(f"Compared with {_day(result['comparison'])}: {escape(_course(result))}")
        console.print(f"{result['model']} on {result['provider']}; research use only")
    for remark in result["remarks"]:
        console.print(f"[dim]Note: {escape(remark)}[/]")
    console.print(f"Written to {output}")


def _day(comparison: dict[str, Any]) -> str:
    """Return the day of the earlier scan, for people."""
    scanned_at = comparison["prior"]["scanned_at"]
    return f"the scan of {scanned_at[:10]}" if scanned_at else "an earlier scan without a date"


def _course(result: dict[str, Any]) -> str:
    """Say what became of the disease, and why that is said."""
    return f"{result['comparison']['course']}. {result['comparison']['because']}"
