"""What a person orders: retry, resend, forget, patient merge, drain; audited, never in the node's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.errors import Draining, NodeError
from core.uid import patient_digest
from custody.ledger import Ledger, again, audit, jobs, merges, switches
from custody.ledger.again import Order, Wanted
from custody.ledger.remaining import remaining
from custody.ledger.replaced import replaced_objects
from custody.ledger.states import DeliveryState, JobState
from custody.ledger.tables import (
    attempt,
    commitment,
    commitment_transaction,
    delivery,
    job,
    manifest,
    metadata,
    patient_merge,
    result_object,
    series,
)
from custody.ledger.tables import audit as audit_table
from lesionnode.forgetting import Forgetting, merge_patients
from scp.completion import destinations
from tests.helpers.instances import NOON, ct_image, ct_series
from tests.helpers.station import NODE, Station

PATIENT = patient_digest("P-1", "")


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Station:
    """A node without anything in it."""
    return Station(tmp_path, ledger)


def only_series(station: Station) -> str:
    """Return the id of the only series."""
    with station.ledger.read() as connection:
        return str(connection.execute(select(series.c.id)).scalar_one())


def rows(station: Station, *columns: Any) -> list[tuple[Any, ...]]:
    """Return some columns, sorted."""
    with station.ledger.read() as connection:
        return sorted(tuple(row) for row in connection.execute(select(*columns)))


def deliveries(station: Station) -> list[tuple[Any, ...]]:
    """Return peer, kind and state of each delivery."""
    with station.ledger.read() as connection:
        found = connection.execute(
            select(delivery.c.peer, result_object.c.kind, delivery.c.state).join_from(delivery, result_object)
        )
        return sorted(tuple(row) for row in found)


def retry(station: Station) -> list[str]:
    """Order a retry of the only series."""
    with station.ledger.write() as connection:
        return again.retry(connection, only_series(station), Order("alice", station.clock.now))


def resend(station: Station, **wanted: Any) -> dict[str, int]:
    """Order that the only series is sent again."""
    to = destinations(station.settings)
    with station.ledger.write() as connection:
        order = Order("alice", station.clock.now)
        return again.resend(connection, only_series(station), Wanted(**wanted), to, order)


def broken(station: Station) -> None:
    """Let an analysis fail for good, without a word to the peers."""
    station.receive(ct_series(3))
    station.seal()
    claimed = jobs.claim(station.ledger, "w", lease_s=60, max_attempts=1, now=station.clock.now)
    assert claimed is not None
    now = station.clock.now
    jobs.try_again(station.ledger, claimed, "out of memory", due_at=now, max_attempts=1, now=now)


# --- attempts ---------------------------------------------------------------------------------------------


def test_every_attempt_is_remembered(station: Station) -> None:
    """Broken off, tried again, stopped on purpose, ended: each with its owner, times and reason."""
    station.receive(ct_series(3))
    station.seal()
    take: dict[str, Any] = {"lease_s": 60, "max_attempts": 9}
    now = station.clock.now
    assert jobs.claim(station.ledger, "w1", now=now, **take)
    second = jobs.claim(station.ledger, "w2", now=now + 61, **take)
    assert second is not None
    jobs.try_again(station.ledger, second, "no memory", due_at=now, max_attempts=9, now=now + 62)
    assert jobs.claim(station.ledger, "w3", now=now + 63, **take)
    jobs.give_back(station.ledger, "w3", now + 64)
    station.clock.advance(65)
    station.analyse()
    columns = (attempt.c.started_at, attempt.c.owner, attempt.c.ended_at, attempt.c.outcome, attempt.c.reason)
    told = [(owner, ended - now, outcome, why) for _, owner, ended, outcome, why in rows(station, *columns)]
    assert told == [
        ("w1", 61, "broke_off", None),
        ("w2", 62, "again", "no memory"),
        ("w3", 64, "stopped", None),
        ("w", 72, "analysed", None),
    ]


# --- retry ------------------------------------------------------------------------------------------------


def test_a_failed_analysis_is_queued_again(station: Station) -> None:
    """The same job, with all its attempts before it."""
    broken(station)
    assert retry(station) == ["generation 1 is queued again"]
    assert rows(station, job.c.state, job.c.attempt, job.c.generation) == [("queued", 0, 1)]
    assert retry(station) == []
    station.analyse()
    assert rows(station, job.c.state) == [("analysed",)]
    assert rows(station, audit_table.c.actor, audit_table.c.action) == [("alice", "retry")]
    assert station.disagreements() == []


def test_a_refusal_that_peers_know_of_is_followed_by_another_generation(station: Station) -> None:
    """The new result replaces the page that said "not analysed", and overwrites no object of it."""
    station.bring("refused", "study")
    assert "queued as generation 2" in retry(station)[0]
    claimed = jobs.claim(station.ledger, "w", lease_s=60, max_attempts=3, now=station.clock.now)
    assert claimed is not None
    assert claimed.generation == 2
    replaced = replaced_objects(station.ledger, claimed)
    assert {one.stored.kind for one in replaced} == {"segmentation", "film"}
    jobs.give_back(station.ledger, "w", station.clock.now)
    station.analyse()
    assert rows(station, job.c.generation, job.c.state) == [(1, "refused"), (2, "analysed")]
    assert station.disagreements() == []


def test_a_running_analysis_is_not_touched(station: Station) -> None:
    """Nor one that waits."""
    station.bring("sealed", "study")
    assert retry(station) == []
    jobs.claim(station.ledger, "w", lease_s=60, max_attempts=3, now=station.clock.now)
    assert retry(station) == []
    assert rows(station, job.c.state, job.c.owner) == [("running", "w")]


def test_given_up_deliveries_begin_anew(station: Station) -> None:
    """Their time counts from the order on: else they would be given up at once."""
    station.receive(ct_series(3))
    station.seal()
    station.analyse()
    station.deliver("pacs", DeliveryState.FAILED)
    station.clock.advance(30 * 86400)
    with station.ledger.read() as connection:
        assert again.failed_series(connection) == [only_series(station)]
    assert retry(station) == ["2 deliveries that were given up are due again"]
    due = rows(station, delivery.c.peer, delivery.c.state, delivery.c.attempt, delivery.c.created_at)
    assert [one for one in due if one[0] == "pacs"] == [("pacs", "due", 0, station.clock.now)] * 2
    station.deliver("pacs")
    with station.ledger.read() as connection:
        assert again.failed_series(connection) == []


def test_what_was_deleted_cannot_be_analysed_again(station: Station) -> None:
    """The person is told what helps."""
    broken(station)
    with station.ledger.write() as connection:
        connection.execute(manifest.update().values(purged_at=NOON))
    with pytest.raises(NodeError, match="sent again"):
        retry(station)


# --- resend -----------------------------------------------------------------------------------------------


def test_a_result_is_delivered_again(station: Station) -> None:
    """To all its peers, or to one of them; one kind, or all of them; what is on its way is left alone."""
    station.bring("delivered", "study")
    assert resend(station, peers=["pacs"], kinds=["film"]) == {"pacs": 1}
    assert [one for one in deliveries(station) if one[0] == "pacs"] == [
        ("pacs", "film", "due"),
        ("pacs", "segmentation", "delivered"),
    ]
    station.deliver("pacs")
    assert resend(station) == {"pacs": 2, "research": 2}
    with station.ledger.write() as connection:
        connection.execute(delivery.update().values(state=DeliveryState.SENDING.value))
    assert resend(station) == {}


def test_a_peer_gets_what_it_was_not_to_get_before(station: Station) -> None:
    """A peer that was added since gets everything; a kind that is named goes where no setting sends it."""
    station.receive(ct_series(3), source="other", calling="CT2")
    station.seal()
    station.analyse(kinds=("segmentation", "film", "document"))
    assert {one[0] for one in deliveries(station)} == {"pacs"}
    assert resend(station, peers=["research"]) == {"research": 2}
    assert resend(station, peers=["research"], kinds=["document"]) == {"research": 1}
    assert ("research", "document", "due") in deliveries(station)


def test_what_a_peer_committed_to_before_says_nothing_of_the_new_sending(station: Station) -> None:
    """The commitment is asked for anew."""
    station.bring("delivered", "study")
    with station.ledger.write() as connection:
        (first, *_) = connection.execute(select(delivery.c.id).where(delivery.c.peer == "pacs")).scalars()
        values = {
            "peer": "pacs",
            "state": "committed",
            "due_at": NOON,
            "attempt": 1,
            "created_at": NOON,
            "resent": 0,
        }
        connection.execute(commitment.insert().values(id="c", delivery_id=first, **values))
    resend(station, peers=["pacs"])
    assert rows(station, commitment.c.id) == []


def test_without_a_result_nothing_is_sent(station: Station) -> None:
    """The person is told where to look."""
    station.bring("sealed", "study")
    with pytest.raises(NodeError, match="trace"):
        resend(station)


# --- patients ---------------------------------------------------------------------------------------------


def forget(station: Station, digest: str = PATIENT, *, force: bool = False) -> None:
    """Forget a patient."""
    Forgetting(station.settings, station.ledger, digest).forget("alice", force=force)


@pytest.fixture
def at_noon(station: Station, monkeypatch: pytest.MonkeyPatch) -> Station:
    """A station whose clock is that of the commands."""
    monkeypatch.setattr("lesionnode.forgetting.time.time", station.clock)
    return station


def test_a_forgotten_patient_leaves_nothing(at_noon: Station) -> None:
    """No row besides the audit, no file; another patient's are all there."""
    station = at_noon
    station.bring("delivered", "study")
    station.receive([ct_image(number, study="other", PatientID="P-2") for number in (1, 2)])
    station.seal()
    (station.spool.unrecorded / "x.dcm").write_bytes(b"no DICOM")
    station.clock.advance(100)
    forget(station)
    assert rows(station, series.c.patient_digest) == [(patient_digest("P-2", ""),)]
    assert len(list(station.spool.received.iterdir())) == 1
    assert list(station.spool.results.iterdir()) == []
    assert rows(station, audit_table.c.action, audit_table.c.subject) == [("forget", PATIENT)]
    assert station.disagreements() == ["unrecorded"]
    station.clock.advance(100)
    forget(station, patient_digest("P-2", ""), force=True)
    with station.ledger.read() as connection:
        for table in metadata.sorted_tables:
            if table.name not in ("audit", "association"):
                assert connection.execute(select(table)).all() == [], table.name


