"""Shared storage that breaks off, is not there, or is none: half a package is never seen, nothing hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from core.errors import PackageDamaged, SpoolError, SpoolFull, StorageUnreachable
from custody import shared_storage
from custody.shared_storage import PackageReceipt, S3Access, SharedStorage
from tests.helpers.shared_storage import BUCKET, KEY, SECRET, ScriptedServer, s3_server, s3_storage

pytestmark = pytest.mark.fault

# Publishes under one name after the other. Each time a forked process is killed one step later: before a file
# is opened, made, linked or removed, before and after each flush, before each connection.
PUBLISH_AND_DIE = """
import importlib, itertools, os, signal, sys
from pathlib import Path
from custody.shared_storage import S3Access, SharedStorage

url, endpoint, key, secret, local, step = sys.argv[1:]
STEPS = {"open", "os.mkdir", "os.link", "os.rename", "os.remove", "socket.connect"}
files = {path.name: path for path in Path(local).iterdir()}
if url.startswith("s3"):
    importlib.import_module("custody.s3_store")

def publish(point):
    left = point
    def count(event, arguments=()):
        nonlocal left
        if event in STEPS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    def counted(flush):
        def flush_between(descriptor):
            count("open")
            flush(descriptor)
            count("open")
        return flush_between
    storage = SharedStorage.open(url, S3Access(endpoint=endpoint, key=key, secret=secret))
    storage.names()
    os.fdatasync, os.fsync = counted(os.fdatasync), counted(os.fsync)
    sys.addaudithook(count)
    storage.publish(f"killed/{point}", files)
    os._exit(0)

for point in itertools.count(1, int(step)):
    child = os.fork()
    if child == 0:
        publish(point)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        print(point)
        break
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three small files."""
    folder = tmp_path / "local"
    folder.mkdir()
    for name in ("a.dcm", "b.dcm", "c.dcm"):
        (folder / name).write_bytes(name.encode() * 100)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def no_store() -> Iterator[ScriptedServer]:
    """A server that the tests tell what to answer."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="module")
def unreachable(no_store: ScriptedServer) -> Iterator[SharedStorage]:
    """A storage that takes the scripted server for a store; connecting anew each time would take long."""
    with s3_storage(no_store.endpoint, timeout_s=3) as storage:
        yield storage


@pytest.fixture(scope="module")
def impatient(no_store: ScriptedServer) -> Iterator[SharedStorage]:
    """The same with a limit that a test can wait for."""
    with s3_storage(no_store.endpoint, timeout_s=0.2) as storage:
        yield storage


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, S3Access]]:
    """An empty storage of either kind: its URL and how it is reached."""
    if request.param == "folder":
        (tmp_path / "shared").mkdir()
        yield str(tmp_path / "shared"), S3Access()
        return
    with s3_server() as endpoint:
        yield f"s3://{BUCKET}", S3Access(endpoint=endpoint, key=KEY, secret=SECRET)


