"""A real node that drains: senders are told to come back later, what is here is finished."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from lesionnode.cli import app
from tests.helpers.dicom_peers import Scanner, Store, store
from tests.helpers.instances import ct_image
from tests.helpers.running_node import RunningNode, running_node


def command(node: RunningNode, *arguments: str) -> str:
    """Run a command on the node and return what it prints."""
    result = CliRunner().invoke(app, [*arguments, "--config", str(node.config)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_node_drains(tmp_path: Path) -> None:
    """New associations and new series are refused, the rest of a series is not; the wait has an end."""
    silent = "[results]\nrefusals = false\n"
    with running_node(tmp_path / "node", [("pacs", "PACS", 104)], options=silent, quiet_s=0.3) as node:
        scanner = Scanner(node.port, calling="SCANNER")
        with scanner.association() as association:
            assert store(association, Store.of(ct_image(1))) == 0x0000
            assert "open associations of SCANNER" in command(node, "drain")
            assert store(association, Store.of(ct_image(2))) == 0x0000
            assert store(association, Store.of(ct_image(1, series="new"))) == 0xA700
            rejected = scanner.request()
            assert rejected.is_rejected
            answer = rejected.acceptor.primitive
            assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)
        assert "Nothing is left to do" in command(node, "drain", "--wait")
        assert json.loads(command(node, "status", "--json"))["series"][0]["state"] == "refused"
        command(node, "drain", "--end")
        assert scanner.send(Store.of(ct_image(1, series="new"))) == [0x0000]
