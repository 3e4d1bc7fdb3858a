"""Storage commitment with a real Orthanc, both ways and through a real node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.helpers.dicom_peers import LEAVES_SOCKETS, Scanner
from tests.helpers.instances import ct_series
from tests.helpers.orthanc import AE_TITLE, Orthanc
from tests.helpers.running_node import RunningNode, running_node

pytestmark = [pytest.mark.interop, LEAVES_SOCKETS]


def _gapped() -> list[Dataset]:
    """Return a series in which one slice is missing."""
    return [one for one in ct_series(12) if one.InstanceNumber != 6]


def _node(folder: Path, orthanc: Orthanc) -> Any:
    """Run a node that Orthanc sends to, whose results go there, and for which it is the archive too."""
    archive = f'[[peers]]\nname = "archive"\nae_title = "{AE_TITLE}"\nhost = "127.0.0.1"\n'
    return running_node(
        folder,
        [orthanc.peer],
        callers=(AE_TITLE,),
        peer_options="storage_commitment = true",
        source_options='storage_commitment = "archive"\narchive = "archive"',
        options=f"{archive}port = {orthanc.dicom_port}",
    )


def _committed(node: RunningNode) -> dict[str, int]:
    """Return how many objects are in which state of commitment."""
    return {row["state"]: row["objects"] for row in node.status()["commitments"]}


def _answer(node: RunningNode, orthanc: Orthanc, *instances: tuple[str, str]) -> dict[str, Any]:
    """Have Orthanc ask the node about instances and return what it was told."""
    asked = orthanc.send_json(
        "POST",
        "/modalities/lesionnode/storage-commitment",
        {"DicomInstances": [list(one) for one in instances]},
    )

    def told() -> dict[str, Any] | None:
        found: dict[str, Any] = orthanc.get(asked["Path"])
        return found if found["Status"] != "Pending" else None

    answer: dict[str, Any] = node.wait(told, 30)
    return answer


def test_orthanc_asks_and_is_asked(orthanc: Orthanc, tmp_path: Path) -> None:
    """It hears yes for what it holds as archive, no for what nobody has, and commits to what it got."""
    images = _gapped()
    scanner = Scanner(orthanc.dicom_port, calling="LESIONNODE", called=AE_TITLE)
    assert set(scanner.send_images(images)) == {0x0000}
    instances = [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in images]
    with _node(tmp_path / "node", orthanc) as node:
        where = {"AET": "LESIONNODE", "Host": "127.0.0.1", "Port": node.port}
        orthanc.send_json("PUT", "/modalities/lesionnode", where)
        orthanc.send_json("POST", "/modalities/lesionnode/store", orthanc.get("/instances"))
        assert _answer(node, orthanc, *instances)["Status"] == "Success"
        told = _answer(node, orthanc, instances[0], (instances[0][0], "1.2.3.4.5"))
        assert told["Status"] == "Failure"
        assert [one["SOPInstanceUID"] for one in told["Success"]] == [instances[0][1]]
        assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in told["Failures"]] == [
            ("1.2.3.4.5", 0x0112)
        ]
        # A slice is missing: a page and a report that say so go to Orthanc, which commits to both.
        node.wait(lambda: _committed(node) == {"committed": 2}, 60)
