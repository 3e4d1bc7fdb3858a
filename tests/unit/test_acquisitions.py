"""Reconstructions of one scan belong together; phases of an examination do not."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.ct_facts import CtFacts
from custody.ledger.completion import KnownAcquisition
from scp.acquisitions import acquisition_of, match
from tests.helpers.instances import ct_series

SCAN = KnownAcquisition("a", "1.2", "1", 100.0, 110.0)


def facts(**changes: object) -> list[CtFacts]:
    """Return the facts of a small series."""
    return [CtFacts.from_header(ds) for ds in ct_series(4, **changes)]


def test_a_scan_lasts_from_its_first_to_its_last_slice() -> None:
    """Slices with times of their own give the scan's start and end."""
    scan = acquisition_of(facts(), "new")
    assert scan.started_at is not None
    assert scan.ended_at is not None
    assert scan.ended_at - scan.started_at == 3.0
    assert scan.acquisition_number == "1"


def test_two_reconstructions_of_one_scan_are_one_acquisition() -> None:
    """Lung and soft-tissue kernel of one scan have the same frame of reference, number and time."""
    first = acquisition_of(facts(series="soft", ConvolutionKernel="B31f"), "one")
    second = acquisition_of(facts(series="lung", ConvolutionKernel="B70f"), "two")
    assert match(second, [first]).id == "one"


def test_phases_with_other_numbers_stay_apart() -> None:
    """Before and after contrast share the frame of reference and differ in Acquisition Number."""
    assert match(replace(SCAN, id="b", acquisition_number="2"), [SCAN]).id == "b"


def test_phases_at_other_times_stay_apart() -> None:
    """Where numbers are missing or equal, the times tell two phases apart."""
    late = replace(SCAN, id="b", started_at=140.0, ended_at=150.0)
    assert match(late, [SCAN]).id == "b"
    assert match(replace(late, acquisition_number=""), [SCAN]).id == "b"


def test_another_frame_of_reference_is_another_scan() -> None:
    """A patient who was repositioned was scanned anew."""
    assert match(replace(SCAN, id="b", frame_of_reference_uid="1.3"), [SCAN]).id == "b"


def test_missing_times_do_not_separate() -> None:
    """Series without acquisition times are grouped by frame of reference and number alone."""
    timeless = replace(SCAN, id="b", started_at=None, ended_at=None)
    joined = match(timeless, [SCAN])
    assert joined == SCAN
    assert match(SCAN, [timeless]) == replace(SCAN, id="b")


def test_a_match_widens_the_scan_to_both_times() -> None:
    """The scan that is kept spans both series and takes over the number that one of them lacked."""
    other = replace(SCAN, id="b", acquisition_number="", started_at=95.0, ended_at=108.0)
    assert match(SCAN, [other]) == KnownAcquisition("b", "1.2", "1", 95.0, 110.0)


def test_contradicting_numbers_inside_a_series_count_as_none() -> None:
    """A series put together from two acquisitions has no number of its own."""
    mixed = [*facts(), *facts(AcquisitionNumber=2)]
    assert acquisition_of(mixed, "x").acquisition_number == ""


def test_a_series_without_facts_is_a_scan_of_its_own() -> None:
    """Nothing is known, nothing breaks."""
    assert acquisition_of([], "x") == KnownAcquisition("x", "", "", None, None)


TIMES = st.none() | st.floats(0, 100)


@given(TIMES, TIMES, st.sampled_from(("", "1", "2")))
def test_matching_a_scan_with_itself_changes_nothing(
    one: float | None, other: float | None, number: str
) -> None:
    """A series seen a second time belongs to the scan that was entered for it the first time."""
    times = sorted(time for time in (one, other) if time is not None)
    scan = KnownAcquisition("a", "1", number, *(times if len(times) == 2 else (None, None)))
    assert match(replace(scan, id="b"), [scan]) == scan
