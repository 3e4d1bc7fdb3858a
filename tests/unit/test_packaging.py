"""What is installed: the generic names of the root folders are ours alone, and the wheel is complete."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).parents[2]
OURS = {"lesionnode", "scp", "inference", "sr_writer", "config", "custody", "core"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_no_installed_package_owns_one_of_our_names() -> None:
    """`config`, `core` and the like are generic; a dependency of that name would be shadowed."""
    owners = packages_distributions()
    assert {name: owners[name] for name in OURS & owners.keys() if owners[name] != ["lesion-node"]} == {}
    site = Path(numpy.__file__).parents[1]
    assert [name for name in OURS - {"lesionnode"} if (site / name).exists()] == []


def test_the_wheel_holds_models_migrations_and_the_example(wheel: Path) -> None:
    """What the code reads at run time is inside; tests, benchmarks and training scripts are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        "lesionnode/models/densitometry/model.onnx",
        "lesionnode/models/densitometry/model.toml",
        "lesionnode/models/densitometry/MODEL_CARD.md",
        "lesionnode/models/pneumonia-ct/model.onnx",
        "lesionnode/models/pneumonia-ct/model.toml",
        "lesionnode/models/pneumonia-ct/MODEL_CARD.md",
        "custody/ledger/migrations/env.py",
        "custody/ledger/migrations/versions/rev_0001_first_schema.py",
        "config/example.toml",
        "sr_writer/document/layout.typ",
    }
    assert wanted <= names
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == OURS


def test_the_wheel_works_outside_the_checkout(
    wheel: Path, tmp_path: Path, small_phantom_files: list[Path]
) -> None:
    """Unpacked elsewhere, the wheel's code and its own model analyse a series."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    code = (
        "import lesionnode, sys; assert lesionnode.__file__.startswith(sys.argv.pop()), lesionnode.__file__;"
        "from lesionnode.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "analyse", str(small_phantom_files[0].parent)]
    run = subprocess.run(
        [*command, "--output", str(tmp_path / "out"), str(site)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "report.dcm").exists()
