"""Fixtures of tests that talk DICOM inside the test process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.helpers.dicom_peers import network_defaults


@pytest.fixture(scope="module")
def collected() -> Iterator[None]:
    """Collect what the network library left open, while its warnings are still expected."""
    yield
    gc.collect()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, collected: None) -> None:
    """Set the libraries' global switches back for a test."""
    network_defaults(monkeypatch)
