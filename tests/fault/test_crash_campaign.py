"""A short fault campaign: several series under way, kill -9 in several phases, nothing lost or done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.crash.campaign import Plan, run_campaign
from benchmarks.crash.table import show
from tests.helpers.dicom_peers import LEAVES_SOCKETS

pytestmark = [pytest.mark.fault, LEAVES_SOCKETS]

PHASES = ("reception", "analysis", "writing results", "delivery")


def test_nothing_is_lost_or_done_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a kill in each phase every promise of custody holds, and the table says so."""
    figures = run_campaign(tmp_path, Plan(kills=len(PHASES), seed=5, phases=PHASES, under_way=2))
    assert figures["details"] == {}
    assert set(figures["kills"]["by_phase"]) == set(PHASES)
    assert figures["senders"]["acknowledged"] == 24 * figures["series"]["sent"]
    assert figures["results"]["objects"] >= 3 * figures["series"]["sent"]
    show(figures)
    assert "acknowledged instances lost" in capsys.readouterr().out
