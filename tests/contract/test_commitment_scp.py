"""Senders ask for commitment and may delete their copies: every way to make the node say yes wrongly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from rich.console import Console
from sqlalchemy import select, update
from structlog.testing import capture_logs

from config import Settings
from core.ct_header import CT_IMAGE_STORAGE
from custody.holdings import Holdings
from custody.ledger import Ledger, archive_requests, commitment_reports, commitment_requests
from custody.ledger.commitment_reports import Report
from custody.ledger.report import status as ledger_status
from custody.ledger.tables import commitment_request, incident, instance, manifest, series
from custody.shelving import Shelving
from custody.spool import Spool
from lesionnode.retaining import disk_report
from lesionnode.status_page import print_status
from scp import commitment_wire as wire
from scp.commitment_answers import CommitmentDesk
from scp.completion import Completion
from tests.helpers.commitment import Item, ScriptedArchive, ScriptedSender, receiving
from tests.helpers.dicom_peers import LEAVES_SOCKETS, Scanner, Store
from tests.helpers.instances import (
    Clock,
    ct_image,
    ct_series,
    dose_report,
    fresh_ledger,
    own_segmentation,
    peer,
    settings_for,
    source,
)

pytestmark = [LEAVES_SOCKETS, pytest.mark.usefixtures("network")]

HOUR = 3600.0
CT = CT_IMAGE_STORAGE


@dataclass(slots=True)
class Site:
    """A node that listens, a scanner that asks it, and whoever works off the requests."""

    folder: Path
    ledger: Ledger
    clock: Clock
    settings: Settings
    port: int
    sender: ScriptedSender
    kept: list[Dataset] = field(default_factory=list)

    def desk(self, ledger: Ledger | None = None) -> CommitmentDesk:
        """Return a process that answers."""
        return CommitmentDesk(self.settings, ledger or self.ledger, "", "desk", self.clock)

    def send(self, *images: Dataset) -> None:
        """Send images, each of which has to be taken."""
        assert set(Scanner(self.port).send_images(images)) == {0x0000}

    def shelve(self) -> None:
        """Let time pass until the series is sealed and its instances are in a manifest."""
        self.clock.advance(600)
        spool = Spool(self.folder)
        holdings = Holdings(spool, self.ledger)
        Completion(self.settings, self.ledger, holdings, self.clock).step()
        Shelving(self.ledger, spool, holdings, "", self.clock).step()

    def work(self) -> None:
        """Let the desk do whatever is due now."""
        while self.desk().step():
            pass

    def outcome(self, *items: Item, transaction_uid: str = "1.2.3") -> dict[str, int]:
        """Ask for commitment and return what the sender is told: 0 or the Failure Reason by instance."""
        assert self.sender.ask(items, transaction_uid) == 0x0000
        self.work()
        return self.told(transaction_uid)

    def told(self, transaction_uid: str = "1.2.3") -> dict[str, int]:
        """Return what the sender was told; the event type has to agree with it."""
        ((event_type, about, committed, failed),) = self.sender.reported
        assert about == transaction_uid
        assert event_type == (2 if failed else 1)
        return {**{uid: 0 for _, uid in committed}, **failed}

    def rows(self, table: Any) -> list[Any]:
        """Return every row of a table."""
        with self.ledger.read() as connection:
            return list(connection.execute(select(table)).all())

    def execute(self, statement: Any) -> None:
        """Change the ledger."""
        with self.ledger.write() as connection:
            connection.execute(statement)

    def promised(self) -> bool:
        """Tell whether any series must not be deleted any more."""
        with self.ledger.read() as connection:
            return any(commitment_requests.promised(connection, one.id) for one in self.rows(series))


def item(image: Dataset, sop_class: str = CT) -> Item:
    """Return how an image is named in a request."""
    return sop_class, str(image.SOPInstanceUID)


@contextmanager
def site(
    folder: Path, commitment: str, archive: ScriptedArchive | None = None, **sender: Any
) -> Iterator[Site]:
    """Run a node for one scanner; `archive` is its peer of that name."""
    clock = Clock(time.time())
    with ScriptedSender(**sender) as scanner, fresh_ledger(folder) as ledger:
        changes: dict[str, Any] = {"storage_commitment": commitment, "commitment_port": scanner.port}
        peers = [peer("pacs", 9)]
        if archive is not None:
            peers.append(peer("archive", archive.port, storage_commitment=archive.reports != "never"))
            changes["archive"] = "archive"
        settings = settings_for(
            folder,
            peers=tuple(peers),
            sources=(source("scanner", "CT1", **changes),),
            commitment_answer_within_s=12 * HOUR,
        )
        waits = {"timeout_s": 1.0, "answer_timeout_s": 1.0, "first_retry_s": 30.0}
        settings = settings.model_copy(update={"delivery": settings.delivery.model_copy(update=waits)})
        with receiving(settings, ledger, clock) as port:
            scanner.node_port = port
            if archive is not None:
                archive.node_port = port
            yield Site(folder, ledger, clock, settings, port, scanner)


# --- kept here --------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    """A node that is declared to keep for good."""
    with site(tmp_path, "here") as running:
        yield running


@pytest.mark.parametrize("shelved", [False, True])
def test_what_is_held_is_committed_and_promised(here: Site, shelved: bool) -> None:
    """Sealed or not; from then on nobody may delete the series."""
    images = ct_series(3)
    here.send(*images)
    if shelved:
        here.shelve()
        assert here.rows(instance) == []
    assert not here.promised()
    assert here.outcome(*map(item, images)) == {uid: 0 for _, uid in map(item, images)}
    assert here.promised()
    assert here.rows(commitment_request)[0].state == "answered"


def test_what_cannot_be_analysed_is_committed_too(here: Site) -> None:
    """A dose report is set aside and kept whole."""
    report = dose_report()
    here.send(report)
    wanted = item(report, str(report.SOPClassUID))
    assert here.outcome(wanted) == {wanted[1]: 0}


def never_sent(here: Site, image: Dataset) -> None:
    """Send another image of the series."""
    here.send(ct_image(2))


def refused(here: Site, image: Dataset) -> None:
    """Send it under a UID that the command contradicts: 0xA900."""
    wrong = Store.of(image, sop_instance_uid="1.2.3.4")
    assert Scanner(here.port).send(wrong) == [0xA900]


def truncated(here: Site, image: Dataset) -> None:
    """Send the first half: kept, set aside, acknowledged."""
    whole = Store.of(image)
    assert Scanner(here.port).send(Store.of(image, data=whole.data[:-16])) == [0x0000]


def two_contents(here: Site, image: Dataset) -> None:
    """Send two contents under one UID: both are kept, but which one is meant?"""
    here.send(image, ct_image(1, SliceThickness=5.0))


def two_contents_shelved(here: Site, image: Dataset) -> None:
    """The same, found in the manifest."""
    two_contents(here, image)
    here.shelve()


def another_class(here: Site, image: Dataset) -> None:
    """Send it as what it is; it will be asked for as something else."""
    here.send(image)
    here.kept.append(image)


def purged(here: Site, image: Dataset) -> None:
    """Delete it by rule."""
    here.send(image)
    here.shelve()
    here.execute(update(manifest).values(purged_at=here.clock.now, purged_because="age"))


def file_gone(here: Site, image: Dataset) -> None:
    """Delete the file behind the node's back."""
    here.send(image)
    for path in (here.folder / "received").glob("*/*.dcm"):
        path.unlink()


