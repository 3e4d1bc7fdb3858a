"""Storage that several machines share: the section ``[storage]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from config.section import Section

_FOLDER = re.compile(r"(file://)?/[^\0]*")
_BUCKET = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,62}(/[A-Za-z0-9._-]+)*/?")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._/-]*)?")


def _shared(text: str) -> str:
    if text and not _FOLDER.fullmatch(text) and not _BUCKET.fullmatch(text):
        raise ValueError('wanted a folder ("/mnt/lesion-node"), "s3://bucket/prefix", or "" for none')
    return text


def _endpoint(text: str) -> str:
    if text and not _ENDPOINT.fullmatch(text):
        raise ValueError('wanted an address with its scheme ("https://store.example:9000"), or "" for Amazon')
    return text


class StorageSettings(Section):
    """Where sealed series and results lie for all machines of the site."""

    shared: Annotated[str, AfterValidator(_shared)] = ""
    """A folder or a bucket; empty: this machine works alone."""
    endpoint: Annotated[str, AfterValidator(_endpoint)] = ""
    """Address of an S3-compatible store; Amazon's where empty."""
    region: str = ""
    """Region of the store; us-east-1 where empty, which stores outside Amazon do not look at."""
    key: str = ""
    """Access key; what the environment of the process offers where empty."""
    secret: SecretStr = SecretStr("")
    """The secret that belongs to the key."""
    ca_file: Path | None = None
    """PEM file of the authority that signed the store's certificate; the system's where absent."""
    timeout_s: Annotated[float, Field(ge=1)] = 30.0
    """Limit of one request to the store; three are made."""

    @property
    def folder(self) -> Path | None:
        """The shared folder, where it is one."""
        text = self.shared.removeprefix("file://")
        return Path(text) if text.startswith("/") else None

    def cross_faults(self) -> list[str]:
        """Return the faults that no single key shows; none of them repeats the secret."""
        faults = []
        secret = bool(self.secret.get_secret_value())
        if bool(self.key) != secret:
            there, absent = ("secret", "key") if secret else ("key", "secret")
            faults.append(f"storage.{absent}: missing, wanted a value beside storage.{there}")
        if not self.shared.startswith("s3://"):
            given = {"endpoint": self.endpoint, "region": self.region, "key": self.key, "secret": secret}
            faults += [
                f'storage.{name}: found a value, wanted one only where storage.shared is "s3://bucket/prefix"'
                for name, value in {**given, "ca_file": self.ca_file}.items()
                if value
            ]
        return faults
