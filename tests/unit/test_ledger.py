"""The ledger as a queue: nothing is lost, nothing is done twice, and a dead owner's work is taken over."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from core.errors import SeriesForgotten, SpoolError
from custody.ledger import (
    Ledger,
    completion,
    deliveries,
    incidents,
    jobs,
    new_id,
    reception,
    services,
)
from custody.ledger.clock import pull_back
from custody.ledger.completion import KnownAcquisition, Sealing
from custody.ledger.deliveries import Attempted, DueDelivery
from custody.ledger.destinations import Destinations, Wish, settle_late_sources
from custody.ledger.incidents import IncidentKind
from custody.ledger.instances import sealed_series
from custody.ledger.jobs import ClaimedJob, JobEnd, StoredResult
from custody.ledger.reception import NewInstance
from custody.ledger.replaced import replaced_objects
from custody.ledger.report import status
from custody.ledger.states import DeliveryState, JobState
from custody.ledger.tables import delivery, incident, job, result_object, series_source
from tests.helpers.instances import NOON, SEGMENTATION_STORAGE, fresh_ledger, open_caller

PEERS = Destinations({"scanner": ("pacs",), "other": ("pacs", "research")})


def new_instance(number: int = 1, content: str = "a") -> NewInstance:
    """Return an analysable instance; its file does not matter here."""
    return NewInstance(
        id=new_id(),
        sop_class_uid="1.2",
        sop_instance_uid=f"1.2.{number}",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sha256=content * 64,
        size_bytes=1,
        path=Path(f"/nowhere/{number}.dcm"),
        modality="CT",
        move_originator_ae_title=None,
        move_originator_message_id=None,
        set_aside=None,
        facts={},
    )


def received_series(ledger: Ledger, name: str = "1", count: int = 2, now: float = NOON) -> str:
    """Record a series of one source and return its id."""
    key = SeriesKey(StudyInstanceUID("1"), SeriesInstanceUID(name), "digest")
    series_id = reception.series_id_of(ledger, key, "CT", now)
    caller = open_caller(ledger, now)
    for number in range(count):
        reception.record_instance(ledger, series_id, caller, new_instance(number), now + number / 1000)
    reception.close_association(ledger, caller.association_id, "released", now)
    return series_id


def sealed(ledger: Ledger, name: str = "1", now: float = NOON) -> str:
    """Receive and seal a series and return its job's id."""
    received_series(ledger, name, now=now)
    with ledger.write() as connection:
        known = KnownAcquisition("scan", "1", "1", None, None)
        completion.keep_acquisition(connection, "1", "digest", known)
        (one,) = completion.open_series(connection)
        return completion.seal(
            connection, Sealing(one, "scan", JobState.QUEUED, None, "quiet", "densitometry"), now
        )


def claim(ledger: Ledger, owner: str = "w1", *, now: float = NOON, most: int = 3) -> ClaimedJob | None:
    """Claim with a lease of 60 s."""
    return jobs.claim(ledger, owner, lease_s=60.0, max_attempts=most, now=now)


def claimed(ledger: Ledger, owner: str = "w1", *, now: float = NOON, most: int = 3) -> ClaimedJob:
    """Claim where something has to be there."""
    one = claim(ledger, owner, now=now, most=most)
    assert one is not None
    return one


def analysed(*kinds: str) -> JobEnd:
    """Return the good end of a job with these objects."""
    objects = [
        StoredResult(kind, SEGMENTATION_STORAGE, f"2.25.{at}", Path(f"/nowhere/{kind}.dcm"), "0" * 64)
        for at, kind in enumerate(kinds)
    ]
    return JobEnd(JobState.ANALYSED, None, {"volume": 1}, objects)


def job_row(ledger: Ledger) -> dict[str, object]:
    """Return the only job."""
    with ledger.read() as connection:
        return dict(connection.execute(select(job)).mappings().one())


