"""A worker that lives but does nothing is ended, so that its series goes to the next one."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from core.errors import ProviderUnavailable
from custody.ledger import jobs
from custody.ledger.report import status
from lesionnode import supervisor
from lesionnode.supervisor import Supervisor
from lesionnode.worker_process import worker_main
from tests.helpers.instances import fresh_ledger, settings_for, source


@pytest.mark.parametrize(("lapsed", "killed"), [([True] * 8, True), ([True, False] * 4, False)])
def test_only_a_lease_that_stays_lapsed_ends_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lapsed: list[bool], killed: bool
) -> None:
    """A lease that is renewed in between, as after a step of the clock, is no hang."""
    clock = MagicMock(return_value=100.0)
    monkeypatch.setattr(supervisor.time, "monotonic", clock)
    answers = iter(lapsed)
    monkeypatch.setattr(jobs, "lease_lapsed", lambda *_: next(answers))
    with fresh_ledger(tmp_path) as ledger:
        watched: Any = Supervisor(settings_for(tmp_path), ledger)
        watched._process = MagicMock()
        watched._process.is_alive.return_value = True
        for _ in lapsed:
            watched.look_after()
            clock.return_value += 5.0
        assert watched._process.kill.called is killed


def test_a_worker_that_cannot_start_is_told_in_status(tmp_path: Path) -> None:
    """A model that broke while the node ran: images are received, none is analysed, so it has to be seen."""
    settings = settings_for(tmp_path, sources=(source("ct", "CT1", model="absent"),))
    with fresh_ledger(tmp_path) as ledger:
        supervised = Supervisor(settings, ledger)
        supervised.start()
        with pytest.raises(ProviderUnavailable, match='no model package "absent"'):
            supervised.wait_until_ready()
        deadline = time.monotonic() + 60
        told: list[str] = []
        while not told and time.monotonic() < deadline:
            supervised.look_after()
            incidents = status(ledger)["incidents"]
            told = [one["reason"] for one in incidents if one["kind"] == "worker_cannot_start"]
            time.sleep(0.1)
        supervised.stop(5.0)
    assert 'no model package "absent"' in told[0]


def test_a_worker_whose_parent_died_while_it_started_ends_quietly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It finds nobody to tell that it is ready: it must not work beside its successor, and is no fault."""
    with fresh_ledger(tmp_path):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=worker_main, args=(settings_for(tmp_path), "orphan", theirs))
        process.start()
        theirs.close()
        ours.close()
        process.join(60)
    assert process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err
