"""Images that are flushed when their series is sealed: nobody relies on them before, no loss is silent."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import func, select

from config import Settings
from core.errors import LedgerUnavailable
from custody.holdings import Holdings
from custody.late_flush import MARK, LateFlush
from custody.ledger import Ledger, reception
from custody.ledger.tables import incident, job, manifest
from custody.shelving import Shelving
from custody.spool import Spool
from scp.completion import Completion
from tests.helpers.instances import ct_series, dose_report
from tests.helpers.station import NODE, Station


class Disk:
    """Which files and folders were flushed, and what of them the disk refuses."""

    def __init__(self) -> None:
        self.flushed: list[Path] = []
        self.refuses: set[Path] = set()

    def flush(self, descriptor: int) -> None:
        """Take the place of fsync and fdatasync."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path in self.refuses:
            self.refuses.discard(path)  # as Linux does: the next flush of the file succeeds
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.flushed.append(path)


class LateStation(Station):
    """A station that answers before it flushes."""

    def __post_init__(self) -> None:
        """Let reception write through a spool that does not flush."""
        Station.__post_init__(self)
        self.spool = Spool(self.folder, flush_received=False)
        self.reception._spool = self.spool

    @property
    def late_flush(self) -> LateFlush:
        """What the node would use."""
        return LateFlush(self.ledger, self.spool, NODE, self.clock)

    def complete(self, flush: Callable[[str], bool] | None = None) -> int:
        """Look once whether something is complete."""
        found = Completion(
            self.settings, self.ledger, self.holdings, self.clock, flush or self.late_flush.flush
        )
        return found.step()

    def files(self) -> list[Path]:
        """Return the received files."""
        return sorted(self.spool.received.rglob("*.dcm"))

    def count(self, what: str) -> int:
        """Return how many jobs, manifests or incidents there are."""
        table = {"jobs": job, "manifests": manifest, "incidents": incident}[what]
        with self.ledger.read() as connection:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


@pytest.fixture
def station(tmp_path: Path, ledger: Ledger) -> LateStation:
    """An empty one."""
    return LateStation(tmp_path, ledger)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """What Python asks of the disk; the ledger's own flushes go past it."""
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.flush)
    monkeypatch.setattr(os, "fdatasync", disk.flush)
    return disk


def images(count: int = 4) -> list[Dataset]:
    """Return a series."""
    return ct_series(count)


def test_nothing_is_flushed_before_the_answer(station: LateStation, disk: Disk) -> None:
    """That is what the mode is for."""
    assert len(station.receive(images())) == 4
    assert disk.flushed == []


def test_everything_is_on_disk_before_the_job_appears(station: LateStation, disk: Disk) -> None:
    """Each file, its folder and the folder of that; only then is there something to analyse."""
    station.receive(images())
    station.clock.advance(100)

    def flush(series_id: str) -> bool:
        assert station.count("jobs") == 0
        return station.late_flush.flush(series_id)

    assert station.complete(flush) == 1
    folder = station.files()[0].parent
    assert disk.flushed == [*station.files(), folder, station.spool.received]
    assert station.count("jobs") == 1


def test_what_the_disk_does_not_take_counts_as_never_received(station: LateStation, disk: Disk) -> None:
    """It is said, the others go on without it, and when it comes again it is stored again."""
    sent = images()
    station.receive(sent)
    damaged = station.files()[1]
    disk.refuses.add(damaged)
    station.clock.advance(100)
    assert station.complete() == 0
    assert not damaged.exists()
    assert [path.name for path in station.spool.unrecorded.iterdir()] == [
        f"{damaged.parent.name}-{damaged.name}"
    ]
    assert station.count("incidents") == 1
    assert station.complete() == 1
    with station.ledger.read() as connection:
        assert connection.execute(select(job.c.evidence)).scalar_one().startswith("3 images")
    before = len(station.files())
    station.receive(sent)
    assert len(station.files()) == before + 1


def test_a_file_that_is_gone_counts_as_never_received(station: LateStation) -> None:
    """Whoever took it: a job never lists an image that is not there."""
    station.receive(images())
    station.files()[0].unlink()
    station.clock.advance(100)
    assert [station.complete(), station.complete()] == [0, 1]
    assert station.count("incidents") == 1


