"""Who may send: calling AE title, address and called AE title against the configured sources."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from itertools import chain, count

from config import Settings, SourceSettings

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
    caller = ipaddress.ip_address(address)
    if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped is not None:
        caller = caller.ipv4_mapped
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
