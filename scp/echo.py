"""C-ECHO to a peer, with a verdict that IT staff can act on."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from config import PeerSettings, Settings
from core.errors import PeerUnreachable
from scp.requestor import open_association


@dataclass(frozen=True, slots=True)
class EchoVerdict:
    """How a peer answered.

    Parameters
    ----------
    peer
        Its name.
    ok
        Whether it answered C-ECHO with success.
    verdict
        What that means, in the user's words.
    """

    peer: str
    ok: bool
    verdict: str


def echo(settings: Settings, peer: PeerSettings) -> EchoVerdict:
    """Send C-ECHO to a peer; never raises for a peer that does not answer."""
    try:
        with open_association(settings, peer, [(Verification, ImplicitVRLittleEndian)]) as association:
            answer = association.send_c_echo()
    except PeerUnreachable as error:
        return EchoVerdict(peer.name, False, str(error))
    if "Status" not in answer:
        return EchoVerdict(peer.name, False, f"{peer.name} accepted the association but gave no answer")
    if answer.Status != 0:
        return EchoVerdict(peer.name, False, f"{peer.name} answered C-ECHO with 0x{answer.Status:04X}")
    return EchoVerdict(
        peer.name, True, f"{peer.ae_title} at {peer.host}:{peer.port} answers and knows our AE title"
    )