def delivery_rows(ledger: Ledger) -> list[tuple[str, str, str]]:
    """Return peer, kind of object and state of every delivery, sorted."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(delivery.c.peer, result_object.c.kind, delivery.c.state).join_from(delivery, result_object)
        )
        return sorted((row.peer, row.kind, row.state) for row in rows)


# --- the connection ---------------------------------------------------------------------------------------


def test_the_pragmas_are_really_set(tmp_path: Path) -> None:
    """Every connection runs in WAL mode, flushes on commit, checks foreign keys and waits for locks."""
    with fresh_ledger(tmp_path) as ledger, ledger.read() as one, ledger.read() as two:
        for connection in (one, two):
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}
            assert found == expected


def test_a_session_on_postgresql_flushes_and_never_waits_for_ever(shared_ledger: Ledger) -> None:
    """Whatever the server's defaults are, a commit is flushed and locks are given up after a while."""
    with shared_ledger.write() as connection:
        names = ("synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout")
        found = [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]
    assert found == ["on", "30s", "2min"]


def test_a_writer_holds_the_write_lock_from_its_start(tmp_path: Path) -> None:
    """BEGIN IMMEDIATE: from its first moment a writer keeps every other connection from writing."""
    with fresh_ledger(tmp_path) as ledger:
        other = sqlite3.connect(tmp_path / "ledger.sqlite", timeout=0, isolation_level=None)
        with ledger.write():
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.execute("SELECT count(*) FROM job").fetchone()
        other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_reader_does_not_wait_for_a_writer(ledger: Ledger) -> None:
    """A reader sees the last committed state while a writer is at work; its snapshot stays the same."""
    with ledger.read() as before:
        assert before.execute(select(func.count()).select_from(incident)).scalar_one() == 0
        with ledger.write() as writing:
            incidents.note(writing, IncidentKind.ASSOCIATION_REFUSED, "x", "y", NOON)
            with ledger.read() as during:
                assert during.execute(select(func.count()).select_from(incident)).scalar_one() == 0
        assert before.execute(select(func.count()).select_from(incident)).scalar_one() == 0
    with ledger.read() as after:
        assert after.execute(select(func.count()).select_from(incident)).scalar_one() == 1


def test_a_failed_transaction_leaves_nothing(ledger: Ledger) -> None:
    """An exception inside a transaction takes everything in it back, and the next writer gets in."""

    def note_and_fail() -> None:
        with ledger.write() as connection:
            incidents.note(connection, IncidentKind.ASSOCIATION_REFUSED, "x", "y", NOON)
            raise KeyError("broken")

    with pytest.raises(KeyError):
        note_and_fail()
    assert status(ledger, now=NOON)["incidents"] == []


def test_foreign_keys_are_enforced(ledger: Ledger) -> None:
    """The source of an unknown series is not recorded."""
    values = {"series_id": "nobody", "source": "a", "calling_ae_title": "b", "settled": 0}
    with pytest.raises(IntegrityError), ledger.write() as connection:
        connection.execute(series_source.insert().values(values))


def test_an_instance_of_a_forgotten_series_is_not_recorded(ledger: Ledger) -> None:
    """Whoever still knows the id of a series that was deleted is told so."""
    caller = open_caller(ledger, NOON)
    with pytest.raises(SeriesForgotten):
        reception.record_instance(ledger, "nobody", caller, new_instance(), NOON)
    with pytest.raises(SeriesForgotten):
        reception.record_identical(ledger, "nobody", caller, ("1.2", "0"), NOON)


def test_a_ledger_in_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """The folder has to exist; nothing is created somewhere else."""
    with pytest.raises(SpoolError, match="unable to open database file"):
        Ledger(tmp_path / "missing" / "ledger.sqlite").migrate()


# --- reception --------------------------------------------------------------------------------------------


