"""The format of packages: everything but what was published is found out."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError, PackageDamaged, SpoolError
from custody.file_store import FolderStore
from custody.package import PackageFile, PackageIndex, archive_of, measured, unpack
from custody.shared_storage import PackageReceipt, SharedStorage

ARCHIVE = "0" * 32 + ".tar"
SIZES = {"a.dcm": 700, "b.dcm": 0, "c.dcm": 512, "manifest-1.json": 3}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files."""
    folder = tmp_path_factory.mktemp("sources")
    for name, size in SIZES.items():
        (folder / name).write_bytes(bytes(at % 256 for at in range(size)))
    return {name: folder / name for name in SIZES}


@pytest.fixture(scope="module")
def index(sources: dict[str, Path]) -> PackageIndex:
    """Their index."""
    return PackageIndex("series/1", ARCHIVE, measured(sources))


@pytest.fixture(scope="module")
def archive(index: PackageIndex, sources: dict[str, Path]) -> bytes:
    """Their archive."""
    return b"".join(archive_of(index, sources))


def in_chunks(content: bytes, size: int) -> Iterator[bytes]:
    """Yield the bytes in chunks."""
    return (content[at : at + size] for at in range(0, len(content), size))


def test_the_archive_is_what_tar_would_open(
    index: PackageIndex, archive: bytes, sources: dict[str, Path]
) -> None:
    """Its length is known beforehand; it holds the files, and neither times nor owners."""
    assert len(archive) == index.archive_bytes
    with tarfile.open(fileobj=BytesIO(archive)) as opened:
        assert opened.getnames() == sorted(SIZES)
        assert {(one.mtime, one.uid, one.uname) for one in opened} == {(0, 0, "")}


@given(size=st.integers(1, 3000))
def test_chunks_of_any_length_give_the_same_files(
    tmp_path_factory: pytest.TempPathFactory,
    index: PackageIndex,
    archive: bytes,
    sources: dict[str, Path],
    size: int,
) -> None:
    """Where the chunks end does not matter."""
    folder = tmp_path_factory.mktemp("out")
    unpack(index, in_chunks(archive, size), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: path.read_bytes() for name, path in sources.items()
    }


@given(data=st.data(), bit=st.integers(0, 7))
def test_any_flipped_bit_of_the_archive_is_found(
    index: PackageIndex, archive: bytes, data: st.DataObject, bit: int
) -> None:
    """Content, headers and padding alike."""
    at = data.draw(st.integers(0, len(archive) - 1))
    damaged = bytearray(archive)
    damaged[at] ^= 1 << bit
    with pytest.raises(PackageDamaged, match="damaged"):
        unpack(index, in_chunks(bytes(damaged), 1000), None)


@given(data=st.data())
def test_any_other_length_is_found(index: PackageIndex, archive: bytes, data: st.DataObject) -> None:
    """Cut off anywhere, or followed by anything."""
    cut = data.draw(st.integers(0, len(archive) - 1))
    tail = data.draw(st.binary(min_size=1, max_size=600))
    for wrong in (archive[:cut], archive + tail):
        with pytest.raises(PackageDamaged):
            unpack(index, iter([wrong]), None)


def test_damage_names_the_first_file_that_differs(index: PackageIndex, archive: bytes) -> None:
    """The message says which file and which package."""
    damaged = archive.replace(b"\0\1\2\3", b"\0\1\2\4", 1)
    with pytest.raises(PackageDamaged, match=r"a\.dcm of the package series/1"):
        unpack(index, iter([damaged]), None)


