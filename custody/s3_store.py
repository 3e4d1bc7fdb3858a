"""An S3-compatible object store as shared storage."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from core.errors import SpoolError
from custody.durable import Buffer
from custody.file_store import S3Access, StoredFile
from custody.s3_client import S3Client

#: S3 allows 10,000 parts of at least 5 MiB, so a file may have 78 GiB.
_PART_BYTES = 8 * 2**20
_PARTS_AT_ONCE = 4
_NO_STORE = "its answer was not that of an S3 store"


class S3Store:
    """A bucket, or what lies below a prefix of it; a `FileStore`.

    Parameters
    ----------
    bucket, prefix
        Where the files lie.
    access
        How the store is reached.

    Raises
    ------
    ImportError
        s3fs is not installed.
    """

    def __init__(self, bucket: str, prefix: str, access: S3Access) -> None:
        self._client = S3Client(bucket, access)
        self._prefix = f"{prefix}/" if prefix else ""

    def __str__(self) -> str:
        return str(self._client)

    def read(self, path: str, start: int, end: int) -> bytes:
        """See `FileStore`."""
        return self._client.read(self._key(path), start, end)

    def size(self, path: str) -> int | None:
        """See `FileStore`."""
        try:
            return int(self._client.request("head_object", Key=self._key(path))["ContentLength"])
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError):
            raise self._client.unreachable(_NO_STORE) from None

    def put(self, path: str, chunks: Iterable[Buffer]) -> None:
        """See `FileStore`; large files go up in parts, several at a time."""
        key = self._key(path)
        parts = _joined(chunks)
        first, second = next(parts, b""), next(parts, None)
        if second is None:
            self._client.request("put_object", Key=key, Body=first)
            return
        try:
            upload = str(self._client.request("create_multipart_upload", Key=key)["UploadId"])
        except KeyError:
            raise self._client.unreachable(_NO_STORE) from None
        try:
            self._put_parts(key, upload, itertools.chain((first, second), parts))
        except BaseException:
            with contextlib.suppress(SpoolError, FileNotFoundError):
                self._client.request("abort_multipart_upload", Key=key, UploadId=upload)
            raise

    def create(self, path: str, content: bytes) -> bool:
        """See `FileStore`. A store that does not know If-None-Match replaces: read back afterwards."""
        try:
            self._client.request("put_object", Key=self._key(path), Body=content, IfNoneMatch="*")
        except FileExistsError:
            return False
        return True

    def remove(self, path: str) -> None:
        """See `FileStore`."""
        with contextlib.suppress(FileNotFoundError):
            self._client.request("delete_object", Key=self._key(path))

    def find(self, below: str) -> Iterator[StoredFile]:
        """See `FileStore`."""
        prefix = self._key(f"{below}/" if below else "")
        page: dict[str, Any] = {}
        while True:
            page = self._client.request("list_objects_v2", Prefix=prefix, **_next_page(page))
            if "Name" not in page:
                # Any other page in XML or HTML reads like an empty listing.
                raise self._client.unreachable(_NO_STORE)
            for one in page.get("Contents", ()):
                yield StoredFile(one["Key"].removeprefix(self._prefix), one["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return

    def drop_unfinished(self, before_s: float) -> int:
        """See `FileStore`."""
        uploads = self._client.request("list_multipart_uploads", Prefix=self._prefix).get("Uploads", ())
        old = [one for one in uploads if one["Initiated"].timestamp() < before_s]
        for one in old:
            with contextlib.suppress(FileNotFoundError):
                self._client.request("abort_multipart_upload", Key=one["Key"], UploadId=one["UploadId"])
        return len(old)

    def close(self) -> None:
        """See `FileStore`; a later call opens new connections."""
        self._client.close()

    def _put_parts(self, key: str, upload: str, parts: Iterable[bytes]) -> None:
        sending: deque[Future[dict[str, Any]]] = deque()
        done: list[dict[str, Any]] = []

        def send(number: int, body: bytes) -> dict[str, Any]:
            answer = self._client.request(
                "upload_part", Key=key, UploadId=upload, PartNumber=number, Body=body
            )
            return {"PartNumber": number, "ETag": answer.get("ETag", "")}

        with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
            try:
                for number, body in enumerate(parts, start=1):
                    sending.append(pool.submit(send, number, body))
                    if len(sending) == _PARTS_AT_ONCE:
                        done.append(sending.popleft().result())
                done += [one.result() for one in sending]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        # Where the answer to the first attempt got lost, the second finds no upload any more. Whether the
        # object is there is looked at by the caller.
        with contextlib.suppress(FileNotFoundError):
            self._client.request(
                "complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": done}
            )

    def _key(self, path: str) -> str:
        return self._prefix + path


def _next_page(page: dict[str, Any]) -> dict[str, Any]:
    token = page.get("NextContinuationToken")
    return {"ContinuationToken": token} if token else {}


def _joined(chunks: Iterable[Buffer]) -> Iterator[bytes]:
    """Yield the same bytes in parts of one size, the last one smaller."""
    part = bytearray()
    for chunk in chunks:
        part += chunk
        while len(part) >= _PART_BYTES:
            yield bytes(part[:_PART_BYTES])
            del part[:_PART_BYTES]
    if part:
        yield bytes(part)