def marked_missing(here: Site, image: Dataset) -> None:
    """The start found that the file is gone."""
    file_gone(here, image)
    here.execute(update(instance).values(sha256="", set_aside="its file is missing from the spool"))


def file_changed(here: Site, image: Dataset) -> None:
    """Flip one bit on the disk."""
    here.send(image)
    here.shelve()
    for path in (here.folder / "received").glob("*/*.dcm"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))


def manifest_gone(here: Site, image: Dataset) -> None:
    """Nobody knows any more what the file should hold."""
    here.send(image)
    here.shelve()
    for path in (here.folder / "received").glob("*/manifest-*.json"):
        path.unlink()


def on_another_node(here: Site, image: Dataset) -> None:
    """The file is in the spool of another machine on the same ledger."""
    here.send(image)
    here.execute(update(instance).values(node="other"))


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (never_sent, 0x0112),
        (refused, 0x0112),
        (truncated, 0x0110),
        (two_contents, 0x0110),
        (two_contents_shelved, 0x0110),
        (another_class, 0x0119),
        (purged, 0x0112),
        (file_gone, 0x0112),
        (marked_missing, 0x0112),
        (file_changed, 0x0110),
        (manifest_gone, 0x0112),
        (on_another_node, 0x0110),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_never_says_yes_to(here: Site, story: Callable[[Site, Dataset], None], reason: int) -> None:
    """Each of these is answered with its Failure Reason, and nothing is promised."""
    image = ct_image(1)
    story(here, image)
    wanted = item(image, "1.2.840.10008.5.1.4.1.1.4" if here.kept else CT)
    assert here.outcome(wanted) == {wanted[1]: reason}
    assert not here.promised()


