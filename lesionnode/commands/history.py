"""``lesion-node history``: all analysed scans of a patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core.log import configure_logging
from lesionnode.commands.common import ConfigOption, JsonOption, read_settings
from lesionnode.commands.patients import IssuerOption, PatientArgument, asked


def history(
    patient_id: PatientArgument,
    issuer: IssuerOption = "",
    png: Annotated[
        Path | None, typer.Option(help="Write the plot of the trend there.", dir_okay=False)
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all analysed scans of a patient, as later ones are compared with them, and their trend."""
    from core.comparison import HistoryPoint
    from core.uid import patient_digest
    from custody.holdings import Holdings
    from custody.spool import Spool
    from custody.time_points import TimePoints
    from lesionnode.history_page import history_rows, print_history, write_trend
    from lesionnode.opened import opened_ledger
    from lesionnode.paths import open_storage
    from lesionnode.retaining import time_points_kept_s

    settings, out = read_settings(config), Console(highlight=False, soft_wrap=True)
    configure_logging("error")  # to standard error: what is damaged must not stand within the JSON
    digest = patient_digest(asked(patient_id, "Patient ID"), issuer)
    with opened_ledger(settings) as ledger:
        holdings = Holdings(spool := Spool(settings.node.data_folder), ledger, open_storage(settings))
        kept = TimePoints(ledger, spool, holdings, time_points_kept_s(settings)).history(digest)
    for note in dict.fromkeys(note for found in kept for note in found.notes):
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[yellow]{note}[/]")
    persons = [[HistoryPoint.of(point) for point in found.points] for found in kept if found.points]
    if kept and not persons:
        raise typer.Exit(1)
    if not persons:
        out.print(
            "No analysed scan of this patient is kept here. Was it received with an Issuer of Patient ID "
            "(--issuer)? Scans are kept from the first one on that this version analysed."
        )
        raise typer.Exit(1)
    if as_json:
        print(json.dumps([history_rows(one) for one in persons], indent=2))
    for number, one in enumerate(persons, start=1):
        if not as_json:
            if len(persons) > 1:
                out.print(f"[yellow]Person {number} of {len(persons)} under this Patient ID[/]")
            print_history(one, out)
        if png is not None:
            path = png if number == 1 else png.with_stem(f"{png.stem}-{number}")
            write_trend(one, path, settings.results.language)
            if not as_json:
                out.print(f"Trend: {path}")
    if len(persons) > 1 and not as_json:
        out.print(
            "Birth date or sex differ between them, or are missing: they are not compared with each other. "
            "Correct the Patient ID at the scanner or in the PACS."
        )