def test_killed_at_any_point_a_package_is_whole_or_absent(
    place: tuple[str, S3Access], files: dict[str, Path]
) -> None:
    """After each kill what is listed is whole, publishing again succeeds, and sweeping leaves no rubbish."""
    url, access = place
    local = files["a.dcm"].parent
    step = 1
    if access.endpoint:
        files["b.dcm"].write_bytes(os.urandom(9 * 2**20))  # so that the archive has two parts
        step = 4  # connecting takes a while
    arguments = [url, access.endpoint, access.key, access.secret, str(local), str(step)]
    answer = subprocess.run(
        [sys.executable, "-c", PUBLISH_AND_DIE, *arguments], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    points = range(1, int(answer.stdout) + 1, step)
    assert len(points) >= 5, "killed at several points, and once not at all"
    with SharedStorage.open(url, access) as storage:
        whole = storage.names()
        assert f"killed/{points[-1]}" in whole
        assert f"killed/{points[0]}" not in whole
        for name in whole:
            storage.verify(storage.receipt(name))
        assert storage.sweep(-60) > 0, "some left files behind"
        for point in points:
            storage.verify(storage.publish(f"killed/{point}", files))
        assert sorted(storage.names()) == sorted(f"killed/{point}" for point in points)
        assert storage.sweep(-60) == 0


class Drip:
    """A byte now and then, so that no wait between two bytes is long."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 1000000\r\n\r\n"
        while True:
            time.sleep(0.02)
            yield b"x"


def page(status: str, body: bytes, length: int | None = None) -> list[bytes]:
    """Answer with a page."""
    size = len(body) if length is None else length
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    )
    return [head.encode(), body]


ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>no</Message></Error>"


@pytest.mark.parametrize(
    ("answer", "said", "again"),
    [
        ([], "cannot be used", True),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "cannot be used", True),
        ([bytes(range(256)) * 12], "cannot be used", True),
        (page("500 Internal Server Error", b"<h1>oops</h1>"), "answered 500", True),
        (page("503 Slow Down", ERROR % b"SlowDown"), "answered SlowDown", True),
        (page("200 OK", b"<h1>it", 1000), "cannot be used", True),
        (page("403 Forbidden", ERROR % b"InvalidAccessKeyId"), "refuses the access key", False),
        (page("403 Forbidden", ERROR % b"RequestTimeTooSkewed"), "clocks", False),
        (page("400 Bad Request", b"<h1>no</h1>"), "answered 400", False),
    ],
    ids=["close", "ssh", "noise", "500", "503", "cut", "key", "clock", "400"],
)
def test_what_is_no_store_is_said_to_be_unreachable(
    answer: Iterable[bytes] | None,
    said: str,
    again: bool,
    no_store: ScriptedServer,
    unreachable: SharedStorage,
    tmp_path: Path,
) -> None:
    """Three attempts where another may help, one where not; the message names the address, not the secret."""
    no_store.answer = answer
    no_store.asked.clear()
    with pytest.raises(StorageUnreachable, match=said) as caught:
        unreachable.fetch(PackageReceipt("a", "0" * 64), tmp_path / "scratch")
    assert no_store.endpoint in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(no_store.asked) > 1 if again else len(no_store.asked) == 1
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    ("operation", "answer"),
    [("publish", None), ("delete", None), ("sweep", None), ("receipt", Drip())],
)
def test_no_operation_waits_for_ever(
    operation: str,
    answer: Iterable[bytes] | None,
    files: dict[str, Path],
    no_store: ScriptedServer,
    impatient: SharedStorage,
) -> None:
    """A store that answers nothing, or never to the end, ends every operation."""
    no_store.answer = answer
    arguments = {"publish": ("a", files), "delete": ("a",), "sweep": (0,), "receipt": ("a",)}
    with pytest.raises(StorageUnreachable, match=r"no answer within 0\.2 s"):
        getattr(impatient, operation)(*arguments[operation])


def test_a_page_in_place_of_the_index_is_no_package(
    files: dict[str, Path], tmp_path: Path, no_store: ScriptedServer, unreachable: SharedStorage
) -> None:
    """A proxy that answers everything with a page of its own cannot pass one off as a package."""
    no_store.answer = page("200 OK", b"<h1>Welcome</h1>")
    with pytest.raises(PackageDamaged):
        unreachable.fetch(PackageReceipt("a", "0" * 64), tmp_path / "scratch")
    with pytest.raises(PackageDamaged):
        unreachable.publish("a", files)
    for use in (unreachable.names, unreachable.check, lambda: unreachable.delete("a")):
        with pytest.raises(StorageUnreachable):
            use()


def test_a_full_store_says_so(
    files: dict[str, Path], no_store: ScriptedServer, unreachable: SharedStorage
) -> None:
    """What stores answer when they are full, or a quota is, is told apart from being unreachable."""
    no_store.answer = page("507 Insufficient Storage", ERROR % b"XMinioStorageFull")
    with pytest.raises(SpoolFull, match="raise the quota"):
        unreachable.publish("a", files)


def test_a_refused_connection_is_told(files: dict[str, Path]) -> None:
    """Nothing listens at the address."""
    with ScriptedServer() as server:
        pass
    with (
        s3_storage(server.endpoint, timeout_s=0.5) as storage,
        pytest.raises(StorageUnreachable, match="nothing listens there, or a firewall"),
    ):
        storage.publish("a", files)


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path: Path, files: dict[str, Path]) -> None:
    """Were it made, packages would land on the local disk, where nobody else sees them."""
    storage = SharedStorage.open(str(tmp_path / "mount" / "lesion-node"))
    for use in (
        lambda: storage.publish("a", files),
        lambda: storage.fetch(PackageReceipt("a", "0" * 64), tmp_path / "scratch"),
        lambda: storage.names(),
        lambda: storage.delete("a"),
        lambda: storage.check(),
    ):
        with pytest.raises(StorageUnreachable, match="is it mounted"):
            use()
    assert not (tmp_path / "mount").exists()


def test_a_full_disk_is_told_apart_on_either_side(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full shared folder, full local disk: both leave nothing behind, and the message names the right one."""
    (tmp_path / "shared").mkdir()
    storage = SharedStorage.open(str(tmp_path / "shared"))
    receipt = storage.publish("a", files)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        with pytest.raises(SpoolFull, match="shared folder"):
            storage.publish("b", files)
        patched.setattr("custody.package._write", full)
        with pytest.raises(SpoolFull, match="scratch"):
            storage.fetch(receipt, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []
    assert storage.names() == ["a"]


def test_a_file_that_changes_meanwhile_is_not_published(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksum was made of other bytes than are sent: no index is written, and no rubbish stays."""
    (tmp_path / "shared").mkdir()
    storage = SharedStorage.open(str(tmp_path / "shared"))
    measure = shared_storage.measured

    def measured_then_changed(given: dict[str, Path]) -> object:
        result = measure(given)
        given["c.dcm"].write_bytes(b"other")
        return result

    monkeypatch.setattr(shared_storage, "measured", measured_then_changed)
    with pytest.raises(SpoolError, match=r"c\.dcm changed while it was published"):
        storage.publish("a", files)
    assert storage.names() == []
    assert [path for path in (tmp_path / "shared").rglob("*") if path.is_file()] == []
