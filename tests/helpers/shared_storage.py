"""Shared storage of both kinds, and servers that are no S3 store."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self

import fsspec
from moto.server import ThreadedMotoServer

from custody.shared_storage import S3Access, SharedStorage

BUCKET = "lesion-node"
KEY, SECRET = "the-key", "the-secret"


@contextmanager
def s3_server() -> Iterator[str]:
    """Run an S3 server with one bucket; yield its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # What servers of this kind hold belongs to the process, not to the server.
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"", timeout=10).close()
        with raw_s3(f"http://{host}:{port}") as fs:
            fs.call_s3("create_bucket", Bucket=BUCKET)
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def raw_s3(endpoint: str) -> Iterator[fsspec.AbstractFileSystem]:
    """Look into a store past the product."""
    fs = fsspec.filesystem(
        "s3",
        skip_instance_cache=True,
        use_listings_cache=False,
        endpoint_url=endpoint,
        key=KEY,
        secret=SECRET,
        client_kwargs={"region_name": "us-east-1"},
    )
    try:
        yield fs
    finally:
        fsspec.asyn.sync(fs.loop, fs.s3.close)


class StoredBytes:
    """What lies on a storage, past the product.

    Parameters
    ----------
    fs
        The file system below it.
    root
        Folder or bucket.
    """

    def __init__(self, fs: fsspec.AbstractFileSystem, root: str) -> None:
        self._fs = fs
        self._root = root

    def paths(self) -> list[str]:
        """Return all paths."""
        return sorted(path.removeprefix(f"{self._root}/") for path in self._fs.find(self._root))

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        return bytes(self._fs.cat_file(f"{self._root}/{path}"))

    def write(self, path: str, content: bytes) -> None:
        """Put bytes there."""
        self._fs.makedirs(f"{self._root}/{path}".rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(f"{self._root}/{path}", content)

    def remove(self, path: str) -> None:
        """Take a file away."""
        self._fs.rm_file(f"{self._root}/{path}")


def s3_storage(endpoint: str, *, timeout_s: float = 10.0) -> SharedStorage:
    """Return the storage in the bucket of the tests."""
    access = S3Access(endpoint=endpoint, key=KEY, secret=SECRET, timeout_s=timeout_s)
    return SharedStorage.open(f"s3://{BUCKET}", access)


class ScriptedServer:
    """A server that answers every request alike, and is no S3 store.

    Attributes
    ----------
    answer
        What is sent, piece by piece, before the connection is closed; None to send nothing and leave it open.
    asked
        The beginning of each request.
    """

    def __init__(self) -> None:
        self.answer: Iterable[bytes] | None = None
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen)]
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for connection in (self._listener, *self._connections):
            connection.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client, or the end of the test, closes it
            self.asked.append(connection.recv(65536))
            if self.answer is not None:
                for piece in self.answer:
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_RDWR)