def test_a_damaged_ledger_is_named_and_left_alone(tmp_path: Path) -> None:
    """A file that is no database is an error that says which file, and nothing is written into it."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database " * 1000)
    before = path.read_bytes()
    ledger = Ledger(path)
    with pytest.raises(SpoolError, match=r"ledger\.sqlite cannot be used \(file is not a database\)"):
        ledger.migrate()
    ledger.close()
    assert path.read_bytes() == before


def test_a_ledger_of_a_newer_version_is_refused(ledger: Ledger) -> None:
    """An older program never works on a schema that it does not know."""
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'from_the_future'")
    with pytest.raises(SpoolError, match="newer version"):
        ledger.migrate()


def test_values_of_a_failed_statement_are_not_in_its_message(ledger: Ledger) -> None:
    """Errors of the database end in the log, so they do not quote what was to be written."""
    with pytest.raises(IntegrityError) as caught, ledger.write() as connection:
        connection.execute(
            series_source.insert().values(series_id="SECRET", source="a", calling_ae_title="b")
        )
    assert "SECRET" not in str(caught.value)


def test_a_clock_set_back_holds_up_nothing(ledger: Ledger) -> None:
    """Times in the future are pulled back to now: jobs and deliveries are due, the past is left alone."""
    finished(ledger, "segmentation", name="1")
    sealed(ledger, "2", NOON)
    earlier = NOON - 3600
    assert claim(ledger, now=earlier) is None
    assert claim_for(ledger, now=earlier) == []
    assert pull_back(ledger, earlier) > 0
    assert claim(ledger, now=earlier) is not None
    assert len(claim_for(ledger, now=earlier)) == 1
    assert pull_back(ledger, earlier) == 0


def test_a_lapsed_lease_is_noticed(ledger: Ledger) -> None:
    """A worker that lives but does not renew is told from one that does, and from an idle one."""
    sealed(ledger)
    assert not jobs.lease_lapsed(ledger, "w1", NOON + 1000)
    one = claimed(ledger, "w1")
    assert jobs.lease_lapsed(ledger, "w1", NOON + 61)
    assert not jobs.lease_lapsed(ledger, "w2", NOON + 61)
    assert jobs.renew(ledger, one, lease_s=60.0, now=NOON + 60)
    assert not jobs.lease_lapsed(ledger, "w1", NOON + 61)


def test_the_last_attempt_of_a_deadly_series_is_logged(ledger: Ledger) -> None:
    """A series that is given up because it killed every worker does not end in silence."""
    sealed(ledger)
    claimed(ledger, most=1)
    jobs.release_owners(ledger, "w1", NOON)
    for_the_word_about_it = claimed(ledger, "w2", most=1)
    assert for_the_word_about_it.attempt == 2
    jobs.release_owners(ledger, "w2", NOON)
    with capture_logs() as logged:
        assert claim(ledger, "w3", most=1) is None
    (event,) = [one for one in logged if one["event"] == "analysis_failed"]
    assert "broke off" in event["reason"]


def test_results_of_a_source_that_was_removed_are_owed_until_it_is_restored(ledger: Ledger) -> None:
    """While the source is not configured nothing is created; once it is back its peers get everything."""
    sealed(ledger)
    others = Destinations({"other": ("pacs",)})
    assert jobs.finish(ledger, claimed(ledger), analysed("segmentation"), others, NOON)
    assert delivery_rows(ledger) == []
    assert settle_late_sources(ledger, others, NOON) == 0
    assert settle_late_sources(ledger, PEERS, NOON) == 1
    assert delivery_rows(ledger) == [("pacs", "segmentation", "due")]


def test_a_series_has_one_id_whoever_asks_first(ledger: Ledger) -> None:
    """Eight threads that meet the same new series get the same id."""
    key = SeriesKey(StudyInstanceUID("1"), SeriesInstanceUID("2"), "digest")
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(reception.series_id_of(ledger, key, "CT", NOON)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_an_identical_instance_is_recorded_once(ledger: Ledger) -> None:
    """The second record of the same content says so, and the second sender is remembered."""
    series_id = received_series(ledger, count=0)
    first, second = open_caller(ledger, NOON), open_caller(ledger, NOON, source="other", calling="PACS")
    assert reception.record_instance(ledger, series_id, first, new_instance(), NOON)
    assert not reception.record_instance(ledger, series_id, second, new_instance(), NOON)
    with ledger.read() as connection:
        assert completion.sources_of(connection, series_id) == ["scanner", "other"]


def test_a_second_content_is_set_aside_at_the_latest_when_it_is_recorded(ledger: Ledger) -> None:
    """Of two contents under one UID only the first is analysable, even if both looked new a moment before."""
    series_id = received_series(ledger, count=0)
    caller = open_caller(ledger, NOON)
    for content in ("a", "b"):
        assert reception.record_instance(ledger, series_id, caller, new_instance(1, content), NOON)
    known = reception.known_contents(ledger, series_id, "1.2.1")
    assert known == {"a" * 64: None, "b" * 64: reception.OTHER_CONTENT}


def test_dead_associations_are_closed_and_living_ones_are_not(ledger: Ledger) -> None:
    """Only the heartbeat decides, and an association is closed once."""
    dead, living = open_caller(ledger, NOON), open_caller(ledger, NOON)
    reception.heartbeat_associations(ledger, [living.association_id], NOON + 100)
    assert reception.close_dead_associations(ledger, NOON + 50, NOON + 100) == 1
    assert reception.close_dead_associations(ledger, NOON + 50, NOON + 100) == 0
    reception.close_association(ledger, dead.association_id, "released", NOON + 200)
    assert status(ledger, now=NOON)["counts"]["open_associations"] == 1


# --- jobs -------------------------------------------------------------------------------------------------


def test_two_workers_never_get_the_same_job(ledger: Ledger) -> None:
    """Twelve jobs, two threads claiming as fast as they can: each job goes to one of them, once."""
    expected = {sealed(ledger, str(number)) for number in range(12)}
    taken: list[str] = []

    def work(owner: str) -> None:
        while (one := claim(ledger, owner)) is not None:
            taken.append(one.id)

    threads = [threading.Thread(target=work, args=(f"w{at}",)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(expected)


def test_two_ledger_connections_never_get_the_same_job(ledger: Ledger) -> None:
    """The same across processes, where only the database decides: the second opening finds nothing left."""
    sealed(ledger)
    second = Ledger(ledger.location)
    assert claim(second, "w2") is not None
    assert claim(ledger, "w1") is None
    second.close()


def test_a_job_holds_what_is_to_be_analysed(ledger: Ledger) -> None:
    """The claim brings the series, its instances in order of arrival, its evidence and its model."""
    sealed(ledger)
    one = claimed(ledger)
    assert (one.attempt, one.owner, one.model) == (1, "w1", "densitometry")
    found = sealed_series(ledger, one).instances
    assert [instance.sop_instance_uid for instance in found] == ["1.2.0", "1.2.1"]
    assert (one.generation, one.evidence) == (1, "quiet")


def test_a_lapsed_lease_is_taken_over_and_the_first_owner_is_fenced_off(ledger: Ledger) -> None:
    """After its lease another owner has the job; whatever the first one reports then changes nothing."""
    sealed(ledger)
    first = claimed(ledger, "w1")
    assert claim(ledger, "w2", now=NOON + 59) is None
    second = claimed(ledger, "w2", now=NOON + 61)
    assert (second.id, second.attempt) == (first.id, 2)
    assert not jobs.renew(ledger, first, lease_s=60, now=NOON + 62)
    assert not jobs.finish(ledger, first, analysed("segmentation"), PEERS, NOON + 62)
    jobs.try_again(ledger, first, "late", due_at=NOON, max_attempts=3, now=NOON + 62)
    row = job_row(ledger)
    assert (row["state"], row["owner"], row["reason"]) == ("running", "w2", None)
    assert delivery_rows(ledger) == []
    assert jobs.finish(ledger, second, analysed("segmentation"), PEERS, NOON + 63)


def test_the_same_owner_is_fenced_off_from_its_own_earlier_attempt(ledger: Ledger) -> None:
    """Owner alone is no fence: an earlier attempt of the same owner cannot end the later one."""
    sealed(ledger)
    first = claimed(ledger)
    claimed(ledger, now=NOON + 61)
    assert not jobs.finish(ledger, first, analysed("segmentation"), PEERS, NOON + 62)


def test_renewing_keeps_a_job(ledger: Ledger) -> None:
    """A renewed lease counts from the renewal."""
    sealed(ledger)
    one = claimed(ledger)
    assert jobs.renew(ledger, one, lease_s=60, now=NOON + 50)
    assert claim(ledger, "w2", now=NOON + 100) is None
    assert claim(ledger, "w2", now=NOON + 111) is not None


def test_a_series_that_kills_the_worker_fails_in_the_end(ledger: Ledger) -> None:
    """After its last attempt broke off, a job is handed out once more, for the word about it, then failed."""
    sealed(ledger)
    for attempt in range(3):
        claimed(ledger, now=NOON + 61 * attempt)
    assert claimed(ledger, now=NOON + 61 * 3).attempt == 4
    assert claim(ledger, now=NOON + 61 * 4) is None
    row = job_row(ledger)
    assert row["state"] == "failed"
    assert row["reason"] == "the analysis broke off 3 times without an answer"
    assert row["finished_at"] == NOON + 61 * 4


def test_an_error_that_may_pass_is_tried_again_later_and_not_for_ever(ledger: Ledger) -> None:
    """The job waits until it is due; after the last attempt it is failed, with the newest reason."""
    sealed(ledger)
    now = NOON
    for attempt in (1, 2, 3):
        one = claimed(ledger, now=now)
        assert one.attempt == attempt
        jobs.try_again(ledger, one, f"reason {attempt}", due_at=now + 10, max_attempts=3, now=now)
        assert claim(ledger, now=now + 9) is None
        now += 10
    row = job_row(ledger)
    assert (row["state"], row["reason"]) == ("failed", "reason 3")
    assert claim(ledger, now=now + 1000) is None


def test_an_attempt_that_was_stopped_on_purpose_does_not_count(ledger: Ledger) -> None:
    """Restarting the node a hundred times must not fail a series."""
    sealed(ledger)
    for _ in range(10):
        assert claimed(ledger).attempt == 1
        assert jobs.give_back(ledger, "w1", NOON) == 1
    assert jobs.give_back(ledger, "w1", NOON) == 0


def test_releasing_owners_makes_their_jobs_due_at_once(ledger: Ledger) -> None:
    """A worker that is known to be dead, or a restart of the node, does not have to wait for the lease."""
    sealed(ledger)
    claimed(ledger, "w1")
    assert jobs.release_owners(ledger, "w2", NOON) == 0
    assert jobs.release_owners(ledger, "w1", NOON) == 1
    claimed(ledger, "w2")
    assert jobs.release_owners(ledger, "w", NOON) == 1
    assert claimed(ledger, "w3").attempt == 3


# --- deliveries -------------------------------------------------------------------------------------------


def finished(ledger: Ledger, *kinds: str, name: str = "1", now: float = NOON) -> None:
    """Bring a series to its good end with these objects."""
    sealed(ledger, name, now)
    assert jobs.finish(ledger, claimed(ledger, now=now), analysed(*kinds), PEERS, now)


def test_deliveries_come_with_the_end_of_the_job_or_not_at_all(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If entering the deliveries fails, the job is not ended either, and the whole can be repeated."""
    sealed(ledger)
    one = claimed(ledger)
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "create_deliveries", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            jobs.finish(ledger, one, analysed("segmentation"), PEERS, NOON)
    assert job_row(ledger)["state"] == "running"
    assert jobs.finish(ledger, one, analysed("segmentation"), PEERS, NOON)
    assert delivery_rows(ledger) == [("pacs", "segmentation", "due")]


