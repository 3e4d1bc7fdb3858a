"""A sign of life of a peer, with a verdict that IT staff can act on."""

from __future__ import annotations

from dataclasses import dataclass

from config import PeerSettings, Settings
from core.errors import DeliveryError
from scp.transports import transport_to


@dataclass(frozen=True, slots=True)
class EchoVerdict:
    """How a peer answered.

    Parameters
    ----------
    peer
        Its name.
    ok
        Whether it answered with success.
    verdict
        What that means, in the user's words.
    """

    peer: str
    ok: bool
    verdict: str


def echo(settings: Settings, peer: PeerSettings) -> EchoVerdict:
    """Ask a peer (C-ECHO, or QIDO-RS); never raises for a peer that does not answer."""
    try:
        return EchoVerdict(peer.name, True, transport_to(settings, peer).echo())
    except DeliveryError as error:
        return EchoVerdict(peer.name, False, str(error))
