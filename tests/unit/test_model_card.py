"""`python -m benchmarks.model_card`: the measured parts of a card follow from its figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import card_sections, inference
from benchmarks.model_card import SECTIONS, main
from tests.helpers.packages import write_package

ROOT = Path(__file__).parents[2]

_QUARTILES = {"median": -4.2, "q1": -9.6, "q3": 1.4}


def _case(case: str, lesion_dice: float, sensitivity: float | None = 0.8) -> dict[str, Any]:
    return {
        "case": case,
        "slices": 12,
        "lesion_dice": lesion_dice,
        "lung_dice": 0.97,
        "sensitivity": sensitivity,
        "precision": 0.75,
        "percent_error": 2.25,
    }


CROSS_VALIDATION = {
    "setup": {"steps": 4000, "threshold": 0.5, "flips": False, "seeds": [1, 2]},
    "folds": [
        {"fold": 1, "cases": [_case("one", 0.6)]},
        {"fold": 2, "cases": [_case("two", 0.8, None)]},
    ],
}
EXTERNAL = {
    "folder": "slices",
    "slices": 50,
    "cases": 50,
    "models": [{"name": f"fold-{fold}"} for fold in (1, 2)],
    "summary": {
        "lesion_dice": {"mean": 0.7, "smallest": 0.68, "largest": 0.72},
        "consolidation_dice": {"mean": 0.5, "smallest": 0.4, "largest": 0.6},
    },
}
CLASSES = {
    "slices": 50,
    "folds": [
        {
            "fold": fold,
            "learned": {"ground_glass": 0.5 + fold / 10, "consolidation": 0.3},
            "grey": {"ground_glass": 0.6, "consolidation": 0.4},
        }
        for fold in (1, 2)
    ],
}
VARIANTS = {
    "fold": 1,
    "rows": [
        {"variant": "fp32", "megabytes": 14.43, "ms_per_slice": 19.1, "lesion_dice": 0.75, "lung_dice": 0.98}
    ],
}
SPACING = {
    "slice_mm": 1.0,
    "phantoms": [{}, {}, {}],
    "summary": {
        "own": {"dice": 0.9, "burden_error_percent": 5.0, "seconds": 2.5},
        "every": {"dice": 0.89, "burden_error_percent": 6.0, "seconds": 6.0},
        "dice_between": 0.97,
    },
}
SERIES = {
    "series": [
        {
            "series": "scanner-5mm",
            "slices": 64,
            "slice_mm": 5.0,
            "lungs_ml": {"right": 2976.4, "left": 2274.0},
            "burden_ml": 52.5,
            "burden_percent": 1.0,
            "ground_glass_ml": 47.2,
            "consolidation_ml": 5.3,
            "seconds": 7.25,
            "seconds_lesions": 6.0,
            "refused": None,
        },
        {
            "series": "scanner-8mm",
            "slices": 30,
            "slice_mm": 8.0,
            "lungs_ml": None,
            "burden_ml": None,
            "burden_percent": None,
            "ground_glass_ml": None,
            "consolidation_ml": None,
            "seconds": None,
            "seconds_lesions": None,
            "refused": "No lungs are in view.",
        },
    ],
    "expert": {
        "series": "scanner-5mm",
        "dice": {"right": 0.975, "left": 0.968},
        "tumour_ml": 161.0,
        "burden_inside_tumour_ml": 120.0,
        "burden_outside_tumour_ml": 9.5,
        "outside_percent_of_lung": 0.18,
        "inside_percent_of_tumour": 74.6,
    },
    "kernels": {
        "sharp": "b70f",
        "soft": "b40f",
        "burden_percent": {"sharp": 3.0, "soft": 3.4},
        "difference_points": -0.4,
        "difference_relative_percent": -11.8,
        "lungs_dice": 0.991,
    },
}
IMPLANTS = {
    "cells": [
        {"density": density, "size": size, "n": n, "detected": n // 2, "volume_error_percent": error}
        for density in ("faint_ground_glass", "consolidation")
        for size, n, error in (("<1", 0, None), ("1–3", 10, _QUARTILES))
    ],
    "classes": [
        {"density": "faint_ground_glass", "n": 5, "correct_share": None},
        {"density": "consolidation", "n": 5, "correct_share": 0.875},
    ],
}
PHANTOM = {
    "phantoms": [
        {
            "seed": 1,
            "kind": kind,
            "spacing_mm": 2.5,
            "position": "HFS",
            "noise_hu": 20,
            "kernel": "soft",
            "lesions": lesions,
            "detected": lesions,
            "burden_error_percent": error,
            "burden_percent": {"right": 14.0, "left": 13.0, "both": 13.5},
            "truth_percent": {"right": 14.0, "left": 12.0, "both": 13.0},
        }
        for kind, lesions, error in (("default", 6, 4.7), ("healthy", 0, None))
    ],
    "summary": {
        "lesions": 6,
        "sensitivity": 1.0,
        "burden_error_percent": _QUARTILES,
        "ground_glass_error_percent": _QUARTILES,
        "consolidation_error_percent": None,
        "healthy_burden_percent": {"mean": 0.13, "largest": 0.44},
    },
}
SPEED = {
    "machine": {"cpus": 2, "processor": "A processor", "python": "3.11.7"},
    "session": [{"threads": 1, "ms_per_run": 200.0, "ms_per_slice": 50.0, "runs": 7}],
    "patch": {"batch": 4, "zyx": [1, 256, 256]},
    "volume": {
        "slices": 300,
        "spacing_zyx_mm": [1.0, 0.7, 0.7],
        "rows_columns": [512, 512],
        "lungs_s": 1.5,
        "segment_s": 8.25,
        "lesion_percent": 12.0,
        "peak_mib": 900,
    },
}
PROVENANCE = {
    "name": "tiny",
    "version": "1.0",
    "date": "2026-01-31",
    "parameters": 1234567,
    "trained_on": [{"data": "A set", "patients": None, "slices": 1126, "licence": "CC BY-NC"}],
}
UNSEEN = {
    "folds": [
        {
            "fold": f"fold-{fold}",
            "series": SERIES["series"],
            "expert": SERIES["expert"] if fold == 1 else None,
            "kernels": SERIES["kernels"] if fold == 2 else None,
        }
        for fold in (1, 2)
    ],
    "implants": IMPLANTS,
}
PREPARATIONS = {
    "rows": [
        {
            "fold": fold,
            "series": series,
            "preparation": name,
            "false_percent": false * fold,
            "painted_dice": 0.5,
            "lung_dice": 0.9,
        }
        for name, false in (("window", 0.2), ("no window", 4.0))
        for fold in (1, 2)
        for series in ("scanner", f"phantom {fold}")
    ]
}
REPEATABILITY = {
    "patients": {"phantom": 12, "real": 4},
    "pairs": {
        condition: {"phantom": 60, "real": 40 if condition == "same_protocol" else 0}
        for condition in (
            "same_protocol",
            "other_kernel",
            "other_thickness",
            "other_contrast",
            "other_inspiration",
        )
    },
    "limits": [
        {
            "quantity": quantity,
            "condition": condition,
            "floor_ml": floor_ml,
            "percent": 12.5,
            "phantom": {"differences": 1200, "inside": 0.9624},
            "real": {"differences": 90, "inside": 1.0} if condition == "same_protocol" else None,
        }
        for quantity, condition, floor_ml in (
            ("lung", "same_protocol", 0.0),
            ("lesions", "same_protocol", 1.4),
            ("lesions", "other_kernel", 2.0),
        )
    ],
    "checks": [
        {
            "name": "two kernels",
            "condition": "other_kernel",
            "volumes": [
                {"quantity": quantity, "first_ml": 2868.2, "second_ml": second_ml, "limit_ml": 43.0}
                for quantity, second_ml in (("lung", 2873.0), ("lesions", 2573.0))
            ],
            "lesions": 33,
            "lesions_outside": 1,
        }
    ],
}
FIGURES: dict[str, dict[str, Any]] = {
    "repeatability": REPEATABILITY,
    "unseen": UNSEEN,
    "preparations": PREPARATIONS,
    "cross-validation": CROSS_VALIDATION,
    "external": EXTERNAL,
    "classes": CLASSES,
    "variants": VARIANTS,
    "spacing": SPACING,
    "series": SERIES,
    "implants": IMPLANTS,
    "phantom": PHANTOM,
    "speed": SPEED,
    "provenance": PROVENANCE,
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with all figures, and a card whose sections are still empty."""
    folder = write_package(tmp_path / "tiny")
    found = re.search(r'sha256 = "(.+)"', (folder / "model.toml").read_text())
    assert found is not None
    digest = found[1]
    (folder / "figures").mkdir()
    for name, figures in FIGURES.items():
        own = {"sha256": digest} if name == "provenance" else {"model": {"sha256": digest}}
        write_figures(folder, name, figures | own)
    sections = [f"## {name}\n\n<!-- begin:{name} -->\n<!-- end:{name} -->\n" for name in SECTIONS]
    (folder / "MODEL_CARD.md").write_text("\n".join(["# tiny\n\nBefore.\n", *sections, "After.\n"]))
    return folder