def test_a_second_sender_gets_the_results_later(ledger: Ledger) -> None:
    """Who sends the same series after the analysis gets the same objects, once, at its own destinations."""
    finished(ledger, "segmentation")
    with ledger.read() as connection:
        (series_id,) = connection.execute(select(series_source.c.series_id)).scalars()
    caller = open_caller(ledger, NOON, source="other", calling="PACS")
    reception.record_identical(ledger, series_id, caller, ("1.2.0", "a" * 64), NOON)
    assert settle_late_sources(ledger, PEERS, NOON) == 1
    assert delivery_rows(ledger) == [("pacs", "segmentation", "due"), ("research", "segmentation", "due")]
    assert settle_late_sources(ledger, PEERS, NOON) == 0


def test_a_peer_gets_the_kinds_of_object_that_it_is_to_get(ledger: Ledger) -> None:
    """A peer that takes films only is owed the film alone, also when it comes in later; others get all."""
    films_only = Destinations(PEERS.peers_of_source, {"research": {"film": Wish()}})
    sealed(ledger)
    assert jobs.finish(ledger, claimed(ledger), analysed("segmentation", "film"), films_only, NOON)
    assert delivery_rows(ledger) == [("pacs", "film", "due"), ("pacs", "segmentation", "due")]
    with ledger.read() as connection:
        (series_id,) = connection.execute(select(series_source.c.series_id)).scalars()
    caller = open_caller(ledger, NOON, source="other", calling="PACS")
    reception.record_identical(ledger, series_id, caller, ("1.2.0", "a" * 64), NOON)
    assert settle_late_sources(ledger, films_only, NOON) == 1
    assert [row for row in delivery_rows(ledger) if row[0] == "research"] == [("research", "film", "due")]


