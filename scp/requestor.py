"""Associations that this node opens, with reasons that IT staff can act on where they do not stand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, build_role, evt

from config import DimsePeerSettings, Settings
from core.errors import PeerUnreachable, TransferBroken
from core.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def send_at_once(event: Any) -> None:
    """Keep the last piece of each message from waiting for the peer's acknowledgement of the one before.

    A handler of ``EVT_CONN_OPEN``. Without it (Nagle's algorithm against delayed acknowledgements, RFC 896
    and 1122 4.2.3.2) every small object costs 40 ms.
    """
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def open_association(
    settings: Settings,
    peer: DimsePeerSettings,
    contexts: Sequence[tuple[str, str]],
    *,
    as_scp_of: Sequence[str] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """Open an association with a peer and release it at the end.

    Parameters
    ----------
    settings, peer
        Own AE title and time limits; where to call.
    contexts
        Abstract syntax and transfer syntax of each presentation context.
    as_scp_of
        Abstract syntaxes of which this node wants to be the SCP (PS3.7 D.3.3.4); whether the peer agreed is
        seen in the accepted contexts.
    handlers
        pynetdicom's, for what the peer asks on this association.

    Raises
    ------
    PeerUnreachable
        No connection, or the peer rejected the association; the message says which and what to look at.
    TransferBroken
        The peer accepts none of the contexts.
    """
    calling = peer.calling_ae_title or settings.node.ae_title
    entity = AE(ae_title=calling)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_pdu_size = settings.reception.max_pdu_bytes
    entity.connection_timeout = settings.delivery.timeout_s
    entity.acse_timeout = settings.delivery.timeout_s
    entity.dimse_timeout = settings.delivery.longest_answer_s
    entity.network_timeout = entity.dimse_timeout
    for abstract, transfer in contexts:
        entity.add_requested_context(abstract, transfer)
    connected = threading.Event()

    def on_open(event: Any) -> None:
        send_at_once(event)
        connected.set()

    association = entity.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        ext_neg=[build_role(one, scp_role=True) for one in as_scp_of],
        evt_handlers=[(evt.EVT_CONN_OPEN, on_open), *handlers],
    )
    if not association.is_established:
        raise _why_not(association, peer, calling, connected=connected.is_set())
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _why_not(association: Any, peer: DimsePeerSettings, calling: str, *, connected: bool) -> PeerUnreachable:
    where = f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port})"
    if association.is_rejected:
        primitive = association.acceptor.primitive
        reason = {
            (1, 3): f'it does not know our AE title: admit "{calling}" there',
            (1, 7): f'it is not called "{peer.ae_title}": correct the peer\'s ae_title',
            (3, 1): "it is busy",
            (3, 2): "it has too many associations open",
        }.get((primitive.result_source, primitive.diagnostic), "it gave no reason")
        return PeerUnreachable(f"{where} rejected the association: {reason}")
    if not connected:
        return PeerUnreachable(f"{where} does not answer: nothing listens there, or a firewall is between")
    answer = association.acceptor.primitive
    if answer is not None and answer.result == 0:
        return TransferBroken(f"{where} accepted none of the proposed kinds of object")
    return PeerUnreachable(
        f"{where} took the connection but did not answer the association request: is it a DICOM node?"
    )
