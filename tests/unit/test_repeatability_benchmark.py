"""`python -m benchmarks.repeatability`: what two scans are compared by, and the limits made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import repeatability
from benchmarks.repeatability_figures import figures_of, with_limits
from benchmarks.repeatability_fit import Difference, covered_share, fitted, telling
from benchmarks.repeated_differences import MarkedLesion, matched_ml
from benchmarks.repeated_phantoms import PROTOCOLS
from benchmarks.repeated_scans import Protocol, condition_between
from benchmarks.repeated_series import Move, moved
from core.domain import CtVolume
from core.geometry import Geometry
from core.repeatability import Condition, Limit, Quantity
from inference.model_package import load_package
from tests.helpers.packages import tiny_package

volumes = st.floats(0.0, 5000.0).map(lambda value: round(value, 3))
some_differences = st.lists(st.builds(Difference, volumes, volumes), min_size=1, max_size=80)
quantities = st.sampled_from(list(Quantity))


# --- the rule ---------------------------------------------------------------------------------------------


@given(quantities, some_differences, some_differences)
def test_at_least_95_percent_lie_inside_in_each_source(
    quantity: Quantity, phantom: list[Difference], real: list[Difference]
) -> None:
    """By construction, whatever the differences are, and of the small and the large volumes apart."""
    limit = fitted(quantity, Condition.SAME_PROTOCOL, {"phantom": phantom, "real": real}, None)
    for told in (phantom, real):
        share = covered_share(told, limit)
        assert share is None or share >= 0.95


@given(quantities, some_differences, st.randoms(use_true_random=False))
def test_the_order_of_the_differences_does_not_matter(
    quantity: Quantity, differences: list[Difference], random: Any
) -> None:
    """Neither that of the pairs nor that of the scans in a pair."""
    turned = [Difference(one.second_ml, one.first_ml) for one in differences]
    random.shuffle(turned)
    condition = Condition.OTHER_KERNEL
    assert fitted(quantity, condition, {"real": differences}, None) == fitted(
        quantity, condition, {"real": turned}, None
    )


@given(quantities, some_differences, volumes, volumes)
def test_limits_rise_with_the_volume(
    quantity: Quantity, differences: list[Difference], small: float, large: float
) -> None:
    """Neither floor nor percentage is negative, and no percentage is beyond 100."""
    limit = fitted(quantity, Condition.SAME_PROTOCOL, {"real": differences}, None)
    assert limit.floor_ml >= 0.0
    assert 0.0 <= limit.percent <= 100.0
    assert limit.at_ml(min(small, large)) <= limit.at_ml(max(small, large))


@given(some_differences, some_differences)
def test_no_condition_is_better_than_the_plain_repetition(
    plain: list[Difference], other: list[Difference]
) -> None:
    """A second kernel comes on top of noise and position."""
    base = fitted(Quantity.LESIONS, Condition.SAME_PROTOCOL, {"phantom": plain}, None)
    limit = fitted(Quantity.LESIONS, Condition.OTHER_KERNEL, {"phantom": other}, base)
    assert limit.floor_ml >= base.floor_ml
    assert limit.percent >= base.percent


@given(some_differences, some_differences)
def test_a_second_source_never_narrows_a_limit(one: list[Difference], other: list[Difference]) -> None:
    """Real CT can only add to what phantoms show."""
    alone = fitted(Quantity.LESIONS, Condition.SAME_PROTOCOL, {"phantom": one}, None)
    both = fitted(Quantity.LESIONS, Condition.SAME_PROTOCOL, {"phantom": one, "real": other}, None)
    assert both.floor_ml >= alone.floor_ml
    assert both.percent >= alone.percent


def test_the_percentage_is_of_the_large_volumes_and_the_floor_of_the_small_ones() -> None:
    """40 volumes of 100 ml that differ by 6.2 %, and 40 of 2 ml that differ by 0.7 ml."""
    large = [Difference(100.0, 93.8)] * 40
    small = [Difference(2.0, 1.3)] * 40
    limit = fitted(Quantity.LESIONS, Condition.SAME_PROTOCOL, {"phantom": large + small}, None)
    assert limit.percent == 6.5
    assert limit.floor_ml == 0.57  # 0.7 less 6.5 % of 2


def test_one_in_twenty_may_lie_outside_but_not_two() -> None:
    """Of 40 large ones the two largest differences do not count."""
    differences = [Difference(100.0, 99.0)] * 38 + [Difference(100.0, 50.0)] * 2
    assert fitted(Quantity.LUNG, Condition.SAME_PROTOCOL, {"": differences}, None).percent == 1.0
    differences[0] = Difference(100.0, 50.0)
    assert fitted(Quantity.LUNG, Condition.SAME_PROTOCOL, {"": differences}, None).percent == 50.0


def test_what_was_never_there_makes_no_limit_smaller() -> None:
    """0 ml twice is no repetition of a measurement."""
    shown = [Difference(100.0, 90.0)] * 5
    nothing = [Difference(0.0, 0.0)] * 500
    found = [
        fitted(Quantity.LUNG, Condition.SAME_PROTOCOL, {"": told}, None) for told in (shown, shown + nothing)
    ]
    assert found[0] == found[1]
    assert telling(nothing) == []
    assert covered_share(nothing, found[0]) is None


# --- what is compared -------------------------------------------------------------------------------------


def lesion(volume_ml: float, *cells: int, at_mm: float = 0.0) -> MarkedLesion:
    """A lesion that touches some cells."""
    return MarkedLesion(volume_ml, np.array([at_mm, 0.0, 0.0]), np.array(cells, np.int64))


def test_lesions_are_matched_by_what_they_share() -> None:
    """The order in the list does not matter; what has no other half became nothing."""
    first = [lesion(5.0, 1, 2, 3), lesion(1.0, 7)]
    second = [lesion(2.0, 20, at_mm=50.0), lesion(6.0, 2, 3, 4)]
    assert sorted(matched_ml(first, second)) == [(0.0, 2.0), (1.0, 0.0), (5.0, 6.0)]


def test_parts_of_one_lesion_count_together() -> None:
    """A bridge of a voxel that one scan shows makes no lesion shrink by half."""
    whole, parts = [lesion(10.0, 1, 2, 3, 4)], [lesion(6.0, 1, 2), lesion(3.5, 3, 4)]
    assert matched_ml(whole, parts) == [(10.0, 9.5)]
    assert matched_ml(parts, whole) == [(9.5, 10.0)]


def test_small_lesions_that_miss_each_other_are_matched_by_distance() -> None:
    """The nearest within 10 mm, each once."""
    first = [lesion(0.3, 1, at_mm=0.0)]
    second = [lesion(0.5, 2, at_mm=8.0), lesion(0.4, 3, at_mm=3.0)]
    assert sorted(matched_ml(first, second)) == [(0.0, 0.5), (0.3, 0.4)]
    assert sorted(matched_ml(first, [lesion(0.4, 3, at_mm=11.0)])) == [(0.0, 0.4), (0.3, 0.0)]


def test_nothing_and_nothing_is_no_difference() -> None:
    """Healthy lungs twice."""
    assert matched_ml([], []) == []


def test_scans_that_differ_in_two_things_are_no_pair() -> None:
    """One condition at a time; two scans of one protocol are the plain repetition."""
    plain = Protocol()
    assert condition_between(plain, Protocol()) is Condition.SAME_PROTOCOL
    assert condition_between(plain, replace(plain, kernel="lung")) is Condition.OTHER_KERNEL
    assert condition_between(plain, replace(plain, slice_mm=5.0)) is Condition.OTHER_THICKNESS
    assert condition_between(plain, replace(plain, contrast=True)) is Condition.OTHER_CONTRAST
    assert condition_between(plain, replace(plain, inspiration=0.9)) is Condition.OTHER_INSPIRATION
    assert condition_between(plain, Protocol("lung", 5.0)) is None


def test_phantoms_see_every_condition() -> None:
    """Twice each, so that the plain repetition is measured in every protocol but those of the breath."""
    scans = [protocol for protocol, times in PROTOCOLS for _ in range(times)]
    found = {condition_between(one, other) for one in scans for other in scans}
    assert found >= set(Condition)


# --- real CT scanned again --------------------------------------------------------------------------------


def ball(centre_mm: tuple[float, float, float], slice_mm: float = 2.0) -> CtVolume:
    """A ball of water of 12 mm radius in air."""
    geometry = Geometry(np.diag([slice_mm, 1.0, 1.0, 1.0])[[2, 1, 0, 3]], (40, 60, 60), "1.2.3")
    index = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij"), axis=-1)
    inside = np.linalg.norm(geometry.to_lps_mm(index) - centre_mm, axis=-1) < 12.0
    return CtVolume(np.where(inside, 0, -1000).astype(np.int16), geometry, (), ())


def ball_of(volume: CtVolume) -> tuple[float, Any]:
    """Return volume in ml and centre in LPS mm of what is dense."""
    dense = volume.hu_zyx > -500
    index = np.argwhere(dense).mean(axis=0)
    return float(dense.sum()) * volume.geometry.voxel_ml, volume.geometry.to_lps_mm(index)


@pytest.mark.parametrize("slice_mm", [2.0, 1.0, 4.0])
@pytest.mark.parametrize("order", [1, 3])
def test_a_moved_patient_keeps_what_he_has(slice_mm: float, order: int) -> None:
    """Turned, shifted and in other slices: the same volume, and the way back leads to the same place."""
    first = ball((24.0, 33.0, 41.0))
    second, to_rest = moved(first, Move((3.0, -2.0, 4.0), (2.3, -1.4, 3.1)), slice_mm, order=order)
    assert second.geometry.spacing_zyx_mm == pytest.approx((slice_mm, 1.0, 1.0))
    volume_ml, there = ball_of(second)
    assert volume_ml == pytest.approx(ball_of(first)[0], rel=0.03)
    assert to_rest(there[None])[0] == pytest.approx((24.0, 33.0, 41.0), abs=0.4)
    assert np.linalg.norm(there - (24.0, 33.0, 41.0)) > 2.0


# --- the whole --------------------------------------------------------------------------------------------


def measured_line(sha256: str, patient: str, source: str) -> dict[str, Any]:
    """What is kept of one patient."""
    both = [[100.0, 95.0], [50.0, 48.0], [150.0, 143.0]]
    volumes = {quantity.value: both for quantity in Quantity}
    pairs = [
        {"condition": condition.value, "first": "one", "second": "two", "differences": volumes}
        for condition in (Condition.SAME_PROTOCOL, Condition.OTHER_KERNEL)
    ]
    return {"patient": patient, "source": source, "sha256": sha256, "seconds": 1.0, "pairs": pairs}


def test_what_was_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From kept lines to tables, figures and manifest, without a single scan."""
    package = tiny_package(tmp_path / "tiny")
    patients = repeatability._patients(None, quick=True)
    lines, figures = tmp_path / "lines.jsonl", tmp_path / "figures.json"
    kept = [measured_line(package.manifest.sha256, patient.name, "phantom") for patient in patients]
    other = measured_line("0" * 64, patients[0].name, "phantom")
    lines.write_text("".join(json.dumps(one) + "\n" for one in [*kept, other]))
    monkeypatch.setattr(repeatability, "compared", lambda *_: pytest.fail("scanned again"))
    options = ["--model", str(package.folder), "--quick", "--lines", str(lines), "--json", str(figures)]
    assert repeatability.main([*options, "--manifest", str(package.folder / "model.toml")]) == 0
    assert "same protocol" in capsys.readouterr().out
    limits = load_package(package.folder).repeatability.limits
    assert Limit(Quantity.LESIONS, Condition.OTHER_KERNEL, 0.0, 5.0) in limits
    assert [one.percent for one in limits] == [
        one["percent"] for one in json.loads(figures.read_text())["limits"]
    ]


