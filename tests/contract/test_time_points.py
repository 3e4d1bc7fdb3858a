"""Time points: kept with the end of a job, found for the same person again, gone when their days are over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from core.errors import SpoolDamaged, StorageUnreachable
from core.patient import Person
from core.time_point import TimePoint
from core.uid import patient_digest
from custody.holdings import Holdings
from custody.ledger import Ledger, jobs, merges, time_points
from custody.ledger.destinations import Destinations
from custody.ledger.jobs import JobEnd
from custody.ledger.states import JobState
from custody.ledger.tables import audit, job, time_point
from custody.shared_storage import SharedStorage
from custody.spool import Spool
from custody.time_point_file import KeptFor
from custody.time_points import TimePoints
from tests.helpers.comparisons import Pair
from tests.helpers.instances import Clock
from tests.helpers.office import sealed_job

DAY = 86_400.0
JANE = Person("P-1", "HOSPITAL", "19600101", "F")
FIRST = datetime(2026, 1, 2, 9, 40)
LATER = FIRST + timedelta(days=1000)


@dataclass(slots=True)
class Archive:
    """A node that keeps time points."""

    ledger: Ledger
    spool: Spool
    clock: Clock
    storage: SharedStorage | None = None

    @property
    def holdings(self) -> Holdings:
        """What brings files."""
        return Holdings(self.spool, self.ledger, self.storage)

    def points(self, keep_s: float = 100 * DAY) -> TimePoints:
        """Return what keeps them."""
        return TimePoints(self.ledger, self.spool, self.holdings, keep_s, self.clock)

    def analyse(
        self, person: Person, day: int, study: str = "", job_end: JobState = JobState.ANALYSED
    ) -> str:
        """Let a scan of so many days after the first be analysed; return the id of its job."""
        digest = patient_digest(person.patient_id, person.issuer)
        study = study or f"1.2.{day}"
        key = SeriesKey(StudyInstanceUID(study), SeriesInstanceUID(f"{study}.1"), digest)
        job_id = sealed_job(self.ledger, key, self.clock.now)
        claimed = jobs.claim(self.ledger, "w", lease_s=60, max_attempts=3, now=self.clock.now)
        assert claimed is not None
        assert claimed.id == job_id
        kept_for = KeptFor(job_id, claimed.series_id, 1, digest, person.digest)
        new = self.points().keep(scan(day, study), kept_for)
        new = replace(new, package=self.holdings.publish_time_point(job_id, "1"))
        self.holdings.let_go_of_time_point(job_id)
        end = JobEnd(job_end, None, None, time_point=new)
        assert jobs.finish(self.ledger, claimed, end, Destinations({}), self.clock.now)
        return job_id

    def days_of(self, person: Person, study: str = "1.9") -> list[int]:
        """Return the days of the earlier scans that are found for a person."""
        digest = patient_digest(person.patient_id, person.issuer)
        found = self.points().earlier(person, digest, study, 50, LATER).points
        return [(one.facts.scanned_at - FIRST).days for one in found if one.facts.scanned_at is not None]

    def notes_for(self, person: Person) -> tuple[str, ...]:
        """Return what is said of earlier scans that are left out."""
        digest = patient_digest(person.patient_id, person.issuer)
        return self.points().earlier(person, digest, "1.9", 50, LATER).notes

    def files(self) -> list[Path]:
        """Return the files of time points on this machine, copies included."""
        return sorted((self.spool.time_points.parent).rglob("time-point.zip"))


def scan(day: int, study: str) -> TimePoint:
    """Return a scan of a study, made so many days after the first."""
    point = _scan()
    facts = replace(
        point.facts,
        scanned_at=FIRST + timedelta(days=day),
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
    )
    return replace(point, facts=facts, digest=f"{day:064d}")


@cache
def _scan() -> TimePoint:
    return Pair().time_point()


@pytest.fixture
def archive(tmp_path: Path, ledger: Ledger) -> Archive:
    """An empty archive, on each of the two databases."""
    return Archive(ledger, Spool(tmp_path / "data"), Clock())


def test_earlier_scans_come_in_order_and_without_the_own_study(archive: Archive) -> None:
    """The oldest first; another series of the same study is no earlier scan; the newest where many."""
    for day in (30, 0, 90):
        archive.analyse(JANE, day)
    assert archive.days_of(JANE) == [0, 30, 90]
    assert archive.days_of(JANE, study="1.2.30") == [0, 90]
    digest = patient_digest("P-1", "HOSPITAL")
    assert [one.digest for one in archive.points().earlier(JANE, digest, "", 1, LATER).points] == [
        f"{90:064d}"
    ]
    assert archive.notes_for(JANE) == ()


def test_a_scan_in_the_future_is_no_earlier_one(archive: Archive) -> None:
    """A scanner's clock was wrong, or an old study came late: left out, and said."""
    for day in (0, 30, 90):
        archive.analyse(JANE, day)
    digest, now = patient_digest("P-1", "HOSPITAL"), FIRST + timedelta(days=30)
    found = archive.points().earlier(JANE, digest, "", 50, now)
    assert [one.digest for one in found.points] == [f"{day:064d}" for day in (0, 30)]
    assert found.notes == ("A scan of this patient is dated later than this one: not compared.",)


