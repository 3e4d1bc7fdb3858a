"""Commitment in the ledger: who is asked for what, which report counts, and what a sender may rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update

from custody.ledger import (
    Ledger,
    archive_requests,
    commitment_reports,
    commitment_requests,
    commitments,
    deliveries,
)
from custody.ledger.clock import pull_back
from custody.ledger.commitment_reports import MOST_RESENDS, Followed, Report
from custody.ledger.commitment_requests import ClaimedRequest, Item
from custody.ledger.commitments import Asking
from custody.ledger.deliveries import Attempted
from custody.ledger.report import status
from custody.ledger.states import DeliveryState
from custody.ledger.tables import commitment_request, commitment_transaction, delivery, incident, series
from custody.spool import Spool
from tests.helpers.instances import Clock, open_caller
from tests.helpers.office import Office, commitments_of, deliver

SEG, SR = "segmentation", "measurement_report"
DAY = 86400.0


@pytest.fixture
def office(ledger: Ledger, tmp_path: Path) -> Office:
    """An office with one job whose two objects are delivered."""
    office = Office(tmp_path, ledger, Spool(tmp_path), Clock())
    office.finish_job()
    deliver(office)
    return office


def claim(office: Office, owner: str = "lane", lease_s: float = 60) -> Asking | None:
    """Claim what `pacs` is to be asked about."""
    return commitments.claim(office.ledger, "pacs", owner, lease_s=lease_s, now=office.clock.now)


def asked(office: Office, wait_s: float = 3600) -> Asking:
    """Ask `pacs`, which takes the request."""
    asking = claim(office)
    assert asking is not None
    commitments.taken(office.ledger, asking, office.clock.now + wait_s)
    return asking


def report(
    office: Office, asking: Asking, failed: dict[str, int] | None = None, *, peer: str = "pacs"
) -> Followed:
    """Have a peer report that everything is safe but what `failed` names."""
    failed = failed or {}
    committed = {uid: sop_class for sop_class, uid in asking.items if uid not in failed}
    return commitment_reports.follow(
        office.ledger,
        peer,
        Report(asking.transaction_uid, committed, failed),
        resend_at=office.clock.now + 30,
        now=office.clock.now,
    )


def states(office: Office) -> list[str]:
    """Return the states of the commitments to segmentation and report."""
    rows = commitments_of(office)
    return [rows[kind]["state"] for kind in (SEG, SR)]


# --- asking a peer ----------------------------------------------------------------------------------------


def test_everything_delivered_of_a_job_is_asked_for_in_one_request(office: Office) -> None:
    """One Transaction UID for both objects, noted before the request is made."""
    office.finish_job(name="2")
    deliver(office)
    first, second = asked(office), asked(office)
    assert (len(first.items), len(second.items)) == (2, 2)
    assert len({first.transaction_uid, second.transaction_uid}) == 2
    assert claim(office) is None
    with office.ledger.read() as connection:
        noted = connection.execute(select(commitment_transaction.c.transaction_uid)).scalars().all()
    assert set(noted) == {first.transaction_uid, second.transaction_uid}


def test_nothing_is_asked_of_a_peer_that_does_not_commit(office: Office) -> None:
    """A delivery to a peer without commitment makes no row."""
    office.finish_job(peers=("research",), name="2")
    deliver(office, "research", ask_commitment=False)
    assert commitments.claim(office.ledger, "research", "lane", lease_s=60, now=office.clock.now) is None


def test_a_lost_claim_on_a_delivery_owes_nothing(office: Office) -> None:
    """Only the courier that holds the delivery enters the commitment."""
    office.finish_job(name="2")
    now = office.clock.now
    due = deliveries.claim_for_peer(office.ledger, "pacs", "one", lease_s=60, now=now)
    assert deliveries.claim_for_peer(office.ledger, "pacs", "two", lease_s=60, now=now + 61)
    sent = [Attempted(one, one.object, DeliveryState.DELIVERED, None, 0, now) for one in due]
    deliveries.record(office.ledger, sent, now, ask_commitment=True)
    assert len(asked(office).items) == 2
    assert claim(office) is None


def test_what_another_request_is_about_is_not_asked_for_twice(office: Office) -> None:
    """The second lane finds nothing while the first one's lease runs, and takes over afterwards."""
    first = claim(office, "one", lease_s=60)
    assert claim(office, "two") is None
    office.clock.advance(61)
    second = claim(office, "two")
    assert first is not None
    assert second is not None
    assert second.transaction_uid != first.transaction_uid
    commitments.ask_again(office.ledger, first, "too late", 0.0)
    assert states(office) == ["asked", "asked"]


