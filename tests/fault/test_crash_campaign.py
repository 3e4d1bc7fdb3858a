"""Short fault campaigns: several series under way, kill -9 in several phases, nothing lost or done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.crash.campaign import Plan, run_campaign
from benchmarks.crash.table import show
from tests.helpers.dicom_peers import LEAVES_SOCKETS

pytestmark = [pytest.mark.fault, LEAVES_SOCKETS]


@pytest.mark.parametrize(
    ("ledger", "phases"),
    [("sqlite", ("reception", "writing results")), ("postgresql", ("analysis", "commitment"))],
)
def test_nothing_is_lost_or_done_twice(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ledger: str,
    phases: tuple[str, ...],
) -> None:
    """After a kill in each phase every promise of custody holds, and the table says so."""
    url = request.getfixturevalue("postgres").fresh_database() if ledger == "postgresql" else ""
    plan = Plan(len(phases), seed=5, ledger=ledger, ledger_url=url, phases=phases, under_way=2)
    figures = run_campaign(tmp_path, plan)
    assert figures["details"] == {}
    assert set(figures["kills"]["by_phase"]) == set(phases)
    assert figures["senders"]["acknowledged"] == 24 * figures["series"]["sent"]
    assert figures["results"]["objects"] >= 3 * figures["series"]["sent"]
    show(figures)
    assert "acknowledged instances lost" in capsys.readouterr().out