def test_too_many_open_files_are_no_loss(station: LateStation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be asked is asked again."""
    station.receive(images())
    station.clock.advance(100)

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        assert station.complete() == 0
    assert len(station.files()) == 4
    assert station.complete() == 1


def test_a_loss_that_could_not_be_recorded_is_not_forgotten(
    station: LateStation, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second flush of the same file would succeed, and mean nothing."""
    station.receive(images())
    late_flush = station.late_flush
    disk.refuses.add(station.files()[1])
    station.clock.advance(100)
    with monkeypatch.context() as patched:
        patched.setattr(reception, "mark_missing", Mock(side_effect=LedgerUnavailable("busy")))
        assert station.complete(late_flush.flush) == 0
    assert station.complete(late_flush.flush) == 0
    assert station.count("incidents") == 1
    assert station.complete(late_flush.flush) == 1


def test_a_folder_that_was_refused_once_is_not_asked_again(station: LateStation, disk: Disk) -> None:
    """Names may be lost, nobody knows which: the next start compares, until then nothing is sealed."""
    station.receive(images())
    late_flush = station.late_flush
    disk.refuses |= {station.files()[0].parent, station.files()[1]}
    station.clock.advance(100)
    assert [station.complete(late_flush.flush) for _ in range(3)] == [0, 0, 0]
    assert len(station.files()) == 3
    assert station.count("incidents") == 1


def test_what_is_flushed_is_not_flushed_again(station: LateStation, disk: Disk) -> None:
    """A series that stays open is looked at every second."""
    late_flush = station.late_flush
    first, *rest = images()
    station.receive(rest)
    series_id = station.files()[0].parent.name
    assert late_flush.flush(series_id)
    disk.flushed.clear()
    assert late_flush.flush(series_id)
    assert disk.flushed == []
    before = set(station.files())
    station.receive([first])
    assert late_flush.flush(series_id)
    (new,) = set(station.files()) - before
    assert disk.flushed == [new, new.parent, station.spool.received]


def test_a_file_without_a_row_is_left_alone(station: LateStation, disk: Disk) -> None:
    """It was not answered yet; its row comes in a moment."""
    station.receive(images())
    under_way = station.files()[0].with_name("under-way.dcm")
    under_way.write_bytes(b"x")
    disk.refuses.add(under_way)
    assert station.late_flush.flush(under_way.parent.name)
    assert under_way.exists()


def test_a_series_of_which_something_came_meanwhile_waits(station: LateStation) -> None:
    """What arrived during the flush was not flushed with the rest."""
    first, *rest = images()
    station.receive(rest)
    station.clock.advance(100)

    def flush(series_id: str) -> bool:
        now = station.clock.now
        station.clock.now = now - 50  # it began before, and its row comes only now
        station.receive([first])
        station.clock.now = now
        return station.late_flush.flush(series_id)

    assert station.complete(flush) == 0
    assert station.complete() == 1


def test_what_is_set_aside_is_flushed_before_it_is_listed(station: LateStation, disk: Disk) -> None:
    """Such a series is never sealed, and was acknowledged all the same."""
    station.receive([dose_report()])
    (kept,) = station.files()
    station.clock.advance(100)

    def flush(series_id: str) -> bool:
        assert station.count("manifests") == 0
        return station.late_flush.flush(series_id)

    holdings = Holdings(station.spool, station.ledger)
    shelving = Shelving(station.ledger, station.spool, holdings, NODE, station.clock, flush)
    assert shelving.step() == 1
    assert kept in disk.flushed


def test_a_series_that_is_not_safe_is_not_listed(station: LateStation) -> None:
    """Its rows stay where they are until the next turn."""
    station.receive([dose_report()])
    station.clock.advance(100)
    holdings = Holdings(station.spool, station.ledger)
    shelving = Shelving(station.ledger, station.spool, holdings, NODE, station.clock, lambda _: False)
    assert shelving.step() == 0
    assert station.count("manifests") == 0


def test_a_power_cut_is_found_at_the_next_start(station: LateStation) -> None:
    """Files that are shorter, empty or full of zeros are not analysed; who sends them again is heard."""
    sent = images(6)
    station.late_flush.take_up(goes_on=True)
    station.receive(sent)
    short, empty, zeros, *whole = station.files()
    short.write_bytes(short.read_bytes()[:-1])
    empty.write_bytes(b"")
    content = zeros.read_bytes()
    zeros.write_bytes(content[:-512] + bytes(512))
    assert station.late_flush.take_up(goes_on=True) == 3
    assert station.files() == whole
    assert len(list(station.spool.unrecorded.iterdir())) == 3
    station.receive(sent)
    assert len(station.files()) == 6
    station.clock.advance(100)
    assert station.complete() == 1
    with station.ledger.read() as connection:
        assert connection.execute(select(job.c.evidence)).scalar_one().startswith("6 images")


def test_going_back_to_flushing_flushes_what_is_there(station: LateStation, disk: Disk) -> None:
    """After that nothing has to be compared any more."""
    station.late_flush.take_up(goes_on=True)
    station.receive(images())
    disk.flushed.clear()
    assert station.late_flush.take_up(goes_on=False) == 0
    assert set(station.files()) < set(disk.flushed)
    assert not (station.folder / MARK).exists()


def test_nothing_is_compared_where_everything_was_flushed(
    station: LateStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual mode does not read images at its start."""
    station.receive(images())
    monkeypatch.setattr("custody.late_flush.data_set_sha256", lambda _: pytest.fail("read"))
    assert station.late_flush.take_up(goes_on=False) == 0


def test_both_modes_can_be_configured() -> None:
    """The safe one is the default."""
    assert not Settings().reception.flushes_late
    assert Settings.model_validate({"reception": {"durability": "seal"}}).reception.flushes_late