def test_a_dead_process_gives_its_claims_back(office: Office) -> None:
    """At the next start the request is made again at once, under another Transaction UID."""
    claim(office, "node-deliver-1", lease_s=600)
    assert commitments.release_owners(office.ledger, "node-deliver-", office.clock.now) == 2
    assert claim(office) is not None


def test_a_request_that_was_taken_is_left_alone_at_the_next_start(office: Office) -> None:
    """Its report may come any time."""
    asked(office)
    assert commitments.release_owners(office.ledger, "", office.clock.now) == 0
    assert claim(office) is None


def test_a_refused_request_is_made_again_later(office: Office) -> None:
    """With the reason in `status`."""
    asking = claim(office)
    assert asking is not None
    commitments.ask_again(office.ledger, asking, "pacs is away", office.clock.now + 30)
    (row,) = status(office.ledger, now=office.clock.now)["commitments"]
    assert (row["peer"], row["state"], row["objects"], row["reason"]) == ("pacs", "due", 2, "pacs is away")
    assert claim(office) is None
    office.clock.advance(30)
    again = claim(office)
    assert again is not None
    assert again.attempt == 2


def test_a_clock_that_was_set_back_holds_up_nothing(office: Office) -> None:
    """Due times in the future become now."""
    asked(office)
    office.clock.advance(-DAY)
    pull_back(office.ledger, office.clock.now)
    assert claim(office) is not None


# --- what a peer reports ----------------------------------------------------------------------------------


def test_what_is_reported_as_safe_is_committed(office: Office) -> None:
    """And counted in `status`; nothing is asked for any more."""
    asking = asked(office)
    assert report(office, asking).committed == 2
    assert states(office) == ["committed", "committed"]
    assert not commitments.is_awaited(office.ledger, asking.transaction_uid)
    (row,) = status(office.ledger, now=office.clock.now)["commitments"]
    assert (row["state"], row["objects"]) == ("committed", 2)
    office.clock.advance(30 * DAY)
    assert claim(office) is None
    assert status(office.ledger, now=office.clock.now)["commitments"] == []


def test_the_report_may_come_before_the_answer_to_the_request(office: Office) -> None:
    """Neither the answer nor a failure of it undoes what was reported."""
    asking = claim(office)
    assert asking is not None
    report(office, asking)
    commitments.taken(office.ledger, asking, office.clock.now + 10)
    commitments.ask_again(office.ledger, asking, "no answer", office.clock.now)
    assert states(office) == ["committed", "committed"]


def test_without_a_report_it_is_asked_again_and_the_late_one_still_counts(office: Office) -> None:
    """The request of before is not forgotten."""
    first = asked(office, wait_s=3600)
    office.clock.advance(3599)
    assert claim(office) is None
    office.clock.advance(1)
    second = asked(office)
    assert commitments_of(office)[SEG]["reason"] == commitments.NO_REPORT
    assert report(office, first).committed == 2
    assert report(office, second).committed == 0
    assert states(office) == ["committed", "committed"]


def test_a_late_failure_of_an_earlier_request_does_not_count(office: Office) -> None:
    """The newer request will be reported on too."""
    first = asked(office, wait_s=1)
    office.clock.advance(1)
    asked(office)
    followed = report(office, first, {uid: 0x0112 for _, uid in first.items})
    assert (followed.resent, states(office)) == ({}, ["asked", "asked"])


