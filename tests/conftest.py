"""Fixtures that several kinds of test share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from lesionnode.phantom.dicom import write_phantom
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.spec import Phantom, PhantomSpec
from tests.helpers.orthanc import Orthanc, running_orthanc

# A test that is slow because the machine is busy is not wrong.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def small_phantom() -> Phantom:
    """A whole chest on a coarse grid: 60 slices of 160 × 160, with the lesions of the demo."""
    return generate_phantom(PhantomSpec(shape_zyx=(60, 160, 160), spacing_zyx_mm=(5.0, 2.2, 2.2)))


@pytest.fixture(scope="session")
def small_phantom_files(small_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The small phantom as Part 10 files."""
    return write_phantom(tmp_path_factory.mktemp("phantom"), small_phantom)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A fresh Orthanc."""
    with running_orthanc(tmp_path / "orthanc") as running:
        yield running
