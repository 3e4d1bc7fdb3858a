"""Two receivers and two workers on one PostgreSQL: each series once, and any of them may die."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from core.uid import derived_uid
from lesionnode.demo.pacs import SmallPacs, send
from tests.helpers.postgres import Postgres
from tests.helpers.running_node import AE_TITLE
from tests.helpers.shared_storage import BUCKET, KEY, SECRET, s3_server
from tests.helpers.site import Machine, Site, running_site

pytestmark = pytest.mark.fault

MACHINES = (
    Machine("receiver-1", "receive,deliver"),
    Machine("receiver-2", "receive,deliver"),
    Machine("worker-1", "analyse"),
    Machine("worker-2", "analyse"),
)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[SmallPacs]:
    """Where all results go."""
    with SmallPacs(tmp_path / "pacs") as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, pacs: SmallPacs, postgres: Postgres) -> Iterator[Site]:
    """Four machines that share a database and an S3 store."""
    with (
        s3_server() as endpoint,
        running_site(
            tmp_path,
            MACHINES,
            [("pacs", pacs.ae_title, pacs.port)],
            ledger_url=postgres.fresh_database(),
            storage=f'shared = "s3://{BUCKET}"\nendpoint = "{endpoint}"\nkey = "{KEY}"\nsecret = "{SECRET}"',
        ) as prepared,
    ):
        yield prepared


def another_examination(folder: Path, files: list[Path], number: int) -> list[Path]:
    """Return the phantom as another examination."""
    folder.mkdir(parents=True)
    written = []
    for path in files:
        dataset = dcmread(path)
        for element in _uids(dataset):
            setattr(dataset, element, derived_uid(f"copy {number}", str(getattr(dataset, element))))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / path.name)
        written.append(folder / path.name)
    return written


def _uids(dataset: Dataset) -> list[str]:
    return ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"]


def analysed(site: Site, count: int) -> list[dict[str, Any]]:
    """Wait until so many series are analysed and return all jobs."""
    node = site["receiver-1"]
    node.wait(lambda: node.status()["counts"]["jobs"].get("analysed") == count, 120)
    found: list[dict[str, Any]] = node.status()["series"]
    return found


def test_machines_share_the_work_and_lose_nothing_when_one_dies(
    site: Site, pacs: SmallPacs, small_phantom_files: list[Path], tmp_path: Path
) -> None:
    """A series split over both receivers is one; a worker and a receiver are killed; all arrives, once."""
    for name in ("receiver-1", "receiver-2", "worker-1"):
        site[name].start()
    first, second = site["receiver-1"], site["receiver-2"]
    # One series whose images were spread over two machines by a load balancer.
    half = len(small_phantom_files) // 2
    for node, part in ((first, small_phantom_files[:half]), (second, small_phantom_files[half:])):
        assert send(part, node.port, calling="SCANNER", called=AE_TITLE) == len(part)
    (job,) = analysed(site, 1)
    assert (job["generation"], job["attempt"]) == (1, 1)
    assert len(pacs.wait_for(3, 60)) == 3
    # The same series again, to the other machine: known there too.
    assert send(small_phantom_files, second.port, calling="SCANNER", called=AE_TITLE) == 60
    # Another series, whose worker dies in the middle; the other one starts and takes it over.
    other = another_examination(tmp_path / "other", small_phantom_files, 1)
    assert send(other, second.port, calling="SCANNER", called=AE_TITLE) == 60
    worker = site["worker-1"]
    worker.wait(lambda: len([e for e in worker.log if e["event"] == "analysis_started"]) > 1, 60)
    worker.kill_all()
    # So does the machine that received it: what it sealed is on the shared storage already.
    second.kill_all()
    site["worker-2"].start()
    jobs = analysed(site, 2)
    assert [one["state"] for one in jobs] == ["analysed", "analysed"]
    assert max(one["attempt"] for one in jobs) == 2
    arrived = pacs.wait_for(6, 60)
    time.sleep(2.0)
    assert len(pacs.wait_for(6, 1)) == 6
    assert len({one.path.name for one in arrived}) == 6