def test_a_scan_without_a_date_is_compared_with_nothing(archive: Archive) -> None:
    """Which of the two is the earlier one would be a guess."""
    archive.analyse(JANE, 0)
    found = archive.points().earlier(JANE, patient_digest("P-1", "HOSPITAL"), "", 50, None)
    assert found.points == ()
    assert "no date" in found.notes[0]


def test_masks_come_when_they_are_asked_for(archive: Archive) -> None:
    """Only the scan that is compared voxel by voxel takes memory."""
    archive.analyse(JANE, 0)
    (point,) = archive.points().earlier(JANE, patient_digest("P-1", "HOSPITAL"), "", 50, LATER).points
    assert point.lungs.labels_zyx.size == 0
    whole = archive.points().whole(point)
    np.testing.assert_array_equal(whole.lungs.labels_zyx, _scan().lungs.labels_zyx)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"birth_date": "19600102"}, "another birth date or sex"),
        ({"sex": "M"}, "another birth date or sex"),
        ({"birth_date": ""}, "no birth date or no sex to confirm"),
    ],
)
def test_the_same_patient_id_with_another_person_is_not_compared(
    archive: Archive, changes: dict[str, str], words: str
) -> None:
    """A Patient ID that was typed wrongly, or given twice: nothing is returned, and why is said."""
    archive.analyse(JANE, 0)
    other = Person(
        **{"patient_id": "P-1", "issuer": "HOSPITAL", "birth_date": "19600101", "sex": "F", **changes}
    )
    assert archive.days_of(other) == []
    assert words in archive.notes_for(other)[0]
    assert "1960" not in archive.notes_for(other)[0]


def test_a_scan_without_a_birth_date_is_never_an_earlier_one(archive: Archive) -> None:
    """Neither for a person with one."""
    archive.analyse(replace(JANE, birth_date=""), 0)
    assert archive.days_of(JANE) == []


def test_another_issuer_or_no_patient_id_is_another_patient(archive: Archive) -> None:
    """Blank Patient IDs are not one patient."""
    nobody = Person("", "", "19600101", "F")
    archive.analyse(JANE, 0)
    archive.analyse(nobody, 1)
    assert archive.days_of(replace(JANE, issuer="OTHER")) == []
    assert archive.days_of(nobody) == []
    assert "no Patient ID" in archive.notes_for(nobody)[0]


def test_scans_of_the_same_person_without_an_issuer_are_told(archive: Archive) -> None:
    """One scanner names the issuer, another one does not: nothing is compared, and why is said."""
    blank = replace(JANE, issuer="")
    archive.analyse(blank, 0)
    archive.analyse(replace(blank, birth_date="19600102"), 1)
    assert archive.days_of(JANE) == []
    (note,) = archive.notes_for(JANE)
    assert note == "An earlier scan has this Patient ID without an issuer: not compared."
    archive.analyse(JANE, 30)
    assert archive.notes_for(JANE) == (note,)
    with archive.ledger.write() as connection:
        merges.merge(connection, patient_digest("P-1", ""), patient_digest("P-1", "HOSPITAL"), 0.0)
    assert archive.days_of(JANE) == [0, 30]
    (other,) = archive.notes_for(JANE)
    assert "another birth date or sex" in other


def test_merged_identities_have_one_history(archive: Archive) -> None:
    """In either direction; birth date and sex still have to agree."""
    temporary = replace(JANE, patient_id="TEMP-7")
    archive.analyse(temporary, 0)
    archive.analyse(replace(temporary, sex="M"), 1)
    archive.analyse(JANE, 30)
    old, new = (patient_digest(one.patient_id, one.issuer) for one in (temporary, JANE))
    with archive.ledger.write() as connection:
        merges.merge(connection, old, new, archive.clock.now)
    assert archive.days_of(JANE) == [0, 30]
    assert archive.days_of(temporary) == [0, 30]
    assert [len(one.points) for one in archive.points().history(new)] == [2, 1]


def test_only_the_newest_analysis_of_a_series_counts(archive: Archive) -> None:
    """A later generation takes the place of the earlier one."""
    first = archive.analyse(JANE, 0)
    with archive.ledger.write() as connection:
        row = connection.execute(select(job)).one()
        connection.execute(job.insert().values({**row._mapping, "id": "again", "generation": 2}))
        kept = connection.execute(select(time_point)).one()
        changes = {"id": "again", "job_id": "again"}
        connection.execute(time_point.insert().values({**kept._mapping, **changes}))
        found = time_points.of_jobs(connection, [first, "again"])
        assert {one.job_id for one in found} == {first, "again"}
        (newest,) = time_points.of_patient(connection, kept.patient_digest)
    assert newest.job_id == "again"


