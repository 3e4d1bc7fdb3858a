"""Which reconstruction of a scan is analysed, on series as they come from real scanners."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ct_facts import CtFacts
from scp.selection import Candidate, choose, kernel_sharpness
from tests.helpers.instances import ct_image

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def series(
    name: str,
    *,
    spacing: float = 1.0,
    length_mm: float = 300.0,
    kernel: str = "Br40f",
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL"),
    number: int = 2,
    missing: tuple[int, ...] = (),
) -> Candidate:
    """Return a series of so many mm; the slices in `missing` never arrived."""
    count = round(length_mm / spacing)
    base = {
        "image_type": image_type,
        "frame_of_reference_uid": "1.2",
        "acquisition_number": "1",
        "acquired_at": None,
        "orientation": AXIAL,
        "slice_thickness_mm": spacing,
        "kernel": kernel,
        "number_of_frames": 1,
        "series_number": number,
        "matrix": (512, 512),
    }
    facts = [CtFacts(position_mm=at * spacing, **base) for at in range(count) if at not in missing]
    return Candidate(name, tuple(facts))


MPR = ("DERIVED", "SECONDARY", "MPR")

TABLE: list[tuple[str, Candidate, Candidate, str]] = [
    ("thin before thick", series("best"), series("x", spacing=5.0), "slice spacing"),
    ("three before eight", series("best", spacing=3.0), series("x", spacing=8.0), "slice spacing"),
    ("one before half a mm", series("best"), series("x", spacing=0.5), "slice spacing"),
    ("smooth before lung kernel", series("best", kernel="B31f"), series("x", kernel="B70f"), "sharper"),
    (
        "standard before bone plus",
        series("best", kernel="STANDARD"),
        series("x", kernel="BONEPLUS"),
        "sharper",
    ),
    ("B before YC", series("best", kernel="B"), series("x", kernel="YC"), "sharper"),
    ("FC08 before FC51", series("best", kernel="FC08"), series("x", kernel="FC51"), "sharper"),
    ("complete before gap", series("best", kernel="B70f"), series("x", missing=(50,)), "complete"),
    ("original before MPR", series("best", spacing=5.0), series("x", image_type=MPR), "original"),
    ("thin sharp before thick smooth", series("best", kernel="B70f"), series("x", spacing=5.0), "spacing"),
    ("whole chest before half", series("best"), series("x", length_mm=120.0), "covers less"),
    ("first before equal", series("best", number=3), series("x", number=4), "later in the study"),
    ("original before no type", series("best"), series("x", image_type=()), "original"),
]


@pytest.mark.parametrize(("best", "loser", "why"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_better_reconstruction_wins(best: Candidate, loser: Candidate, why: str) -> None:
    """The better series is chosen in either order, and the loser's reason says why in plain words."""
    for pair in ([best, loser], [loser, best]):
        chosen, reasons = choose(pair)
        assert chosen is best
        assert list(reasons) == ["x"]
        assert why in reasons["x"]
        assert f"series {best.facts[0].series_number} of the same scan" in reasons["x"]


def test_one_to_three_mm_are_equally_good() -> None:
    """Within 1-3 mm the kernel decides, not the last tenth of a millimetre."""
    thick = series("best", spacing=3.0, kernel="Br40f")
    assert choose([thick, series("x", spacing=1.0, kernel="Bl57f")])[0] is thick


def test_a_lone_series_is_chosen_whatever_it_is() -> None:
    """A single candidate wins even if it is poor; refusing it is the reader's business."""
    lone = series("x", spacing=8.0, missing=(3,), image_type=MPR)
    assert choose([lone]) == (lone, {})
    assert choose([Candidate("empty", ())])[0].series_id == "empty"


def test_mixed_orientations_and_matrices_are_no_complete_stack() -> None:
    """A series with one slice of another matrix loses against a clean one."""
    odd = series("x")
    stray = CtFacts.from_header(ct_image(Rows=8))
    mixed = Candidate("x", (*odd.facts, stray))
    assert choose([mixed, series("best", kernel="B70f")])[0].series_id == "best"


def test_a_multi_frame_series_counts_its_frames() -> None:
    """One Enhanced CT instance is a whole stack: it is complete, and its frames count."""
    fact = CtFacts.from_header(ct_image(NumberOfFrames=300, SliceThickness=1.0))
    enhanced = Candidate("best", (fact,))
    assert enhanced.count == 300
    assert choose([enhanced, series("x", length_mm=100.0)])[0] is enhanced


@pytest.mark.parametrize(
    ("kernel", "grade"),
    [
        *[(name, 0) for name in ("B20f", "B31f", "B40f", "Br40d 3", "Bv36", "H30s", "I30f 3", "Qr40d")],
        *[(name, 1) for name in ("B46f", "B50f", "Br49f", "I50f 2")],
        *[(name, 2) for name in ("B60f", "B70f", "B80f", "Bl57d", "Br64d 4", "I70f 3", "U90u")],
        *[(name, 0) for name in ("STANDARD", "SOFT", "CHST", "standard", "STND+")],
        *[(name, 2) for name in ("LUNG", "BONE", "BONEPLUS", "EDGE", "ULTRA")],
        ("DETAIL", 2),
        *[(name, 0) for name in ("A", "B", "C")],
        *[(name, 1) for name in ("D", "YA", "YB")],
        *[(name, 2) for name in ("E", "L", "YC", "YD")],
        *[(name, 0) for name in ("FC01", "FC08", "FC13", "FC 18")],
        *[(name, 2) for name in ("FC30", "FC51", "FC52", "FC56")],
        *[(name, 1) for name in ("", "unknown", "FC80", "?")],
    ],
)
def test_kernels_of_the_vendors_are_graded(kernel: str, grade: int) -> None:
    """Kernels of Siemens, GE, Philips and Canon by name: 0 smooth, 1 medium or unknown, 2 sharp."""
    assert kernel_sharpness(kernel) == grade


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    """Draw one to five series of a scan."""
    return [
        series(
            f"s{at}",
            spacing=draw(st.sampled_from((0.5, 1.0, 1.5, 3.0, 5.0))),
            kernel=draw(st.sampled_from(("B31f", "B70f", "LUNG", ""))),
            number=draw(st.integers(0, 3)),
            missing=draw(st.sampled_from(((), (3,)))),
            length_mm=60.0,
        )
        for at in range(draw(st.integers(1, 5)))
    ]


@given(candidates(), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_arrival(found: list[Candidate], chance: Any) -> None:
    """Every order of the same series gives the same winner, and every loser has a reason."""
    shuffled = chance.sample(found, len(found))
    best, reasons = choose(found)
    assert choose(shuffled) == (best, reasons)
    assert set(reasons) == {one.series_id for one in found} - {best.series_id}
    assert all(reasons.values())
