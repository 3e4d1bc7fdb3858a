"""Which patients are kept apart. Fixed before the first training, by size alone."""

from __future__ import annotations

from collections.abc import Mapping

FOLDS = 5
#: Which real CT series without pneumonia a fold does not see, by the start of their folder names.
UNSEEN_SERIES = {
    1: "siemens-biograph40",
    2: "philips-brilliance16",
    3: "siemens-sensation10",
    4: "siemens-biograph40",
    5: "siemens-sensation10",
}


def fold_of(place: int) -> int:
    """Return the fold that the slice with classes at this place keeps apart, 1 to 5."""
    return 1 + place % FOLDS


def patient_of(case: str) -> str:
    """Return the patient of a case: `radiopaedia_10_85902_1` and `_3` are two scans of one."""
    parts = case.split("_")
    return "_".join(parts[:2])


def fold_of_cases(slices_of_case: Mapping[str, int]) -> dict[str, int]:
    """Deal the patients out to the folds, largest first, back and forth.

    Parameters
    ----------
    slices_of_case
        Number of slices of each case.

    Returns
    -------
    dict
        Fold of each case, 1 to 5; all cases of a patient have one.
    """
    sizes: dict[str, int] = {}
    for case, count in slices_of_case.items():
        sizes[patient_of(case)] = sizes.get(patient_of(case), 0) + count
    fold_of_patient = {}
    for place, patient in enumerate(sorted(sizes, key=lambda name: (-sizes[name], name))):
        turn, column = divmod(place, FOLDS)
        fold_of_patient[patient] = 1 + (column if turn % 2 == 0 else FOLDS - 1 - column)
    return {case: fold_of_patient[patient_of(case)] for case in slices_of_case}
