"""A PACS that is away: the results wait in the ledger, also across a restart, and arrive when it is back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lesionnode.demo.pacs import SmallPacs, free_port, send
from tests.helpers.running_node import AE_TITLE, RunningNode

pytestmark = pytest.mark.fault


def failed_deliveries(node: RunningNode, peer: str) -> list[dict[str, Any]]:
    """Return what could not be delivered to a peer so far."""
    return [one for one in node.status()["deliveries"] if one["peer"] == peer and one["reason"]]


def test_results_wait_for_a_dead_pacs(tmp_path: Path, small_phantom_files: list[Path]) -> None:
    """One peer gets its results at once, the dead one when it comes back; no analysis is repeated."""
    port = free_port()
    with SmallPacs(tmp_path / "living") as living:
        node = RunningNode(
            tmp_path / "node", [("living", living.ae_title, living.port), ("dead", "DEADPACS", port)]
        )
        node.start()
        try:
            assert send(small_phantom_files, node.port, calling="SCANNER", called=AE_TITLE) == 60
            assert len(living.wait_for(3, 90)) == 3
            waiting = node.wait(
                lambda: [
                    one for one in node.status()["deliveries"] if one["peer"] == "dead" and one["reason"]
                ],
                30,
            )
            assert "nothing listens there" in waiting[0]["reason"]
            node.stop()
            node.start()
            with SmallPacs(tmp_path / "back", "DEADPACS", port=port) as back:
                assert len(back.wait_for(3, 60)) == 3
            (job,) = node.status()["series"]
            assert job["attempt"] == 1
        finally:
            node.stop()