def test_what_is_under_way_is_finished_first(at_noon: Station) -> None:
    """Unless it is forced: then the worker's end is dropped, and the image after it begins a new series."""
    station = at_noon
    station.bring("sealed", "study")
    with pytest.raises(NodeError, match="analyses"):
        forget(station)
    claimed = jobs.claim(station.ledger, "w", lease_s=60, max_attempts=3, now=station.clock.now)
    assert claimed is not None
    forget(station, force=True)
    assert not jobs.is_known(station.ledger, claimed.id)
    end = jobs.JobEnd(JobState.ANALYSED, None, None)
    to = destinations(station.settings)
    assert not jobs.finish(station.ledger, claimed, end, to, station.clock.now)
    assert station.receive([ct_image(4, study="study")]) == ["kept"]
    assert station.disagreements() == []


def test_merged_identities_are_forgotten_together(at_noon: Station) -> None:
    """Whichever of them is named; a chain of merges has one end."""
    station = at_noon
    for number in (1, 2, 3):
        station.receive([ct_image(1, study=f"{number}", PatientID=f"P-{number}")])
    station.seal()
    one, two, three = (patient_digest(f"P-{number}", "") for number in (1, 2, 3))
    assert merge_patients(station.ledger, one, two, "alice") == 2
    assert merge_patients(station.ledger, two, three, "alice") == 3
    with pytest.raises(NodeError, match="already"):
        merge_patients(station.ledger, three, one, "alice")
    with station.ledger.read() as connection:
        assert {merges.stands_for(connection, each) for each in (one, two, three)} == {three}
        assert merges.same_patient(connection, one) == {one, two, three}
    station.clock.advance(100)
    forget(station, two, force=True)
    assert rows(station, series.c.id) == []
    assert rows(station, patient_merge.c.old_digest) == []


