"""``lesion-node verify``: do ledger and spool agree?"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding

from lesionnode.commands.common import ConfigOption, JsonOption, read_settings, share_bar

if TYPE_CHECKING:
    from custody.disagreement import Disagreement

#: So many of a kind are shown; `--json` has all of them.
_SHOWN = 20


def verify(
    quick: Annotated[bool, typer.Option("--quick", help="Presence and size only, no digests.")] = False,
    complete: Annotated[
        bool, typer.Option("--complete", help="First write result sets that are missing, from the ledger.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare ledger and spool and report every disagreement; exit status 1 if there is one.

    Works while the node runs.
    """
    from custody.spool import Spool
    from custody.verification import Verification
    from lesionnode.opened import opened_ledger
    from lesionnode.paths import node_name

    settings = read_settings(config)
    with opened_ledger(settings) as ledger:
        spool = Spool(settings.node.data_folder)
        written = _completed(settings, ledger, spool) if complete else 0
        verification = Verification(ledger, spool, node_name(settings), quick=quick)
        with share_bar("comparing") as progress:
            found = list(verification.run(progress))
    counts = {"series": verification.series, "images": verification.images, "results": verification.results}
    if as_json:
        listed = [_plain(one) for one in found]
        print(
            json.dumps({"checked": counts, "disagreements": listed, "result_sets_written": written}, indent=2)
        )
    else:
        _print(found, counts, quick=quick, written=written)
    if found:
        raise typer.Exit(1)


def _completed(settings: Any, ledger: Any, spool: Any) -> int:
    from custody.completing import complete_result_sets
    from scp.completion import destinations

    return complete_result_sets(ledger, spool, destinations(settings))


def _plain(one: Disagreement) -> dict[str, str]:
    from custody.disagreement import ADVICE

    return {
        "kind": one.kind.value,
        "subject": one.subject,
        "series": one.series_id,
        "detail": one.detail,
        "advice": ADVICE[one.kind],
    }


def _print(found: list[Disagreement], counts: dict[str, int], *, quick: bool, written: int) -> None:
    from custody.disagreement import ADVICE
    from lesionnode.status_page import shown

    out = Console(highlight=False)
    how = "presence and size of" if quick else "size and digest of"
    out.print(
        f"Compared {how} {counts['images']} images and {counts['results']} result objects of "
        f"{counts['series']} series with the ledger."
    )
    if written:
        out.print(f"{written} result sets were written from the ledger.")
    if not found:
        out.print("[green]Ledger and spool agree.[/]")
        return
    out.print(f"[red]{len(found)} disagreement{'s' if len(found) > 1 else ''}.[/]")
    for kind, number in Counter(one.kind for one in found).items():
        out.print(f"\n[bold]{kind.replace('_', ' ')}[/] ({number})")
        of_kind = [one for one in found if one.kind is kind]
        for one in of_kind[:_SHOWN]:
            out.print(
                f"  {shown(one.subject)}{f': {shown(one.detail)}' if one.detail else ''}", soft_wrap=True
            )
        if number > _SHOWN:
            out.print(f"  and {number - _SHOWN} more (--json has all)")
        out.print(Padding(f"[dim]What to do: {ADVICE[kind]}.[/]", (0, 0, 0, 2)))