@pytest.mark.parametrize("damage", ["changed", "gone", "longer"])
def test_a_damaged_one_is_left_out_and_told(archive: Archive, damage: str) -> None:
    """The current scan is analysed all the same."""
    archive.analyse(JANE, 0)
    archive.analyse(JANE, 30)
    whole = archive.points().earlier(JANE, patient_digest("P-1", "HOSPITAL"), "", 50, LATER).points[0]
    with archive.ledger.read() as connection:
        file = time_points.of_patient(connection, patient_digest("P-1", "HOSPITAL"))[0].path
    if damage == "gone":
        file.unlink()
    elif damage == "longer":
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    assert archive.days_of(JANE) == [30]
    assert "cannot be read" in archive.notes_for(JANE)[0]
    (found,) = archive.points().history(patient_digest("P-1", "HOSPITAL"))
    assert (len(found.points), found.notes) == (1, archive.notes_for(JANE))
    with pytest.raises(SpoolDamaged):
        archive.points().whole(whole)


def test_they_go_when_their_days_are_over(archive: Archive) -> None:
    """Row and file, with a line in the audit; the others stay."""
    first = archive.analyse(JANE, 0)
    archive.clock.advance(60 * DAY)
    job_id = archive.analyse(JANE, 60)
    archive.clock.advance(41 * DAY)
    with capture_logs() as logs:
        assert archive.points().step() == 1
    assert [one["what"] for one in logs if one["event"] == "purged"] == ["time point"]
    assert archive.days_of(JANE) == [60]
    assert [path.parent.name for path in archive.files()] == [job_id]
    with archive.ledger.read() as connection:
        (row,) = connection.execute(select(audit).where(audit.c.action == "purge")).all()
        assert connection.execute(select(time_point)).all()
    assert row.detail["what"] == "time point"
    assert row.detail["because"] == "its days are over (time point, 100 days)"
    assert row.subject == f"job {first}"
    assert archive.points(keep_s=float("inf")).step() == 0


def test_one_that_came_anew_while_the_old_one_was_deleted_stays(archive: Archive) -> None:
    """A job that is analysed once more after years, in the very moment of its purge."""
    job_id = archive.analyse(JANE, 0)
    with archive.ledger.write() as connection:
        assert list(time_points.purge(connection, archive.clock.now + 1, "why", 50, 1.0)) == [job_id]
        point = time_points.NewTimePoint(Path("/x"), "0", 1, "p", "q", "1.2", None, "d")
        time_points.enter(connection, job_id, point, archive.clock.now)
        time_points.gone(connection, [job_id])
        assert [one.digest for one in time_points.of_jobs(connection, [job_id])] == ["d"]


def test_leftovers_go_and_what_the_ledger_does_not_know_stays(archive: Archive) -> None:
    """Of an attempt that broke off before the job was refused; a lost ledger must not cost the history."""
    job_id = archive.analyse(JANE, 0)
    with archive.ledger.write() as connection:
        connection.execute(time_point.delete())
    archive.spool.keep_time_point("unknown", b"of another ledger")
    archive.points().step()
    assert [path.parent.name for path in archive.files()] == ["unknown"]
    assert not archive.spool.time_point_folder(job_id).exists()


@pytest.fixture
def machines(tmp_path: Path, shared_ledger: Ledger) -> Iterator[list[Archive]]:
    """Two machines that share a ledger and a storage."""
    (tmp_path / "shared").mkdir()
    with SharedStorage.open(str(tmp_path / "shared")) as storage, ExitStack() as open_ledgers:
        found = []
        for name in ("one", "other"):
            ledger = Ledger(shared_ledger.location, tmp_path / name)
            open_ledgers.callback(ledger.close)
            found.append(Archive(ledger, Spool(tmp_path / name), Clock(), storage))
        yield found


def test_another_machine_finds_them(machines: list[Archive]) -> None:
    """Through the shared storage, whichever machine analysed the scan; gone there too when it is purged."""
    one, other = machines
    job_id = one.analyse(JANE, 0)
    assert one.files() == []
    assert other.days_of(JANE) == [0]
    assert other.days_of(JANE) == [0]
    assert one.days_of(JANE) == [0]
    one.clock.advance(101 * DAY)
    one.points().step()
    assert other.storage is not None
    assert other.storage.names(f"time-points/{job_id}") == []
    assert other.days_of(JANE) == []


def test_storage_that_is_away_is_no_damage(machines: list[Archive], tmp_path: Path) -> None:
    """The scan that is to be compared waits for it; nobody is told that earlier ones are gone."""
    one, other = machines
    one.analyse(JANE, 0)
    (tmp_path / "shared").rename(tmp_path / "away")
    with pytest.raises(StorageUnreachable):
        other.days_of(JANE)
    (tmp_path / "away").rename(tmp_path / "shared")
    assert other.days_of(JANE) == [0]
