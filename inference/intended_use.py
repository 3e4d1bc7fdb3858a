"""Whether a series lies inside what a model was made for; outside it the report says so."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from core.domain import CtVolume
from inference.manifest import IntendedUse

_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
#: Age String, PS3.5 6.2.
_AGE = re.compile(r"(\d{3})([DWMY])")
#: Slice spacing is measured, and makers round it.
_TOLERANCE_MM = 0.05


def intended_use_remarks(volume: CtVolume, use: IntendedUse) -> tuple[str, ...]:
    """Say in which respect a series lies outside a model's intended use.

    Parameters
    ----------
    volume
        The series; its slice spacing, and the patient's age from its headers.
    use
        What the model's package says.

    Returns
    -------
    tuple of str
        One sentence for each respect; empty where there is none.
    """
    remarks = []
    spacing_mm = volume.geometry.spacing_zyx_mm[0]
    low, high = use.slice_thickness_min_mm, use.slice_thickness_max_mm
    if not low - _TOLERANCE_MM <= spacing_mm <= high + _TOLERANCE_MM:
        remarks.append(
            f"Slices are {spacing_mm:.3g} mm apart; the model is meant for {low:g} to {high:g} mm: "
            "its numbers are less certain."
        )
    age = age_years(volume.headers[0])
    if age is not None and not use.age_min_years <= age <= use.age_max_years:
        remarks.append(
            f"The model is meant for patients of {use.age_min_years:g} to {use.age_max_years:g} years; "
            "this patient's age is outside."
        )
    return tuple(remarks)


def age_years(header: Dataset) -> float | None:
    """Return the patient's age at the study in years, None where it cannot be told.

    Patient's Age (0010,1010) as the scanner wrote it, else Study Date less Patient's Birth Date.
    """
    written = _AGE.fullmatch(str(header.get("PatientAge") or "").strip())
    if written:
        return int(written.group(1)) * _YEARS[written.group(2)]
    dates = [str(header.get(keyword) or "") for keyword in ("PatientBirthDate", "StudyDate")]
    if not all(len(date) == 8 and date.isdigit() for date in dates):
        return None
    (born_year, born_day), (study_year, study_day) = ((int(date[:4]), int(date[4:])) for date in dates)
    return float(study_year - born_year - (study_day < born_day))
