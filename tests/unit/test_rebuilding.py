"""The ledger is lost: the spool tells the same story again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from core.domain import (
    Predecessor,
    ResultKind,
    SeriesInstanceUID,
    SeriesKey,
    StudyInstanceUID,
)
from custody.late_flush import MARK
from custody.ledger import Ledger, corrected_results, deliveries, jobs, new_id
from custody.ledger.deliveries import Attempted
from custody.ledger.states import NOT_TOLD, DeliveryState, JobPurpose, JobState
from custody.ledger.tables import delivery, job, manifest, series_source
from custody.result_set import (
    RECEIPTS,
    RESULT_SET,
    KeptFile,
    KeptObject,
    Owed,
    Receipt,
    ResultSet,
    Sender,
    append_receipt,
    read_receipts,
    read_result_set,
)
from lesionnode.corrections import Corrections
from tests.helpers.instances import ct_series, fresh_ledger
from tests.helpers.station import STAGES, Station


def test_a_new_ledger_has_what_the_old_one_had(ledger: Ledger, tmp_path: Path) -> None:
    """Series in every stage are the same, row by row; nothing disagrees; nothing is done twice."""
    station = Station(tmp_path, ledger)
    for stage in STAGES:
        station.bring(stage, stage)
    before = station.snapshot()
    assert station.disagreements() == []
    station.lose_ledger()
    station.rebuild()
    _same_story(before, station)
    assert station.disagreements() == []
    _nothing_is_done_twice(station)


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(stages=st.lists(st.sampled_from(STAGES), min_size=1, max_size=4))
def test_whatever_the_stages(stages: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same for any series in any order."""
    folder = tmp_path_factory.mktemp("station")
    with fresh_ledger(folder) as ledger:
        station = Station(folder, ledger)
        for number, stage in enumerate(stages):
            station.bring(stage, f"{number} {stage}")
        before = station.snapshot()
        station.lose_ledger()
        station.rebuild()
        _same_story(before, station)
        assert station.disagreements() == []


def _same_story(before: dict[str, list[tuple[object, ...]]], station: Station) -> None:
    after = station.snapshot()
    for table, rows in before.items():
        assert after[table] == rows, table


def _nothing_is_done_twice(station: Station) -> None:
    """What has a result is not analysed again; the same images are known; what is owed is delivered."""
    with station.ledger.read() as connection:
        queued = set(
            connection.execute(select(job.c.id).where(job.c.state == JobState.QUEUED.value)).scalars()
        )
    claimed = set()
    take: dict[str, Any] = {"lease_s": 60, "max_attempts": 3, "now": station.clock.now}
    while (one := jobs.claim(station.ledger, "w", **take)) is not None:
        claimed.add(one.id)
    assert claimed == queued
    assert len(claimed) == 2, "sealed, and other content"
    for stage in ("open", "sealed", "not shelved", "delivered", "refused"):
        assert set(station.receive(ct_series(3, study=stage))) == {"identical"}, stage
    with station.ledger.read() as connection:
        due = connection.execute(
            select(delivery.c.id).where(delivery.c.state == DeliveryState.DUE.value)
        ).all()
    assert due
    station.deliver("pacs")
    station.deliver("research")
    with station.ledger.read() as connection:
        states = set(connection.execute(select(delivery.c.state).distinct()).scalars())
    assert states == {"delivered", "left_out", "superseded"}


@pytest.mark.parametrize("analysed", [False, True])
def test_an_earlier_scan_that_was_fetched_stays_one(ledger: Ledger, tmp_path: Path, analysed: bool) -> None:
    """Whether it has a result or waits for one: what was fetched for comparison is not reported."""
    station = Station(tmp_path, ledger)
    station.receive(ct_series(3, study="earlier"))
    station.seal(shelve=False)
    with ledger.write() as connection:
        connection.execute(update(job).values(purpose=JobPurpose.PRIOR.value))
        connection.execute(update(series_source).values(settled=NOT_TOLD))
    station.shelve()
    if analysed:
        station.analyse()
        for path in station.spool.received.glob("*/manifest-*.json"):
            path.unlink()
    station.lose_ledger()
    station.rebuild()
    with ledger.read() as connection:
        assert connection.execute(select(job.c.purpose)).scalars().all() == [JobPurpose.PRIOR.value]
        assert connection.execute(select(series_source.c.settled)).scalars().all() == [NOT_TOLD]


def test_rebuilding_again_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """What the ledger has is left alone; a row that was lost comes back."""
    station = Station(tmp_path, ledger)
    for stage in ("open", "delivered", "second scan"):
        station.bring(stage, stage)
    before = station.snapshot()
    station.rebuild()
    _same_story(before, station)
    with ledger.write() as connection:
        first = connection.execute(select(manifest.c.id).limit(1)).scalar_one()
        connection.execute(manifest.delete().where(manifest.c.id == first))
    assert station.disagreements()
    station.rebuild()
    _same_story(before, station)


def test_a_lost_manifest_costs_no_second_analysis(ledger: Ledger, tmp_path: Path) -> None:
    """Images of which nothing but the files is left belong to the result that was made of them."""
    station = Station(tmp_path, ledger)
    station.bring("delivered", "a")
    for path in station.spool.received.glob("*/manifest-*.json"):
        path.unlink()
    station.lose_ledger()
    station.rebuild()
    station.seal()
    with ledger.read() as connection:
        assert connection.execute(select(job.c.state)).scalars().all() == ["analysed"]
        assert connection.execute(select(manifest.c.instances)).scalars().all() == [3]
    assert station.disagreements() == []


