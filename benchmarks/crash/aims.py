"""When to kill: each phase of a series' way has a sign that it begins, and lasts for so long.

Where exactly within the phase the kill falls is left to chance.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crash.deployment import Deployment, Kill
from benchmarks.crash.pacs import CampaignPacs
from benchmarks.crash.scanners import Moments

_LOOK_S = 0.003
_STARTING = "start-up"
_WHOLE_NODE = (Kill.NODE, Kill.NODE, Kill.PARENT)
_ALSO_WORKER = (*_WHOLE_NODE, Kill.WORKER, Kill.WORKER)


@dataclass(frozen=True, slots=True)
class Scene:
    """Who takes part.

    Parameters
    ----------
    node
        Is killed.
    moments
        Of the scanners.
    pacs
        Gets the results.
    """

    node: Deployment
    moments: Moments
    pacs: CampaignPacs


@dataclass(frozen=True, slots=True)
class Aim:
    """A phase that kills are aimed at.

    Parameters
    ----------
    phase
        Its name.
    sign
        Returns something that changes when the phase begins for another series or object.
    from_s, to_s
        Between these the kill falls, counted from the sign.
    kills
        What may be killed in it.
    """

    phase: str
    sign: Callable[[Scene], object]
    from_s: float
    to_s: float
    kills: Sequence[Kill] = _WHOLE_NODE

    @property
    def while_starting(self) -> bool:
        """Whether the node is killed before it is ready."""
        return self.phase == _STARTING

    def wait(self, scene: Scene, choices: random.Random, timeout_s: float) -> bool:
        """Return when it is time to kill; False where the phase does not come."""
        seen, deadline = self.sign(scene), time.monotonic() + timeout_s
        while not self.while_starting and self.sign(scene) == seen:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        time.sleep(choices.uniform(self.from_s, self.to_s))
        return True


def _logged(event: str) -> Callable[[Scene], object]:
    def sign(scene: Scene) -> object:
        return scene.node.count_of(event)

    return sign


def _result_files(scene: Scene) -> object:
    """Count the folders of results: one appears with the first object of a job."""
    return sum(_count(folder / "results") for folder in scene.node.data_folders)


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


#: The quiet time after which a series is sealed lies between its sign and its moment.
_QUIET_S = 0.5

AIMS: tuple[Aim, ...] = (
    Aim("reception", lambda scene: scene.moments.images, 0.0, 0.08),
    Aim("sealing", lambda scene: scene.moments.series, _QUIET_S - 0.02, _QUIET_S + 0.12),
    Aim("sealed", _logged("series_sealed"), 0.0, 0.05),
    Aim("analysis", _logged("analysis_started"), 0.0, 1.3, _ALSO_WORKER),
    Aim("writing results", _result_files, 0.0, 0.15, _ALSO_WORKER),
    Aim("delivery", lambda scene: scene.pacs.associations, 0.0, 0.12),
    Aim("commitment", lambda scene: scene.pacs.requests, 0.0, 0.5),
    Aim(_STARTING, lambda _scene: None, 0.0, 3.0),
)


def in_turn(kills: int, choices: random.Random, aims: Iterable[Aim]) -> list[Aim]:
    """Return whom to aim at, kill by kill: every phase as often as any other, in random order."""
    rounds: list[Aim] = []
    while len(rounds) < kills:
        one_round = list(aims)
        choices.shuffle(one_round)
        rounds += one_round
    return rounds[:kills]