def test_a_later_generation_knows_what_it_replaces(ledger: Ledger) -> None:
    """Only what went to a peer; what did not go out yet is superseded by a result, and by no refusal."""
    films_only = Destinations({"scanner": ["pacs"]}, {"pacs": {"film": Wish()}})
    replaced = []
    for generation in (1, 2, 3, 4):
        received = received_series(ledger, "1", count=generation, now=NOON + generation)
        with ledger.write() as connection:
            completion.keep_acquisition(
                connection, "1", "digest", KnownAcquisition("scan", "1", "1", None, None)
            )
            (one,) = completion.open_series(connection)
            assert one.series_id == received
            completion.seal(
                connection, Sealing(one, "scan", JobState.QUEUED, None, "quiet", "densitometry"), NOON
            )
        job_of_it = claimed(ledger)
        found = replaced_objects(ledger, job_of_it)
        replaced.append([(item.stored.kind, item.stored.path.name, set(item.peers)) for item in found])
        end = JobEnd(JobState.REFUSED, "no", {}) if generation == 3 else analysed("segmentation", "film")
        assert jobs.finish(ledger, job_of_it, end, films_only, NOON)
        if generation == 1:
            for one in claim_for(ledger):
                outcome = Attempted(one, one.object, DeliveryState.DELIVERED, None, 0, NOON)
                deliveries.record(ledger, [outcome], NOON)
    # What the second one would have sent was superseded before it went out.
    assert replaced == [[], *([[("film", "film.dcm", {"pacs"})]] * 3)]
    states = [state for _, _, state in delivery_rows(ledger)]
    assert sorted(states) == ["delivered", "due", "superseded"]


