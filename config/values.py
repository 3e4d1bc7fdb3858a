"""The kinds of value that people type into the configuration.

Every validator's message says what is wanted: the loader shows it to the person who typed the value.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from core.domain import AETitle

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _ae_title(text: str) -> AETitle:
    """Check an AE title by PS3.5 6.2 (VR AE): leading and trailing spaces are not significant."""
    trimmed = text.strip(" ")
    if not 1 <= len(trimmed) <= 16:
        raise ValueError(f"wanted an AE title of 1 to 16 characters, this one has {len(trimmed)}")
    if "\\" in trimmed:
        raise ValueError("wanted an AE title without backslash")
    if not trimmed.isascii() or not trimmed.isprintable():
        raise ValueError("wanted an AE title of printable ASCII characters only")
    return AETitle(trimmed)


def _network(value: object) -> IPNetwork:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        return ipaddress.ip_network(str(value).strip(), strict=False)
    except ValueError:
        raise ValueError(
            'wanted an IP address ("192.0.2.21") or a network ("192.0.2.0/24"); host names are not looked up'
        ) from None


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text):
        raise ValueError("wanted a name of letters, digits, '-', '_' and '.', at most 64 characters")
    return text


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9:.\-_%]{1,253}", text.strip()):
        raise ValueError("wanted a host name or an IP address without port and without spaces")
    return text.strip()


def _web_address(text: str) -> str:
    """Check the address of a DICOMweb service; credentials in it would come out in logs."""
    wanted = 'wanted the address of a DICOMweb service, for example "https://pacs.example/dicom-web"'
    try:
        parts = urlsplit(text.strip())
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(wanted) from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("wanted an address without user and password: they have keys of their own")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sound:
        raise ValueError(wanted)
    if parts.query or parts.fragment or not re.fullmatch(r"[\x21-\x7e]+", text.strip()):
        raise ValueError(f"{wanted}, without spaces, '?' and '#'")
    return text.strip().rstrip("/")


AETitleText = Annotated[AETitle, AfterValidator(_ae_title)]
NetworkText = Annotated[IPNetwork, BeforeValidator(_network)]
NameText = Annotated[str, AfterValidator(_name)]
HostText = Annotated[str, AfterValidator(_host)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


def ledger_url(text: str) -> str:
    """Check the URL of a ledger's database; it is never echoed, for it may hold a password."""
    if text and not re.fullmatch(r"postgresql(\+psycopg)?://[^\s/]+/[^\s/?#]+([?#]\S*)?", text):
        raise ValueError('wanted "postgresql+psycopg://user:password@host/database", or "" for SQLite')
    return text