def test_what_is_not_committed_is_sent_again_and_the_rest_is_not(office: Office) -> None:
    """The delivery is due once more; once delivered, it is asked for alone."""
    asking = asked(office)
    seg, sr = (uid for _, uid in asking.items)
    followed = report(office, asking, {sr: 0x0112})
    assert (followed.committed, list(followed.resent)) == (1, [sr])
    assert states(office) == ["committed", "due"]
    assert office.states() == ["delivered", "due"]
    assert claim(office) is None
    office.clock.advance(30)
    assert claim(office) is None, "it is not there yet"
    assert deliver(office) == [sr]
    assert asked(office).items == asking.items[1:]
    with office.ledger.read() as connection:
        told = connection.execute(select(incident)).one()
    assert (told.kind, told.subject) == ("commitment_denied", f"pacs: {sr}")
    assert "0x0112 (it has no such object)" in told.reason
    assert seg not in told.reason


def test_a_report_that_is_repeated_sends_nothing_twice(office: Office) -> None:
    """A peer repeats what was not answered in time."""
    asking = asked(office)
    failed = {asking.items[0][1]: 0x0110}
    assert report(office, asking, failed).resent
    assert not report(office, asking, failed).resent
    assert commitments_of(office)[SEG]["resent"] == 1


def test_an_object_is_not_sent_again_for_ever(office: Office) -> None:
    """After the last resend it is given up with an incident; a late yes still ends it well."""
    for _ in range(MOST_RESENDS + 1):
        asking = asked(office)
        followed = report(office, asking, {uid: 0x0112 for _, uid in asking.items})
        office.clock.advance(30)
        deliver(office)
    assert len(followed.given_up) == 2
    assert states(office) == ["failed", "failed"]
    with office.ledger.read() as connection:
        kinds = connection.execute(select(incident.c.kind).distinct()).scalars().all()
    assert set(kinds) == {"commitment_denied", "commitment_given_up"}
    assert report(office, asking).committed == 2
    assert states(office) == ["committed", "committed"]


def test_a_transaction_uid_that_is_in_use_there_is_asked_with_another(office: Office) -> None:
    """It says nothing about the object, so nothing is sent again."""
    asking = asked(office)
    assert not report(office, asking, {uid: 0x0131 for _, uid in asking.items}).resent
    assert office.states() == ["delivered", "delivered"]
    office.clock.advance(30)
    again = claim(office)
    assert again is not None
    assert again.transaction_uid != asking.transaction_uid


def test_results_that_later_ones_replaced_are_not_sent_again(office: Office) -> None:
    """They would stand in the PACS as the newest."""
    asking = asked(office)
    with office.ledger.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO job (id, series_id, acquisition_id, generation, calling_ae_title, state, evidence, "
            "model, sealed_at, due_at, attempt, finished_at) SELECT 'later', series_id, acquisition_id, "
            "generation + 1, calling_ae_title, state, evidence, model, sealed_at, due_at, attempt, "
            "finished_at FROM job"
        )
    followed = report(office, asking, {uid: 0x0112 for _, uid in asking.items})
    assert (len(followed.given_up), office.states()) == (2, ["delivered", "delivered"])


@pytest.mark.parametrize("committed", [{"other": "1.2"}, {}])
def test_what_a_report_does_not_name_is_not_committed(office: Office, committed: dict[str, str]) -> None:
    """Also where it says that all went well, or names an object under another SOP Class."""
    asking = asked(office)
    wrong_class = {uid: "1.2.840.10008.5.1.4.1.1.2" for _, uid in asking.items}
    for named in (committed, wrong_class):
        said = Report(asking.transaction_uid, named, {})
        followed = commitment_reports.follow(
            office.ledger, "pacs", said, resend_at=office.clock.now, now=office.clock.now
        )
        assert (followed.known, followed.committed) == (True, 0)
    assert states(office) == ["asked", "asked"]


def test_only_the_peer_that_was_asked_can_report(office: Office) -> None:
    """The same Transaction UID from anybody else is unknown."""
    asking = asked(office)
    assert not report(office, asking, peer="research").known
    assert not report(office, Asking("1.2.3", "lane", 1, asking.items)).known
    assert states(office) == ["asked", "asked"]


