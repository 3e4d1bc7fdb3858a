"""Fixtures that several kinds of test share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from custody.ledger import Ledger
from lesionnode.phantom.dicom import write_phantom
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.spec import Phantom, PhantomSpec
from tests.helpers.instances import emptied, fresh_ledger
from tests.helpers.orthanc import Orthanc, running_orthanc
from tests.helpers.postgres import Postgres, running_postgres

# A test that is slow because the machine is busy is not wrong.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Put logging back that a command within the test has set up: its level, and a stream closed by now."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def small_phantom() -> Phantom:
    """A whole chest on a coarse grid: 60 slices of 160 × 160, with the lesions of the demo."""
    return generate_phantom(PhantomSpec(shape_zyx=(60, 160, 160), spacing_zyx_mm=(5.0, 2.2, 2.2)))


@pytest.fixture(scope="session")
def small_phantom_files(small_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The small phantom as Part 10 files."""
    return write_phantom(tmp_path_factory.mktemp("phantom"), small_phantom)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole run."""
    with running_postgres() as running:
        yield running


@pytest.fixture(scope="session")
def _on_postgresql(postgres: Postgres) -> Iterator[Ledger]:
    ledger = Ledger(postgres.fresh_database())
    ledger.migrate()
    yield ledger
    ledger.close()


@pytest.fixture
def shared_ledger(_on_postgresql: Ledger) -> Ledger:
    """An empty ledger on PostgreSQL."""
    return emptied(_on_postgresql)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger, in each of the two databases."""
    if request.param == "postgresql":
        yield request.getfixturevalue("shared_ledger")
    else:
        with fresh_ledger(tmp_path) as opened:
            yield opened


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A fresh Orthanc."""
    with running_orthanc(tmp_path / "orthanc") as running:
        yield running