def write_figures(folder: Path, name: str, figures: dict[str, Any]) -> None:
    """Write the figures of a section."""
    (folder / "figures" / f"{name}.json").write_text(json.dumps(figures))


def section(folder: Path, name: str) -> str:
    """Return what stands between the markers of a section."""
    text = (folder / "MODEL_CARD.md").read_text()
    return text.partition(f"<!-- begin:{name} -->")[2].partition(f"<!-- end:{name} -->")[0]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "cross-validation",
            [
                "| one | 12 | 1 | 0.600 | 0.970 | 0.800 | 0.750 | 2.2 |",
                "| two | 12 | 2 | 0.800 | 0.970 | – | 0.750 | 2.2 |",
                "| **mean ± sd** |  |  | **0.700** ± 0.141 | **0.970** ± 0.000 | **0.800** |",
                "Setup: steps 4000, threshold 0.5, flips False.",
            ],
        ),
        (
            "external",
            [
                "50 slices; mean over the slices, by 2 networks that saw none of them",
                "| lesion, Dice | **0.700** | 0.680 to 0.720 |",
                "| consolidation, Dice | **0.500** | 0.400 to 0.600 |",
            ],
        ),
        (
            "classes",
            [
                "| the network's own output | 0.650 | 0.300 |",
                "| a grey between healthy lung and soft tissue | 0.600 | 0.400 |",
                "50 slices, mean over 2 networks that saw none.",
            ],
        ),
        ("variants", ["| fp32 | 14.4 MB | 19.1 | 0.750 | 0.980 |"]),
        (
            "spacing",
            [
                "| averaged to the model's distance | 0.900 | 5.0 % | 2.5 |",
                "| every slice | 0.890 | 6.0 % | 6.0 |",
                "3 phantoms with slices of 1 mm; Dice between the two 0.970.",
            ],
        ),
        (
            "series",
            [
                "| scanner-5mm | 64 | 2,976 + 2,274 | 52 | 1.0 % | 47 | 5.3 | 7.2 |",
                "| scanner-8mm | 30 | refused: No lungs are in view. | – |",
                "of the tumour (161 ml) 75 % is marked",
            ],
        ),
        ("kernels", ["3.0 % of the lungs with the lung kernel (b70f)", "−0.4 points, −12 %"]),
        (
            "implants",
            [
                "|  | <1 ml | 1–3 ml |",
                "| faint ground glass | – | 5 of 10 |",
                "| consolidation | – | −4 % (−10…+1) |",
                "the right finding: consolidation 88 %.",
            ],
        ),
        (
            "phantom",
            [
                "| default | 1 | 2.5 mm | HFS | soft | 6 of 6 | 13.0 % | 13.5 % | +4.7 % |",
                "| healthy | 1 | 2.5 mm | HFS | soft | 0 of 0 | 13.0 % | 13.5 % | – |",
                "100 % of 6 lesions",
                "at most 0.44 %",
            ],
        ),
        (
            "unseen",
            [
                "| scanner-5mm | fold-2 | 1.00 % |",
                "| scanner-8mm | fold-1 | refused |",
                "scanner-5mm, fold-1: outside the tumour and its surroundings of 5 mm 0.18 % of the lungs",
                "two kernels, fold-2: 3.00 and 3.40 %",
                "| faint ground glass | – | 5 of 10 |",
            ],
        ),
        (
            "preparations",
            [
                "| window | 0.30 % | 0.30 % | 0.500 | 0.500 | 0.900 |",
                "| no window | 6.00 % | 6.00 % | 0.500 |",
            ],
        ),
        (
            "repeatability",
            [
                "|  | same protocol | other kernel |\n",
                "| lung | 12.5 % | – |",
                "| lesions | 1.4 ml + 12.5 % | 2 ml + 12.5 % |",
                "| pairs of scans | 60 + 40 | 60 |",
                "| lesions | 96.2 % of 1,200; 100.0 % of 90 | 96.2 % of 1,200 |",
                "12 phantoms and in 4 volumes of real CT",
                "| two kernels | 2,868, 2,873 (±43) | 2,868, 2,573 (**beyond** 43) | 1 of 33 |",
            ],
        ),
        ("speed", ["| 1 | 200.0 | 50.0 |", "lesions in 8.2 s", "900 MiB"]),
        ("provenance", ["| parameters | 1,234,567 |", "| A set | – | 1126 | CC BY-NC |", "2026-01-31"]),
    ],
)
def test_each_section_shows_its_figures(name: str, lines: list[str], package: Path) -> None:
    """What the JSON file holds stands in the card, rounded and with its unit."""
    assert main([str(package)]) == 0
    text = section(package, name)
    assert [line for line in lines if line not in text] == []


