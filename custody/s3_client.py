"""Requests to an S3-compatible store through s3fs: limited in time, tried again, failing in the user's words.

Nothing here waits for ever: every request has a time limit as a whole, which a server that sends a byte now
and then does not escape either, and a failed one is tried a few times. Retries below (s3fs, botocore) are
turned off, because they would multiply.

Every body is signed with its SHA-256, so that a store refuses what was changed on the way. The newer checksum
headers and trailers are turned off: older stores do not know them.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import aiohttp
import fsspec
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync

from core.errors import SpoolFull, StorageUnreachable
from custody.file_store import S3Access

_ATTEMPTS = 3
#: Of the time limit of a request; each further pause is four times as long.
_FIRST_PAUSE = 0.01

#: What s3fs and the libraries below it raise: `OSError` stands for answers that s3fs has translated,
#: `KeyError` for answers that lack what every S3 store sends.
_FAULTS = (
    OSError,
    BotoCoreError,
    ClientError,
    ResponseParserError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    KeyError,
    ValueError,
)
_MISSING = {"NoSuchKey", "NoSuchUpload", "404"}
_TAKEN = {"PreconditionFailed", "412"}
_PAST_THE_END = {"InvalidRange", "416"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "507"}
_NO_ENTRY = {"AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"}
_WAIT = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted", "BadDigest"}
_WAIT |= {"ConditionalRequestConflict", "XAmzContentSHA256Mismatch", "IncompleteBody", "409", "429"}


class S3Client:
    """A bucket of a store.

    Parameters
    ----------
    bucket
        Its name.
    access
        How the store is reached.

    Raises
    ------
    ImportError
        s3fs is not installed.
    """

    def __init__(self, bucket: str, access: S3Access) -> None:
        self._bucket = bucket
        self._timeout_s = access.timeout_s
        self._connected = False
        self._fs: Any = fsspec.filesystem("s3", skip_instance_cache=True, **_options(access))
        self._fs.retries = 1
        self._where = f"the shared storage s3://{bucket}" + (
            f" at {access.endpoint}" if access.endpoint else ""
        )

    def __str__(self) -> str:
        return self._where

    def request(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one request of the S3 API, named as botocore names it, and return the answer.

        Raises
        ------
        FileNotFoundError
            No such object or upload.
        FileExistsError
            The condition of the request does not hold.
        SpoolFull
            The store or its quota is full.
        StorageUnreachable
            Anything else.
        """
        return dict(self._call(self._fs.call_s3, operation, Bucket=self._bucket, **parameters) or {})

    def read(self, key: str, start: int, end: int) -> bytes:
        """Return a range of an object, fewer bytes where it ends before; errors as of `request`."""
        try:
            return bytes(self._call(self._fs.cat_file, f"{self._bucket}/{key}", start=start, end=end))
        except _PastTheEnd:
            return b""

    def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        if self._connected:
            self._connected = False
            sync(self._fs.loop, self._fs.s3.close, timeout=self._timeout_s)

    def unreachable(self, why: str) -> StorageUnreachable:
        """Return the error that says why this store cannot be used."""
        return StorageUnreachable(f"{self._where} cannot be used: {why}")

    def _call(self, method: Any, *arguments: Any, **parameters: Any) -> Any:
        self._connected = True
        for attempt in itertools.count(1):
            try:
                return method(*arguments, **parameters, timeout=self._timeout_s)
            except _FAULTS as error:
                meaning, again = self._meaning(error)
                if not again or attempt == _ATTEMPTS:
                    raise meaning from None
            time.sleep(self._timeout_s * _FIRST_PAUSE * 4 ** (attempt - 1))
        raise AssertionError  # pragma: no cover - count() does not end

    def _meaning(self, error: Exception) -> tuple[Exception, bool]:
        """Return what is to be raised, and whether trying again makes sense."""
        answer = error if isinstance(error, ClientError) else error.__cause__
        if isinstance(answer, ClientError):
            return self._meaning_of_answer(answer)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return self.unreachable("no access key is configured: set storage.key and storage.secret"), False
        if isinstance(error, asyncio.TimeoutError | ConnectTimeoutError | ReadTimeoutError):
            return self.unreachable(f"no answer within {self._timeout_s:g} s"), True
        if isinstance(error, SSLError):
            return self.unreachable(
                "its certificate is not trusted: name the authority in storage.ca_file"
            ), False
        if isinstance(error, EndpointConnectionError):
            return self.unreachable("nothing listens there, or a firewall is between"), True
        if isinstance(error, OSError | BotoCoreError | aiohttp.ClientConnectionError):
            return self.unreachable(f"no connection ({type(error).__name__})"), True
        return self.unreachable(f"its answer was not that of an S3 store ({type(error).__name__})"), True

    def _meaning_of_answer(self, answer: ClientError) -> tuple[Exception, bool]:
        code = str(answer.response.get("Error", {}).get("Code", ""))
        status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _MISSING:
            return FileNotFoundError(code), False
        if code in _TAKEN:
            return FileExistsError(code), False
        if code in _PAST_THE_END:
            return _PastTheEnd(), False
        if code in _FULL:
            return SpoolFull(f"{self._where} is full ({code}): free some space or raise the quota"), False
        if code == "NoSuchBucket":
            return self.unreachable(f"there is no bucket {self._bucket}: make it"), False
        if code in _NO_ENTRY:
            said = f"it refuses the access key ({code}): it must list, read, write and delete there"
            return self.unreachable(said), False
        if code == "RequestTimeTooSkewed":
            return self.unreachable("the clocks of this machine and the store differ: correct them"), False
        return self.unreachable(f"it answered {code or status}"), code in _WAIT or status >= 500


class _PastTheEnd(Exception):
    """Nothing is there to be read."""


def _options(access: S3Access) -> dict[str, Any]:
    s3: dict[str, Any] = {"payload_signing_enabled": True}
    if access.endpoint:
        # Only Amazon's names lead to a bucket by a host of its own for certain.
        s3["addressing_style"] = "path"
    client: dict[str, Any] = {"region_name": access.region or "us-east-1"}
    if access.ca_file is not None:
        client["verify"] = str(access.ca_file)
    return {
        "endpoint_url": access.endpoint or None,
        "key": access.key or None,
        "secret": access.secret or None,
        "client_kwargs": client,
        "config_kwargs": {
            "connect_timeout": access.timeout_s,
            "read_timeout": access.timeout_s,
            "retries": {"total_max_attempts": 1},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": s3,
        },
        "use_listings_cache": False,
    }