def test_our_own_result_that_came_back_is_not_committed(here: Site) -> None:
    """It was acknowledged and not kept."""
    result = own_segmentation()
    here.send(result)
    wanted = item(result, str(result.SOPClassUID))
    assert here.outcome(wanted) == {wanted[1]: 0x0112}


def test_one_bad_instance_does_not_spoil_the_others(here: Site) -> None:
    """Event type 2 with both sequences; the good part is promised."""
    images = ct_series(3)
    here.send(*images[:2])
    told = here.outcome(*map(item, images))
    assert list(told.values()) == [0, 0, 0x0112]
    assert here.promised()


def test_a_whole_copy_after_a_damaged_one_is_committed(here: Site) -> None:
    """The damaged one is no content of its own."""
    image = ct_image(1)
    truncated(here, image)
    here.send(image)
    assert here.outcome(item(image)) == {str(image.SOPInstanceUID): 0}


def test_images_deleted_between_look_and_answer_are_not_promised(here: Site) -> None:
    """The outcome is recorded only while the files are still listed."""
    image = ct_image(1)
    here.send(image)
    here.shelve()
    assert here.sender.ask([item(image)]) == 0x0000
    desk, judge = here.desk(), here.desk()._judge
    look = judge.kept_here

    def look_and_lose(claimed: Any) -> Any:
        found = look(claimed)
        purged_now = update(manifest).values(purged_at=here.clock.now, purged_because="age")
        here.execute(purged_now)
        return found

    desk._judge = judge
    judge.kept_here = look_and_lose  # type: ignore[method-assign]
    desk.step()
    assert (here.promised(), here.sender.reported) == (False, [])
    here.clock.advance(30)
    here.work()
    assert here.told() == {str(image.SOPInstanceUID): 0x0112}


# --- who may ask, and how ---------------------------------------------------------------------------------


def test_off_means_that_it_cannot_be_asked(tmp_path: Path) -> None:
    """The presentation context is not accepted, so the sender knows at once."""
    with site(tmp_path, "off") as off, pytest.raises(ConnectionError):
        off.sender.ask([item(ct_image(1))])


def faulty(change: Callable[[Dataset], None]) -> Dataset:
    """Return a request with one fault."""
    action = wire.request("1.2.3", [(CT, "1.2.4"), (CT, "1.2.5")])
    change(action)
    return action


def test_an_association_about_commitment_alone_holds_up_no_series(here: Site) -> None:
    """A scanner may hold it open until it has its answer; that one brings no images."""
    here.send(ct_image(1))
    push_model = [(wire.PUSH_MODEL, ("1.2.840.10008.1.2",))]
    with Scanner(here.port).association(push_model):
        here.clock.advance(4)
        holdings = Holdings(Spool(here.folder), here.ledger)
        assert Completion(here.settings, here.ledger, holdings, here.clock).step() == 1


def _without(keyword: str) -> Callable[[Dataset], None]:
    return lambda action: delattr(action, keyword)


def _without_class(action: Dataset) -> None:
    del action.ReferencedSOPSequence[0].ReferencedSOPClassUID


def _twice(action: Dataset) -> None:
    action.ReferencedSOPSequence[1].ReferencedSOPInstanceUID = "1.2.4"
    action.ReferencedSOPSequence[1].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"action_type": 2}, 0x0123),
        ({"instance": "1.2.3"}, 0x0112),
        ({"action": faulty(_without("TransactionUID"))}, 0x0115),
        ({"action": faulty(_without("ReferencedSOPSequence"))}, 0x0115),
        ({"action": faulty(lambda one: one.ReferencedSOPSequence.clear())}, 0x0115),
        (
            {"action": faulty(lambda one: delattr(one.ReferencedSOPSequence[0], "ReferencedSOPClassUID"))},
            0x0115,
        ),
        ({"action": faulty(_twice)}, 0x0115),
    ],
)
def test_a_request_that_means_nothing_is_refused(here: Site, request_: dict[str, Any], status: int) -> None:
    """With the status that says why; nothing is recorded."""
    assert here.sender.ask([item(ct_image(1))], **request_) == status
    assert here.rows(commitment_request) == []


