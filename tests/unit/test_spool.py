"""The spool: a file is there whole or not at all, nothing is deleted that might be the last copy."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SpoolError, SpoolFull
from custody.spool import Spool


def files_below(folder: Path) -> list[str]:
    """Return the relative paths of all files."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_is_there_under_our_own_ids(tmp_path: Path) -> None:
    """The parts lie one after the other in a file named by our ids, and no part file is left."""
    path = Spool(tmp_path).keep_received("s1", "i1", (b"meta", memoryview(b"data"), bytearray(b"!")))
    assert path.read_bytes() == b"metadata!"
    assert files_below(tmp_path) == ["received/s1/i1.dcm"]


def test_a_result_written_again_replaces_the_first(tmp_path: Path) -> None:
    """A job that is repeated after a crash writes the same names again."""
    spool = Spool(tmp_path)
    spool.keep_result("j1", "segmentation", b"old")
    assert spool.keep_result("j1", "segmentation", b"new").read_bytes() == b"new"
    assert files_below(tmp_path) == ["results/j1/segmentation.dcm"]


def test_results_that_are_not_dicom_lie_beside_the_others(tmp_path: Path) -> None:
    """The ending of the name says what a file holds."""
    spool = Spool(tmp_path)
    spool.keep_result("j1", "report", b"x")
    assert spool.keep_result("j1", "fhir", b"{}", ending="json").read_bytes() == b"{}"
    assert files_below(tmp_path) == ["results/j1/fhir.json", "results/j1/report.dcm"]


def test_the_name_appears_only_after_the_bytes_are_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order of a durable write: bytes, their flush, rename, flush of the folder and of its new parent."""
    spool = Spool(tmp_path)
    seen: list[str] = []
    flush_data, flush_folder = os.fdatasync, os.fsync

    def fdatasync(descriptor: int) -> None:
        seen.append(f"data of {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        assert not (spool.received / "s1" / "i1.dcm").exists()
        flush_data(descriptor)

    def fsync(descriptor: int) -> None:
        seen.append(f"folder {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        assert (spool.received / "s1" / "i1.dcm").exists()
        flush_folder(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(os, "fsync", fsync)
    spool.keep_received("s1", "i1", (b"x",))
    assert seen == ["data of i1.part", "folder s1", "folder received"]


def flushed_folders(spool: Spool, monkeypatch: pytest.MonkeyPatch, *instances: str) -> list[str]:
    """Keep instances of one series and return the names of the folders that were flushed."""
    flushed: list[str] = []

    def fsync(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        for instance in instances:
            spool.keep_received("s1", instance, (b"x",))
    return flushed


def test_the_folder_of_a_series_is_entered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later instances need no flush of the folder above."""
    flushed = flushed_folders(Spool(tmp_path), monkeypatch, "i1", "i2")
    assert flushed == ["s1", "received", "s1"]


def test_a_folder_that_somebody_else_just_made_is_entered_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made it may not have flushed the folder above yet: an earlier process, or another association."""
    spool = Spool(tmp_path)
    (spool.received / "s1").mkdir()
    assert flushed_folders(spool, monkeypatch, "i1") == ["s1", "received"]


def test_a_folder_that_was_purged_is_made_and_entered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of a series may come after its images were deleted."""
    spool = Spool(tmp_path)
    path = spool.keep_received("s1", "i1", (b"x",))
    path.unlink()
    path.parent.rmdir()
    assert flushed_folders(spool, monkeypatch, "i2") == ["s1", "received"]


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may write less than it was asked to."""
    write_some = os.writev
    monkeypatch.setattr(os, "writev", lambda file, parts: write_some(file, [parts[0][:3]]))
    path = Spool(tmp_path).keep_received("s1", "i1", (b"meta", b"", memoryview(b"data of it")))
    assert path.read_bytes() == b"metadata of it"


def test_no_reader_ever_sees_half_a_file(tmp_path: Path) -> None:
    """While one result is replaced over and over, a reader finds one of its contents, whole."""
    spool = Spool(tmp_path)
    contents = [bytes([letter]) * 200_000 for letter in b"ab"]
    path = spool.keep_result("j1", "report", contents[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(30):
            spool.keep_result("j1", "report", contents[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in contents
    writer.join()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """When the disk or the quota is full during the flush, the error says so and no file is left."""

    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    spool = Spool(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        with pytest.raises(SpoolFull, match="free some space"):
            spool.keep_received("s1", "i1", (b"x",))
    assert files_below(tmp_path) == []
    spool.keep_received("s1", "i1", (b"x",))
    assert files_below(tmp_path) == ["received/s1/i1.dcm"]


def test_a_broken_disk_is_a_spool_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input/output error is not taken for a full disk."""

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(SpoolError, match="Input/output error") as caught:
        Spool(tmp_path).keep_received("s1", "i1", (b"x",))
    assert not isinstance(caught.value, SpoolFull)
    assert files_below(tmp_path) == []


