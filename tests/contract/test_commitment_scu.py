"""A PACS is asked to commit to what it got: it reports, late, elsewhere, in part, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy import select
from structlog.testing import capture_logs

from config import Settings
from custody.ledger import commitments
from custody.ledger.tables import commitment_transaction, delivery, incident, instance
from custody.spool import Spool
from scp import commitment_wire as wire
from scp.commitment_reports import ReportTaker
from scp.commitment_scu import CommitmentAsker
from tests.helpers.commitment import ScriptedArchive, receiving, send_report, until
from tests.helpers.dicom_peers import CT_CONTEXT, LEAVES_SOCKETS, Scanner, ScriptedPacs, contexts_for
from tests.helpers.instances import Clock, fresh_ledger, peer, settings_for, source
from tests.helpers.office import PLAIN, Office, commitments_of, deliver

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

SEG, SR = "segmentation", "measurement_report"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office with one job whose two objects `pacs` has got."""
    with fresh_ledger(tmp_path) as ledger:
        office = Office(tmp_path, ledger, Spool(tmp_path), Clock())
        office.finish_job()
        deliver(office)
        yield office


def settings_with(office: Office, port: int, **changes: object) -> Settings:
    """Return settings with one peer that commits, and a source of another AE title."""
    pacs = peer("pacs", port, storage_commitment=True, **changes)
    settings = settings_for(office.folder, peers=(pacs,), sources=(source("scanner", "CT1"),))
    delivery = {"timeout_s": 5.0, "answer_timeout_s": 5.0, "first_retry_s": 30.0}
    return settings.model_copy(update={"delivery": settings.delivery.model_copy(update=delivery)})


def asker(office: Office, settings: Settings, report_wait_s: float = 0.1) -> CommitmentAsker:
    """Return the lane that asks `pacs`."""
    (pacs,) = settings.peers
    return CommitmentAsker(settings, pacs, office.ledger, "lane", office.clock, report_wait_s)


def ask(office: Office, pacs: ScriptedArchive, report_wait_s: float = 0.1) -> int:
    """Let `pacs` be asked once."""
    return asker(office, settings_with(office, pacs.port), report_wait_s).step()


def states(office: Office) -> list[str]:
    """Return the states of the commitments to segmentation and report."""
    rows = commitments_of(office)
    return [rows[kind]["state"] for kind in (SEG, SR)]


def reasons(office: Office) -> set[str]:
    """Return why something is not committed yet."""
    return {row["reason"] for row in commitments_of(office).values()}


def test_the_courier_owes_what_it_delivered(tmp_path: Path) -> None:
    """Each object that a committing peer took over C-STORE is to be asked for."""
    with fresh_ledger(tmp_path) as ledger:
        office = Office(tmp_path, ledger, Spool(tmp_path), Clock())
        office.finish_job()
        with ScriptedPacs(contexts=contexts_for(*(one[2] for one in PLAIN))) as pacs:
            assert office.courier(peer("pacs", pacs.port, storage_commitment=True)).step() == 2
        assert states(office) == ["due", "due"]


@pytest.mark.parametrize("reports", ["same", "early"])
def test_a_report_on_the_same_association_is_taken(office: Office, reports: str) -> None:
    """One request for both objects, recorded before it is sent; some peers report before they answer it."""
    noted: list[str] = []

    def look() -> None:
        with office.ledger.read() as connection:
            noted.extend(connection.execute(select(commitment_transaction.c.transaction_uid)).scalars())

    with ScriptedArchive(reports=reports, on_action=look) as pacs:
        assert ask(office, pacs, report_wait_s=5) == 2
        assert ask(office, pacs) == 0
    ((transaction_uid, items),) = pacs.asked
    assert (noted, len(items), pacs.answers) == ([transaction_uid], 2, [0x0000])
    assert states(office) == ["committed", "committed"]