def test_an_identical_resend_creates_no_new_delivery(ledger: Ledger) -> None:
    """The same source sending again, even under another AE title, owes nobody anything new."""
    finished(ledger, "segmentation")
    with ledger.read() as connection:
        (series_id,) = connection.execute(select(series_source.c.series_id)).scalars()
    for calling in ("CT1", "CT1B"):
        caller = open_caller(ledger, NOON, calling=calling)
        reception.record_identical(ledger, series_id, caller, ("1.2.0", "a" * 64), NOON)
        assert settle_late_sources(ledger, PEERS, NOON) == 0
    assert len(delivery_rows(ledger)) == 1


def claim_for(
    ledger: Ledger, peer: str = "pacs", owner: str = "lane", now: float = NOON
) -> list[DueDelivery]:
    """Claim deliveries with a lease of 60 s."""
    return deliveries.claim_for_peer(ledger, peer, owner, lease_s=60.0, now=now)


def test_objects_go_out_in_the_order_of_the_writer(ledger: Ledger) -> None:
    """What is referenced goes first: segmentation before report; and only to the peer that is asked for."""
    finished(ledger, "segmentation", "measurement_report")
    due = claim_for(ledger)
    assert [one.object.path.stem for one in due] == ["segmentation", "measurement_report"]
    assert [one.attempt for one in due] == [1, 1]
    assert claim_for(ledger) == []
    assert claim_for(ledger, "research") == []


def test_jobs_are_delivered_one_after_the_other_oldest_first(ledger: Ledger) -> None:
    """One claim holds the objects of one job only."""
    finished(ledger, "segmentation", name="1", now=NOON)
    finished(ledger, "segmentation", name="2", now=NOON + 1)
    first, second = claim_for(ledger, now=NOON + 2), claim_for(ledger, now=NOON + 2)
    assert len(first) == len(second) == 1
    assert first[0].created_at < second[0].created_at


