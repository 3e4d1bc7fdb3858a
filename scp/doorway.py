"""The listening socket with limits on connections, before any of them has said who it is.

pynetdicom counts every connection against its own limit, also one that never asks for an association. So a
port scanner or a health probe could keep all scanners out without a word in the log.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from socketserver import BaseServer
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom.transport import ThreadedAssociationServer

from config import Settings
from config.values import IPNetwork
from scp.admission import peer_networks

#: A connection that has not asked for an association after so long is closed (the ARTIM timer, PS3.8 9.1.4).
REQUEST_WITHIN_S = 30.0
#: From an address that no source names. It is let in only to be told why it is rejected.
MOST_OF_STRANGER = 4
MOST_OF_STRANGERS = 16
#: Beyond the associations that a known address may have: connections that are being set up or taken down.
_SPARE = 8
_TELL_AGAIN_AFTER_S = 60.0


@dataclass(slots=True)
class _Connection:
    address: str
    known: bool
    accepted_at: float


class Doorway(ThreadedAssociationServer):
    """pynetdicom's server, which asks `limit` before it takes a connection."""

    _networks: Sequence[IPNetwork] = ()
    _most_of_known = 0
    _on_over_limit: Callable[[str, str], None] | None = None

    def guard(self, settings: Settings, on_over_limit: Callable[[str, str], None]) -> None:
        """Set the limits; to be called before `serve_forever`.

        Parameters
        ----------
        settings
            Networks of the sources, and the limit of associations.
        on_over_limit
            Told of address and reason, at most once a minute.
        """
        self._networks = [network for source in settings.sources for network in source.networks]
        self._networks += peer_networks(settings)
        self._most_of_known = settings.reception.max_associations + _SPARE
        self._on_over_limit = on_over_limit
        # Weak: a socket that pynetdicom lets go of without closing it does not count.
        self._connections: WeakKeyDictionary[socket.socket, _Connection] = WeakKeyDictionary()
        self._guarding = threading.Lock()
        self._told_at = -_TELL_AGAIN_AFTER_S

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Decide whether a connection is taken; socketserver closes it where not."""
        address = str(client_address[0])
        new = _Connection(address, self._is_known(address), time.monotonic())
        with self._guarding:
            limit = self._limit(new)
            if limit is None:
                self._connections[request] = new
                return True
        if self._on_over_limit is not None and new.accepted_at - self._told_at >= _TELL_AGAIN_AFTER_S:
            self._told_at = new.accepted_at
            self._on_over_limit(address, limit)
        return False

    def service_actions(self) -> None:
        """Close connections that never asked for an association; socketserver calls it again and again."""
        super().service_actions()
        too_old = time.monotonic() - REQUEST_WITHIN_S
        for association in self.active_associations:
            connection = getattr(association.dul.socket, "socket", None)
            if connection is None:
                continue
            known = self._connections.get(connection)
            if known is None or association.requestor.primitive is not None or known.accepted_at > too_old:
                continue
            try:
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads; it closes the socket
            except OSError:
                continue  # it is gone by itself

    def shutdown(self) -> None:
        """Stop listening; pynetdicom's own would look for the server in a list that only it fills."""
        BaseServer.shutdown(self)
        self.server_close()

    def _limit(self, new: _Connection) -> str | None:
        """Return the limit that a new connection would exceed."""
        now_open = [one for sock, one in self._connections.items() if sock.fileno() >= 0]
        of_address = sum(one.address == new.address for one in now_open)
        if new.known:
            if of_address < self._most_of_known:
                return None
            return f"{of_address} connections of this address are open, {self._most_of_known} are allowed"
        strangers = sum(not one.known for one in now_open)
        if of_address < MOST_OF_STRANGER and strangers < MOST_OF_STRANGERS:
            return None
        return (
            f"{of_address} connections of this address are open, which no source names; "
            "find out what it is: a port scanner, a health probe, or a sender to be added to [[sources]]"
        )

    def _is_known(self, address: str) -> bool:
        caller = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped is not None:
            caller = caller.ipv4_mapped
        return any(caller in network for network in self._networks)
