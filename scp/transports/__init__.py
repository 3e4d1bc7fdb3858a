"""The ways to a destination: one module for each kind, all of one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from config import DicomwebPeerSettings, DimsePeerSettings, PeerSettings, Settings
from scp.transports.dimse import DimseTransport
from scp.transports.protocol import Negotiated, Session, Transport
from scp.transports.stow import StowTransport

__all__ = ["Negotiated", "Session", "Transport", "transport_to"]

_TRANSPORTS: Mapping[type[PeerSettings], Callable[[Settings, Any], Transport]] = {
    DimsePeerSettings: DimseTransport,
    DicomwebPeerSettings: StowTransport,
}


def transport_to(settings: Settings, peer: PeerSettings) -> Transport:
    """Return the way to a peer, by its kind; nothing is opened yet."""
    return _TRANSPORTS[type(peer)](settings, peer)
