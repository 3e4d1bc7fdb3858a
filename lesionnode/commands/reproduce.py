"""``lesion-node reproduce``: does the same come out again?"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from core.log import configure_logging
from lesionnode.commands.common import ConfigOption, JsonOption, SeriesArgument, read_settings, share_bar

if TYPE_CHECKING:
    from lesionnode.reproduction import Reproduced


def reproduce(
    series: SeriesArgument,
    generation: Annotated[int | None, typer.Option(help="Which one; the newest if left out.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder in which the new objects stay.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Analyse a series again and compare every object with those of the time; exit status 1 if one differs.

    Nothing is recorded and nothing is sent; a running node goes on beside it.
    """
    from custody.ledger.find import the_series
    from lesionnode.opened import opened_ledger
    from lesionnode.reproduction import Reproduction

    settings = read_settings(config)
    configure_logging("error")
    scratch = Path(tempfile.mkdtemp(prefix="lesion-node-reproduce-")) if keep is None else keep
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with opened_ledger(settings) as ledger, share_bar("analysing again") as progress:
            found = the_series(ledger, series)
            made = Reproduction(settings, ledger).run(
                found.id, generation, scratch, lambda _step, share: progress(share)
            )
    finally:
        if keep is None:
            shutil.rmtree(scratch, ignore_errors=True)  # data of a patient
    if as_json:
        print(json.dumps(_plain(made), indent=2))
    else:
        _print(made, keep)
    if not made.same:
        raise typer.Exit(1)


def _plain(made: Reproduced) -> dict[str, object]:
    return {
        "generation": made.generation,
        "same": made.same,
        "objects": [
            {
                "file": one.name,
                "same": one.same,
                "sha256_then": one.before,
                "sha256_now": one.now,
                "differs_in": list(one.differs_in),
            }
            for one in made.objects
        ],
        "other_circumstances": {name: list(pair) for name, pair in made.circumstances.items()},
    }


def _print(made: Reproduced, keep: Path | None) -> None:
    out = Console(highlight=False)
    if made.same:
        out.print(f"[green]Identical: all {len(made.objects)} objects of generation {made.generation}.[/]")
    else:
        number = sum(not one.same for one in made.objects)
        out.print(f"[red]{number} of {len(made.objects)} objects of generation {made.generation} differ.[/]")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("Object", "Then", "Now", "Differs in"):
        table.add_column(heading)
    for one in made.objects:
        mark = "green" if one.same else "red"
        differs = ", ".join(one.differs_in) or ("" if one.same else "no such object then or now")
        table.add_row(one.name, one.before[:12] or "-", f"[{mark}]{one.now[:12] or '-'}[/]", differs)
    out.print(table)
    if not made.same:
        _print_circumstances(made, out)
    if keep is not None:
        out.print(f"The new objects are in {keep} (patient data).", soft_wrap=True)


def _print_circumstances(made: Reproduced, out: Console) -> None:
    """Say why it may differ."""
    if not made.circumstances:
        out.print(
            "Nothing is known to have changed: version, model, settings and provider are those of the time. "
            "Another processor or library may round otherwise. If numbers differ much, tell the makers."
        )
        return
    out.print("Other than at the time, so it may differ:")
    for name, (then, now) in made.circumstances.items():
        out.print(f"  {name.replace('_', ' ')}: {then} then, {now} now", soft_wrap=True, markup=False)