def test_asking_in_vain_ends_after_days(office: Office) -> None:
    """But never before it was asked at all, however long the node was off."""
    office.clock.advance(8 * DAY)
    assert commitments.give_up(office.ledger, "pacs", asked_since=office.clock.now - 7 * DAY, now=0) == []
    asked(office, wait_s=60)
    office.clock.advance(60)
    ended = commitments.give_up(
        office.ledger, "pacs", asked_since=office.clock.now - 7 * DAY, now=office.clock.now
    )
    assert [one.reason for one in ended] == [commitments.NO_REPORT] * 2
    assert states(office) == ["failed", "failed"]


def test_what_is_never_sent_again_is_never_committed(office: Office) -> None:
    """A resend that was given up ends the commitment too."""
    asking = asked(office)
    report(office, asking, {uid: 0x0112 for _, uid in asking.items})
    with office.ledger.write() as connection:
        connection.execute(update(delivery).values(state="failed", reason="pacs answered 0xA700"))
    office.clock.advance(30)
    ended = commitments.give_up(office.ledger, "pacs", asked_since=0.0, now=office.clock.now)
    assert "not sent again (pacs answered 0xA700)" in ended[0].reason
    assert states(office) == ["failed", "failed"]


def test_results_are_awaited_until_each_peer_has_committed(office: Office) -> None:
    """Whoever deletes results asks this; a peer that is not asked any more is not waited for."""
    with office.ledger.read() as connection:
        job_id = connection.execute(select(delivery.c.job_id).distinct()).scalar_one()
        assert commitments.awaited(connection, job_id, ["pacs"])
        assert not commitments.awaited(connection, job_id, [])
    report(office, asked(office))
    with office.ledger.read() as connection:
        assert not commitments.awaited(connection, job_id, ["pacs"])


# --- requests of senders ----------------------------------------------------------------------------------

ITEMS: tuple[Item, ...] = (("1.2.840.10008.5.1.4.1.1.2", "1.2.1"), ("1.2.840.10008.5.1.4.1.1.2", "1.2.2"))


def enter(office: Office, items: tuple[Item, ...] = ITEMS, transaction_uid: str = "1.9") -> bool:
    """Have CT1 ask for commitment."""
    caller = open_caller(office.ledger, office.clock.now)
    now = office.clock.now
    return commitment_requests.enter(office.ledger, caller, "here", transaction_uid, items, now)


def claim_request(office: Office, owner: str = "desk", node: str = "here") -> ClaimedRequest | None:
    """Claim the request that is due."""
    return commitment_requests.claim(office.ledger, node, owner, lease_s=60, now=office.clock.now)


def test_a_request_is_claimed_by_the_node_that_took_it_and_by_one_process(office: Office) -> None:
    """Another node could not look at the files."""
    assert enter(office)
    assert claim_request(office, node="there") is None
    claimed = claim_request(office)
    assert claimed is not None
    assert (claimed.items, claimed.source, claimed.address) == (ITEMS, "scanner", "127.0.0.1")
    assert claim_request(office, "another") is None


def test_a_process_that_was_thought_dead_decides_nothing(office: Office) -> None:
    """Its claim was taken over."""
    enter(office)
    old = claim_request(office, "one")
    office.clock.advance(61)
    new = claim_request(office, "two")
    assert old is not None
    assert new is not None
    outcome = {uid: 0 for _, uid in ITEMS}
    assert not commitment_requests.decide(office.ledger, old, outcome, {}, office.clock.now)
    assert commitment_requests.decide(office.ledger, new, outcome, {}, office.clock.now)
    commitment_requests.answered(office.ledger, old, office.clock.now)
    with office.ledger.read() as connection:
        assert connection.execute(select(commitment_request.c.state)).scalar_one() == "waiting"


def test_a_dead_process_gives_its_request_back(office: Office) -> None:
    """The next one takes it at once, decided or not."""
    enter(office)
    claim_request(office, "node-receive-1")
    assert commitment_requests.release_owners(office.ledger, "node-receive-", office.clock.now) == 1
    assert claim_request(office) is not None


