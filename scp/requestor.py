"""Associations that this node opens, with reasons that IT staff can act on where they do not stand."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, build_role, evt

from config import PeerSettings, Settings
from core.errors import PeerUnreachable
from core.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


@contextmanager
def open_association(
    settings: Settings,
    peer: PeerSettings,
    contexts: Sequence[tuple[str, str]],
    *,
    as_scp_of: str | None = None,
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
        Abstract syntax of which this node wants to be the SCP (PS3.7 D.3.3.4); whether the peer agreed is
        seen in the accepted context.
    handlers
        pynetdicom's, for what the peer asks on this association.

    Raises
    ------
    PeerUnreachable
        No connection, or the peer rejected the association; the message says which and what to look at.
    """
    calling = peer.calling_ae_title or settings.node.ae_title
    entity = AE(ae_title=calling)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_pdu_size = settings.reception.max_pdu_bytes
    entity.connection_timeout = settings.delivery.timeout_s
    entity.acse_timeout = settings.delivery.timeout_s
    entity.dimse_timeout = max(settings.delivery.timeout_s, settings.delivery.answer_timeout_s)
    entity.network_timeout = entity.dimse_timeout
    for abstract, transfer in contexts:
        entity.add_requested_context(abstract, transfer)
    connected = threading.Event()
    association = entity.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        ext_neg=[build_role(as_scp_of, scp_role=True)] if as_scp_of is not None else [],
        evt_handlers=[(evt.EVT_CONN_OPEN, lambda _event: connected.set()), *handlers],
    )
    if not association.is_established:
        raise PeerUnreachable(_why_not(association, peer, calling, connected=connected.is_set()))
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _why_not(association: Any, peer: PeerSettings, calling: str, *, connected: bool) -> str:
    where = f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port})"
    if association.is_rejected:
        primitive = association.acceptor.primitive
        reason = {
            (1, 3): f'it does not know our AE title: admit "{calling}" there',
            (1, 7): f'it is not called "{peer.ae_title}": correct the peer\'s ae_title',
            (3, 1): "it is busy",
            (3, 2): "it has too many associations open",
        }.get((primitive.result_source, primitive.diagnostic), "it gave no reason")
        return f"{where} rejected the association: {reason}"
    if not connected:
        return f"{where} does not answer: nothing listens there, or a firewall is between"
    answer = association.acceptor.primitive
    if answer is not None and answer.result == 0:
        return f"{where} accepted none of the proposed kinds of object"
    return f"{where} took the connection but did not answer the association request: is it a DICOM node?"
