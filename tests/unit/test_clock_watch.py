"""A system clock that is set while the node runs decides nothing."""

from __future__ import annotations

from pathlib import Path

from lesionnode.clock_watch import ClockWatch
from tests.helpers.instances import NOON, fresh_ledger, open_caller


class Clocks:
    """A wall clock that can be set beside one that cannot."""

    def __init__(self) -> None:
        self.wall, self.steady = NOON, 50.0

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.steady += seconds


def test_a_step_either_way_holds_completion_until_every_association_has_beaten(tmp_path: Path) -> None:
    """After a step nothing is decided for two heartbeats; small corrections change nothing."""
    clocks = Clocks()
    with fresh_ledger(tmp_path) as ledger:
        watch = ClockWatch(ledger, lambda: clocks.wall, lambda: clocks.steady)
        assert watch.settled()
        clocks.wall += 1.5
        assert watch.settled()
        for step in (3600.0, -7200.0):
            clocks.wall += step
            assert not watch.settled()
            clocks.run(9.0)
            assert not watch.settled()
            clocks.run(1.5)
            assert watch.settled()


def test_a_step_back_corrects_the_ledger(tmp_path: Path) -> None:
    """An association opened in what is now the future counts as opened now."""
    clocks = Clocks()
    with fresh_ledger(tmp_path) as ledger:
        watch = ClockWatch(ledger, lambda: clocks.wall, lambda: clocks.steady)
        open_caller(ledger, NOON)
        clocks.wall -= 600
        watch.settled()
        with ledger.read() as connection:
            (opened,) = connection.exec_driver_sql("SELECT opened_at FROM association").scalars()
        assert opened == NOON - 600
