"""Kill a real node again and again while scanners send and a PACS receives, then look for what is missing.

    python -m benchmarks.crash --kills N --json FILE [--ledger sqlite|postgresql] [--processes one|two]
                               [--seed S] [--minutes M] [--folder DIR]

Ctrl-C ends the killing; what was done until then is looked at. The JSON object::

    plan, machine   what was asked for, on what
    kills           count; by_phase {phase: {node | parent | worker: number}}
    phases_not_reached
    series          sent, generations, jobs by state
    results         objects at the PACS, arrivals, repeated_sends, refused_by_pacs
    analyses        started, ended, repeated_before_recording, most_attempts, claims_lost
    cut_off         what the starts found unfinished: associations, jobs, deliveries, part files, files that
                    were whole and not recorded
    senders         acknowledged, acknowledged_again, refused, broken_off, series by habit
    pacs_away       how often the PACS was away
    seconds         killing, settling, in_all; median per_kill and start, longest_start
    broken          {invariant: number of violations}
    details         {invariant: [sentence]}, only where there are any
    error           alone: why the campaign could not be ended

Invariants: every instance that was answered with 0x0000 is in the spool and known to the ledger, byte for
byte; every series has the result of all its images at the PACS; nothing else is there; one SOP Instance UID
has one content; no analysis begins after the end of its job was recorded. Objects that the PACS got twice
and analyses that were cut off and begun again are the price of a kill: they are counted.

Exit status 1 where an invariant is broken; the folder is kept then: spool, log, and the ledger's tables as
they were at the end (ledger.json).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.arguments import at_least
from benchmarks.crash.campaign import Plan, run_campaign
from benchmarks.crash.table import show
from benchmarks.tables import line
from tests.helpers.postgres import running_postgres


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign and print; return the exit status."""
    options = parser().parse_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="lesion-node-crash-"))
    try:
        with _ledger(options.ledger) as url:
            plan = Plan(options.kills, options.seed, options.ledger, options.processes, options.minutes, url)
            figures = run_campaign(folder / "campaign", plan, line)
        sound = not any(figures["broken"].values())
        show(figures)
    except AssertionError as error:
        figures, sound = {"error": str(error)}, False
        line(str(error))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if not sound:
        line(f"\nEverything is kept in {folder}.")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


@contextmanager
def _ledger(kind: str) -> Iterator[str]:
    """Give the URL of an empty PostgreSQL database, nothing for the SQLite file that the node makes."""
    if kind == "sqlite":
        yield ""
        return
    with running_postgres() as server:
        yield server.fresh_database()


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.crash",
        description="Kill a node again and again and look for what is lost.",
    )
    made.add_argument("--kills", type=at_least(1), default=40, metavar="N", help="how many (40)")
    made.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    made.add_argument("--ledger", choices=("sqlite", "postgresql"), default="sqlite")
    made.add_argument("--processes", choices=("one", "two"), default="one")
    made.add_argument("--seed", type=int, default=1, metavar="S", help="of every choice (1)")
    made.add_argument("--minutes", type=float, default=60.0, metavar="M", help="no kill after so long (60)")
    made.add_argument(
        "--folder", type=Path, metavar="DIR", help="keeps everything; a temporary one if left out"
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
