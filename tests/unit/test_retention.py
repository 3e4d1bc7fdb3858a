"""What is deleted and when, what never is, and that a crash in between neither loses nor leaves anything."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from core.domain import ResultKind
from core.errors import SpoolError
from custody.holdings import Holdings
from custody.ledger import Ledger, jobs, new_id
from custody.ledger.destinations import Destinations
from custody.ledger.jobs import JobEnd, StoredResult
from custody.ledger.report import status
from custody.ledger.states import CommitmentRequestState, CommitmentState, DeliveryState, JobState
from custody.ledger.tables import audit, commitment, commitment_request, delivery, job, manifest, service
from custody.reserve import Reserve
from custody.retention import Retention, RetentionRules
from custody.shared_storage import SharedStorage
from custody.shelving import Shelving
from custody.spool import Spool
from lesionnode.retaining import rules_of
from scp.completion import Completion
from tests.helpers.instances import SEGMENTATION_STORAGE, ct_series, settings_for, source
from tests.unit.test_completion import QUIET_S, Bench, set_up

DAY_S = 86_400.0
RULES = RetentionRules(
    received_s=10 * DAY_S,
    set_aside_s=5 * DAY_S,
    quarantine_s=20 * DAY_S,
    results_s=30 * DAY_S,
    owed_to=frozenset({"scanner"}),
)
#: What a second sender would be owed is another test's matter.
TO_THE_PACS = Destinations({"scanner": ["pacs"]})


@dataclass
class House:
    """A node's reception, completion and retention on one disk, and a clock."""

    bench: Bench
    spool: Spool
    rules: RetentionRules = RULES
    holdings: Holdings | None = None

    def retention(self, **changes: Any) -> Retention:
        """Return the service, as after a restart."""
        holdings = self.holdings or Holdings(self.spool, self.bench.ledger)
        rules = replace(self.rules, **changes)
        return Retention(self.bench.ledger, self.spool, holdings, rules, self.bench.clock)

    def purge(self, **changes: Any) -> int:
        """Let a fresh service walk through everything once; return how many series and jobs it marked."""
        service = self.retention(**changes)
        return sum(service.step() for _ in range(4))

    def sealed(self, count: int = 3, **changes: Any) -> str:
        """Receive and seal a series; return the state of its job."""
        self.bench.receive(ct_series(count, **changes))
        return self.bench.after(QUIET_S)[-1]

    def analysed(self, state: JobState = JobState.ANALYSED) -> str:
        """Bring the next job to its end with one object in the spool; return the job's id."""
        claimed = jobs.claim(self.bench.ledger, "w", lease_s=60, max_attempts=3, now=self.bench.clock.now)
        assert claimed is not None
        path = self.spool.keep_result(claimed.id, "segmentation", b"SEG")
        kind = ResultKind.SEGMENTATION.value
        stored = StoredResult(
            kind, SEGMENTATION_STORAGE, f"2.25.{claimed.generation}", path, "0", size_bytes=3
        )
        reason = None if state is JobState.ANALYSED else "why"
        package = self.holdings.publish_results(claimed.id, 1) if self.holdings else None
        end = JobEnd(state, reason, None, [stored], package=package)
        assert jobs.finish(self.bench.ledger, claimed, end, TO_THE_PACS, self.bench.clock.now)
        return claimed.id

    def deliveries_are(self, state: DeliveryState) -> None:
        """Say of every delivery that it stands so."""
        with self.bench.ledger.write() as connection:
            connection.execute(update(delivery).values(state=state.value))

    def finished(self, count: int = 3, **changes: Any) -> str:
        """Receive, analyse and deliver a series; return the job's id."""
        self.sealed(count, **changes)
        job_id = self.analysed()
        self.deliveries_are(DeliveryState.DELIVERED)
        return job_id

    @property
    def images(self) -> int:
        """How many received files there are."""
        return len(list(self.spool.received.glob("*/*.dcm")))

    @property
    def results(self) -> int:
        """How many result files there are."""
        return len(list(self.spool.results.glob("*/*")))