def test_checks_are_judged_by_the_limits_but_make_none() -> None:
    """A pair that is kept apart may lie outside, and is told then."""
    model = {"name": "tiny", "sha256": "0"}
    lines = [measured_line("0", "phantom-1", "phantom"), measured_line("0", "two kernels", "check")]
    changed = lines[1]["pairs"] = [lines[1]["pairs"][1]]
    changed[0]["differences"] = {quantity.value: [[100.0, 50.0]] * 3 for quantity in Quantity}
    figures = figures_of(model, lines)
    assert {one["percent"] for one in figures["limits"]} == {5.0}
    (check,) = figures["checks"]
    assert check["lesions_outside"] == check["lesions"] == 3
    assert check["volumes"][0] == {
        "quantity": "lung",
        "first_ml": 100.0,
        "second_ml": 50.0,
        "limit_ml": 5.0,
    }


def test_limits_in_a_manifest_are_replaced() -> None:
    """The end of the file is the table; a second writing leaves no trace of the first."""
    limit = {"quantity": "lung", "condition": "same_protocol", "floor_ml": 1.0, "percent": 2.0}
    once = with_limits('name = "tiny"\n\n', [limit | {"percent": 9.0}])
    again = with_limits(once, [limit])
    assert again.startswith('name = "tiny"\n\n#')
    assert again.count("[[repeatability]]") == 1
    assert "percent = 2.0\n" in again
    assert with_limits(again, [limit]) == again
