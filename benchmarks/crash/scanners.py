"""Scanners that never give up: what was not acknowledged is sent again, as scanners and their operators do.

Each series is sent in one of these habits:

`plain`       what was not acknowledged before the association broke is sent on the next one
`everything`  after a break everything is sent again
`two`         a second AE title sends the same series at the same time
`late`        sent once more when the results are there already
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.crash.series import Acknowledged, Image, SentSeries, make_series, small_chest
from benchmarks.crash.wire import BrokenOff, Line

#: Habits, and how often each is chosen.
_HABITS = {"plain": 5, "everything": 2, "two": 2, "late": 1}
_AE_TITLES = ("SCANNER", "STORESCU")
_COME_BACK_S = 0.3
_WAIT_FOR_ROOM_S = 0.05
#: Longest wait between two images.
_PACE_S = 0.06


@dataclass(eq=False)
class Moments:
    """What the killer aims at: how many images were acknowledged so far, and when a series was last sent."""

    images: int = 0
    series: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def image(self) -> None:
        """Say that an image was acknowledged."""
        with self.changed:
            self.images += 1
            self.changed.notify_all()

    def sent(self) -> None:
        """Say that the last image of a series was acknowledged."""
        with self.changed:
            self.series += 1
            self.changed.notify_all()


class Scanners:
    """Threads that send series after series.

    Parameters
    ----------
    port, called
        Of the node.
    seed
        Of the UIDs and of the scanners' habits.
    results_there
        Tells whether the results of a study arrived at the PACS.
    most_under_way
        No new series is begun while so many are on their way to their results.
    count
        How many scanners there are.
    """

    def __init__(
        self,
        port: int,
        called: str,
        seed: int,
        results_there: Callable[[str], bool],
        most_under_way: int,
        count: int = 2,
    ) -> None:
        self.acknowledged = Acknowledged()
        self.moments = Moments()
        self.habits: Counter[str] = Counter()
        self.broken_off = 0
        self.series: list[SentSeries] = []
        self._port, self._called = port, called
        self._phantom, self._seed = small_chest(), seed
        self._results_there = results_there
        self._most_under_way = most_under_way
        self._ending = threading.Event()
        self._giving_up = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"scanner-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def finish(self, timeout_s: float) -> bool:
        """Begin no new series, wait until those begun are acknowledged as a whole; tell whether they are."""
        self._ending.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def figures(self) -> dict[str, int]:
        """Return what was acknowledged, how often an association broke, and how many series by habit."""
        habits = {f"habit {habit}": count for habit, count in sorted(self.habits.items())}
        return {**self.acknowledged.figures(), "broken_off": self.broken_off, **habits}

    def give_up(self) -> None:
        """End at once."""
        self._ending.set()
        self._giving_up.set()
        for thread in self._threads:
            thread.join(30)

    def _work(self, scanner: int) -> None:
        choices = random.Random(f"scanner {self._seed} {scanner}")
        while not self._ending.is_set():
            if self._under_way() >= self._most_under_way:
                time.sleep(_WAIT_FOR_ROOM_S)
                continue
            (habit,) = choices.choices(list(_HABITS), list(_HABITS.values()))
            series = self._next_series(habit)
            self._scan(series, habit, choices)

    def _under_way(self) -> int:
        with self._lock:
            newest = self.series[-4 * self._most_under_way :]
        return sum(not self._results_there(one.study_instance_uid) for one in newest)

    def _next_series(self, habit: str) -> SentSeries:
        with self._lock:
            number = len(self.series) + 1
            series = make_series(self._phantom, number, self._seed)
            self.series.append(series)
            self.habits[habit] += 1
        return series

    def _scan(self, series: SentSeries, habit: str, choices: random.Random) -> None:
        second = None
        if habit == "two":
            again = random.Random(choices.random())
            second = threading.Thread(
                target=self._send, args=(series.images, _AE_TITLES[1], habit, again), daemon=True
            )
            second.start()
        self._send(series.images, _AE_TITLES[0], habit, choices)
        if second is not None:
            second.join()
        if habit == "late":
            while not (self._results_there(series.study_instance_uid) or self._ending.is_set()):
                time.sleep(_WAIT_FOR_ROOM_S)
            self._send(series.images, _AE_TITLES[1], habit, choices)
        series.images = [Image(one.sop_instance_uid, b"", one.sha256) for one in series.images]

    def _send(self, images: Sequence[Image], calling: str, habit: str, choices: random.Random) -> None:
        """Send until every image was acknowledged to this caller."""
        missing = list(images)
        while missing and not self._giving_up.is_set():
            answered: set[str] = set()
            try:
                with Line(self._port, calling, self._called) as line:
                    for image in missing:
                        if self.acknowledged.note(image, line.store(image.sop_instance_uid, image.data)):
                            answered.add(image.sop_instance_uid)
                        self.moments.image()
                        time.sleep(choices.uniform(0.0, _PACE_S))
                    line.release()
            except BrokenOff:
                self.broken_off += 1
                time.sleep(_COME_BACK_S)
            left = [one for one in missing if one.sop_instance_uid not in answered]
            missing = left if habit != "everything" or not left else list(images)
        self.moments.sent()