def test_a_dead_lane_is_taken_over_and_fenced_off(ledger: Ledger) -> None:
    """After its lease another lane sends; what the first one reports then changes nothing."""
    finished(ledger, "segmentation")
    (first,) = claim_for(ledger, owner="a")
    assert claim_for(ledger, owner="b", now=NOON + 59) == []
    (second,) = claim_for(ledger, owner="b", now=NOON + 61)
    deliveries.record(
        ledger, [Attempted(first, first.object, DeliveryState.FAILED, "late", None, NOON)], NOON + 62
    )
    assert delivery_rows(ledger) == [("pacs", "segmentation", "sending")]
    deliveries.record(
        ledger, [Attempted(second, second.object, DeliveryState.DELIVERED, None, 0, NOON)], NOON + 63
    )
    assert delivery_rows(ledger) == [("pacs", "segmentation", "delivered")]
    assert deliveries.peers_with_deliveries(ledger) == frozenset()


def test_a_restart_takes_up_what_was_being_sent(ledger: Ledger) -> None:
    """Releasing every owner makes objects in transfer due at once."""
    finished(ledger, "segmentation")
    claim_for(ledger)
    assert deliveries.peers_with_deliveries(ledger) == {"pacs"}
    assert deliveries.release_owners(ledger, "", NOON) == 1
    assert len(claim_for(ledger, owner="new")) == 1


def test_an_object_that_failed_waits_and_takes_its_companions_along(ledger: Ledger) -> None:
    """Before it is due nothing is claimed; then the undelivered objects of its job go together."""
    finished(ledger, "segmentation", "measurement_report")
    seg, report = claim_for(ledger)
    outcomes = [
        Attempted(seg, seg.object, DeliveryState.DUE, "refused", 0xA700, NOON + 10),
        Attempted(report, report.object, DeliveryState.DUE, "unreachable", None, NOON + 20),
    ]
    deliveries.record(ledger, outcomes, NOON)
    assert claim_for(ledger, now=NOON + 9) == []
    assert [one.attempt for one in claim_for(ledger, now=NOON + 10)] == [2, 2]


# --- incidents, services, status --------------------------------------------------------------------------


def test_repeated_incidents_are_counted_with_the_newest_reason(ledger: Ledger) -> None:
    """One row per kind and subject, with first and last time."""
    with ledger.write() as connection:
        for at in range(3):
            incidents.note(connection, IncidentKind.ASSOCIATION_REFUSED, "X", f"reason {at}", NOON + at)
    (row,) = status(ledger, now=NOON)["incidents"]
    assert (row["count"], row["reason"]) == (3, "reason 2")
    assert (row["first_at"], row["last_at"]) == (NOON, NOON + 2)


def test_a_port_scan_does_not_fill_the_disk(ledger: Ledger) -> None:
    """Beyond 500 different subjects of one kind the rest is counted in one row, and long ones are cut."""
    with ledger.write() as connection:
        for number in range(520):
            incidents.note(connection, IncidentKind.ASSOCIATION_REFUSED, f"{number:04}" * 50, "no", NOON)
        incidents.note(connection, IncidentKind.DISK_UNDER_FLOOR, "data folder", "full", NOON)
    with ledger.read() as connection:
        rows = connection.execute(select(incident)).all()
    assert len(rows) == 502
    assert {row.count for row in rows if row.subject == "(others)"} == {20}
    assert max(len(row.subject) for row in rows) == 160


def test_signs_of_life_are_kept_up_to_date(ledger: Ledger) -> None:
    """One row per service with its newest detail."""
    services.sign_of_life(ledger, "worker", "w1", {"provider": "CPU"}, NOON)
    services.sign_of_life(ledger, "worker", "w2", {"provider": "CUDA"}, NOON + 5)
    (row,) = status(ledger, now=NOON)["services"]
    assert (row["process"], row["detail"], row["heartbeat_at"]) == ("w2", {"provider": "CUDA"}, NOON + 5)


def test_the_status_of_a_busy_node(ledger: Ledger) -> None:
    """Counts, open series, jobs and deliveries are what happened."""
    finished(ledger, "segmentation", name="1")
    received_series(ledger, "2", count=3)
    found = status(ledger, now=NOON)
    assert found["counts"]["instances"] == 5
    assert found["counts"]["series"] == 2
    assert found["counts"]["jobs"] == {"analysed": 1}
    assert [row["instances"] for row in found["receiving"]] == [3]
    assert found["series"][0]["result"] == {"volume": 1}
    assert [(row["peer"], row["state"], row["objects"]) for row in found["deliveries"]] == [
        ("pacs", "due", 1)
    ]