def test_the_outcome_survives_until_the_sender_has_heard_it(office: Office) -> None:
    """What was decided is not decided anew."""
    enter(office)
    claimed = claim_request(office)
    assert claimed is not None
    outcome = {"1.2.1": 0, "1.2.2": 0x0112}
    commitment_requests.decide(office.ledger, claimed, outcome, {}, office.clock.now)
    commitment_requests.wait(office.ledger, claimed, "CT1 does not answer", office.clock.now + 30)
    (row,) = status(office.ledger, now=office.clock.now)["commitment_requests"]
    assert (row["calling_ae_title"], row["state"], row["reason"]) == ("CT1", "waiting", "CT1 does not answer")
    office.clock.advance(30)
    again = claim_request(office)
    assert again is not None
    assert (again.decided_at, again.outcome) == (claimed.requested_at, outcome)


def test_the_same_request_once_more_is_answered_once_more(office: Office) -> None:
    """Decided afresh; another one under the same Transaction UID is refused."""
    assert enter(office)
    assert enter(office, ITEMS[::-1])
    claimed = claim_request(office)
    assert claimed is not None
    commitment_requests.decide(office.ledger, claimed, {"1.2.1": 0}, {}, office.clock.now)
    commitment_requests.answered(office.ledger, claimed, office.clock.now)
    assert claim_request(office) is None
    assert not enter(office, ITEMS[:1])
    assert enter(office)
    again = claim_request(office)
    assert again is not None
    assert (again.outcome, again.decided_at) == (None, None)


def test_requests_that_ended_long_ago_are_forgotten(office: Office) -> None:
    """Their items would fill the ledger; those that wait are kept however old."""
    for transaction_uid in ("1.9", "1.8"):
        enter(office, transaction_uid=transaction_uid)
    claimed = claim_request(office)
    assert claimed is not None
    archive_requests.enter(office.ledger, claimed, "pacs", "1.7", office.clock.now)
    commitment_requests.answered(office.ledger, claimed, office.clock.now)
    assert commitment_requests.forget_ended(office.ledger, office.clock.now) == 0
    assert commitment_requests.forget_ended(office.ledger, office.clock.now + 1) == 1
    office.clock.advance(DAY)
    assert claim_request(office) is not None


def test_what_an_outcome_rests_on_must_be_there_still(office: Office) -> None:
    """Images that were deleted meanwhile are not promised; those that are there are, from then on."""
    enter(office)
    claimed = claim_request(office)
    assert claimed is not None
    with office.ledger.read() as connection:
        series_id = connection.execute(select(series.c.id)).scalar_one()
        (kept,) = connection.exec_driver_sql("SELECT id FROM instance").scalars()
        assert not commitment_requests.promised(connection, series_id)
    outcome = {uid: 0 for _, uid in ITEMS}
    now = office.clock.now
    assert not commitment_requests.decide(office.ledger, claimed, outcome, {series_id: ["gone"]}, now)
    with office.ledger.read() as connection:
        assert not commitment_requests.promised(connection, series_id)
    assert commitment_requests.decide(office.ledger, claimed, outcome, {series_id: [kept]}, now)
    with office.ledger.read() as connection:
        assert commitment_requests.promised(connection, series_id)


def test_a_report_of_the_archive_is_kept_for_the_request_that_depends_on_it(office: Office) -> None:
    """A yes stays a yes; what was asked for an earlier asking of the sender does not count."""
    enter(office)
    claimed = claim_request(office)
    assert claimed is not None
    now = office.clock.now
    archive_requests.enter(office.ledger, claimed, "pacs", "1.7", now)
    assert archive_requests.said(office.ledger, claimed) == ({}, now)
    commitment_requests.wait(office.ledger, claimed, "waits", now + 3600)
    said = Report("1.7", {"1.2.1": ITEMS[0][0]}, {"1.2.2": 0x0112})
    followed = commitment_reports.follow(office.ledger, "pacs", said, resend_at=now, now=now)
    assert followed.request_id == claimed.id
    again = claim_request(office)
    assert again is not None, "it is due with the report"
    assert archive_requests.said(office.ledger, again) == ({"1.2.1": 0, "1.2.2": 0x0112}, None)
    commitment_requests.answered(office.ledger, again, now)
    office.clock.advance(1)
    enter(office)
    afresh = claim_request(office)
    assert afresh is not None
    assert archive_requests.said(office.ledger, afresh) == ({}, None)
