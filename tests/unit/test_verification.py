"""Ledger and spool are compared: any single damage is found, and nothing else is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from custody.completing import complete_result_sets
from custody.instance_files import data_set_start
from custody.ledger import Ledger
from custody.ledger.tables import delivery, instance, job, manifest, result_object, series, series_source
from custody.result_set import RECEIPTS, RESULT_SET
from scp.completion import destinations
from tests.helpers.instances import ct_series, fresh_ledger
from tests.helpers.station import NODE, Station


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A node with series of every kind; each test undoes what it does."""
    folder = tmp_path_factory.mktemp("station")
    with fresh_ledger(folder) as ledger:
        built = Station(folder, ledger)
        for stage in ("half delivered", "stragglers", "second scan", "aside", "not shelved", "open"):
            built.bring(stage, stage)
        yield built


def test_what_agrees_is_not_reported(station: Station) -> None:
    """A sound node gives no alarm, with digests and without."""
    assert station.disagreements() == []
    assert list(station.verification(quick=True).run()) == []


def _files(station: Station) -> list[Path]:
    """Return every file whose loss has to be noticed; receipts are best effort."""
    found = [*station.spool.received.rglob("*"), *station.spool.results.rglob("*")]
    return sorted(path for path in found if path.is_file() and path.name != RECEIPTS)


def test_every_file_that_is_gone_is_found(station: Station) -> None:
    """Image, manifest, result, result set: whichever is deleted."""
    for path in _files(station):
        content = path.read_bytes()
        path.unlink()
        found = station.disagreements()
        path.write_bytes(content)
        assert found, path
        assert all(one.endswith("_missing") for one in found), (path, found)


