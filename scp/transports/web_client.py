"""Requests to a DICOMweb service: the library's client, with the limits that a node needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient

from config import DicomwebPeerSettings, Settings
from core.errors import PeerUnreachable, TransferBroken
from scp.transports.http_words import (
    OF_THE_WHOLE_PEER,
    connection_words,
    http_words,
    retry_after_s,
    was_refused,
)

#: An answer to one object or one study is a few kilobytes; what is larger is none.
_LARGEST_ANSWER_BYTES = 4 * 2**20
#: Larger than any object: the library would send what is larger in chunks, without Content-Length, which
#: many servers and proxies refuse.
_NEVER_CHUNKED = 2**62


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response that was read.

    Parameters
    ----------
    status, body
        Of the response.
    """

    status: int
    body: bytes


class WebClient(DICOMwebClient):
    """The library's client, with stored files instead of data sets, and with limits.

    What it leaves to the environment or to luck is decided here: no retries of its own (the ledger does
    that), no redirects (a POST would become a GET), no credentials or proxies that the settings do not name,
    answers of bounded size and duration, which are read here because it knows only exact media types.

    Parameters
    ----------
    settings, peer
        Time limits; where to call, and with which credentials.
    """

    def __init__(self, settings: Settings, peer: DicomwebPeerSettings) -> None:
        self.peer = peer
        self._answer_s = settings.delivery.longest_answer_s
        self._answer: Answer | None = None
        self._retry_after: str | None = None
        session = requests.Session()
        session.trust_env = False
        session.max_redirects = 0
        session.auth = _authorization(peer)
        if peer.ca_file is not None:
            session.verify = str(peer.ca_file)
        super().__init__(
            peer.url,
            session=session,
            headers={"Accept": "application/dicom+json"},
            callback=self._read,
            chunk_size=_NEVER_CHUNKED,
            timeout=(settings.delivery.timeout_s, self._answer_s),
        )
        self.set_http_retry_params(retry=False)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def store_file(self, content: bytes) -> None:
        """Send a Part 10 file as it is; `store_instances` would encode it anew."""
        self._http_post_multipart_application_dicom(f"{self.base_url}/studies", [content])

    def ask(self, request: Callable[[], None]) -> Answer:
        """Make a request and return the answer.

        Raises
        ------
        PeerUnreachable
            There is none, or it is about the whole service.
        TransferBroken
            The connection was taken, and then nothing came.
        """
        self._answer = None
        try:
            with suppress(requests.HTTPError):  # its status is judged below
                request()
        except requests.exceptions.InvalidJSONError:
            raise  # an answer all the same; the caller knows what it should have been
        except requests.RequestException as error:
            words = connection_words(error, self.peer)
            broken = not was_refused(error) and not isinstance(error, requests.TooManyRedirects)
            raise (TransferBroken if broken else PeerUnreachable)(words) from None
        except OSError:  # the file of authorities is gone, for example
            raise PeerUnreachable(f"{self.peer.name}: ca_file cannot be used") from None
        answer = self._answer
        if answer is None:
            raise TransferBroken(f"{self.peer.name} ({self.peer.url}) gave no answer")
        if answer.status in OF_THE_WHOLE_PEER:
            wait = retry_after_s(self._retry_after, time.time())
            raise PeerUnreachable(http_words(answer.status, self.peer), wait)
        return answer

    def _read(self, response: requests.Response, **_: Any) -> requests.Response:
        """Read an answer within limits, and hand the library what it needs of it."""
        deadline = time.monotonic() + self._answer_s
        body = bytearray()
        with response:
            for part in response.iter_content(65536):
                body += part
                if len(body) > _LARGEST_ANSWER_BYTES or time.monotonic() > deadline:
                    raise requests.ConnectionError("the answer has no end")
        self._answer = Answer(response.status_code, bytes(body))
        self._retry_after = response.headers.get("Retry-After")
        read = requests.Response()
        read.status_code, read.headers = response.status_code, response.headers
        read.url, read.request, read.reason = response.url, response.request, response.reason
        stored = response.request.method == "POST"
        read.raw = BytesIO(b"" if stored else bytes(body))
        return read


def _authorization(peer: DicomwebPeerSettings) -> Callable[[Any], Any]:
    def authorize(request: Any) -> Any:
        # The library's Host field lacks the port; without it the right one is made.
        request.headers.pop("Host", None)
        if peer.token is not None:
            request.headers["Authorization"] = f"Bearer {peer.token.get_secret_value()}"
        elif peer.user is not None and peer.password is not None:
            name, password = peer.user.encode(), peer.password.get_secret_value().encode()
            request = requests.auth.HTTPBasicAuth(name, password)(request)
        if isinstance(request.body, bytes):
            # Bytes would have to be through within the time for connecting; a file goes piece by piece, and
            # each piece has that time.
            request.body = BytesIO(request.body)
        return request

    return authorize
