"""kill -9 at any moment: what was acknowledged is there, and exactly one SEG and one SR reach the PACS."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE

from lesionnode.demo.pacs import SmallPacs
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
    association = entity.associate("127.0.0.1", port, ae_title=AE_TITLE)
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


def kept_in_spool(node: RunningNode) -> set[str]:
    """Return the SOP Instance UIDs of every whole file in the spool."""
    paths = (node.data / "received").glob("*/*.dcm")
    return {str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in paths}


def exactly_one_of_each(pacs: SmallPacs, settle_s: float = 4.0) -> None:
    """Wait for SEG, SR and film, then a while longer: no other object may come with another UID."""
    wanted = [SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage]
    pacs.wait_for(len(wanted), timeout_s=120)
    time.sleep(settle_s)
    arrivals = pacs.wait_for(len(wanted), timeout_s=1)
    uids = {(one.sop_class_uid, one.path.name) for one in arrivals}
    assert sorted(kind for kind, _ in uids) == sorted(wanted)


@pytest.mark.parametrize("after", [3, 25, 55])
def test_killed_during_reception(
    node: RunningNode, pacs: SmallPacs, small_phantom_files: list[Path], after: int
) -> None:
    """Every instance that was acknowledged before the kill is there; a resend completes the series."""
    acknowledged: list[str] = []
    sender = threading.Thread(
        target=send_and_note, args=(node.port, small_phantom_files, acknowledged), daemon=True
    )
    sender.start()
    deadline = time.monotonic() + 60
    while len(acknowledged) < after and time.monotonic() < deadline:
        time.sleep(0.002)
    node.kill()
    sender.join(60)
    noted = list(acknowledged)
    assert after <= len(noted) < len(small_phantom_files) + 1
    node.start()
    assert set(noted) <= kept_in_spool(node)
    assert not list(node.data.glob("re*/*/*.part"))
    send_and_note(node.port, small_phantom_files, acknowledged)
    node.wait(lambda: node.status()["counts"]["jobs"].get("analysed"), 120)
    exactly_one_of_each(pacs)
    assert node.status()["counts"]["instances"] == len(small_phantom_files)


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 1.2])
def test_killed_during_analysis(
    node: RunningNode, pacs: SmallPacs, small_phantom_files: list[Path], delay_s: float
) -> None:
    """A job that was cut off is done again after the restart, and its results arrive once."""
    acknowledged: list[str] = []
    send_and_note(node.port, small_phantom_files, acknowledged)
    node.wait(lambda: [one for one in node.log if one["event"] == "analysis_started"], 60)
    time.sleep(delay_s)
    workers = node.worker_pids()
    node.kill()
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(psutil.pid_exists(pid) for pid in workers), "an orphaned worker goes on"
    node.start()
    exactly_one_of_each(pacs)
    status = node.status()
    assert status["counts"]["jobs"] == {"analysed": 1}
    assert len(acknowledged) == status["counts"]["instances"]


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
