"""What HTTP statuses and failed connections of a DICOMweb service mean, in words that IT staff can act on."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from config import DicomwebPeerSettings

#: Answers that are about the service or about us, not about one object: no other object would fare better.
OF_THE_WHOLE_PEER: Mapping[int, str] = {
    401: "it does not accept our credentials: correct user and password, or token",
    403: "our account may not do this: give it the right to store (STOW-RS) and to query (QIDO-RS)",
    404: "there is no DICOMweb service at this address: correct url",
    405: "this DICOMweb service does not offer that: have it turned on there, or correct url",
    407: "a proxy before it wants credentials",
    408: "it is busy",
    429: "it is busy",
    502: "the gateway before it does not reach it",
    503: "it is out of service for now",
    504: "the gateway before it does not reach it",
}
_OF_ONE_OBJECT: Mapping[int, str] = {
    400: "it takes the request for malformed",
    406: "it does not give answers as DICOM JSON",
    409: "it did not store the object and gave no reason",
    413: "it, or a proxy before it, does not take so large an object: raise the limit there",
    415: "it does not take objects in this encoding",
    500: "internal error",
    507: "its disk is full",
}


def http_words(status: int, peer: DicomwebPeerSettings) -> str:
    """Return what an HTTP status means."""
    known = OF_THE_WHOLE_PEER.get(status) or _OF_ONE_OBJECT.get(status)
    if status == 401 and peer.user is None and peer.token is None:
        known = "it wants credentials: set user and password, or token"
    return f"{peer.name} ({peer.url}) answered HTTP {status}{f': {known}' if known else ''}"


def connection_words(error: requests.RequestException, peer: DicomwebPeerSettings) -> str:
    """Return why there is no answer. The library's own text is left out: it is about its inner workings."""
    where = f"{peer.name} ({peer.url})"
    certificate = next((one for one in _causes(error) if isinstance(one, ssl.SSLError)), None)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return (
            f"{where} has a certificate that is not trusted ({certificate.verify_message}): put the "
            "certificate of its authority into ca_file, or correct the host name in url"
        )
    if isinstance(error, requests.exceptions.SSLError) or certificate is not None:
        return f"{where} does not speak TLS as we do: is it http instead of https?"
    if isinstance(error, requests.TooManyRedirects):
        return f"{where} redirects to another address: put that one into url"
    if isinstance(error, requests.ConnectTimeout) or was_refused(error):
        return f"{where} does not answer: nothing listens there, or a firewall is between"
    if isinstance(error, requests.ReadTimeout):
        return f"{where} took the connection but gave no answer in time"
    return f"{where} broke the connection off: is it a DICOMweb service?"


def was_refused(error: requests.RequestException) -> bool:
    """Tell whether no connection came to be at all."""
    # By name: the library that knows these classes is not ours to import.
    names = {type(one).__name__ for one in _causes(error)}
    return isinstance(error, requests.ConnectTimeout) or bool(
        names & {"ConnectionRefusedError", "NewConnectionError", "NameResolutionError", "gaierror"}
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, also where the library keeps that as an argument."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        related = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting += [other for other in related if isinstance(other, BaseException)]


def retry_after_s(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After field (RFC 9110 10.2.3), None where it says nothing legible."""
    text = (value or "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(
        at.replace(tzinfo=at.tzinfo or UTC).timestamp() - datetime.fromtimestamp(now, UTC).timestamp(), 0.0
    )
