"""What a killed or stopped process costs; kills at random moments are in test_crash_campaign.py."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt

from lesionnode.demo.pacs import SmallPacs
from scp.requestor import send_at_once
from tests.helpers.running_node import AE_TITLE, RunningNode, running_node

pytestmark = pytest.mark.fault


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[SmallPacs]:
    """A PACS that outlives the node."""
    with SmallPacs(tmp_path / "pacs") as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, pacs: SmallPacs) -> Iterator[RunningNode]:
    """A node that the test kills and starts again."""
    running = RunningNode(tmp_path / "node", [("pacs", pacs.ae_title, pacs.port)])
    running.start()
    yield running
    running.stop()
    if running.process is not None and running.process.poll() is None:
        running.process.kill()


def send_and_note(port: int, paths: list[Path], acknowledged: list[str]) -> None:
    """Send like a scanner; note each SOP Instance UID that was answered with 0x0000; stop when cut off."""
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    entity.dimse_timeout = 5  # the answer of a killed node does not come
    handlers: list[Any] = [(evt.EVT_CONN_OPEN, send_at_once)]
    association = entity.associate("127.0.0.1", port, ae_title=AE_TITLE, evt_handlers=handlers)
    socket = association.dul.socket.socket
    try:
        for path in paths:
            dataset = dcmread(path)
            answer = association.send_c_store(dataset)
            if "Status" in answer and answer.Status == 0:
                acknowledged.append(str(dataset.SOPInstanceUID))
        association.release()
    except (RuntimeError, ValueError):
        pass  # the node was killed
    finally:
        association.join(10)
        socket.close()  # pynetdicom forgets the socket of a connection that the other side reset


def exactly_one_of_each(pacs: SmallPacs, settle_s: float = 4.0) -> None:
    """Wait for SEG, SR and film, then a while longer: no other object may come with another UID."""
    wanted = [SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage]
    pacs.wait_for(len(wanted), timeout_s=120)
    time.sleep(settle_s)
    arrivals = pacs.wait_for(len(wanted), timeout_s=1)
    uids = {(one.sop_class_uid, one.path.name) for one in arrivals}
    assert sorted(kind for kind, _ in uids) == sorted(wanted)


def test_a_killed_worker_costs_one_attempt_and_no_reception(
    node: RunningNode, pacs: SmallPacs, small_phantom_files: list[Path]
) -> None:
    """When the worker dies in the middle of a job, the node keeps receiving and the job is done again."""
    acknowledged: list[str] = []
    send_and_note(node.port, small_phantom_files, acknowledged)
    node.wait(lambda: [one for one in node.log if one["event"] == "analysis_started"], 60)
    for pid in node.worker_pids():
        os.kill(pid, signal.SIGKILL)
    again: list[str] = []
    send_and_note(node.port, small_phantom_files[:5], again)
    assert len(again) == 5
    exactly_one_of_each(pacs)
    (job,) = node.status()["series"]
    assert job["attempt"] == 2
    assert any(one["event"] == "worker_died" for one in node.log)


def test_stopped_during_analysis_costs_no_attempt(
    node: RunningNode, pacs: SmallPacs, small_phantom_files: list[Path]
) -> None:
    """A stop as systemd does it ends cleanly within its time, and a restart finishes the work."""
    acknowledged: list[str] = []
    send_and_note(node.port, small_phantom_files, acknowledged)
    node.wait(lambda: [one for one in node.log if one["event"] == "analysis_started"], 60)
    assert node.stop() == 0
    node.start()
    exactly_one_of_each(pacs)
    (job,) = node.status()["series"]
    assert job["attempt"] == 1


def test_a_series_that_kills_its_worker_every_time_is_answered(
    tmp_path: Path, pacs: SmallPacs, small_phantom_files: list[Path]
) -> None:
    """After the last attempt a page and a report say so in the PACS, and the job is failed."""
    options = "[models]\nmax_attempts = 1\n"
    with running_node(tmp_path / "node", [("pacs", pacs.ae_title, pacs.port)], options=options) as node:
        send_and_note(node.port, small_phantom_files, [])
        node.wait(lambda: [one for one in node.log if one["event"] == "analysis_started"], 60)
        for pid in node.worker_pids():
            os.kill(pid, signal.SIGKILL)
        arrived = [dcmread(one.path) for one in pacs.wait_for(2, timeout_s=120)]
        (job,) = node.status()["series"]
    assert job["state"] == "failed"
    assert job["reason"] == "the analysis broke off 1 times without an answer"
    assert {one.Modality for one in arrived} == {"SR", "OT"}
    assert all(one.SeriesDescription.startswith("NOT ANALYSED") for one in arrived)
