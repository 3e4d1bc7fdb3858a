"""Shared storage of both kinds, and servers that are no S3 store."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def scripted_server(answer: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that gives one answer to every request, or none; yield its address and what was asked."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_ones.append(connection)
            asked.append(connection.recv(65536))
            if answer is not None:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in open_ones:
            connection.close()
