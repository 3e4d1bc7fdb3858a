"""Packages on shared storage: the same promises on a folder and on an S3 server."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import fsspec
import pytest

from core.errors import PackageDamaged, PackageDiffers, PackageMissing, SpoolError, StorageUnreachable
from custody.shared_storage import PackageReceipt, S3Access, SharedStorage
from tests.helpers.shared_storage import BUCKET, StoredBytes, raw_s3, s3_server, s3_storage

NAME = "received/series-1/2"


@dataclass(frozen=True)
class Site:
    """One storage as two machines see it, and what lies there."""

    storage: SharedStorage
    other: SharedStorage
    stored: StoredBytes


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server."""
    with s3_server() as address:
        yield address


@pytest.fixture(scope="module")
def bucket(endpoint: str) -> Iterator[Site]:
    """The server's bucket, for all tests: connecting takes longer than most of them."""
    with s3_storage(endpoint) as one, s3_storage(endpoint) as two, raw_s3(endpoint) as fs:
        yield Site(one, two, StoredBytes(fs, BUCKET))


@pytest.fixture(params=["folder", "s3"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """An empty storage of either kind."""
    if request.param == "s3":
        bucket: Site = request.getfixturevalue("bucket")
        for path in bucket.stored.paths():
            bucket.stored.remove(path)
        return bucket
    root = tmp_path / "shared"
    root.mkdir()
    pair = SharedStorage.open(str(root)), SharedStorage.open(f"file://{root}")
    return Site(*pair, StoredBytes(fsspec.filesystem("file"), str(root)))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Files of odd lengths: empty, one byte, a whole block, more than a chunk."""
    return written(tmp_path / "local", {"a.dcm": 0, "b.dcm": 1, "c.dcm": 512, "manifest-2.json": 1_500_001})


def written(folder: Path, sizes: dict[str, int]) -> dict[str, Path]:
    """Write files of such lengths; return them by their names."""
    folder.mkdir(exist_ok=True)
    for number, (name, size) in enumerate(sizes.items()):
        (folder / name).write_bytes(
            bytes((number + at) % 251 for at in range(min(size, 251))) * (size // 251 + 1)
        )
        with (folder / name).open("r+b") as file:
            file.truncate(size)
    return {name: folder / name for name in sizes}


def names_below(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def archive_path(site: Site) -> str:
    """Return where the only archive lies."""
    (path,) = (path for path in site.stored.paths() if path.endswith(".tar"))
    return path


def test_what_one_machine_publishes_another_fetches(
    site: Site, files: dict[str, Path], tmp_path: Path
) -> None:
    """Every file arrives with its name and bytes, in the order of the names, and nothing else."""
    receipt = site.storage.publish(NAME, files)
    fetched = site.other.fetch(receipt, tmp_path / "scratch" / "series-1")
    assert [path.name for path in fetched] == sorted(files)
    assert [path.read_bytes() for path in fetched] == [files[name].read_bytes() for name in sorted(files)]
    assert names_below(tmp_path / "scratch" / "series-1") == [".index.json", *sorted(files)]
    site.other.verify(receipt)
    assert site.other.receipt(NAME) == receipt


def test_a_package_is_an_index_and_a_plain_tar(site: Site, files: dict[str, Path]) -> None:
    """Where this product is not at hand, `tar` opens the archive."""
    site.storage.publish(NAME, files)
    archive = archive_path(site)
    assert site.stored.paths() == sorted([archive, f"{NAME}/index.json"])
    with tarfile.open(fileobj=BytesIO(site.stored.read(archive))) as opened:
        assert opened.getnames() == sorted(files)
        content = opened.extractfile("manifest-2.json")
        assert content is not None
        assert content.read() == files["manifest-2.json"].read_bytes()


def test_publishing_the_same_again_changes_nothing(site: Site, files: dict[str, Path]) -> None:
    """A repeated step after a crash gets the same receipt, whichever machine repeats it."""
    receipt = site.storage.publish(NAME, files)
    before = site.stored.paths()
    assert site.other.publish(NAME, files) == receipt
    assert site.stored.paths() == before


def test_a_package_never_changes(site: Site, files: dict[str, Path], tmp_path: Path) -> None:
    """Other content under the name is refused, and what is there stays as it is."""
    receipt = site.storage.publish(NAME, files)
    before = site.stored.paths()
    with pytest.raises(PackageDiffers, match="never change"):
        site.other.publish(NAME, {"a.dcm": files["b.dcm"]})
    assert site.stored.paths() == before
    site.storage.fetch(receipt, tmp_path / "scratch")


def test_of_two_that_publish_at_once_one_is_kept(site: Site, files: dict[str, Path], tmp_path: Path) -> None:
    """Both machines get the receipt of what is there, or the one that came second is refused."""
    other = {**files, "b.dcm": files["c.dcm"]}
    ready = threading.Barrier(3)
    answers: list[PackageReceipt | SpoolError] = []

    def publish(storage: SharedStorage, what: dict[str, Path]) -> None:
        ready.wait()
        try:
            answers.append(storage.publish(NAME, what))
        except PackageDiffers as error:
            answers.append(error)

    rivals = ((site.storage, files), (site.other, files), (site.other, other))
    threads = [threading.Thread(target=publish, args=rival) for rival in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipts = {one for one in answers if isinstance(one, PackageReceipt)}
    assert receipts == {site.storage.receipt(NAME)}
    assert len(answers) == 3
    site.storage.verify(*receipts)
    assert len(site.stored.paths()) == 2, "the archives of the others are removed"


def test_what_is_there_is_not_fetched_again(site: Site, files: dict[str, Path], tmp_path: Path) -> None:
    """A whole package in the folder needs no storage at all; a damaged file in it is fetched anew."""
    receipt = site.storage.publish(NAME, files)
    first = site.storage.fetch(receipt, tmp_path / "scratch")
    content = site.stored.read(archive_path(site))
    archive = archive_path(site)
    site.stored.remove(archive)
    assert site.storage.fetch(receipt, tmp_path / "scratch") == first
    site.stored.write(archive, content)
    first[1].write_bytes(b"?")
    site.storage.fetch(receipt, tmp_path / "scratch")
    assert first[1].read_bytes() == files["b.dcm"].read_bytes()


def test_other_files_in_the_folder_are_left_alone(site: Site, files: dict[str, Path], tmp_path: Path) -> None:
    """Neither a good fetch nor a failed one removes what it has not brought."""
    receipt = site.storage.publish(NAME, files)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "notes.txt").write_text("mine")
    site.stored.write(archive_path(site), b"")
    with pytest.raises(PackageDamaged):
        site.storage.fetch(receipt, scratch)
    assert names_below(scratch) == ["notes.txt"]
    site.storage.publish(NAME, files)
    site.storage.fetch(receipt, scratch)
    assert (scratch / "notes.txt").read_text() == "mine"


def test_a_damaged_file_is_named(site: Site, files: dict[str, Path], tmp_path: Path) -> None:
    """One flipped bit: the error says which file, and nothing is left in the folder."""
    receipt = site.storage.publish(NAME, files)
    archive = archive_path(site)
    content = bytearray(site.stored.read(archive))
    content[-3000] ^= 4
    site.stored.write(archive, bytes(content))
    with pytest.raises(PackageDamaged, match=r"manifest-2\.json.*not what was published"):
        site.other.fetch(receipt, tmp_path / "scratch")
    assert names_below(tmp_path / "scratch") == []
    with pytest.raises(PackageDamaged):
        site.other.verify(receipt)


def test_an_archive_that_is_gone_or_of_another_length_is_damage(
    site: Site, files: dict[str, Path], tmp_path: Path
) -> None:
    """Cut short, gone, or with a byte more; publishing again heals all of these."""
    receipt = site.storage.publish(NAME, files)
    archive = archive_path(site)
    content = site.stored.read(archive)
    for damaged in (content[:-1], content[:700], content + b"\0", None):
        site.stored.remove(archive)
        if damaged is not None:
            site.stored.write(archive, damaged)
        with pytest.raises(PackageDamaged):
            site.other.fetch(receipt, tmp_path / "scratch")
        assert site.storage.publish(NAME, files) == receipt
        assert site.stored.read(archive) == content


def test_a_damaged_index_is_told_from_a_missing_one(
    site: Site, files: dict[str, Path], tmp_path: Path
) -> None:
    """The receipt knows the index to its last byte."""
    receipt = site.storage.publish(NAME, files)
    index = site.stored.read(f"{NAME}/index.json")
    site.stored.write(f"{NAME}/index.json", index.replace(b"512", b"513"))
    with pytest.raises(PackageDamaged, match="index"):
        site.storage.fetch(receipt, tmp_path / "scratch")
    site.stored.write(f"{NAME}/index.json", index[:-20])
    for read in (lambda: site.storage.receipt(NAME), lambda: site.storage.publish(NAME, files)):
        with pytest.raises(PackageDamaged, match="delete the package"):
            read()
    site.storage.delete(NAME)
    with pytest.raises(PackageMissing, match="deleted or never published"):
        site.storage.fetch(receipt, tmp_path / "scratch")
    site.storage.verify(site.storage.publish(NAME, files))


def test_deleting_takes_everything_and_may_be_repeated(site: Site, files: dict[str, Path]) -> None:
    """Nothing of the package stays, a package below its name does, and a second time is no error."""
    site.storage.publish(NAME, files)
    below = site.storage.publish(f"{NAME}/more", files)
    for _ in range(2):
        site.storage.delete(NAME)
        assert site.other.names() == [f"{NAME}/more"]
        assert len(site.stored.paths()) == 2
    with pytest.raises(PackageMissing):
        site.other.receipt(NAME)
    site.storage.verify(below)


def test_a_deletion_that_broke_off_is_finished_by_the_next(site: Site, files: dict[str, Path]) -> None:
    """Once the index is gone the package is, and the archive can still be removed."""
    site.storage.publish(NAME, files)
    site.stored.remove(f"{NAME}/index.json")
    assert site.storage.names() == []
    site.storage.delete(NAME)
    assert site.stored.paths() == []


def test_names_can_be_listed_below_a_name(site: Site, files: dict[str, Path]) -> None:
    """Listing goes by whole parts of names."""
    for name in ("received/a/1", "received/a/2", "received/ab/1", "results/a"):
        site.storage.publish(name, {"b.dcm": files["b.dcm"]})
    assert site.other.names("received/a") == ["received/a/1", "received/a/2"]
    assert site.other.names("nothing") == []
    assert len(site.other.names()) == 4


def test_sweeping_removes_only_what_no_index_names(site: Site, files: dict[str, Path]) -> None:
    """Archives of broken uploads go, in a package's own folder too; young and foreign files stay."""
    receipt = site.storage.publish(NAME, files)
    orphans = [f"{NAME}/{'0' * 32}.tar", f"results/j/{'1' * 32}.tar", f"results/j/{'2' * 32}.part"]
    for path in (*orphans, "results/j/notes.txt", "README.tar"):
        site.stored.write(path, b"?")
    assert site.storage.sweep(3600) == 0
    assert set(orphans) < set(site.stored.paths())
    assert site.storage.sweep(-60) == 3
    assert not set(orphans) & set(site.stored.paths())
    assert {"results/j/notes.txt", "README.tar"} < set(site.stored.paths())
    site.storage.verify(receipt)


def test_checking_leaves_nothing_behind(site: Site) -> None:
    """The storage can be written, read and removed from, and refuses to replace."""
    assert site.storage.check() == []
    assert site.stored.paths() == []


def test_a_local_file_that_cannot_be_read_publishes_nothing(site: Site, tmp_path: Path) -> None:
    """The error names the file, and no index appears; nor does it for no files at all."""
    with pytest.raises(SpoolError, match=r"gone\.dcm cannot be read"):
        site.storage.publish(NAME, {"gone.dcm": tmp_path / "gone.dcm"})
    with pytest.raises(SpoolError, match="at least one file"):
        site.storage.publish(NAME, {})
    assert site.stored.paths() == []


def test_a_large_package_goes_in_parts_and_comes_in_ranges(site: Site, tmp_path: Path) -> None:
    """A package of more than one part and range arrives whole."""
    files = written(tmp_path / "local", {"large.dcm": 20 * 2**20 + 7, "small.dcm": 3})
    receipt = site.storage.publish(NAME, files)
    fetched = site.other.fetch(receipt, tmp_path / "scratch")
    assert fetched[0].read_bytes() == files["large.dcm"].read_bytes()


def test_a_closed_storage_opens_again(site: Site, files: dict[str, Path]) -> None:
    """Closing gives connections back and ends nothing for good."""
    site.storage.publish(NAME, files)
    site.storage.close()
    site.storage.close()
    assert site.storage.names() == [NAME]


def test_a_missing_bucket_is_named(endpoint: str, tmp_path: Path, files: dict[str, Path]) -> None:
    """A bucket that is not there is a matter of the configuration, not a missing package."""
    access = S3Access(endpoint=endpoint, key="k", secret="s")
    with SharedStorage.open("s3://elsewhere", access) as storage:
        with pytest.raises(StorageUnreachable, match="no bucket elsewhere"):
            storage.publish(NAME, files)
        with pytest.raises(StorageUnreachable, match="no bucket elsewhere"):
            storage.fetch(PackageReceipt(NAME, "0" * 64), tmp_path)
        with pytest.raises(StorageUnreachable, match="no bucket elsewhere"):
            storage.sweep(0)
