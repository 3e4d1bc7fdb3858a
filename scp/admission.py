"""Who may send: calling AE title, address and called AE title against the configured sources."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import TypeAlias

from config import DimsePeerSettings, RetrievalWay, Settings, SourceSettings
from config.values import IPNetwork

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

#: A-ASSOCIATE-RJ (result, source, reason), PS3.8 table 9-21.
CALLING_AE_TITLE_NOT_RECOGNISED = (1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNISED = (1, 1, 7)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
#: Rejected-transient, temporary-congestion: a sender tries again later.
TEMPORARY_CONGESTION = (2, 3, 1)


@dataclass(frozen=True, slots=True)
class Refused:
    """A caller that does not get in.

    Parameters
    ----------
    rejection
        A-ASSOCIATE-RJ result, source and reason.
    reason
        Why, in the user's words.
    to_admit
        The configuration lines that would admit it.
    """

    rejection: tuple[int, int, int]
    reason: str
    to_admit: str


def admit(settings: Settings, calling: str, called: str, address: str) -> SourceSettings | Refused:
    """Decide on an association request.

    Parameters
    ----------
    settings
        Sources and own AE title.
    calling, called
        AE titles of the request, trimmed.
    address
        IP address of the connection.

    Returns
    -------
    SourceSettings or Refused
        The source that admits the caller, or why none does.
    """
    node = settings.node
    if node.check_called_ae_title and called != node.ae_title:
        return Refused(
            CALLED_AE_TITLE_NOT_RECOGNISED,
            f'it called "{called}", this node is "{node.ae_title}"',
            f'at the sender: set the called AE title to "{node.ae_title}"; '
            "or here, in [node]: check_called_ae_title = false",
        )
    caller = _plain_address(address)
    of_title = [source for source in settings.sources if calling in source.ae_titles]
    for source in of_title:
        if any(caller in network for network in source.networks):
            return source
    if of_title:
        wanted = ", ".join(str(network) for source in of_title for network in source.networks)
        networks = [str(network) for network in of_title[0].networks]
        listed = ", ".join(f'"{network}"' for network in [*networks, str(caller)])
        return Refused(
            CALLING_AE_TITLE_NOT_RECOGNISED,
            f'"{calling}" called from {caller}, it is admitted from {wanted} only',
            f'in the source "{of_title[0].name}": networks = [{listed}]',
        )
    return Refused(
        CALLING_AE_TITLE_NOT_RECOGNISED,
        f'no source admits the calling AE title "{calling}"',
        _new_source(settings, calling, str(caller)),
    )


def reporting_peer(
    settings: Settings, calling: str, called: str, address: str
) -> DimsePeerSettings | Refused | None:
    """Tell whether a caller is a peer that may report on storage commitment; it may do nothing else by that.

    Parameters
    ----------
    settings
        Peers and own AE title.
    calling, called, address
        As for `admit`. A peer may call this node by the AE title that it is asked under.

    Returns
    -------
    DimsePeerSettings or Refused or None
        The peer; why it is not admitted although it bears a peer's name; None for anybody else.
    """
    return _peer_that_calls(
        settings, settings.committing_peers, "commitment_from", (calling, called, address)
    )


def sending_peer(
    settings: Settings, calling: str, called: str, address: str
) -> DimsePeerSettings | Refused | None:
    """Tell whether a caller is a peer that may send what C-MOVE asked it for; nothing else by that.

    Parameters and result are those of `reporting_peer`.
    """
    asked = [peer for peer in settings.prior_peers if peer.priors_by is RetrievalWay.MOVE]
    return _peer_that_calls(settings, asked, "priors_move_from", (calling, called, address))


def peer_networks(settings: Settings) -> list[IPNetwork]:
    """Return where peers that are known by address may call from; host names are looked up per caller."""
    networks: list[IPNetwork] = []
    called_back = [(peer, peer.commitment_from) for peer in settings.committing_peers]
    called_back += [(peer, peer.priors_move_from) for peer in settings.prior_peers]
    for peer, also in called_back:
        networks += also
        with contextlib.suppress(ValueError):
            networks.append(ipaddress.ip_network(peer.host))
    return networks


def _peer_that_calls(
    settings: Settings, peers: Sequence[DimsePeerSettings], key: str, request: tuple[str, str, str]
) -> DimsePeerSettings | Refused | None:
    """Find a caller among the peers that may call back; `key` names the setting with further addresses."""
    calling, called, address = request
    node, caller = settings.node, _plain_address(address)
    of_title = [peer for peer in peers if peer.ae_title == calling]
    there = [peer for peer in of_title if _may_come_from(peer, getattr(peer, key), caller)]
    for peer in there:
        if not node.check_called_ae_title or called in (node.ae_title, peer.calling_ae_title):
            return peer
    if there or not of_title:
        return None
    listed = ", ".join(f'"{one}"' for one in [*getattr(of_title[0], key), caller])
    return Refused(
        CALLING_AE_TITLE_NOT_RECOGNISED,
        f'"{calling}" called from {caller}, the peer "{of_title[0].name}" is at {of_title[0].host}',
        f'in the peer "{of_title[0].name}": {key} = [{listed}]',
    )


def _may_come_from(peer: DimsePeerSettings, also: Sequence[IPNetwork], caller: IPAddress) -> bool:
    if any(caller in network for network in also):
        return True
    try:
        return caller == ipaddress.ip_address(peer.host)
    except ValueError:
        pass  # a name
    try:
        found = socket.getaddrinfo(peer.host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return caller in {_plain_address(str(one[4][0])) for one in found}


def _plain_address(address: str) -> IPAddress:
    """Return an address without IPv6 clothes or zone."""
    plain = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(plain, ipaddress.IPv6Address) and plain.ipv4_mapped is not None:
        return plain.ipv4_mapped
    return plain


def _new_source(settings: Settings, calling: str, address: str) -> str:
    """Return the lines that admit the caller, as they can be pasted into the configuration."""
    if not calling or "\\" in calling or not (calling.isascii() and calling.isprintable()):
        return "at the sender: set a calling AE title of printable ASCII characters without backslash"
    wanted = "".join(letter if letter.isalnum() else "-" for letter in calling.lower()).strip("-") or "new"
    taken = {source.name for source in settings.sources}
    names = chain([wanted], (f"{wanted}-{at}" for at in count(2)))
    name = next(name for name in names if name not in taken)
    peers = ", ".join(f'"{peer.name}"' for peer in settings.peers[:1])
    title = calling.replace('"', '\\"')
    return (
        f'[[sources]]\nname = "{name}"\nae_titles = ["{title}"]\n'
        f'networks = ["{address}"]\nsend_to = [{peers}]'
    )
