"""Durable writing: order of flushes, exclusive names, and no second place that does it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from custody.durable import write_durably

ROOT = Path(__file__).parents[2]


def test_every_folder_that_was_made_is_flushed_in_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file three folders deep is there after a power cut only if all three are."""
    flushed: list[str] = []

    def fsync(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(tmp_path / "a/b/c/file", [b"x"])
    assert flushed == ["c", "b", "a", tmp_path.name]
    flushed.clear()
    write_durably(tmp_path / "a/b/c/other", [b"x"])
    assert flushed == ["c"]


def test_an_exclusive_write_never_replaces(tmp_path: Path) -> None:
    """The second of two writers is told, and leaves nothing behind."""
    write_durably(tmp_path / "x", [b"first"], replace=False)
    with pytest.raises(FileExistsError):
        write_durably(tmp_path / "x", [b"second"], part=tmp_path / "y.part", replace=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"first"


def test_where_there_are_no_hard_links_a_rename_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some shares know no links; what is there is not replaced on them either."""

    def link(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", link)
    test_an_exclusive_write_never_replaces(tmp_path)


def test_content_that_breaks_off_leaves_no_part(tmp_path: Path) -> None:
    """Whatever the source raises passes through."""

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise KeyError("source")

    with pytest.raises(KeyError):
        write_durably(tmp_path / "x", broken())
    assert list(tmp_path.iterdir()) == []


def test_flushing_is_done_in_one_module() -> None:
    """Nobody else calls fsync or fdatasync: there is one order of steps, and it is tested here."""
    rooms = ("lesionnode", "scp", "inference", "sr_writer", "config", "custody", "core")
    sources = (path for room in rooms for path in (ROOT / room).rglob("*.py"))
    found = [path.name for path in sources if re.search(r"\bf(data)?sync\(", path.read_text())]
    assert found == ["durable.py"]
