"""A disk that fills at any stage: senders are told, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from sqlalchemy import event, select

from core.errors import SpoolFull
from custody.holdings import Holdings
from custody.ledger import jobs
from custody.ledger.jobs import JobEnd
from custody.ledger.report import status
from custody.ledger.states import JobState
from custody.ledger.tables import instance, job, manifest
from custody.shelving import Shelving
from lesionnode import supervisor, worker
from lesionnode.demo.pacs import SmallPacs
from lesionnode.supervisor import Supervisor
from lesionnode.worker import Worker
from scp.completion import Completion
from scp.receiver import Receiver
from scp.reception import Reception
from tests.helpers.dicom_peers import Scanner, ScriptedPacs, Store, contexts_for, network_defaults, store
from tests.helpers.instances import Clock, ct_series, peer, settings_for
from tests.helpers.office import PLAIN, Office
from tests.helpers.running_node import AE_TITLE, running_node
from tests.helpers.small_disk import FullLedger, FullSpool, small_disk
from tests.unit.test_completion import Bench
from tests.unit.test_ledger import claimed as claim_one
from tests.unit.test_ledger import sealed

pytestmark = [
    pytest.mark.fault,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FULL, STORED = 0xA700, 0x0000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[FullLedger]:
    """A ledger whose disk the test fills."""
    opened = FullLedger(tmp_path / "ledger.sqlite")
    opened.migrate()
    yield opened
    opened.close()
    gc.collect()


def statuses_of(port: int, paths: list[Path]) -> list[int]:
    """Send like a scanner; return what each image was answered with."""
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=AE_TITLE)
    assert association.is_established
    answers = [int(association.send_c_store(dcmread(path)).Status) for path in paths]
    association.release()
    return answers


def test_a_node_whose_disk_fills_goes_on_by_itself(
    tmp_path: Path, small_phantom_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First under a scanner, then under an analysis: 0xA700, then one inference, one attempt, all results."""
    with SmallPacs(tmp_path / "pacs") as pacs, small_disk(tmp_path / "node" / "data") as disk:
        for name, value in disk.environment.items():
            monkeypatch.setenv(name, value)
        peers = [("pacs", pacs.ae_title, pacs.port)]
        with running_node(tmp_path / "node", peers, options="[retention]\nreserve_mb = 4\n") as node:
            node.wait(lambda: (node.data / "reserve").exists(), 20)
            disk.fill(leave_bytes=8 * 2**20)  # the floor is 16 MiB
            assert set(statuses_of(node.port, small_phantom_files[:5])) == {FULL}
            disk.empty()
            assert set(statuses_of(node.port, small_phantom_files)) == {STORED}
            node.wait(lambda: [one for one in node.log if one["event"] == "analysis_started"], 60)
            disk.fill()
            node.wait(lambda: [one for one in node.log if one["event"] == "result_waits_for_disk"], 60)
            assert not (node.data / "reserve").exists()
            disk.empty()
            arrived = pacs.wait_for(3, timeout_s=60)
            found = node.wait(lambda: _with_reserve_told(node.status()), 30)
            node.wait(lambda: (node.data / "reserve").exists(), 20)
            events = [one["event"] for one in node.log]
        (done,) = found["series"]
        assert len(arrived) == 3
        assert (done["state"], done["attempt"]) == ("analysed", 1)
        assert events.count("analysis_started") == 1
        assert "worker_died" not in events
        assert found["counts"]["instances"] == len(small_phantom_files)


def _with_reserve_told(found: dict[str, Any]) -> dict[str, Any] | None:
    kinds = {one["kind"] for one in found["incidents"]}
    return found if {"disk_full", "disk_under_floor"} <= kinds else None