def test_the_association_stands_until_the_report_is_answered(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is in the ledger a moment before its answer leaves; the peer hears it all the same."""
    record = ReportTaker.take

    def take_time(self: ReportTaker, event: Any, peer: str) -> int:
        status = record(self, event, peer)
        time.sleep(0.3)
        return status

    monkeypatch.setattr(ReportTaker, "take", take_time)
    with ScriptedArchive(reports="same") as pacs:
        assert ask(office, pacs, report_wait_s=5) == 2
        until(lambda: pacs.answers)
    assert pacs.answers == [0x0000]


def test_a_report_on_a_new_association_is_taken(office: Office) -> None:
    """The PACS calls the listener, as SCP by role selection, though it is no source."""
    pacs = ScriptedArchive(reports="new")
    with pacs:
        settings = settings_with(office, pacs.port)
        with receiving(settings, office.ledger, office.clock) as pacs.node_port:
            assert asker(office, settings, report_wait_s=5).step() == 2
            assert states(office) == ["committed", "committed"]


def test_a_peer_that_is_no_source_may_report_and_nothing_else(office: Office) -> None:
    """Its storage contexts are rejected, and what it sends all the same is not kept."""
    settings = settings_with(office, 104)
    with receiving(settings, office.ledger, office.clock) as port:
        caller = Scanner(port, calling="PACS")
        known = [(wire.PUSH_MODEL, ("1.2.840.10008.1.2",)), (str(Verification), ("1.2.840.10008.1.2",))]
        with caller.association([*CT_CONTEXT, *known]) as association:
            accepted = [str(one.abstract_syntax) for one in association.accepted_contexts]
        assert accepted == [one[0] for one in known]
        with capture_logs() as logs:
            assert caller.request(CT_CONTEXT).is_rejected
        assert 'ae_titles = ["PACS"]' in logs[0]["to_admit"]
        with pytest.raises(ConnectionError):
            send_report(port, wire.report("1.2.3", [], {})[1], calling="STRANGER")
    with office.ledger.read() as connection:
        kept = connection.execute(select(instance.c.association_id)).all()
    assert len(kept) == 1, "only the series that the results are of"


def test_a_source_that_is_no_committing_peer_cannot_report(office: Office) -> None:
    """The context is not accepted from it."""
    asking = ScriptedArchive()
    with asking, receiving(settings_with(office, asking.port), office.ledger, office.clock) as port:
        ask(office, asking)
        asking.ae_title = "CT1"
        with pytest.raises(ConnectionError):
            asking.report_on(0, port)
    assert states(office) == ["asked", "asked"]


def test_a_peer_may_call_the_node_by_the_title_that_it_is_asked_under(office: Office) -> None:
    """`calling_ae_title` is what this node is called there."""
    with ScriptedArchive() as pacs:
        settings = settings_with(office, pacs.port, calling_ae_title="AINODE")
        asker(office, settings).step()
        event = wire.report(*pacs.asked[0], outcome={uid: 0 for _, uid in pacs.asked[0][1]})[1]
        with receiving(settings, office.ledger, office.clock) as port:
            assert send_report(port, event, called="AINODE") == 0x0000
            with pytest.raises(ConnectionError):
                send_report(port, event, called="OTHER")
    assert states(office) == ["committed", "committed"]


def test_a_peer_that_never_reports_is_asked_again(office: Office) -> None:
    """After `commitment_wait_s`, under another Transaction UID; the late first report still counts."""
    with ScriptedArchive() as pacs:
        settings = settings_with(office, pacs.port)
        lane = asker(office, settings)
        assert lane.step() == 2
        office.clock.advance(3599)
        assert lane.step() == 0
        office.clock.advance(1)
        assert lane.step() == 2
        with receiving(settings, office.ledger, office.clock) as port:
            assert pacs.report_on(0, port) == 0x0000
    assert len({transaction_uid for transaction_uid, _ in pacs.asked}) == 2
    assert states(office) == ["committed", "committed"]


@pytest.mark.parametrize("reason", [0x0112, 0x0110, 0x0213, 0x0122, 0x0119, 0xABCD])
def test_what_it_does_not_commit_to_is_sent_again(office: Office, reason: int) -> None:
    """Whatever its reason; the other object is committed and left alone."""
    sr = commitments_of(office)[SR]
    with office.ledger.read() as connection:
        uid = connection.exec_driver_sql(
            "SELECT sop_instance_uid FROM result_object r JOIN delivery d ON d.result_object_id = r.id "
            "WHERE d.id = ?",
            (sr["delivery_id"],),
        ).scalar_one()
    with ScriptedArchive(reports="same", outcome={uid: reason}) as pacs, capture_logs() as logs:
        ask(office, pacs, report_wait_s=5)
    assert states(office) == ["committed", "due"]
    assert office.states() == ["delivered", "due"]
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["commitment_denied"]
    assert f"0x{reason:04X}" in str(commitments_of(office)[SR]["reason"])


def test_a_report_that_names_only_a_part_commits_only_that(office: Office) -> None:
    """Also where it says that all went well."""
    with ScriptedArchive(reports="same") as pacs:
        settings = settings_with(office, pacs.port)
        (first, _) = [one["delivery_id"] for one in commitments_of(office).values()]
        with office.ledger.read() as connection:
            uid = connection.exec_driver_sql(
                "SELECT sop_instance_uid FROM result_object r JOIN delivery d ON d.result_object_id = r.id "
                "WHERE d.id = ?",
                (first,),
            ).scalar_one()
        pacs.outcome = {uid: None}
        asker(office, settings, report_wait_s=0.3).step()
    assert sorted(states(office)) == ["asked", "committed"]


@pytest.mark.parametrize(
    ("pacs", "reason"),
    [
        (ScriptedArchive(action_status=0x0213), "0x0213 (resource limitation)"),
        (ScriptedArchive(action_status=0x0112), "0x0112 (it has no Storage Commitment"),
        (ScriptedArchive(action_status=0x0211), "0x0211 (unrecognised operation)"),
        (
            ScriptedArchive(commits=False),
            'enable them there for "LESIONNODE", or set storage_commitment = false',
        ),
    ],
)
def test_a_refused_request_is_made_again_with_growing_waits(
    office: Office, pacs: ScriptedArchive, reason: str
) -> None:
    """The reason stands in the ledger, for `status`."""
    with pacs:
        lane = asker(office, settings_with(office, pacs.port))
        assert lane.step() == 2
        assert states(office) == ["due", "due"]
        assert all(reason in one for one in reasons(office))
        office.clock.advance(29)
        assert lane.step() == 0
        office.clock.advance(1)
        assert lane.step() == 2
        office.clock.advance(59)
        assert lane.step() == 0
        office.clock.advance(1)
        assert lane.step() == 2


def test_a_peer_that_is_away_is_asked_later(office: Office) -> None:
    """And given up after days, loudly."""
    with ScriptedArchive() as pacs:
        settings = settings_with(office, pacs.port)
    lane = asker(office, settings)
    lane.step()
    assert all("does not answer" in one for one in reasons(office))
    office.clock.advance(8 * 86400)
    assert lane.step() == 0
    assert states(office) == ["failed", "failed"]
    with office.ledger.read() as connection:
        assert set(connection.execute(select(incident.c.kind)).scalars()) == {"commitment_given_up"}
        assert set(connection.execute(select(delivery.c.state)).scalars()) == {"delivered"}


def test_after_a_crash_between_request_and_report_the_report_still_counts(office: Office) -> None:
    """The request was recorded; another process on the same ledger takes the report."""
    with ScriptedArchive() as pacs:
        settings = settings_with(office, pacs.port)
        (pacs_settings,) = settings.peers
        asking = commitments.claim(office.ledger, "pacs", "dead", lease_s=600, now=office.clock.now)
        assert asking is not None
        pacs.asked.append((asking.transaction_uid, list(asking.items)))
        office.ledger.close()
        with fresh_ledger(office.folder) as ledger:
            commitments.release_owners(ledger, "dead", office.clock.now)
            with receiving(settings, ledger, office.clock) as port:
                assert pacs.report_on(0, port) == 0x0000
            assert CommitmentAsker(settings, pacs_settings, ledger, "lane", office.clock).step() == 0
    assert states(office) == ["committed", "committed"]


def test_a_report_on_an_unknown_request_is_answered_and_changes_nothing(office: Office) -> None:
    """Repeating it would not help; the log tells."""
    with ScriptedArchive() as pacs:
        settings = settings_with(office, pacs.port)
        asker(office, settings).step()
        ((_, items),) = pacs.asked
        event = wire.report("1.2.3", items, {uid: 0 for _, uid in items})[1]
        with receiving(settings, office.ledger, office.clock) as port, capture_logs() as logs:
            assert send_report(port, event) == 0x0000
    assert "commitment_report_on_unknown_request" in [log["event"] for log in logs]
    assert states(office) == ["asked", "asked"]


def without_transaction() -> Dataset:
    """Return a report without Transaction UID."""
    event = wire.report("1.2.3", [("1.2", "1.2.3")], {"1.2.3": 0})[1]
    del event.TransactionUID
    return event


def without_instance() -> Dataset:
    """Return a report whose item has no instance."""
    event = wire.report("1.2.3", [("1.2", "1.2.3")], {"1.2.3": 0})[1]
    del event.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    return event


@pytest.mark.parametrize(
    ("event", "changes", "status"),
    [
        (without_transaction(), {}, 0x0115),
        (None, {}, 0x0115),
        (without_instance(), {}, 0x0115),
        (wire.report("1.2.3", [], {})[1], {"event_type": 3}, 0x0113),
        (wire.report("1.2.3", [], {})[1], {"instance": "1.2.3"}, 0x0112),
    ],
)
def test_a_report_that_cannot_be_followed_is_refused(
    office: Office, event: Dataset | None, changes: dict[str, object], status: int
) -> None:
    """With the status that says why."""
    with receiving(settings_with(office, 104), office.ledger, office.clock) as port:
        assert send_report(port, event, **changes) == status  # type: ignore[arg-type]


def test_a_report_that_cannot_be_recorded_is_not_acknowledged(office: Office) -> None:
    """The peer has to come again: resource limitation."""
    with receiving(settings_with(office, 104), office.ledger, office.clock) as port:
        with office.ledger.write() as connection:
            connection.exec_driver_sql("ALTER TABLE commitment_transaction RENAME TO away")
        assert send_report(port, wire.report("1.2.3", [], {})[1]) == 0x0213
        with office.ledger.write() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO commitment_transaction")
