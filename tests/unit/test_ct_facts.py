"""The header values that grouping and ranking need, read from good, poor and broken headers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from core.ct_facts import FACT_KEYWORDS, CtFacts
from tests.helpers.instances import NOON, ct_image


def acquired_at(**values: str) -> float | None:
    """Return the acquisition time of a header with these elements only."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return CtFacts.from_header(ds).acquired_at


def test_an_ordinary_header_is_read() -> None:
    """Every fact of an ordinary CT image is found."""
    facts = CtFacts.from_header(ct_image(2))
    assert facts.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert facts.acquired_at == NOON + 2.5
    assert facts.acquisition_number == "1"
    assert facts.position_mm == 6.0
    assert facts.slice_thickness_mm == 3.0
    assert facts.kernel == "B31f"
    assert (facts.number_of_frames, facts.series_number, facts.matrix) == (1, 2, (4, 4))


def test_an_empty_header_gives_empty_facts() -> None:
    """Nothing is required: what is absent stays empty."""
    facts = CtFacts.from_header(Dataset())
    assert facts.acquired_at is None
    assert facts.position_mm is None
    assert facts.orientation == ()
    assert facts.number_of_frames == 1


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"AcquisitionDate": "20240101", "AcquisitionTime": "120000"}, 0.0),
        ({"AcquisitionDate": "20240101", "AcquisitionTime": "1200"}, 0.0),
        ({"AcquisitionDate": "20240101", "AcquisitionTime": "12"}, 0.0),
        ({"AcquisitionDate": "20240101", "AcquisitionTime": "120003.250000"}, 3.25),
        ({"AcquisitionDateTime": "20240101120004.5"}, 4.5),
        ({"AcquisitionDateTime": "20240101120004+0100"}, 4.0),
        ({"AcquisitionDateTime": "20240101120004.5-0500"}, 4.5),
        ({"AcquisitionDateTime": "20240101120009", "AcquisitionDate": "20230101"}, 9.0),
    ],
)
def test_times_are_read_in_every_form(values: dict[str, str], seconds: float) -> None:
    """DA with TM and DT, short and with fractions (PS3.5 6.2); the time zone is ignored."""
    assert acquired_at(**values) == NOON + seconds


@pytest.mark.parametrize(
    "values",
    [
        {"AcquisitionDate": "20240101"},
        {"AcquisitionTime": "120000"},
        {"AcquisitionDateTime": "2024"},
        {"AcquisitionDateTime": "20241399120000"},
        {"AcquisitionDateTime": "20240101120060"},
        {"AcquisitionDateTime": "yesterday"},
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_unreadable_times_stay_empty(values: dict[str, str]) -> None:
    """A time that is missing, too coarse or impossible is no time."""
    assert acquired_at(**values) is None


@given(st.text(st.sampled_from("0123456789.+-²١ "), max_size=26))
def test_no_time_text_ever_raises(text: str) -> None:
    """Digits of other scripts and superscripts are digits to Python, but not to DICOM."""
    CtFacts.from_header(_Header(AcquisitionDateTime=text))


@given(
    st.dictionaries(
        st.sampled_from(FACT_KEYWORDS),
        st.none()
        | st.text(max_size=8)
        | st.floats()
        | st.lists(st.text(max_size=3) | st.floats(), max_size=7),
    )
)
def test_no_value_whatever_raises(values: dict[str, Any]) -> None:
    """Whatever a header holds, reading its facts gives facts, and they can be kept as JSON."""
    facts = CtFacts.from_header(_Header(**values))
    json.dumps(facts.as_json(), allow_nan=False)


@given(
    st.floats(-500, 500),
    st.tuples(*[st.floats(-1, 1)] * 6).filter(lambda six: np.linalg.norm(np.cross(six[:3], six[3:])) > 0.1),
)
def test_facts_survive_the_ledger(along: float, orientation: tuple[float, ...]) -> None:
    """Facts written as JSON and read back are the same."""
    header = _Header(ImagePositionPatient=[0.0, 0.0, along], ImageOrientationPatient=list(orientation))
    facts = CtFacts.from_header(header)
    assert CtFacts.from_json(json.loads(json.dumps(facts.as_json()))) == facts


def test_parallel_direction_cosines_give_no_position() -> None:
    """Where row and column point the same way there is no slice normal."""
    header = ct_image(ImageOrientationPatient=[1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    assert CtFacts.from_header(header).position_mm is None


class _Header(Dataset):
    """A header whose values are whatever a broken sender wrote, past every check of pydicom."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_values", values)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the raw value."""
        return self.__dict__["_values"].get(key, default)
