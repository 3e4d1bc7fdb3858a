"""The figures of a campaign for people."""

from __future__ import annotations

from typing import Any

from benchmarks.crash.deployment import Kill
from benchmarks.tables import line, table

_PROMISES = {
    "acknowledged_lost": "acknowledged instances lost",
    "files_damaged": "received files damaged or left over",
    "results_lost": "results lost",
    "not_committed": "delivered objects that the PACS has not committed to",
    "results_unknown": "objects at the PACS that the ledger does not know",
    "uids_with_two_contents": "SOP Instance UIDs with two contents",
    "analysed_again_after_recording": "analyses repeated after their result was recorded",
    "disorderly_ends": "processes that did not end in order",
}
_SHOWN_DETAILS = 20


def show(figures: dict[str, Any]) -> None:
    """Print them."""
    plan, kills = figures["plan"], figures["kills"]
    kinds = [kind.value for kind in Kill]
    table(
        f"{kills['count']} kills, ledger: {plan['ledger']}, processes: {plan['processes']}, "
        f"seed {plan['seed']}",
        ["phase", *kinds, "in all"],
        [
            (phase, *(str(counts.get(kind, 0)) for kind in kinds), str(sum(counts.values())))
            for phase, counts in kills["by_phase"].items()
        ],
    )
    sections = ("series", "senders", "analyses", "results", "cut_off", "seconds")
    table(
        "Counted",
        ["", "figures"],
        [(name, ", ".join(f"{key} {value}" for key, value in figures[name].items())) for name in sections],
        left=2,
    )
    table(
        "Must be 0",
        ["", ""],
        [(_PROMISES.get(name, name), str(count)) for name, count in figures["broken"].items()],
    )
    for name, found in figures.get("details", {}).items():
        line(f"\n{_PROMISES.get(name, name)}:")
        for sentence in found[:_SHOWN_DETAILS]:
            line(f"  {sentence}")