def test_under_the_floor_nothing_is_received_but_results_are_still_written(tmp_path: Path) -> None:
    """The floor keeps room for the results of what was accepted already."""
    spool = Spool(tmp_path, floor_bytes=2**62)
    with pytest.raises(SpoolFull, match="disk_floor_mb"):
        spool.keep_received("s1", "i1", (b"x",))
    spool.keep_result("j1", "report", b"x")
    assert files_below(tmp_path) == ["results/j1/report.dcm"]


def test_the_floor_counts_what_is_coming(tmp_path: Path) -> None:
    """An instance that would bring the disk under its floor is refused before a byte is written."""
    spool = Spool(tmp_path)
    spool.require_space(1)
    with pytest.raises(SpoolFull):
        spool.require_space(spool.free_bytes() + 2**40)


def test_sweeping_deletes_parts_and_moves_strangers_aside(tmp_path: Path) -> None:
    """After a crash: cut-off writes go, recorded files stay, complete unrecorded files are kept elsewhere."""
    spool = Spool(tmp_path)
    known = spool.keep_received("s1", "known", (b"k",))
    spool.keep_received("s1", "stranger", (b"s",))
    result = spool.keep_result("j1", "report", b"r")
    for folder in (known.parent, result.parent):
        (folder / "cut.part").write_bytes(b"half")
    assert spool.sweep([known]) == (2, 1)
    assert files_below(tmp_path) == [
        "received/s1/known.dcm",
        "results/j1/report.dcm",
        "unrecorded/s1-stranger.dcm",
    ]
    assert (spool.unrecorded / "s1-stranger.dcm").read_bytes() == b"s"
    assert spool.sweep([known]) == (0, 0)


def test_with_an_empty_ledger_no_received_file_is_lost(tmp_path: Path) -> None:
    """Were the ledger itself lost, every received file would still be there."""
    spool = Spool(tmp_path)
    for number in range(3):
        spool.keep_received(f"s{number}", "i", (bytes([number]),))
    assert spool.sweep([]) == (0, 3)
    assert [path.read_bytes() for path in sorted(spool.unrecorded.iterdir())] == [b"\0", b"\1", b"\2"]


HOSTILE = st.sampled_from(["..", ".", "", "../x", "/etc/x", "a/b", "a\0b", "a.b", "x" * 65, "é"]) | st.text(
    max_size=8
).filter(lambda text: not all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in text))


@given(HOSTILE)
def test_a_hostile_id_never_becomes_a_path(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Only ids of our own form name files, in either place."""
    folder = tmp_path_factory.mktemp("hostile")
    spool = Spool(folder / "data")
    for keep in (
        lambda: spool.keep_received(name, "i", (b"x",)),
        lambda: spool.keep_received("s", name, (b"x",)),
        lambda: spool.keep_result(name, "r", b"x"),
        lambda: spool.keep_result("j", name, b"x"),
        lambda: spool.keep_result("j", "r", b"x", ending=name),
    ):
        with pytest.raises(SpoolError):
            keep()
    assert files_below(folder) == []


def test_a_data_folder_that_cannot_be_used_is_reported(tmp_path: Path) -> None:
    """A file where the folder should be is named in the error."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(SpoolError, match="cannot be used"):
        Spool(tmp_path / "data")