def test_every_changed_byte_is_found(station: Station) -> None:
    """A flipped bit anywhere in a file; in File Meta Information anywhere that says what the image is."""
    for number, path in enumerate(_files(station)):
        content = path.read_bytes()
        is_image = path.parent.parent == station.spool.received and path.suffix == ".dcm"
        first = data_set_start(path) if is_image else 0
        places = {first, len(content) - 1, first + (len(content) - first) * (number % 10) // 10}
        if is_image:
            places |= {132, 140, content.index(b"1.2.840.10008.1.2.1") + 2, content.index(b"CT1")}
        for at in places:
            path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            found = station.disagreements()
            path.write_bytes(content)
            assert found, (path, at)


def test_a_file_of_another_size_is_found_quickly(station: Station) -> None:
    """Without any digest."""
    for path in [path for path in _files(station) if path.suffix == ".dcm"]:
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        found = list(station.verification(quick=True).run())
        path.write_bytes(content)
        assert len(found) == 1, path


def test_files_that_nobody_knows_are_found(station: Station) -> None:
    """In a folder of a series, in one of a job, in folders of their own, and what was moved aside before."""
    series_folder = next(path.parent for path in station.spool.received.glob("*/manifest-1-*.json"))
    job_folder = next(path.parent for path in station.spool.results.glob("*/segmentation.dcm"))
    strangers = {
        series_folder / "0.dcm": "file_unknown",
        series_folder / "0.part": "file_unknown",
        series_folder / "manifest-7-0.json": "manifest_unknown",
        job_folder / "old.dcm": "file_unknown",
        station.spool.received / "unknown" / "0.dcm": "folder_unknown",
        station.spool.results / "unknown" / "film.dcm": "folder_unknown",
        station.spool.time_points / "unknown" / "time-point.zip": "folder_unknown",
        station.spool.unrecorded / "x.dcm": "unrecorded",
    }
    for path, kind in strangers.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        found = station.disagreements()
        path.unlink()
        if path.parent.name == "unknown":
            path.parent.rmdir()
        assert found == [kind], path


_ROWS: dict[str, tuple[Any, ...]] = {
    "manifest": (manifest,),
    "instance": (instance,),
    "result_object": (result_object, delivery),
    "job": (job,),
    "series_source": (series_source,),
    "delivery": (delivery,),
    "series": (series,),
}


@pytest.mark.parametrize("table", _ROWS)
def test_every_row_that_is_gone_is_found(station: Station, table: str) -> None:
    """Whichever row is deleted, also one that others refer to."""
    (what, *_) = _ROWS[table]
    with station.ledger.read() as connection:
        rows = [dict(row) for row in connection.execute(select(what)).mappings()]
    assert rows
    for row in rows:
        key = [what.c[column.name] == row[column.name] for column in what.primary_key]
        _without_foreign_keys(station.ledger, what.delete().where(*key))
        found = station.disagreements()
        _without_foreign_keys(station.ledger, what.insert().values(row))
        assert found, (table, row)
    assert station.disagreements() == []


def _without_foreign_keys(ledger: Ledger, statement: Any) -> None:
    """Change a row as a damaged database would."""
    engine = ledger._engine
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        raw.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        with connection.begin():
            connection.execute(statement)
        raw.execute("PRAGMA foreign_keys = ON")  # type: ignore[union-attr]


def test_a_manifest_of_another_series_is_found(station: Station) -> None:
    """A file that is whole and in the wrong place is noticed too."""
    first, second = sorted(station.spool.received.glob("*/manifest-1-*.json"))[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    found = station.disagreements()
    first.write_bytes(content)
    assert "manifest_damaged" in found


def test_what_arrives_this_moment_is_no_alarm(station: Station) -> None:
    """A file that is younger than a minute may not be in the ledger yet, a write may be going on."""
    folder = next(path.parent for path in station.spool.received.glob("*/manifest-1-*.json"))
    fresh = [folder / "new.dcm", folder / "new.part", folder / "manifest-9-0.json"]
    for path in fresh:
        path.write_bytes(b"x")
    try:
        verification = station.verification()
        verification._now = time.time
        assert list(verification.run()) == []
    finally:
        for path in fresh:
            path.unlink()


def test_what_is_settled_at_the_second_look_is_no_alarm(tmp_path: Path, ledger: Ledger) -> None:
    """An image whose row comes between the first look and the second is none that nobody knows."""
    station = Station(tmp_path, ledger)
    station.bring("sealed", "a")
    (row, path) = _one_listed_image(station)
    content = path.read_bytes()
    path.unlink()
    looks: list[float] = []

    def comes_back(seconds: float) -> None:
        looks.append(seconds)
        path.write_bytes(content)

    verification = station.verification()
    verification._pause = comes_back
    assert list(verification.run()) == []
    assert len(looks) == 1
    assert verification.images == 3
    assert row


def _one_listed_image(station: Station) -> tuple[str, Path]:
    (listed,) = station.spool.received.glob("*/manifest-1-*.json")
    path = next(listed.parent.glob("*.dcm"))
    return path.stem, path


def test_a_lost_image_that_is_sent_again_is_stored_again(tmp_path: Path, ledger: Ledger) -> None:
    """What to do about a missing image works: the resend is kept, and the series is analysed with it."""
    station = Station(tmp_path, ledger)
    station.bring("sealed", "a")
    _, path = _one_listed_image(station)
    path.unlink()
    assert station.disagreements() == ["image_missing"]
    assert sorted(station.receive(ct_series(3, study="a"))) == ["identical", "identical", "kept"]
    station.seal()
    with ledger.read() as connection:
        generations = connection.execute(select(job.c.generation).order_by(job.c.generation)).scalars().all()
    assert generations == [1, 2]


def test_result_sets_of_an_earlier_version_are_completed(tmp_path: Path, ledger: Ledger) -> None:
    """What is missing or damaged is written from the ledger; the ledger can be made anew from it."""
    station = Station(tmp_path, ledger)
    station.bring("half delivered", "a")
    (path,) = station.spool.results.glob(f"*/{RESULT_SET}.json")
    before = station.snapshot()
    path.unlink()
    (path.parent / RECEIPTS).unlink()
    assert station.disagreements() == ["result_set_missing"]
    assert complete_result_sets(ledger, station.spool, destinations(station.settings)) == 1
    assert station.disagreements() == []
    station.lose_ledger()
    station.rebuild()
    assert station.snapshot() == before


def test_another_node_s_files_are_not_missed(tmp_path: Path, shared_ledger: Ledger) -> None:
    """On a shared ledger each node compares what lies in its own spool."""
    station = Station(tmp_path / "one", shared_ledger)
    station.bring("sealed", "a")
    assert station.disagreements() == []
    elsewhere = Station(tmp_path / "two", shared_ledger)
    verification = elsewhere.verification()
    verification._node = f"{NODE}-other"
    assert list(verification.run()) == []


def test_progress_is_told(station: Station) -> None:
    """The share grows to one."""
    shares: list[float] = []
    take: Callable[[float], None] = shares.append
    list(station.verification().run(take))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_an_old_part_file_is_told(station: Station) -> None:
    """A write that ended ten minutes ago without its rename never will."""
    folder = next(path.parent for path in station.spool.received.glob("*/manifest-1-*.json"))
    part = folder / "x.part"
    part.touch()
    os.utime(part, (0, 0))
    found = station.disagreements()
    part.unlink()
    assert found == ["file_unknown"]
