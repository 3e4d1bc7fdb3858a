"""Fixtures of tests that talk DICOM inside the test process."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import _config

from custody.ledger import Ledger
from tests.helpers.dicom_peers import network_defaults
from tests.helpers.prior_bench import bench_on


@pytest.fixture(scope="module")
def collected() -> Iterator[None]:
    """Collect what the network library left open, while its warnings are still expected."""
    yield
    gc.collect()


@pytest.fixture
def bench(tmp_path: Path, ledger: Ledger) -> Callable[..., Any]:
    """Return a function that runs a node without worker beside a PACS that holds earlier scans."""
    return lambda **options: bench_on(tmp_path, ledger, **options)


@pytest.fixture
def as_in_the_node(network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let values that break their rules be read, as the node does, and be sent, as some PACS do."""
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(_config, "LOG_RESPONSE_IDENTIFIERS", _config.LOG_RESPONSE_IDENTIFIERS)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, collected: None) -> None:
    """Set the libraries' global switches back for a test."""
    network_defaults(monkeypatch)
