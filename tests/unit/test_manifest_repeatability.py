"""`[[repeatability]]` of a model package: what it may say, and what a comparison gets of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from core.errors import ModelIntegrity
from core.repeatability import Condition, Limit, Quantity, Repeatability
from inference.model_package import find_packages, load_package, shipped_models_folder
from tests.helpers.packages import TinyModel, tiny_package, write_package

MARK = 'text = "No commercial use."'


def rows(*limits: tuple[str, str, Any, Any]) -> dict[str, str]:
    """Return the replacement that puts limits at the end of a manifest."""
    text = "".join(
        f'\n[[repeatability]]\nquantity = "{quantity}"\ncondition = "{condition}"\n'
        f"floor_ml = {floor_ml}\npercent = {percent}\n"
        for quantity, condition, floor_ml, percent in limits
    )
    return {MARK: MARK + "\n" + text}


def test_limits_arrive_as_they_are_written(tmp_path: Path) -> None:
    """Quantity, condition, floor and percent of every row."""
    written = rows(("lesions", "same_protocol", 1.5, 8), ("lesions", "other_kernel", 2, 12.5))
    package = tiny_package(tmp_path / "tiny", TinyModel(replace=written))
    assert package.repeatability == Repeatability(
        (
            Limit(Quantity.LESIONS, Condition.SAME_PROTOCOL, 1.5, 8.0),
            Limit(Quantity.LESIONS, Condition.OTHER_KERNEL, 2.0, 12.5),
        )
    )


def test_a_model_without_a_table_is_sound_and_never_tells_a_change(tmp_path: Path) -> None:
    """Where nobody has measured, every difference may be chance."""
    package = tiny_package(tmp_path / "tiny")
    assert package.repeatability.limits == ()
    for quantity in Quantity:
        assert package.repeatability.interval_ml(quantity, (0.0, 1e6), ()) == math.inf


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ([("heart", "same_protocol", 1, 1)], "repeatability.0.quantity: found heart"),
        ([("lung", "other_weather", 1, 1)], "repeatability.0.condition: found other_weather"),
        ([("lung", "same_protocol", -0.1, 1)], "repeatability.0.floor_ml: found -0.1"),
        ([("lung", "same_protocol", 1, -1)], "repeatability.0.percent: found -1"),
        ([("lung", "same_protocol", "nan", 1)], "repeatability.0.floor_ml"),
        ([("lung", "same_protocol", "inf", 1)], "repeatability.0.floor_ml"),
        ([("lung", "same_protocol", 1, 1)] * 2, "lung under same_protocol has two limits"),
        ([("lung", "other_kernel", 1, 1)], 'lung has no limit for condition = "same_protocol"'),
    ],
)
def test_a_faulty_table_is_told(tmp_path: Path, limits: list[Any], words: str) -> None:
    """Unknown words, negative and endless numbers, doubles, and a table without its base."""
    folder = write_package(tmp_path / "tiny", TinyModel(replace=rows(*limits)))
    with pytest.raises(ModelIntegrity) as caught:
        load_package(folder)
    assert words in str(caught.value)


def test_a_misspelt_key_is_told(tmp_path: Path) -> None:
    """No limit is lost because of a letter."""
    written = rows(("lung", "same_protocol", 1, 1))
    written[MARK] = written[MARK].replace("percent", "per_cent")
    folder = write_package(tmp_path / "tiny", TinyModel(replace=written))
    with pytest.raises(ModelIntegrity, match="per_cent: no such key"):
        load_package(folder)


@pytest.mark.parametrize("name", ["densitometry", "pneumonia-ct"])
def test_shipped_limits_are_those_that_were_measured(name: str) -> None:
    """Every shipped model has a limit for every quantity, and the manifest says what the figures say."""
    folder = find_packages([shipped_models_folder()])[name]
    limits = load_package(folder).repeatability.limits
    figures = json.loads((folder / "figures" / "repeatability.json").read_text())
    assert [(one.quantity, one.condition, one.floor_ml, one.percent) for one in limits] == [
        (one["quantity"], one["condition"], one["floor_ml"], one["percent"]) for one in figures["limits"]
    ]
    plain = {one.quantity: one for one in limits if one.condition is Condition.SAME_PROTOCOL}
    assert set(plain) == set(Quantity)
    for one in limits:
        assert one.floor_ml >= plain[one.quantity].floor_ml
        assert one.percent >= plain[one.quantity].percent


#: Resampling with linear weights blurs; the card shows each of these as beyond its limit.
BEYOND = {("pneumonia-ct", "philips-brilliance16-5mm, resampled (linear)", "consolidation")}


@pytest.mark.parametrize("name", ["densitometry", "pneumonia-ct"])
def test_two_kernels_and_resampled_scans_are_no_change(name: str) -> None:
    """No limit was made of these; what is beyond is known and in the card. Each limit holds for 95 %."""
    folder = find_packages([shipped_models_folder()])[name]
    figures = json.loads((folder / "figures" / "repeatability.json").read_text())
    assert "two kernels" in [check["name"] for check in figures["checks"]]
    beyond = {
        (name, check["name"], volume["quantity"])
        for check in figures["checks"]
        for volume in check["volumes"]
        if abs(volume["first_ml"] - volume["second_ml"]) > volume["limit_ml"]
    }
    assert beyond == {one for one in BEYOND if one[0] == name}
    for limit in figures["limits"]:
        for source in ("phantom", "real"):
            assert limit[source] is None or limit[source]["inside"] >= 0.95