def test_a_request_that_cannot_be_recorded_is_not_acknowledged(here: Site) -> None:
    """Resource limitation: the sender asks again."""
    with here.ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE commitment_request RENAME TO away")
    assert here.sender.ask([item(ct_image(1))]) == 0x0213
    with here.ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO commitment_request")


def test_the_same_request_again_is_reported_on_again(here: Site) -> None:
    """Another request under its Transaction UID is refused."""
    image = ct_image(1)
    here.send(image)
    assert here.outcome(item(image)) == {str(image.SOPInstanceUID): 0}
    assert here.sender.ask([item(ct_image(2))]) == 0x0131
    here.sender.reported.clear()
    assert here.outcome(item(image)) == {str(image.SOPInstanceUID): 0}


# --- the sender hears it ----------------------------------------------------------------------------------


def test_a_restart_between_request_and_report_loses_nothing(here: Site) -> None:
    """The process that took the request dies; another one decides; a third reports."""
    image = ct_image(1)
    here.send(image)
    assert here.sender.ask([item(image)]) == 0x0000
    for step in range(2):
        with fresh_ledger(here.folder) as ledger:
            assert commitment_requests.claim(ledger, "", f"node-{step}", lease_s=600, now=here.clock.now)
            assert not here.desk(ledger).step(), "the dead one holds it"
            commitment_requests.release_owners(ledger, "node-", here.clock.now)
            assert here.desk(ledger).step()
    assert here.told() == {str(image.SOPInstanceUID): 0}


def test_a_sender_that_is_away_is_called_again(tmp_path: Path) -> None:
    """With growing waits, and the reason in the ledger."""
    with site(tmp_path, "here") as here:
        image = ct_image(1)
        here.send(image)
        assert here.sender.ask([item(image)]) == 0x0000
        here.sender.close()
        for wait in (30, 30, 60, 120):
            here.work()
            (row,) = here.rows(commitment_request)
            assert "does not answer" in row.reason
            assert row.due_at == pytest.approx(here.clock.now + wait)
            here.clock.advance(wait)
        here.clock.advance(8 * 24 * HOUR)
        with capture_logs() as logs:
            here.work()
        assert here.rows(commitment_request)[0].state == "failed"
        assert here.rows(incident)[0].kind == "commitment_unanswered"
        assert "commitment_unanswered" in [log["event"] for log in logs if log["log_level"] == "error"]
        with ScriptedSender(node_port=here.port) as back:  # it asks again, and is answered again
            assert back.ask([item(image)]) == 0x0000


@pytest.mark.parametrize(
    ("sender", "reason"),
    [
        ({"accepts_role": False}, "does not let this node report (role selection"),
        ({"statuses": (0x0110, 0x0000)}, "answered the report with 0x0110"),
    ],
)
def test_a_sender_that_refuses_the_report_is_called_again(
    tmp_path: Path, sender: dict[str, Any], reason: str
) -> None:
    """The outcome is not decided anew."""
    with site(tmp_path, "here", **sender) as here:
        image = ct_image(1)
        here.send(image)
        here.sender.ask([item(image)])
        here.work()
        (row,) = here.rows(commitment_request)
        assert (row.state, row.outcome) == ("waiting", {str(image.SOPInstanceUID): 0})
        assert reason in row.reason
        here.clock.advance(30)
        here.work()
        assert here.rows(commitment_request)[0].state == ("answered" if "statuses" in sender else "waiting")


def test_a_peer_of_the_same_title_says_where_the_sender_listens(tmp_path: Path) -> None:
    """Then the source needs no port."""
    with site(tmp_path, "here") as here:
        (scanner,) = here.settings.sources
        there = peer("ct", here.sender.port, ae_title="CT1")
        unset = scanner.model_copy(update={"commitment_port": None})
        here.settings = here.settings.model_copy(update={"peers": (there,), "sources": (unset,)})
        image = ct_image(1)
        here.send(image)
        assert here.outcome(item(image)) == {str(image.SOPInstanceUID): 0}


def test_nobody_vouches_for_a_source_that_is_not_configured_any_more(here: Site) -> None:
    """A request that was taken before is answered, but not with yes."""
    image = ct_image(1)
    here.send(image)
    here.sender.ask([item(image)])
    ct = peer("ct", here.sender.port, ae_title="CT1")
    here.settings = here.settings.model_copy(update={"sources": (), "peers": (ct,)})
    here.work()
    assert here.told() == {str(image.SOPInstanceUID): 0x0110}


