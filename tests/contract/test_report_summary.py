"""What the written report says about the examination as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from core import codes
from core.domain import FINDING_LABEL, Analysis, Finding, LesionMask, Side
from inference.lesions import measure
from tests.helpers.analyses import MODEL, Phantom, analysis_of
from tests.helpers.reports import evaluations, report_of, texts_named


@pytest.mark.parametrize(
    ("finding", "present"),
    [(Finding.GROUND_GLASS, "Ground glass opacity"), (Finding.CONSOLIDATION, "Lung consolidation")],
)
def test_one_finding_alone_is_present_alone(finding: Finding, present: str) -> None:
    """Of ground glass and consolidation, the one that is not there is said to be absent."""
    analysis = analysis_of()
    labels = (analysis.lesions.labels_zyx > 0) * np.uint8(FINDING_LABEL[finding])
    said = {name: value for name, value, _ in evaluations(report_of(_measured(analysis, labels)))}
    names = {"Lesion", "Ground glass opacity", "Lung consolidation"}
    assert {name for name, value in said.items() if value == "Present"} == {"Lesion", present}
    assert {name for name, value in said.items() if value == "Absent"} == names - {"Lesion", present}


def _measured(analysis: Analysis, labels_zyx: NDArray[np.uint8]) -> Analysis:
    """Return an analysis with other lesions."""
    lesions = LesionMask(labels_zyx, MODEL)
    measurements = measure(analysis.volume, analysis.lungs, lesions)
    return replace(analysis, lesions=lesions, measurements=measurements)


@pytest.mark.parametrize(
    ("phantom", "sentence"),
    [
        (
            Phantom(),
            "Lesions were found in both lungs: 2.2 ml, 6.8 % of lung volume; 1.7 ml ground glass, 0.5 ml "
            "consolidation; CT severity score 4 of 24; 2 single lesions of at least 0.05 ml, the largest "
            "1.3 ml.",
        ),
        (
            Phantom(lungs=(Side.LEFT,)),
            "Lesions were found in the left lung: 0.8 ml, 6.9 % of lung volume; 0.6 ml ground glass, 0.2 ml "
            "consolidation; CT severity score 2 of 24; one single lesion of at least 0.05 ml, of 0.8 ml; no "
            "right lung was found.",
        ),
        (Phantom(lesion_sides=()), "No lesion was found in either lung."),
        (
            Phantom(lungs=(Side.RIGHT,), lesion_sides=()),
            "No lesion was found in the right lung; no left lung was found.",
        ),
        (Phantom(lungs=()), "No lung was found, so nothing is known about lesions."),
    ],
    ids=["both lungs", "one lung", "no lesion", "no lesion in one lung", "no lung"],
)
def test_one_sentence_sums_it_up(phantom: Phantom, sentence: str) -> None:
    """The summary is one sentence with rounded numbers, right in every kind of case."""
    assert texts_named(report_of(analysis_of(phantom)), codes.SUMMARY) == [sentence]


def test_the_summary_of_one_finding_and_of_traces() -> None:
    """A single kind of finding is named once; lesions too small to be listed are not called none."""
    analysis = analysis_of()
    labels = np.zeros_like(analysis.lesions.labels_zyx)
    labels[tuple(np.argwhere(analysis.lungs.labels_zyx == 1)[50])] = FINDING_LABEL[Finding.CONSOLIDATION]
    report = report_of(_measured(analysis, labels))
    assert texts_named(report, codes.SUMMARY) == [
        "Lesions were found in the right lung: < 0.1 ml, < 0.1 % of lung volume; all consolidation; CT "
        "severity score 1 of 24; no single lesion of at least 0.05 ml."
    ]