def test_each_node_forgets_what_lies_in_its_spool(shared_ledger: Ledger, tmp_path: Path) -> None:
    """Files that lie elsewhere have to be deleted there; the last node deletes the series itself."""
    station = Station(tmp_path / "one", shared_ledger)
    station.bring("delivered", "study")
    elsewhere = Station(tmp_path / "two", shared_ledger)
    (tmp_path / "two" / "node-name").write_text("other")
    found = Forgetting(elsewhere.settings, shared_ledger, PATIENT).forget("alice", force=True)
    assert found.elsewhere == (NODE,)
    assert len(rows(station, manifest.c.id)) == 1
    found = Forgetting(station.settings, shared_ledger, PATIENT).forget("alice", force=True)
    assert found.elsewhere == ()
    assert rows(station, series.c.id) == []


# --- drain ------------------------------------------------------------------------------------------------


def test_while_draining_no_new_series_begins(station: Station) -> None:
    """The rest of a series that is here is welcome, a new one is refused; what is left is counted."""
    station.receive(ct_series(2))
    with station.ledger.write() as connection:
        switches.set_on(connection, switches.DRAINING, {"by": "alice"}, NOON)
        switches.set_on(connection, switches.DRAINING, {"by": "bob"}, NOON + 1)
        assert switches.all_on(connection) == {"draining": {"since": NOON, "by": "alice"}}
    assert station.receive([ct_image(3)]) == ["kept"]
    with pytest.raises(Draining):
        station.receive([ct_image(1, series="another")])
    with station.ledger.read() as connection:
        left = remaining(connection)
        assert (left.callers, left.images, left.analyses) == (("CT1",), 3, 0)
    with station.ledger.write() as connection:
        assert switches.set_off(connection, switches.DRAINING)
        assert not switches.set_off(connection, switches.DRAINING)
    assert station.receive([ct_image(1, series="another")]) == ["kept"]