# --- each stage alone -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["spool", "ledger"])
def test_a_sender_is_told_and_its_next_attempt_is_taken(
    tmp_path: Path, ledger: FullLedger, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0xA700 while the disk of the files or of the ledger is full; no rubbish; then everything is taken."""
    network_defaults(monkeypatch)
    spool = FullSpool(tmp_path)
    settings = settings_for(tmp_path)
    receiver = Receiver(settings, ledger, Reception(spool, ledger), "node-1")
    receiver.start()
    scanner = Scanner(receiver.port)
    images = ct_series(4)
    try:
        with scanner.association() as link:
            assert store(link, Store.of(images[0])) == STORED
            spool.full, ledger.full = what == "spool", what == "ledger"
            assert {store(link, Store.of(one)) for one in images[1:]} == {FULL}
            spool.full = ledger.full = False
            assert len(list(spool.received.glob("*/*"))) == 1
            assert {store(link, Store.of(one)) for one in images} == {STORED}
    finally:
        receiver.stop()
    with ledger.read() as connection:
        assert len(connection.execute(select(instance.c.id)).all()) == 4
    assert len(list(spool.received.glob("*/*.dcm"))) == 4
    if what == "spool":
        (told,) = status(ledger)["incidents"]
        assert (told["kind"], told["count"]) == ("disk_full", 3)


def test_a_full_ledger_takes_no_part_of_a_shared_transaction(tmp_path: Path, ledger: FullLedger) -> None:
    """A database that really is full: every thread of a group commit hears it, and nothing is half there."""
    spool = FullSpool(tmp_path)
    taking = Reception(spool, ledger)
    images = ct_series(40)
    bench = Bench(settings_for(tmp_path), ledger, Clock(), taking, None, None)  # type: ignore[arg-type]
    caller = bench.associate()
    bench.take(caller, images[:1])
    assert spool.reserve.keep(4096, 2**40, 0)
    with ledger.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection: Any, *_: Any) -> None:
        """Set the limit on every connection that is used: each has one of its own."""
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(ledger._engine.pool, "checkout", limit)
    outcomes: list[bool] = []

    def take(part: list[Any]) -> None:
        for one in part:
            try:
                bench.take(caller, [one])
                outcomes.append(True)
            except SpoolFull:
                outcomes.append(False)

    threads = [threading.Thread(target=take, args=(images[at::4],)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert False in outcomes
    assert spool.reserve.size_bytes == 0
    with ledger.read() as connection:
        rows = connection.execute(select(instance.c.path)).scalars().all()
    assert sorted(rows) == sorted(map(str, spool.received.glob("*/*.dcm")))


def test_a_series_is_sealed_and_shelved_when_there_is_space_again(tmp_path: Path, ledger: FullLedger) -> None:
    """Neither sealing nor the manifest is lost; the loop says in one line what it waits for."""
    clock, spool, settings = Clock(), FullSpool(tmp_path), settings_for(tmp_path)
    holdings = Holdings(spool, ledger)
    completion = Completion(settings, ledger, holdings, clock)
    shelving = Shelving(ledger, spool, holdings, now=clock)
    bench = Bench(settings, ledger, clock, Reception(spool, ledger, now=clock), completion, shelving)
    bench.receive(ct_series(3))
    clock.advance(10)
    ledger.full = True
    with pytest.raises(SpoolFull):
        completion.step()
    ledger.full, spool.full = False, True
    assert completion.step() == 1
    assert shelving.step() == 0
    spool.full = False
    assert shelving.step() == 1
    assert len(bench.rows(manifest)) == 1
    assert bench.rows(instance) == []


def test_the_end_of_an_analysis_waits_for_the_ledger(
    tmp_path: Path, ledger: FullLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result stays in memory, also when its lease ran out meanwhile; one attempt, recorded once."""
    monkeypatch.setattr(worker, "_FIRST_DISK_RETRY_S", 0.02)
    settings = settings_for(tmp_path)
    sealed(ledger)
    claimed = claim_one(ledger)
    working = Worker(settings, claimed.owner)
    working._ledger.close()
    working._ledger = ledger
    ledger.full = True
    outcome: list[bool] = []
    end = JobEnd(JobState.REFUSED, "why", None)
    thread = threading.Thread(target=lambda: outcome.append(working._finish(claimed, end)))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    ledger.full = False
    thread.join(30)
    assert outcome == [True]
    with ledger.read() as connection:
        row = connection.execute(select(job)).one()
    assert (row.state, row.attempt) == ("refused", 1)


def test_a_worker_that_waits_for_the_ledger_is_no_hang(
    tmp_path: Path, ledger: FullLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease cannot be renewed by anybody, so the supervisor leaves it alone until it can be again."""
    now = [100.0]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(jobs, "lease_lapsed", lambda *_: True)
    killed: list[float] = []

    class Process:
        def is_alive(self) -> bool:
            return True

        def kill(self) -> None:
            killed.append(now[0])

    watched: Any = Supervisor(settings_for(tmp_path), ledger)
    watched._process = Process()
    ledger.full = True
    for _ in range(20):
        watched.look_after()
        now[0] += 5.0
    assert killed == []
    ledger.full = False
    for _ in range(20):
        watched.look_after()
        now[0] += 5.0
    assert killed[0] >= 225.0  # 30 s after the last time that the ledger took nothing


def test_an_object_that_was_sent_is_recorded_later_and_not_sent_again(
    tmp_path: Path, ledger: FullLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome waits in the lane; the peer gets each object once."""
    network_defaults(monkeypatch)
    office = Office(tmp_path, ledger, FullSpool(tmp_path), Clock())
    office.finish_job()

    def answer(number: int, _arrived: Any) -> int:
        ledger.full = number == 1  # the disk fills while the peer takes the last object
        return STORED

    with ScriptedPacs(contexts=contexts_for(*(one for _, _, one in PLAIN)), answer=answer) as pacs:
        courier = office.courier(peer("pacs", pacs.port))
        with pytest.raises(SpoolFull):
            courier.step()
        with pytest.raises(SpoolFull):
            courier.step()
        assert office.states() == ["sending", "sending"]
        ledger.full = False
        assert courier.step() == 0
        assert office.states() == ["delivered", "delivered"]
        assert len(pacs.arrived) == 2