@given(data=st.data(), bit=st.integers(0, 7))
def test_any_flipped_bit_of_an_index_is_found(
    tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Path], data: st.DataObject, bit: int
) -> None:
    """The receipt knows the index; without it, an index that still reads is that of other content."""
    root = tmp_path_factory.mktemp("shared")
    storage = SharedStorage(FolderStore(root))
    receipt = storage.publish("series/1", {"a.dcm": sources["a.dcm"]})
    path = root / "series/1/index.json"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(PackageDamaged, match="index"):
        storage.fetch(receipt, root / "scratch")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"name": "../series"},
        {"archive": "../../etc/passwd"},
        {"files": [{"name": "../a", "size": 1, "sha256": "0"}]},
        {"files": [{"name": "a", "size": -1, "sha256": "0"}]},
        {"files": [{"name": "a", "size": 1.0, "sha256": "0"}]},
        {"files": [{"name": name, "size": 1, "sha256": "0"} for name in ("b", "a")]},
        {"files": [{"name": "a", "size": 1, "sha256": "0"}] * 2},
        {"files": None},
        {"more": 1},
    ],
    ids=str,
)
def test_an_index_that_was_never_written_so_is_refused(
    index: PackageIndex, change: dict[str, object]
) -> None:
    """Whatever a stranger put there leads to no path outside and to no other reading."""
    changed = {**json.loads(index.encode()), **change}
    with pytest.raises(ValueError, match="not the index"):
        PackageIndex.decode(json.dumps(changed, indent=1).encode() + b"\n")


@given(st.binary(max_size=300))
def test_noise_is_no_index(noise: bytes) -> None:
    """Any bytes are read or refused, never anything else."""
    with pytest.raises(ValueError, match="not the index"):
        PackageIndex.decode(noise)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9_-]{1,20}(\.dcm)?", fullmatch=True), st.integers(0, 2**40), max_size=4
    )
)
def test_an_index_reads_back(sizes: dict[str, int]) -> None:
    """What is encoded is decoded, to the same bytes."""
    files = tuple(PackageFile(name, sizes[name], hashlib.sha256().hexdigest()) for name in sorted(sizes))
    index = PackageIndex("received/1", ARCHIVE, files)
    assert PackageIndex.decode(index.encode()) == index


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "", "a/", "a/../b", "é", "x" * 97, "a\n", "."])
def test_no_name_leads_out_of_the_storage(tmp_path: Path, sources: dict[str, Path], name: str) -> None:
    """Names of packages and of files are made of our own ids; others are refused before anything is done."""
    (tmp_path / "shared").mkdir()
    storage = SharedStorage(FolderStore(tmp_path / "shared"))
    for use in (
        lambda: storage.publish(name, sources),
        lambda: storage.publish("a", {name: sources["a.dcm"]}),
        lambda: storage.delete(name),
        lambda: storage.receipt(name),
        lambda: storage.fetch(PackageReceipt(name, "0" * 64), tmp_path / "scratch"),
    ):
        with pytest.raises(SpoolError, match=r"not .*our own"):
            use()
    assert [path.name for path in tmp_path.rglob("*")] == ["shared"]


@pytest.mark.parametrize("url", ["", "mnt/x", "file://host/x", "ftp://x/y", "s3://", "s3:///x", "C:\\x"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    """The message shows what is wanted."""
    with pytest.raises(ConfigurationError, match=r"storage\.shared: .* wanted a folder"):
        SharedStorage.open(url)


def test_without_s3fs_the_message_says_how_to_install_it() -> None:
    """What to install is named; folders work without it. A process of its own: fsspec remembers s3fs."""
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from custody.shared_storage import SharedStorage\n"
        "SharedStorage.open('/mnt')\n"
        "SharedStorage.open('s3://bucket')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    last_line = run.stderr.splitlines()[-1]
    assert last_line.startswith("core.errors.ConfigurationError: ")
    assert "needs the package s3fs" in last_line


def test_a_store_that_replaces_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some stores do not know If-None-Match; the check says what that means."""

    def replace(store: FolderStore, path: str, content: bytes) -> bool:
        store.put(path, [content])
        return True

    monkeypatch.setattr(FolderStore, "create", replace)
    (remark,) = SharedStorage.open(str(tmp_path)).check()
    assert "If-None-Match" in remark
    assert list(tmp_path.iterdir()) == []