def test_nothing_is_left_when_all_is_delivered(station: Station) -> None:
    """Deliveries are named by peer; then nothing."""
    station.bring("delivered", "study")
    with station.ledger.read() as connection:
        assert not remaining(connection)
    resend(station, peers=["pacs"])
    with station.ledger.read() as connection:
        assert remaining(connection).deliveries == {"pacs": 2}


def test_an_act_is_audited_with_what_did_it(ledger: Ledger) -> None:
    """In the transaction of the act; long names are cut to their columns."""
    with ledger.write() as connection:
        audit.record(connection, "a" * 99, "purge", "s" * 200, {"images": 3}, NOON)
    with ledger.read() as connection:
        (row,) = connection.execute(select(audit_table)).all()
    assert (len(row.actor), row.action, len(row.subject), row.detail) == (64, "purge", 160, {"images": 3})


def test_a_patient_with_commitments_can_be_forgotten(station: Station) -> None:
    """Requests that were made to peers go too."""
    station.bring("delivered", "study")
    with station.ledger.write() as connection:
        (job_id,) = connection.execute(select(job.c.id)).scalars()
        connection.execute(
            commitment_transaction.insert().values(
                transaction_uid="2.25.1", job_id=job_id, peer="pacs", asked_at=NOON
            )
        )
    forget(station, force=True)
    assert rows(station, series.c.id) == []