@pytest.fixture
def house(tmp_path: Path, ledger: Ledger) -> House:
    """On each of the two databases."""
    return House(set_up(tmp_path, ledger), Spool(tmp_path))


@pytest.fixture
def small_house(tmp_path: Path) -> Any:
    """On SQLite, where the database does not matter."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.migrate()
    yield House(set_up(tmp_path, ledger), Spool(tmp_path))
    ledger.close()


def test_images_go_when_their_days_are_over_and_results_when_theirs_are(house: House) -> None:
    """Images first, results later; the ledger, the audit and status say what went and why."""
    job_id = house.finished()
    house.bench.clock.advance(9.9 * DAY_S)
    assert house.purge() == 0
    house.bench.clock.advance(0.2 * DAY_S)
    assert house.purge() == 1
    assert (house.images, house.results) == (0, 1)
    (row,) = house.bench.rows(manifest)
    assert row["purged_at"] == row["files_gone_at"] == house.bench.clock.now
    assert row["purged_because"] == "its days are over (received, 10 days)"
    assert (house.bench.settings.node.data_folder / row["path"]).exists()
    house.bench.clock.advance(20 * DAY_S)
    assert house.purge() == 1
    assert (house.images, house.results) == (0, 0)
    assert not (house.spool.results / job_id).exists()
    entries = house.bench.rows(audit)
    entries.sort(key=lambda entry: entry["at"])
    assert [(one["actor"], one["action"], one["subject"]) for one in entries] == [
        ("retention", "purge", f"series {row['series_id']}"),
        ("retention", "purge", f"job {job_id}"),
    ]
    assert entries[0]["detail"]["files"] == 3
    assert entries[0]["detail"]["bytes"] == row["size_bytes"]
    kept = status(house.bench.ledger, now=house.bench.clock.now)["kept"]
    assert (kept["purged_manifests"], kept["purged_results"]) == (0, 1)
    assert kept["oldest_received_at"] is None


@pytest.mark.parametrize(
    "state", [DeliveryState.DUE, DeliveryState.SENDING, DeliveryState.FAILED], ids=lambda one: one.value
)
def test_nothing_goes_before_it_is_delivered(small_house: House, state: DeliveryState) -> None:
    """Not while a delivery is due, under way or given up, however old and however full the disk is."""
    house = small_house
    house.finished()
    house.deliveries_are(state)
    house.bench.clock.advance(1000 * DAY_S)
    assert house.purge() == house.purge(make_room_below_bytes=2**62) == 0
    assert (house.images, house.results) == (3, 1)
    (said,) = house.bench.rows(service)
    assert set(said["detail"]["held"]) == {
        "its results are given up" if state is DeliveryState.FAILED else "its results are not delivered yet"
    }


@pytest.mark.parametrize(
    "state", [DeliveryState.LEFT_OUT, DeliveryState.SUPERSEDED], ids=lambda one: one.value
)
def test_what_no_peer_waits_for_holds_nothing(small_house: House, state: DeliveryState) -> None:
    """An object that a peer does not take, or that a later one replaces, need not be delivered."""
    small_house.finished()
    small_house.deliveries_are(state)
    small_house.bench.clock.advance(40 * DAY_S)
    assert small_house.purge() == 2


def test_a_series_that_is_still_open_stays(house: House) -> None:
    """What came and is not sealed is never deleted, nor what was sealed of the same series before."""
    house.finished()
    house.bench.clock.advance(40 * DAY_S)
    caller = house.bench.associate()
    house.bench.take(caller, ct_series(4)[3:])
    house.bench.clock.advance(40 * DAY_S)
    assert house.purge() == 0
    assert house.images == 4


def test_an_analysis_that_has_not_ended_holds_images_and_earlier_results(small_house: House) -> None:
    """The next result may need the images, and names what it replaces."""
    small_house.finished()
    small_house.sealed(4)
    small_house.bench.clock.advance(100 * DAY_S)
    assert small_house.purge() == 0
    assert (small_house.images, small_house.results) == (4, 1)


def test_commitment_of_a_peer_is_waited_for(small_house: House) -> None:
    """Where a peer is asked to commit to a result, delivery alone is not enough."""
    house = small_house
    house.finished()
    (sent,) = house.bench.rows(delivery)
    with house.bench.ledger.write() as connection:
        connection.execute(
            commitment.insert().values(
                id=new_id(),
                delivery_id=sent["id"],
                peer="pacs",
                state=CommitmentState.ASKED.value,
                due_at=0,
                attempt=1,
                created_at=0,
                resent=0,
            )
        )
    house.bench.clock.advance(40 * DAY_S)
    assert house.purge() == 0
    with house.bench.ledger.write() as connection:
        connection.execute(update(commitment).values(state=CommitmentState.COMMITTED.value))
    assert house.purge() == 2


def test_a_sender_that_waits_for_our_commitment_is_answered_first(small_house: House) -> None:
    """Its images stay until it has been answered; other series are not held up by that."""
    house = small_house
    wanted = ct_series(3)
    house.finished()
    house.finished(series="another", study="another")
    with house.bench.ledger.write() as connection:
        connection.execute(
            commitment_request.insert().values(
                id=new_id(),
                transaction_uid="1.2",
                source="scanner",
                calling_ae_title="CT1",
                address="127.0.0.1",
                node="",
                items=[[str(wanted[0].SOPClassUID), str(wanted[0].SOPInstanceUID)]],
                state=CommitmentRequestState.WAITING.value,
                requested_at=0,
                due_at=0,
                attempt=0,
            )
        )
    house.bench.clock.advance(15 * DAY_S)
    assert house.purge() == 1
    assert house.images == 3
    with house.bench.ledger.write() as connection:
        connection.execute(update(commitment_request).values(state=CommitmentRequestState.ANSWERED.value))
    assert house.purge() == 1


def test_what_was_promised_to_be_kept_for_good_is_never_deleted(small_house: House) -> None:
    """Not by age and not for room; the results may go."""
    small_house.finished()
    small_house.bench.clock.advance(1000 * DAY_S)
    promised = {"kept_for_good": frozenset({"scanner"})}
    assert small_house.purge(**promised, make_room_below_bytes=2**62) == 1
    assert (small_house.images, small_house.results) == (3, 0)


def test_a_source_that_was_answered_for_this_node_itself_is_kept_for_good(tmp_path: Path) -> None:
    """Its senders may have deleted their copies because this node said that it keeps them."""
    sources = (source("here", "CT1", storage_commitment="here"), source("other", "CT2"))
    rules = rules_of(settings_for(tmp_path, sources=sources))
    assert (rules.kept_for_good, rules.owed_to) == ({"here"}, {"here", "other"})
    assert (rules.received_s, rules.results_s) == (30 * DAY_S, 90 * DAY_S)


def test_quarantine_has_days_of_its_own_and_what_failed_is_never_deleted_for_room(small_house: House) -> None:
    """Somebody may want to look at it: it stays longer, and a full disk does not change that."""
    house = small_house
    house.sealed()
    house.analysed(JobState.FAILED)
    house.deliveries_are(DeliveryState.DELIVERED)
    house.bench.clock.advance(15 * DAY_S)
    assert house.purge() == 0
    house.purge(make_room_below_bytes=2**62)
    assert house.images == 3
    house.bench.clock.advance(6 * DAY_S)
    house.purge()
    assert house.images == 0


def test_what_cannot_be_analysed_has_days_of_its_own(small_house: House) -> None:
    """A series of localizers goes after set_aside_days."""
    house = small_house
    house.bench.receive(ct_series(2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    house.bench.after(100)
    house.bench.clock.advance(4.9 * DAY_S)
    assert house.purge() == 0
    house.bench.clock.advance(0.2 * DAY_S)
    assert house.purge() == 1
    assert house.bench.rows(audit)[0]["detail"]["what"] == "set_aside"


def test_zero_days_are_for_good(small_house: House) -> None:
    """What is kept until the room is needed is not deleted by age."""
    small_house.finished()
    small_house.bench.clock.advance(10_000 * DAY_S)
    assert small_house.purge(received_s=math.inf, results_s=math.inf) == 0


def test_a_full_disk_takes_the_oldest_first_and_no_more_than_needed(small_house: House) -> None:
    """Long before its days are over the oldest finished series goes, and the rest stays."""
    house = replace(small_house, spool=SmallDisk(small_house.spool.received.parent))
    for name in ("first", "second", "third"):
        house.finished(series=name, study=name)
        house.bench.clock.advance(DAY_S)
    series = [row["series_id"] for row in house.bench.rows(job)]
    size = house.bench.rows(manifest)[0]["size_bytes"]
    wanted = house.spool.free_bytes() + size + 1
    assert house.purge(make_room_below_bytes=wanted) == 2
    assert [len(list((house.spool.received / one).glob("*.dcm"))) for one in series] == [0, 0, 3]
    assert house.spool.free_bytes() > wanted
    assert house.purge(make_room_below_bytes=wanted) == 0
    assert "MiB were free" in house.bench.rows(audit)[0]["detail"]["because"]


def test_what_came_within_the_last_hour_stays_however_full_the_disk_is(small_house: House) -> None:
    """Its sender may be sending it once more this moment."""
    small_house.finished()
    small_house.bench.clock.advance(3000)
    assert small_house.purge(make_room_below_bytes=2**62) == 0
    small_house.bench.receive(ct_series(3))
    small_house.bench.clock.advance(3000)
    assert small_house.purge(make_room_below_bytes=2**62) == 1  # the results
    assert small_house.images == 3
    small_house.bench.clock.advance(700)
    assert small_house.purge(make_room_below_bytes=2**62) == 1


def test_work_in_one_step_is_bounded_and_what_is_held_does_not_stop_the_rest(small_house: House) -> None:
    """A page of series that must stay is passed over; the walk goes on behind it."""
    house = small_house
    house.sealed(1, series="held", study="held")
    house.bench.clock.advance(1)
    for number in range(60):
        house.bench.receive(ct_series(1, series=str(number), study=str(number)))
    house.bench.after(QUIET_S)
    with house.bench.ledger.write() as connection:
        first = house.bench.rows(job)[0]["id"]
        done = {"state": JobState.REFUSED.value, "finished_at": house.bench.clock.now}
        connection.execute(update(job).where(job.c.id != first).values(**done))
    house.bench.clock.advance(25 * DAY_S)
    service = house.retention()
    assert [service.step() for _ in range(2)] == [50, 10]
    assert house.images == 1


class SmallDisk(Spool):
    """A disk of 1 MB of its own, whatever else goes on on this machine."""

    def free_bytes(self) -> int:
        return 10**6 - sum(path.stat().st_size for path in self.received.glob("*/*.dcm"))


# --- a crash in between -----------------------------------------------------------------------------------


class BreaksOff(Spool):
    """A spool whose process ends when it is to delete something."""

    def delete_received(self, series_id: str, names: Any) -> int:
        raise KeyboardInterrupt

    def delete_results(self, job_id: str) -> int:
        raise KeyboardInterrupt


class BreaksOffLater(Spool):
    """A spool whose process ends when everything is deleted and nothing recorded."""

    def delete_received(self, series_id: str, names: Any) -> int:
        super().delete_received(series_id, names)
        raise KeyboardInterrupt


@pytest.mark.parametrize("spool", [BreaksOff, BreaksOffLater])
def test_a_purge_that_was_cut_off_is_finished_by_the_next_run(house: House, spool: type[Spool]) -> None:
    """Between the ledger and the files: no image counts as kept any more, and none is left on the disk."""
    house.finished()
    house.bench.clock.advance(15 * DAY_S)
    broken = replace(house, spool=spool(house.spool.received.parent))
    with pytest.raises(KeyboardInterrupt):
        broken.purge()
    (row,) = house.bench.rows(manifest)
    assert row["purged_at"] is not None
    assert row["files_gone_at"] is None
    assert len(house.bench.rows(audit)) == 1
    # The same images come again before anybody tidied up: stored anew, not taken for those that go.
    house.bench.receive(ct_series(3))
    assert house.images == (6 if spool is BreaksOff else 3)
    assert house.purge() == 0
    assert house.images == 3
    assert house.bench.rows(manifest)[0]["files_gone_at"] is not None
    assert len(house.bench.rows(audit)) == 1


def test_results_whose_purge_was_cut_off_are_deleted_by_the_next_run(small_house: House) -> None:
    """The same for results."""
    house = small_house
    house.finished()
    house.bench.clock.advance(10 * DAY_S)
    house.purge()
    house.bench.clock.advance(25 * DAY_S)
    with pytest.raises(KeyboardInterrupt):
        replace(house, spool=BreaksOff(house.spool.received.parent)).purge()
    assert house.results == 1
    house.purge()
    assert house.results == 0
    assert house.bench.rows(job)[0]["results_gone_at"] is not None


def test_a_disk_that_does_not_let_go_is_tried_again(small_house: House) -> None:
    """A file that cannot be deleted is told, and the purge is finished when it can be."""

    class Stuck(Spool):
        def delete_received(self, series_id: str, names: Any) -> int:
            raise SpoolError("read-only file system")

    house = small_house
    house.finished()
    house.bench.clock.advance(15 * DAY_S)
    assert replace(house, spool=Stuck(house.spool.received.parent)).purge() == 1
    assert house.images == 3
    house.purge()
    assert house.images == 0


def test_an_image_deleted_since_it_was_looked_up_is_stored_again(small_house: House) -> None:
    """Between "it is here" and the answer the ledger looks once more: what is deleted then is no copy."""
    house = small_house
    house.finished()
    house.bench.clock.advance(15 * DAY_S)
    original = house.bench.taking._ledger

    class PurgesMeanwhile:
        """The ledger, with a purge just before an identical copy is recorded."""

        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

        def write_together(self, work: Any, order: str = "") -> Any:
            house.purge()
            return original.write_together(work, order)

    house.bench.taking._ledger = PurgesMeanwhile()  # type: ignore[assignment]
    house.bench.receive(ct_series(3))
    assert house.images == 3


# --- and then it comes again ------------------------------------------------------------------------------


def purged(house: House, *, results_too: bool = False) -> None:
    """Bring a series of 6 images to its end and delete its images."""
    house.finished(6)
    house.bench.clock.advance((40 if results_too else 15) * DAY_S)
    house.purge()
    assert (house.images, house.results) == (0, 0 if results_too else 1)


def reason(house: House) -> str:
    """Return why the newest job is not analysed."""
    return str(house.bench.rows(job)[-1]["reason"])


@pytest.mark.parametrize("count", [6, 2])
def test_the_same_images_again_are_not_analysed_again(house: House, count: int) -> None:
    """Stored anew, because they are not here; the result that they have stands, also for a part of them."""
    purged(house)
    assert house.sealed(count) == "not_selected"
    assert reason(house) == "the same images were analysed on 2024-01-01; the result stands"
    assert house.images == count


def test_the_same_images_are_analysed_again_when_their_results_are_gone_too(house: House) -> None:
    """Nobody could be given the old result."""
    purged(house, results_too=True)
    assert house.sealed(6) == "queued"


@pytest.mark.parametrize("results_too", [False, True])
def test_new_images_of_a_deleted_series_are_not_analysed_alone(house: House, results_too: bool) -> None:
    """An analysis of one late slice, or a few, would be wrong: the whole series is asked for."""
    purged(house, results_too=results_too)
    house.bench.receive(ct_series(7)[6:])
    assert house.bench.after(QUIET_S)[-1] == "not_selected"
    assert reason(house) == (
        "1 images are here, 6 more of the series were deleted since they came (retention): send the whole "
        "series again"
    )
    house.bench.receive(ct_series(7))
    assert house.bench.after(QUIET_S)[-1] == "queued"
    claimed = jobs.claim(house.bench.ledger, "w", lease_s=60, max_attempts=3, now=house.bench.clock.now)
    assert claimed is not None
    assert house.bench.images(claimed) == 7


def test_another_reconstruction_is_still_compared_with_one_that_was_deleted(small_house: House) -> None:
    """The chosen series of a scan stays that when its images are gone: the manifest has its facts."""
    purged(small_house)
    lung = {"series": "lung", "ConvolutionKernel": "B70f", "SeriesNumber": 3}
    assert small_house.sealed(6, **lung) == "not_selected"
    assert "its kernel is sharper" in reason(small_house)


def test_a_second_sender_is_not_promised_results_that_are_gone(small_house: House) -> None:
    """No delivery is entered for a file that is deleted."""
    purged(small_house, results_too=True)
    before = len(small_house.bench.rows(delivery))
    small_house.bench.receive(ct_series(6))
    small_house.bench.completion.step()
    assert len(small_house.bench.rows(delivery)) == before


# --- the reserve ------------------------------------------------------------------------------------------


def test_the_reserve_is_real_space_and_is_made_again(tmp_path: Path) -> None:
    """Its blocks are allocated; freed once, it comes back only where the disk stays above its floor."""
    reserve = Reserve(tmp_path / "reserve")
    size, floor = 2**20, 10 * 2**20
    assert not reserve.keep(size, floor + size, floor)
    assert reserve.keep(size, floor + size + 1, floor)
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= size
    assert reserve.keep(size, 0, floor)  # it is there: nothing to decide
    reserve.free()
    reserve.free()
    assert reserve.size_bytes == 0
    assert reserve.keep(size, 10 * floor, floor)
    assert reserve.keep(0, 0, floor)
    assert list(tmp_path.iterdir()) == []


def test_a_freed_reserve_is_an_incident(small_house: House) -> None:
    """However it was freed, by whichever process: the next look says that the disk was full."""
    service = small_house.retention(reserve_bytes=2**20)
    service.step()
    small_house.spool.reserve.free()
    service.step()
    (told,) = status(small_house.bench.ledger, now=small_house.bench.clock.now)["incidents"]
    assert (told["kind"], told["count"]) == ("disk_full", 1)
    assert small_house.spool.reserve.size_bytes == 2**20


def test_a_disk_under_its_floor_is_told_once_and_not_only_to_senders(small_house: House) -> None:
    """Nobody has to send for people to know."""
    service = small_house.retention(floor_bytes=2**62)
    service.step()
    service.step()
    (told,) = status(small_house.bench.ledger, now=small_house.bench.clock.now)["incidents"]
    assert (told["kind"], told["count"]) == ("disk_under_floor", 1)


def test_purging_asks_the_ledger_by_index(small_house: House) -> None:
    """No question that retention asks reads a whole table, so it costs the same after years."""
    seen: list[str] = []
    house = small_house
    house.finished()
    house.bench.clock.advance(40 * DAY_S)
    engine = house.bench.ledger._engine

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE")):
            plan = engine.raw_connection()
            rows = plan.execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()
            seen.extend(row[3] for row in rows)
            plan.close()

    event.listen(engine, "before_cursor_execute", note)
    house.purge()
    event.remove(engine, "before_cursor_execute", note)
    small = {"incident", "service", "CONSTANT", "(subquery-1)"}
    assert seen
    assert {one.split()[1] for one in seen if one.startswith("SCAN")} <= small


def test_what_was_published_for_other_machines_goes_too(tmp_path: Path, shared_ledger: Ledger) -> None:
    """The packages of images and results; the manifest stays, so that every machine knows what came."""
    storage = tmp_path / "shared"
    storage.mkdir()
    bench, spool = set_up(tmp_path / "data", shared_ledger), Spool(tmp_path / "data")
    holdings = Holdings(spool, shared_ledger, SharedStorage.open(str(storage)))
    bench.completion = Completion(bench.settings, shared_ledger, holdings, bench.clock)
    bench.shelving = Shelving(shared_ledger, spool, holdings, now=bench.clock)
    house = House(bench, spool, holdings=holdings)
    house.sealed()
    house.analysed()
    house.deliveries_are(DeliveryState.DELIVERED)

    def published() -> set[str]:
        return {path.relative_to(storage).parts[0] for path in storage.rglob("*.tar")}

    assert published() == {"series", "results", "manifests"}
    bench.clock.advance(40 * DAY_S)
    assert house.purge() == 2
    assert published() == {"manifests"}
