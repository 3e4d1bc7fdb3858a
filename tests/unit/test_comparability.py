"""In what two scans differ is told, and widens the limits that it was measured for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from core.repeatability import Condition, Repeatability
from inference.common_view import CommonView
from inference.comparability import Comparability, comparability
from inference.time_points import scan_facts
from tests.helpers.analyses import MODEL
from tests.helpers.scans import REPEATABILITY, Chest, Exact, shifted

PLAIN = frozenset({Condition.SAME_PROTOCOL})


def compared(
    before: Chest, now: Chest, registered: Exact | None = None, dated: tuple[bool, bool] = (True, True)
) -> Comparability:
    """Tell in what two chests differ."""
    prior, current = before.point(1), now.point(2)
    prior, current = (
        point if known else replace(point, facts=replace(point.facts, scanned_at=None))
        for point, known in zip((prior, current), dated, strict=True)
    )
    view = CommonView.of(prior, current, registered or Exact())
    return comparability(prior, current, view, REPEATABILITY)


def test_two_scans_made_alike_have_no_warning() -> None:
    """The ordinary case."""
    assert compared(Chest(), Chest()) == Comparability(PLAIN, (), same_model=True)


@pytest.mark.parametrize(
    ("header", "condition", "words"),
    [
        ({"ConvolutionKernel": "B60f"}, Condition.OTHER_KERNEL, "kernels differ (B30f, then B60f)"),
        ({"ConvolutionKernel": ""}, Condition.OTHER_KERNEL, "(B30f, then not named)"),
        ({"SliceThickness": 5.0}, Condition.OTHER_THICKNESS, "2 mm thick and are 5 mm now"),
        ({"SliceThickness": 1.25}, Condition.OTHER_THICKNESS, "2 mm thick and are 1.25 mm now"),
        ({"ContrastBolusAgent": "IOMERON"}, Condition.OTHER_CONTRAST, "The current scan alone was made with"),
        ({"PatientPosition": "HFP"}, Condition.OTHER_INSPIRATION, "lay supine in the prior scan and prone"),
        (
            {"PatientPosition": "FFDL"},
            Condition.OTHER_INSPIRATION,
            "supine in the prior scan and on the left",
        ),
    ],
)
def test_what_widens_the_limits_is_a_condition_and_a_warning(
    header: dict[str, Any], condition: Condition, words: str
) -> None:
    """One sentence for it, whichever scan is the earlier one."""
    found = compared(Chest(), Chest(header=header))
    assert found.conditions == {condition}
    (warning,) = found.warnings
    assert words in warning
    assert compared(Chest(header=header), Chest()).conditions == {condition}


@pytest.mark.parametrize(
    "header",
    [
        {"SliceThickness": 2.5},
        {"SliceThickness": None},
        {"ConvolutionKernel": " b30F "},
        {"PatientPosition": "FFS"},
        {"ContrastBolusAgent": "NONE"},
        {"ContrastBolusAgent": " w/o contrast"},
        {"ContrastBolusAgent": "--"},
    ],
)
def test_what_makes_no_difference_is_not_told(header: dict[str, Any]) -> None:
    """A little thicker; without a name but as far apart; another case; feet first; an agent that was none."""
    assert compared(Chest(), Chest(header=header)) == Comparability(PLAIN, (), same_model=True)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"Manufacturer": "OTHER"}, "Two scanners were used (MAKER SCANNER, then OTHER SCANNER)."),
        ({"DeviceSerialNumber": "4711"}, "Two scanners of one model were used."),
    ],
)
def test_another_scanner_is_told_and_widens_nothing(header: dict[str, Any], words: str) -> None:
    """Serial numbers are not shown."""
    found = compared(Chest(), Chest(header=header))
    assert found == Comparability(PLAIN, (words,), same_model=True)


def test_kernels_that_neither_scan_names_may_differ() -> None:
    """That is said, and not taken for a difference."""
    unnamed = Chest(header={"ConvolutionKernel": ""})
    found = compared(unnamed, unnamed)
    assert found.conditions == PLAIN
    assert found.warnings[0].startswith("Neither scan names its convolution kernel")


def test_contrast_is_seen_in_enhanced_images_too() -> None:
    """They name the agent in a sequence, which is there only where one was given."""
    header = Dataset()
    header.ContrastBolusAgentSequence = [Dataset()]
    assert scan_facts(header, cut_off=False).contrast
    assert not scan_facts(Dataset(), cut_off=False).contrast


@pytest.mark.parametrize(
    "changes",
    [{"version": "1.3.0"}, {"name": "other"}, {"sha256": "cd" * 32}],
    ids=["version", "name", "file"],
)
def test_another_model_is_another_measure(changes: dict[str, str]) -> None:
    """Name, version and file have to be the same; parameters such as the provider need not."""
    found = compared(Chest(), Chest(model=replace(MODEL, **changes)))  # type: ignore[arg-type]
    assert not found.same_model
    assert found.warnings[0].startswith("Two models looked at the scans (densitometry 1.2.0, ")
    assert compared(Chest(), Chest(model=replace(MODEL, parameters="other"))).same_model


@pytest.mark.parametrize(
    ("stretch", "words"), [(0.85, "less deeply"), (1.12, "more deeply"), (0.95, ""), (1.04, "")]
)
def test_the_volume_of_the_lungs_tells_inspiration(stretch: float, words: str) -> None:
    """From 8 percent on it is another one; the sentence has the difference."""
    found = compared(Chest(shape_zyx=(64, 62, 90)), Chest(shape_zyx=(64, 62, 90), stretch=stretch))
    assert (Condition.OTHER_INSPIRATION in found.conditions) == bool(words)
    assert all(words in warning for warning in found.warnings)
    assert len(found.warnings) == bool(words)


def test_inspiration_is_told_without_any_known_repeatability() -> None:
    """The 8 percent are left then."""
    prior, current = Chest().point(1), Chest(stretch=0.85).point(2)
    found = comparability(prior, current, CommonView(), Repeatability(()))
    assert found.conditions == {Condition.OTHER_INSPIRATION}


CUT = Chest(shape_zyx=(35, 62, 90), centre_mm=(0.0, 0.0, 22.0))


def test_lungs_that_a_scan_cuts_off_are_not_taken_for_a_shallow_breath() -> None:
    """What is missing is told as such, in percent, from places that are compared; which scan ends is said."""
    for before, now, ends, whole in ((Chest(), CUT, "current", "prior"), (CUT, Chest(), "prior", "current")):
        found = compared(before, now)
        assert found.conditions == PLAIN
        (warning,) = found.warnings
        assert warning.startswith(f"The {ends} scan ends within the lungs: 34 % of the lungs of the {whole}")


def test_a_cut_is_found_where_the_patient_lies_elsewhere() -> None:
    """The table stood 300 mm higher: what both scans show is the same."""
    header = {"ConvolutionKernel": "B30f"}
    moved = replace(CUT, header=header)
    prior, current = Chest().point(1), moved.point(2)
    affine = current.geometry.affine_lps.copy()
    affine[2, 3] += 300.0
    current = replace(current, geometry=replace(current.geometry, affine_lps=affine))
    view = CommonView.of(prior, current, shifted(0.0, 0.0, -300.0))
    assert view.prior.share == pytest.approx(0.34, abs=0.01)
    assert view.prior.lungs() == pytest.approx(0.34 * 1021.0, rel=0.05)
    assert view.current.share == 0.0


def test_without_places_nobody_knows_what_both_scans_show() -> None:
    """Only where a scan cuts the lungs off."""
    points = Chest().point(1), CUT.point(2)
    view = CommonView.of(*points, None)
    assert not view.is_known
    assert CommonView.of(Chest().point(1), Chest().point(2), None).is_known
    found = comparability(*points, view, REPEATABILITY)
    assert found.warnings == (
        "The current scan cuts the lungs off, and what both show is not known: no difference is called a "
        "change.",
    )


def test_a_missing_date_is_told() -> None:
    """For either scan."""
    for dated, name in (((False, True), "prior"), ((True, False), "current")):
        (warning,) = compared(Chest(), Chest(), dated=dated).warnings
        assert warning.startswith(f"The {name} scan has no date")
