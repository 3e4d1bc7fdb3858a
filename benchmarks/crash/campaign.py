"""One campaign: scanners, node, PACS and killer together, then everything awaited and looked at."""

from __future__ import annotations

import contextlib
import random
import socket
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from sqlalchemy.exc import SQLAlchemyError

from benchmarks.crash.aims import AIMS, Aim, Scene, in_turn
from benchmarks.crash.checks import Campaign, broken_promises, counted
from benchmarks.crash.deployment import Deployment, Kill, OneProcess, Settings, TwoProcesses
from benchmarks.crash.evidence import LedgerRows, gather, ledger_url
from benchmarks.crash.pacs import CampaignPacs
from benchmarks.crash.scanners import Scanners
from benchmarks.machine import machine

_DEPLOYMENTS: dict[str, Callable[[Settings], Deployment]] = {"one": OneProcess, "two": TwoProcesses}
#: A phase that does not come in so long is left out this time.
_PHASE_WITHIN_S = 30.0
_LONGEST_DOWN_S = 1.0
#: To kill a node while it starts, it has to be killed before.
_ANY_MOMENT = "any moment"
#: The PACS goes away once in so many kills.
_PACS_AWAY_EVERY = 8
_SETTLED_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Parameters
    ----------
    kills
        How many.
    seed
        Of every choice; the timing of processes is not repeatable, though.
    ledger, processes
        ``sqlite`` or ``postgresql``; ``one`` or ``two``.
    minutes
        No kill after so long; what was killed until then counts.
    ledger_url
        Of an empty PostgreSQL database.
    phases
        Which ones are aimed at; every one if left out.
    under_way
        No new series is begun while so many wait for their results.
    """

    kills: int
    seed: int = 1
    ledger: str = "sqlite"
    processes: str = "one"
    minutes: float = 60.0
    ledger_url: str = ""
    phases: tuple[str, ...] = ()
    under_way: int = 3


@dataclass
class Tally:
    """The kills so far."""

    by_phase: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    not_reached: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(sum(kinds.values()) for kinds in self.by_phase.values())

    def figures(self) -> dict[str, Any]:
        """Return them for the JSON."""
        by_phase = {phase: dict(kinds) for phase, kinds in sorted(self.by_phase.items())}
        return {
            "kills": {"count": self.count, "by_phase": by_phase},
            "phases_not_reached": dict(self.not_reached),
        }


@dataclass(frozen=True, slots=True)
class _Cast:
    """Who takes part, and the ledger for looking at."""

    node: Deployment
    scanners: Scanners
    pacs: CampaignPacs
    rows: LedgerRows

    @classmethod
    def of(cls, folder: Path, plan: Plan, pacs: CampaignPacs) -> Self:
        told = Settings(folder, quiet_port(), ("pacs", pacs.ae_title, pacs.port), plan.ledger_url)
        node = _DEPLOYMENTS[plan.processes](told)
        scanners = Scanners(told.port, node.called, plan.seed, pacs.has_results_of, plan.under_way)
        return cls(node, scanners, pacs, LedgerRows(ledger_url(node, plan.ledger_url)))

    def end(self, folder: Path) -> None:
        """Leave no process behind, whatever happened, and keep what the ledger says."""
        self.scanners.give_up()
        self.node.end()
        with contextlib.suppress(SQLAlchemyError):  # there may be no ledger yet
            self.rows.save(folder / "ledger.json")
        self.rows.close()


def run_campaign(folder: Path, plan: Plan, say: Callable[[str], None] = lambda _text: None) -> dict[str, Any]:
    """Kill as planned and return the figures.

    Parameters
    ----------
    folder
        Keeps everything: spool, ledger, log.
    plan
        What is to be done.
    say
        Gets a line after each kill.

    Returns
    -------
    dict
        As described at the head of `benchmarks.crash.__main__`.

    Raises
    ------
    AssertionError
        The node does not start again, or does not end its work.
    """
    times = [time.monotonic()]
    with CampaignPacs(quiet_port(), plan.seed) as pacs:
        cast = _Cast.of(folder, plan, pacs)
        try:
            cast.node.launch()
            cast.node.wait_until_ready()
            cast.scanners.start()
            tally = _kill(Scene(cast.node, cast.scanners.moments, pacs), plan, say)
            times.append(time.monotonic())
            _settle(cast)
            times.append(time.monotonic())
            ends = [f"exit status {one} of the last stop" for one in cast.node.stop() if one]
            ends += [f"the orphaned worker {pid} still runs" for pid in cast.node.orphans()]
            over = _observed(cast)
        finally:
            cast.end(folder)
    broken = {**broken_promises(over), "disorderly_ends": ends}
    return {
        "plan": {name: value for name, value in asdict(plan).items() if name != "ledger_url"},
        "machine": machine(),
        **tally.figures(),
        **counted(over),
        "senders": cast.scanners.figures(),
        "pacs_away": pacs.times_away,
        "seconds": _seconds(times, tally, cast.node),
        "broken": {name: len(found) for name, found in broken.items()},
        "details": {name: found for name, found in broken.items() if found},
    }


def _seconds(times: Sequence[float], tally: Tally, node: Deployment) -> dict[str, float]:
    """Return how long everything took; `times` are begin, last kill and last delivery."""
    begun, killed, settled = times
    seconds = {
        "killing": killed - begun,
        "settling": settled - killed,
        "in_all": time.monotonic() - begun,
        "per_kill": statistics.median(tally.seconds) if tally.seconds else 0.0,
        "start": statistics.median(node.start_seconds),
        "longest_start": max(node.start_seconds),
    }
    return {name: round(value, 1) for name, value in seconds.items()}


def _kill(scene: Scene, plan: Plan, say: Callable[[str], None]) -> Tally:
    """Kill again and again; ends early, and in good order, where time is over or somebody interrupts."""
    choices = random.Random(f"killer {plan.seed}")
    aims = [aim for aim in AIMS if aim.phase in plan.phases or not plan.phases]
    tally, deadline = Tally(), time.monotonic() + plan.minutes * 60
    try:
        for number, aim in enumerate(in_turn(plan.kills, choices, aims), start=1):
            if time.monotonic() > deadline:
                break
            if number % _PACS_AWAY_EVERY == 0:
                scene.pacs.go_away(choices.uniform(2.0, 4.0))
            begun = time.monotonic()
            what = _kill_once(scene, aim, choices, tally)
            tally.seconds.append(time.monotonic() - begun)
            say(f"{number:4} {aim.phase:16} {what:11} {tally.seconds[-1]:5.1f} s")
    except KeyboardInterrupt:
        say("interrupted: what was done so far is looked at")
    scene.node.launch()
    scene.node.wait_until_ready()
    return tally


def _kill_once(scene: Scene, aim: Aim, choices: random.Random, tally: Tally) -> str:
    """Wait for the phase, kill, and start again what is gone; return what was killed."""
    what = choices.choice(aim.kills)
    if aim.while_starting:
        scene.node.kill(Kill.NODE, choices)
        tally.by_phase[_ANY_MOMENT][Kill.NODE] += 1
        scene.node.launch()
    if not aim.wait(scene, choices, _PHASE_WITHIN_S):
        tally.not_reached[aim.phase] += 1
        return "not reached"
    scene.node.kill(what, choices)
    tally.by_phase[aim.phase][what] += 1
    if what is not Kill.WORKER:  # that is the node's own business
        time.sleep(choices.uniform(0.0, _LONGEST_DOWN_S))
        scene.node.launch()
        scene.node.wait_until_ready()
    return what


def _settle(cast: _Cast) -> None:
    """Wait until everything is sent, analysed and delivered."""
    cast.pacs.calm_down()
    cast.pacs.come_back()
    if not cast.scanners.finish(_SETTLED_WITHIN_S):
        raise AssertionError("the scanners do not get rid of their images")
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    while not _quiet(cast.rows):
        if time.monotonic() > deadline:
            return  # what is unfinished shows in the checks
        time.sleep(0.5)


def _quiet(rows: LedgerRows) -> bool:
    """Tell whether there is nothing left to do."""
    open_images = any(one["generation"] is None and not one["set_aside"] for one in rows.of("instance"))
    working = any(one["state"] in ("queued", "running") for one in rows.of("job"))
    sending = any(one["state"] in ("due", "sending") for one in rows.of("delivery"))
    asking = any(one["state"] in ("due", "asked") for one in rows.of("commitment"))
    return not (open_images or working or sending or asking)


def _observed(cast: _Cast) -> Campaign:
    return Campaign(
        series=cast.scanners.series,
        acknowledged=cast.scanners.acknowledged.pairs(),
        arrivals=cast.pacs.arrivals(),
        events=cast.node.events(),
        evidence=gather(cast.rows, cast.node.data_folders),
    )


def quiet_port() -> int:
    """Return a free port below those that the system gives away by itself.

    A client that calls a port of that range while nobody listens there may be connected to itself.
    """
    choices = random.SystemRandom()
    while True:
        port = choices.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
