"""Written reports and what stands in them, found without the code that wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from core.codes import Code
from core.domain import Analysis, ResultKind
from tests.helpers.analyses import encoded, results_of

#: The phantom's lesions have 1.34 ml on the right and 0.85 ml on the left: each gets a segment of its own.
BOTH_LESIONS = 0.5


def report_of(analysis: Analysis) -> Dataset:
    """Return the SR of an analysis, read back from its bytes."""
    return results_of(analysis, lesions_from_ml=BOTH_LESIONS)[ResultKind.MEASUREMENT_REPORT]


def content_items(item: Dataset) -> Iterator[Dataset]:
    """Yield every content item below an item."""
    for child in item.get("ContentSequence", ()):
        yield child
        yield from content_items(child)


def name_of(item: Dataset) -> str:
    """Return the code value of a content item's concept name."""
    code = item.ConceptNameCodeSequence[0]
    return str(code.get("CodeValue") or code.LongCodeValue)


def numbers_of(group: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a group as dcmqi read it, by code value."""
    return {item["quantity"]["CodeValue"]: float(item["value"]) for item in group["measurementItems"]}


def written(analysis: Analysis, folder: Path) -> dict[ResultKind, Path]:
    """Write the results of an analysis as files."""
    paths = {}
    for kind, dataset in results_of(analysis, lesions_from_ml=BOTH_LESIONS).items():
        paths[kind] = folder / f"{kind.value}.dcm"
        paths[kind].write_bytes(encoded(dataset))
    return paths


def texts_named(report: Dataset, name: Code) -> list[str]:
    """Return the values of the text items of one name."""
    return [
        item.TextValue
        for item in content_items(report)
        if name_of(item) == name.value and "TextValue" in item
    ]


def evaluations(report: Dataset) -> list[tuple[str, str, str]]:
    """Return name, value and laterality of each coded evaluation of the whole examination."""
    found = []
    for item in report.ContentSequence[-1].ContentSequence:
        if item.ValueType == "CODE":
            sides = [side.ConceptCodeSequence[0].CodeMeaning for side in item.get("ContentSequence", ())]
            name, value = item.ConceptNameCodeSequence[0], item.ConceptCodeSequence[0]
            found.append((name.CodeMeaning, value.CodeMeaning, "".join(sides)))
    return found
