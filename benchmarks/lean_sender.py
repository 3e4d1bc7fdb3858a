"""The sender and the null sink of `benchmarks.receive`, each a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

from benchmarks.wire import Link, Messages, PeerError, accept, swallow

#: A node admits so many associations of one caller; several scanners share the load anyway.
CALLERS = ("CT1", "CT2")
_ONE_AFTER_THE_OTHER = 10**12


@dataclass(frozen=True, slots=True)
class Sent:
    """What the sender saw.

    Parameters
    ----------
    answered_at
        When each 0x0000 came, of all associations (`time.monotonic`).
    served
        Associations that got an answer before the time was over.
    errors
        Whatever went wrong.
    """

    answered_at: list[float]
    served: int
    errors: list[str]


class Sender:
    """Sends over several associations until it is told to stop.

    Parameters
    ----------
    port, called
        Of the receiver.
    associations
        How many are kept open at once, each with one request under way.
    """

    def __init__(self, port: int, called: str, associations: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        first = time.time_ns() // 1000 * _ONE_AFTER_THE_OTHER  # UIDs differ from those of every earlier run
        self._process = context.Process(
            target=_send, args=(port, called, associations, first, theirs), daemon=True
        )
        self._process.start()
        theirs.close()  # or the end of the process would not be noticed
        self._hear()

    @property
    def pid(self) -> int:
        """Of the process."""
        return int(self._process.pid or 0)

    def begin(self) -> None:
        """Start sending."""
        self._pipe.send("go")

    def end(self) -> Sent:
        """Send no further request, wait for the last answers, release, and return what was seen."""
        self._pipe.send("stop")
        sent = self._hear()
        self._process.join()
        if not isinstance(sent, Sent):
            raise PeerError(str(sent))
        return sent

    def _hear(self) -> object:
        try:
            heard: object = self._pipe.recv()
        except EOFError:
            raise PeerError("the sender ended") from None
        if isinstance(heard, str) and heard != "ready":
            raise PeerError(heard)
        return heard


@contextmanager
def null_sink() -> Iterator[tuple[int, int]]:
    """Run a receiver that only answers; yields its port and process id."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_sink, args=(theirs,), daemon=True)
    process.start()
    try:
        yield int(ours.recv()), int(process.pid or 0)
    finally:
        process.kill()
        process.join()


def _send(port: int, called: str, associations: int, first: int, pipe: Pipe) -> None:
    try:
        links = [Link.open(port, CALLERS[number % len(CALLERS)], called) for number in range(associations)]
    except (OSError, PeerError) as error:
        pipe.send(f"no association: {error}")
        return
    stop = threading.Event()
    answered: list[list[float]] = [[] for _ in links]
    errors: list[str] = []

    def run(number: int) -> None:
        link = links[number]
        messages = Messages(link.max_pdu, first + number * (_ONE_AFTER_THE_OTHER // 1000))
        try:
            while not stop.is_set():
                link.store(messages.next())
                answered[number].append(time.monotonic())
            link.release()
        except (OSError, PeerError) as error:
            errors.append(str(error))

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(associations)]
    pipe.send("ready")
    pipe.recv()
    for thread in threads:
        thread.start()
    pipe.recv()
    served = sum(map(bool, answered))
    stop.set()
    for thread in threads:
        thread.join()
    pipe.send(Sent([moment for one in answered for moment in one], served, errors))


def _sink(pipe: Pipe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname()[1])
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(Link(connection),), daemon=True).start()


def _serve(link: Link) -> None:
    with contextlib.suppress(OSError, PeerError), link.connection:
        accept(link)
        swallow(link)
