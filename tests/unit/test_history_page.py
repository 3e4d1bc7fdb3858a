"""The history of a patient for people: a table that fits a terminal, a plot, and what is said of damage."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from core.comparison import HistoryPoint
from core.domain import Language
from custody.spool import Spool
from lesionnode.cli import app
from lesionnode.history_page import print_history, write_trend
from tests.contract.test_time_points import JANE, Archive
from tests.helpers.comparisons import Pair
from tests.helpers.instances import Clock, fresh_ledger

PNEUMONIA = "pneumonia-unet 2.1.0"


@cache
def _measured() -> HistoryPoint:
    return HistoryPoint.of(Pair().time_point())


def scan(
    day: int, percent: float, lesion_ml: float, model: str = "densitometry 1.0.0", *, dated: bool = True
) -> HistoryPoint:
    """Return the numbers of a scan so many days after the first."""
    moment = datetime(2026, 1, 2, 9, 40) + timedelta(days=day)
    facts = replace(_measured().facts, scanned_at=moment if dated else None)
    return replace(
        _measured(),
        facts=facts,
        model=model,
        lung_ml=4123.0,
        lesion_ml=lesion_ml,
        ground_glass_ml=lesion_ml,
        consolidation_ml=0.0,
        percent_of_lung=percent,
    )


def shown(*history: HistoryPoint) -> list[str]:
    """Return the lines of the table on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, highlight=False, soft_wrap=True)
    print_history(history, console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_each_scan_is_a_line_with_the_change_and_the_peak() -> None:
    """Thousands are set apart, nothing changes by minus nothing, and the largest share is marked."""
    lines = shown(scan(0, 1.6, 66.0), scan(9, 31.0, 1281.1), scan(30, 31.0, 1281.06), scan(60, 2.0, 80.0))
    assert len(lines) == 2 + 4 + 1
    assert lines[2].startswith("2026-01-02 09:40")
    assert lines[3].split()[3] == "1,281.1"
    assert [line.split()[8] for line in lines[2:6]] == ["-", "+1,215.1", "+0.0", "-1,201.1"]
    assert [line.endswith("peak") for line in lines[2:6]] == [False, True, False, False]
    assert lines[6] == "Model: densitometry 1.0.0"


def test_numbers_of_two_models_are_told_apart_and_not_compared() -> None:
    """The table still fits; each model has a letter."""
    lines = shown(scan(0, 1.6, 66.0, dated=False), scan(9, 31.0, 1281.1), scan(30, 28.0, 1100.0, PNEUMONIA))
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith("no date")
    assert lines[3].endswith(" A"), "of two scans that cannot be compared neither is the peak"
    assert lines[4].split()[8:] == ["-", "B"]
    assert lines[5:] == ["Model A: densitometry 1.0.0", f"Model B: {PNEUMONIA}"]


def test_nothing_is_a_peak_where_there_was_never_any_lesion() -> None:
    """Zero is no maximum worth a mark."""
    assert not any("peak" in line for line in shown(scan(0, 0.0, 0.0), scan(30, 0.0, 0.0)))


@pytest.mark.parametrize("language", Language)
def test_the_plot_is_a_picture_with_a_heading(tmp_path: Path, language: Language) -> None:
    """Its heading says what is plotted: without it the axis has no unit."""
    write_trend([scan(0, 1.6, 66.0), scan(9, 31.0, 1281.1)], tmp_path / "trend.png", language)
    with Image.open(tmp_path / "trend.png") as picture:
        pixels = np.asarray(picture.convert("L")).astype(np.int16)
    assert int(np.ptp(pixels[:24])) == int(np.ptp(pixels[-1])) == 0
    assert np.ptp(pixels[24:56, 24:200]) > 100


def test_a_damaged_scan_is_told_beside_the_others(tmp_path: Path) -> None:
    """On stderr, so that the JSON stays JSON; where nothing can be read, with exit status 1."""
    config = tmp_path / "node.toml"
    data = tmp_path / "data"
    config.write_text(f'[node]\ndata_folder = "{data}"\n')
    data.mkdir()
    with fresh_ledger(data) as ledger:
        archive = Archive(ledger, Spool(data), Clock())
        archive.analyse(JANE, 0)
        archive.analyse(JANE, 30)
    command = ["history", JANE.patient_id, "--issuer", JANE.issuer, "--json", "--config", str(config)]
    paths = sorted((data / "time-points").rglob("*.zip"))
    paths[0].write_bytes(b"")
    ran = CliRunner().invoke(app, command)
    assert (ran.exit_code, [len(person) for person in json.loads(ran.stdout)]) == (0, [1])
    assert "An earlier scan cannot be read on the node any more" in ran.stderr
    paths[1].unlink()
    ran = CliRunner().invoke(app, command)
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "2 earlier scans cannot be read" in ran.stderr