def test_every_table_is_whole(package: Path) -> None:
    """All lines of a table have as many cells as its head: Markdown drops what goes beyond."""
    assert main([str(package)]) == 0
    for name in SECTIONS:
        for table in re.findall(r"(?:^\|.*\n?)+", section(package, name), flags=re.MULTILINE):
            assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_writing_changes_nothing_else_and_settles(package: Path) -> None:
    """Text outside the markers stays, and a second run changes nothing."""
    assert main([str(package)]) == 0
    card = package / "MODEL_CARD.md"
    once = card.read_text()
    assert once.startswith("# tiny\n\nBefore.\n")
    assert once.endswith("After.\n")
    assert main([str(package)]) == 0
    assert card.read_text() == once
    assert main([str(package), "--check"]) == 0


def test_check_fails_on_a_card_that_is_out_of_date_and_leaves_it(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A figure that changed since, or a number edited by hand, is exit status 1 and the command to run."""
    assert main([str(package)]) == 0
    card = package / "MODEL_CARD.md"
    edited = card.read_text().replace("**0.700**", "**0.900**")
    card.write_text(edited)
    assert main([str(package), "--check"]) == 1
    assert f"python -m benchmarks.model_card {package}" in capsys.readouterr().err
    assert card.read_text() == edited


def test_figures_of_another_model_file_are_not_shown(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Speed measured before the last training stays out with exit status 1, the rest is written."""
    write_figures(package, "speed", SPEED | {"model": {"sha256": "0" * 64}})
    assert main([str(package)]) == 1
    assert "speed.json: measured with another model file" in capsys.readouterr().err
    assert section(package, "speed").strip() == ""
    assert "lesion Dice" in section(package, "cross-validation")


def test_figures_of_a_model_that_saw_less_are_shown(package: Path) -> None:
    """The pictures of another source are judged by another model file, on purpose."""
    write_figures(package, "external", EXTERNAL | {"model": {"sha256": "0" * 64}})
    assert main([str(package)]) == 0
    assert "50 slices" in section(package, "external")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("speed", None, "speed.json: not found, but the card has a section speed"),
        ("speed", "{", "speed.json: cannot be read"),
        ("speed", "[]", "speed.json: not the figures of speed"),
        ("implants", "{}", "implants.json: not the figures of implants"),
    ],
)
def test_figures_that_cannot_be_shown_are_told(
    name: str, content: str | None, words: str, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing or unreadable file is exit status 1 and its name."""
    path = package / "figures" / f"{name}.json"
    path.unlink() if content is None else path.write_text(content)
    assert main([str(package)]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<!-- end:speed -->", "", "does not belong to the marker before it"),
        ("<!-- end:provenance -->", "", "has no end"),
        ("begin:speed -->\n<!-- end:speed", "begin:pace -->\n<!-- end:pace", "no section is called pace"),
        ("<!-- begin:speed -->\n<!-- end:speed -->", "", "speed.json: no section of the card shows it"),
    ],
)
def test_markers_that_do_not_fit_are_told(
    old: str, new: str, words: str, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unbalanced or unknown markers, and figures without a place, are exit status 1."""
    card = package / "MODEL_CARD.md"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))
    assert main([str(package)]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "models").glob("*/MODEL_CARD.md")), ids=lambda path: path.parent.name
)
def test_the_cards_of_the_shipped_models_are_up_to_date(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every number between markers follows from the figures that lie beside the card."""
    assert main([str(folder.parent), "--check"]) == 0, capsys.readouterr().err


def test_speed_of_the_shipped_model_can_be_measured_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m benchmarks.inference` prints one JSON object whose figures the card can show."""
    assert inference.main(["--model", "densitometry", "--slices", "12", "--runs", "1", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["model"]["name"] == "densitometry"
    assert measured["session"][0]["threads"] == 1
    assert all(one["ms_per_run"] > one["ms_per_slice"] > 0.0 for one in measured["session"])
    assert measured["volume"]["segment_s"] > 0.0
    assert measured["volume"]["lesion_percent"] > 5.0
    assert "12 slices of 512 × 512 at 25 mm" in card_sections.speed(measured)
    assert inference.main(["--model", "nosuch"]) == 2
