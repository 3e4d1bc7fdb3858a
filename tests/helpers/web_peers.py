"""A scripted DICOMweb service on a real socket, and a port that answers nothing useful."""

from __future__ import annotations

import email
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread
from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came.

    Parameters
    ----------
    method, path
        Of its first line.
    headers
        As they came, keys in small letters.
    files
        The Part 10 files of a STOW-RS request.
    connection
        Which one it came on.
    """

    method: str
    path: str
    headers: dict[str, str]
    files: tuple[bytes, ...]
    connection: int

    @property
    def dataset(self) -> Dataset:
        """The first object."""
        return dcmread(BytesIO(self.files[0]))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service answers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def module(dataset: Dataset, *, warning: int | None = None, failure: int | None = None) -> dict[str, Any]:
    """Return a Store Instances Response Module (PS3.18 I.2) about one object."""
    item: dict[str, Any] = {
        "00081150": {"vr": "UI", "Value": [str(dataset.SOPClassUID)]},
        "00081155": {"vr": "UI", "Value": [str(dataset.SOPInstanceUID)]},
    }
    if failure is not None:
        return {"00081198": {"vr": "SQ", "Value": [{**item, "00081197": {"vr": "US", "Value": [failure]}}]}}
    if warning is not None:
        item["00081196"] = {"vr": "US", "Value": [warning]}
    return {"00081199": {"vr": "SQ", "Value": [item]}}


def stored(request: Request, **reasons: int) -> Reply:
    """Say that the object was stored, with a warning, or not, by PS3.18 table 10.5.3-1."""
    status = 409 if "failure" in reasons else 202 if reasons else 200
    body = json.dumps(module(request.dataset, **reasons)).encode()
    return Reply(status, body, {"Content-Type": "application/dicom+json"})


@dataclass(eq=False)
class ScriptedWebPacs:
    """A DICOMweb service that does what its script says.

    Parameters
    ----------
    answer
        The reply to the n-th request (from 0).
    listen_on
        Its port; 0 for any free one.
    certificate
        PEM file of its key and certificate where it speaks TLS.
    most_at_once
        Most requests that were being answered at the same moment.
    """

    answer: Callable[[int, Request], Reply] = lambda _number, request: stored(request)
    listen_on: int = 0
    certificate: Path | None = None
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: Any = None
    _thread: Any = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    @property
    def sop_classes(self) -> list[str]:
        """Of the objects that came, in their order."""
        return [str(one.dataset.SOPClassUID) for one in self.requests]

    def __enter__(self) -> Self:
        pacs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _handle(self) -> None:
                with pacs._lock:
                    pacs._at_once += 1
                    pacs.most_at_once = max(pacs.most_at_once, pacs._at_once)
                try:
                    self._answer()
                finally:
                    with pacs._lock:
                        pacs._at_once -= 1

            def _answer(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", "0")))
                files = _parts(headers["content-type"], body) if body else ()
                one = Request(self.command, self.path, headers, files, id(self))
                pacs.requests.append(one)
                reply = pacs.answer(len(pacs.requests) - 1, one)
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = _handle  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", self.listen_on), Handler)
        self._server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        # A handshake that fails is the caller's affair.
        self._server.handle_error = lambda *_: None
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _parts(content_type: str, body: bytes) -> tuple[bytes, ...]:
    message = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return tuple(part.get_payload(decode=True) for part in message.get_payload())  # type: ignore[union-attr]


@contextmanager
def listening(behave: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[float]]]:
    """Listen, and treat every connection as told; yield the port and a list that grows by each connection.

    Connections are closed at the end of the block.
    """
    taken: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                taken.append(connection)
                behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1]), taken
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in taken:
                connection.close()