def test_deleted_images_and_results_stay_deleted(ledger: Ledger, tmp_path: Path) -> None:
    """Where only the lists are left, the ledger says so: nothing is missing, nothing is sent."""
    station = Station(tmp_path, ledger)
    station.bring("half delivered", "a")
    for path in tmp_path.rglob("*.dcm"):
        path.unlink()
    station.lose_ledger()
    station.rebuild()
    assert station.disagreements() == []
    with ledger.read() as connection:
        assert connection.execute(select(manifest.c.purged_at)).scalar_one() is not None
        assert connection.execute(select(job.c.results_purged_at)).scalar_one() is not None
        states = connection.execute(select(delivery.c.state)).scalars().all()
    assert sorted(states) == ["delivered", "failed", "failed", "failed"]


def test_a_damaged_result_set_is_named(ledger: Ledger, tmp_path: Path) -> None:
    """What cannot be taken up is told, and the rest is taken up."""
    station = Station(tmp_path, ledger)
    station.bring("delivered", "a")
    (path,) = station.spool.results.glob(f"*/{RESULT_SET}.json")
    path.write_bytes(path.read_bytes().replace(b"analysed", b"analyzed"))
    station.lose_ledger()
    rebuilt = station.rebuild()._rebuilt
    assert "analysed again" in rebuilt.faults[0]
    assert (rebuilt.series, rebuilt.manifests, rebuilt.results) == (1, 1, 0)


def test_images_that_may_never_have_been_flushed_are_named(ledger: Ledger, tmp_path: Path) -> None:
    """Their digests were in the ledger that is gone: whether they are whole nobody can say."""
    station = Station(tmp_path, ledger)
    station.receive(ct_series(3))
    station.lose_ledger()
    assert not station.rebuild()._rebuilt.faults
    (tmp_path / MARK).touch()
    station.lose_ledger()
    (fault,) = station.rebuild()._rebuilt.faults
    assert fault.startswith("3 images may never have been flushed")


def test_objects_under_a_corrected_identity_are_taken_up(ledger: Ledger, tmp_path: Path) -> None:
    """What a peer got under the identity that it had given the patient is known to be there."""
    station = Station(tmp_path, ledger)
    station.receive(ct_series(3))
    station.seal()
    job_id = station.analyse()
    written = []
    for one in deliveries.objects_of_job(ledger, job_id):
        path = station.spool.keep_result(job_id, f"{one.kind}-0123456789abcdef", b"corrected")
        uid = f"{one.sop_instance_uid}.1"
        written.append((one, replace(one, id=new_id(), path=path, sop_instance_uid=uid), _CORRECTED, 9))
    corrections = Corrections(ledger, station.spool)
    corrections._list(written, "0123456789abcdef" * 4, station.clock.now)
    corrected_results.keep_corrected(ledger, written, "0123456789abcdef" * 4, station.clock.now)
    take: dict[str, Any] = {"lease_s": 60, "now": station.clock.now}
    due = deliveries.claim_for_peer(ledger, "pacs", "lane", **take)
    now = station.clock.now
    outcomes = [
        Attempted(one, corrected, DeliveryState.DELIVERED, None, 0, now)
        for one, (_, corrected, _, _) in zip(due, written, strict=True)
    ]
    deliveries.record(ledger, outcomes, now)
    before = station.snapshot()
    assert station.disagreements() == []
    station.lose_ledger()
    station.rebuild()
    _same_story(before, station)
    assert station.disagreements() == []


_CORRECTED = hashlib.sha256(b"corrected").hexdigest()


def test_a_result_set_says_what_was_put_in(tmp_path: Path) -> None:
    """Predecessors with their peers, senders and all the rest come back as they were."""
    replaced = Predecessor(ResultKind.FILM, "", "1.2", "1.3", "1.4", frozenset({"research", "pacs"}))
    key = SeriesKey(StudyInstanceUID("1"), SeriesInstanceUID("2"), "digest")
    one = ResultSet(
        job_id="job",
        series_id="series",
        key=key,
        modality="CT",
        generation=2,
        state="analysed",
        reason=None,
        evidence="quiet",
        model="m",
        calling_ae_title="CT1",
        lane=1,
        triage=6,
        attempt=1,
        sealed_at=1.5,
        started_at=None,
        finished_at=3.5,
        first_received_at=1.0,
        last_received_at=1.25,
        acquisition={"id": "scan"},
        senders=(Sender("scanner", "CT1", True),),
        owed=(Owed("pacs", "film", ""),),
        result={"status": "analysed"},
        objects=(KeptObject("film", "", "1", "2", "film.dcm", "0", 3),),
        files=(KeptFile("fhir.json", "1", 4),),
        predecessors=(replaced,),
        made_by={"software_version": "0"},
    )
    (tmp_path / f"{RESULT_SET}.json").write_bytes(one.encoded())
    assert read_result_set(tmp_path) == one
    assert list(read_receipts(tmp_path)) == []
    receipt = Receipt("pacs", "film", "", "", "2", "delivered", None, 0, 1, 1.0, 2.0)
    append_receipt(tmp_path, receipt)
    with (tmp_path / RECEIPTS).open("a") as file:
        file.write('{"peer": "cut o')
    assert list(read_receipts(tmp_path)) == [receipt]