def test_status_shows_who_waits_for_an_answer(here: Site) -> None:
    """With the reason, for people."""
    here.send(ct_image(1))
    here.sender.ask([item(ct_image(1))])
    here.sender.close()
    here.work()
    out = Console(record=True, width=160, file=StringIO())
    found = {**ledger_status(here.ledger, now=here.clock.now), "disk": disk_report(here.settings)}
    print_status(found, here.settings, out)
    shown = out.export_text()
    assert "Storage commitment asked of this node" in shown
    assert "waiting" in shown
    assert "does not answer" in shown


# --- kept by an archive -----------------------------------------------------------------------------------


def listing(*images: Dataset, status: int = 0x0000, **changes: Any) -> Callable[[Dataset], Iterator[Any]]:
    """Return a script that lists images; keyword arguments change every answer."""

    def find(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        assert query.QueryRetrieveLevel == "IMAGE"
        for image in images:
            answer = Dataset()
            answer.QueryRetrieveLevel = "IMAGE"
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
                setattr(answer, keyword, changes.get(keyword, image[keyword].value))
            if "InstanceAvailability" in changes:
                answer.InstanceAvailability = changes["InstanceAvailability"]
            yield 0xFF00, answer
        yield status, None

    return find


def hangs(query: Dataset) -> Iterator[Any]:
    """List everything, and do not end within the time limit, however busy this machine is."""
    yield from list(listing(*ct_series(2))(query))[:-1]
    time.sleep(6.0)
    yield 0x0000, None


def test_what_the_archive_lists_is_committed(tmp_path: Path) -> None:
    """One query for the series; nothing is promised by this node itself."""
    images = ct_series(3)
    with (
        ScriptedArchive("ARCHIVE", find=listing(*images)) as archive,
        site(tmp_path, "archive", archive) as node,
    ):
        node.send(*images)
        assert node.outcome(*map(item, images)) == {uid: 0 for _, uid in map(item, images)}
        assert len(archive.queries) == 1
        assert not node.promised()


def test_what_was_purged_here_is_committed_if_the_archive_has_it(tmp_path: Path) -> None:
    """Where it is for good is what counts."""
    image = ct_image(1)
    with (
        ScriptedArchive("ARCHIVE", find=listing(image)) as archive,
        site(tmp_path, "archive", archive) as node,
    ):
        purged(node, image)
        assert node.outcome(item(image)) == {str(image.SOPInstanceUID): 0}


@pytest.mark.parametrize(
    ("find", "reason"),
    [
        (None, 0x0112),
        (listing(), 0x0112),
        (listing(*ct_series(2), status=0xA700), 0x0112),
        (listing(*ct_series(2), SeriesInstanceUID="1.2.3"), 0x0112),
        (listing(*ct_series(2), SOPInstanceUID=""), 0x0112),
        (listing(*ct_series(2), InstanceAvailability="UNAVAILABLE"), 0x0112),
        (listing(*ct_series(2), SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), 0x0119),
        (listing(*ct_series(2), SOPClassUID=[CT, "1.2.840.10008.5.1.4.1.1.4"]), 0x0119),
        (listing(*ct_series(2), SeriesInstanceUID=["1.2.3", "1.2.4"]), 0x0112),
        (hangs, 0x0112),
    ],
    ids=[
        "silent",
        "nothing",
        "fails",
        "another-series",
        "garbage",
        "unavailable",
        "another-class",
        "two-classes",
        "two-series",
        "hangs",
    ],
)
def test_what_the_archive_does_not_confirm_is_not_committed(
    tmp_path: Path, find: Callable[[Dataset], Iterator[Any]] | None, reason: int
) -> None:
    """The sender waits while that may change, and hears no in the end."""
    images = ct_series(2)
    with ScriptedArchive("ARCHIVE", find=find) as archive, site(tmp_path, "archive", archive) as node:
        node.send(*images)
        assert node.sender.ask([item(one) for one in images]) == 0x0000
        node.work()
        if reason == 0x0112:
            assert node.sender.reported == []
            node.clock.advance(12 * HOUR)
            node.work()
        assert node.told() == {uid: reason for _, uid in map(item, images)}


def test_the_archive_is_asked_until_it_has_everything(tmp_path: Path) -> None:
    """Half of it first, the rest later: yes only then."""
    images = ct_series(4)
    with (
        ScriptedArchive("ARCHIVE", find=listing(*images[:2])) as archive,
        site(tmp_path, "archive", archive) as node,
    ):
        node.send(*images)
        assert node.sender.ask([item(one) for one in images]) == 0x0000
        node.work()
        (row,) = node.rows(commitment_request)
        assert row.reason == "archive does not list 2 of 4 instances yet"
        archive.find = listing(*images)
        node.work()
        assert node.sender.reported == []
        node.clock.advance(30)
        node.work()
        assert set(node.told().values()) == {0}


@pytest.mark.parametrize(
    "story", [never_sent, refused, truncated, two_contents], ids=lambda story: story.__name__
)
def test_an_archive_cannot_vouch_for(tmp_path: Path, story: Callable[[Site, Dataset], None]) -> None:
    """Though it lists the UID: what the sender has under it is not what was sent, or was never sent."""
    image = ct_image(1)
    with (
        ScriptedArchive("ARCHIVE", find=listing(image)) as archive,
        site(tmp_path, "archive", archive) as node,
    ):
        story(node, image)
        (reason,) = node.outcome(item(image)).values()
        assert reason in (0x0112, 0x0110)


def test_an_archive_that_is_away_is_asked_until_the_time_is_over(tmp_path: Path) -> None:
    """Then the answer is no, and the sender keeps its copy."""
    image = ct_image(1)
    with ScriptedArchive("ARCHIVE") as archive, site(tmp_path, "archive", archive) as node:
        archive.close()
        node.send(image)
        node.sender.ask([item(image)])
        node.work()
        assert "does not answer" in node.rows(commitment_request)[0].reason
        node.clock.advance(12 * HOUR)
        node.work()
        assert node.told() == {str(image.SOPInstanceUID): 0x0112}


@pytest.mark.parametrize("how", ["same", "new"])
def test_the_commitment_of_the_archive_decides(tmp_path: Path, how: str) -> None:
    """It fails one at first and is asked again for that one alone."""
    images = ct_series(3)
    bad = str(images[0].SOPInstanceUID)
    with (
        ScriptedArchive("ARCHIVE", reports=how, outcome={bad: 0x0112}) as archive,
        site(tmp_path, "archive", archive) as node,
    ):
        node.send(*images)
        node.sender.ask([item(one) for one in images])
        node.work()
        assert node.sender.reported == []
        assert node.rows(commitment_request)[0].reason == "archive has not committed to 1 instances yet"
        archive.outcome = {}
        node.clock.advance(30)
        node.work()
        assert set(node.told().values()) == {0}
    assert [len(items) for _, items in archive.asked] == [3, 1]


def test_the_commitment_of_the_archive_has_its_limits(tmp_path: Path) -> None:
    """Two contents under one UID, or another SOP Class in its report: no yes from that."""
    images = ct_series(2)
    mr = "1.2.840.10008.5.1.4.1.1.4"
    with ScriptedArchive("ARCHIVE") as archive, site(tmp_path, "archive", archive) as node:
        peers = [one.model_copy(update={"storage_commitment": True}) for one in node.settings.peers]
        node.settings = node.settings.model_copy(update={"peers": tuple(peers)})
        two_contents(node, images[0])
        node.send(images[1])
        node.sender.ask([item(one) for one in images])
        claimed = commitment_requests.claim(node.ledger, "", "dead", lease_s=1, now=node.clock.now)
        assert claimed is not None
        archive_requests.enter(node.ledger, claimed, "archive", "1.7", node.clock.now)
        said = Report("1.7", {uid: mr for _, uid in claimed.items}, {})
        commitment_reports.follow(node.ledger, "archive", said, resend_at=0.0, now=node.clock.now)
        node.clock.advance(12 * HOUR)
        node.work()
        assert list(node.told().values()) == [0x0110, 0x0119]
    assert [len(items) for _, items in archive.asked] == [1], "only for what can be safe"


def test_an_archive_that_refuses_the_request_is_asked_again(tmp_path: Path) -> None:
    """A listing is no substitute where the archive is set to commit."""
    image = ct_image(1)
    with (
        ScriptedArchive("ARCHIVE", reports="same", action_status=0x0213, find=listing(image)) as archive,
        site(tmp_path, "archive", archive) as node,
    ):
        node.send(image)
        node.sender.ask([item(image)])
        node.work()
        assert "0x0213" in node.rows(commitment_request)[0].reason
        archive.action_status = 0
        node.clock.advance(30)
        node.work()
        assert node.told() == {str(image.SOPInstanceUID): 0}
