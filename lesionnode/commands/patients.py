"""``lesion-node forget`` and ``patient merge``. Patient IDs become digests at once and are never kept."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from lesionnode.commands.common import ConfigOption, actor, read_settings

_ID_HELP = "Patient ID (0010,0020); - to be asked for it, so that it does not stand in the shell's history."
PatientArgument = Annotated[str, typer.Argument(metavar="PATIENT_ID", help=_ID_HELP)]
IssuerOption = Annotated[
    str, typer.Option(help="Issuer of Patient ID (0010,0021), where the images have one.")
]


def forget(
    patient_id: PatientArgument,
    issuer: IssuerOption = "",
    force: Annotated[bool, typer.Option("--force", help="Also what is under way this moment.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete everything of a patient from this node: images, results, all entries.

    Includes what was received under identities that were merged with this one.
    """
    from core.uid import patient_digest
    from lesionnode.forgetting import Forgetting
    from lesionnode.opened import opened_ledger

    settings, out = read_settings(config), Console(highlight=False, soft_wrap=True)
    digest = patient_digest(asked(patient_id, "Patient ID"), issuer)
    with opened_ledger(settings) as ledger:
        forgetting = Forgetting(settings, ledger, digest)
        known, strays = forgetting.look(), len(forgetting.unrecorded())
        if not known.series_ids and not strays:
            out.print(
                "Nothing of this patient is here. Was it received with an Issuer of Patient ID (--issuer)?"
            )
            raise typer.Exit(1)
        identities = len(forgetting.identities)
        merged = f" under {identities} identities" if identities > 1 else ""
        out.print(
            f"Here of this patient{merged}: {len(known.series_ids)} series, {known.images} images, "
            f"{known.results} result objects, {strays} unrecorded files."
        )
        if not yes:
            typer.confirm("Delete all of it? This cannot be undone.", abort=True)
        known = forgetting.forget(actor(), force=force)
    out.print("[green]Deleted.[/] The audit names the patient by digest only.")
    if known.elsewhere:
        nodes = ", ".join(known.elsewhere)
        out.print(f"[yellow]Files of this patient lie on other nodes, run it there too: {nodes}.[/]")
    if known.peers:
        out.print(f"Results that were delivered stay where they are: {', '.join(known.peers)}.")


def merge(
    old: Annotated[str, typer.Argument(help="Patient ID that was given up; - to be asked for it.")],
    new: Annotated[str, typer.Argument(help="Patient ID that stands; - to be asked for it.")],
    issuer: IssuerOption = "",
    new_issuer: Annotated[
        str | None, typer.Option(help="Issuer of the new Patient ID, where it is another one.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Let everything under an old Patient ID count as the new patient's."""
    from core.uid import patient_digest
    from lesionnode.forgetting import merge_patients
    from lesionnode.opened import opened_ledger

    settings = read_settings(config)
    before = patient_digest(asked(old, "old Patient ID"), issuer)
    stands = patient_digest(asked(new, "new Patient ID"), issuer if new_issuer is None else new_issuer)
    with opened_ledger(settings) as ledger:
        identities = merge_patients(ledger, before, stands, actor())
    Console(highlight=False).print(f"[green]Merged.[/] {identities} identities are one patient now.")


def asked(given: str, what: str) -> str:
    """Return an identifier, asked for where a dash was given."""
    return str(typer.prompt(what)).strip() if given == "-" else given.strip()
