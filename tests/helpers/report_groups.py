"""Measurement groups as they stand in a written report, found without the code that wrote them."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from core.codes import Code
from tests.helpers.reports import content_items, name_of


@dataclass(frozen=True)
class Group:
    """A measurement group as it stands in a report.

    Parameters
    ----------
    label, tracking_uid, time_point
        Which group.
    items
        Its direct numbers: code value, code value of its finding site (empty where it has none), item.
    statements
        Its coded statements, by code value of their names.
    segmentation, segments, series
        What it is about.
    """

    label: str
    tracking_uid: str
    time_point: str
    items: dict[tuple[str, str], Dataset]
    statements: dict[str, str]
    segmentation: str
    segments: tuple[int, ...]
    series: str

    def value(self, code: Code, site: str = "") -> float | None:
        """Return a number, None where there is none of that name."""
        item = self.items.get((code.value, site))
        return None if item is None else float(item.MeasuredValueSequence[0].NumericValue)

    def below(self, code: Code, site: str = "") -> list[Dataset]:
        """Return what stands below a number, without its finding site."""
        children = self.items[code.value, site].get("ContentSequence", ())
        return [child for child in children if name_of(child) != "363698007"]


def groups_of(report: Dataset) -> list[Group]:
    """Return every measurement group of a report."""
    return [_group(item) for item in content_items(report) if name_of(item) == "125007"]


def _group(group: Dataset) -> Group:
    by_name = {name_of(item): item for item in group.ContentSequence}
    reference = by_name["121191"].ReferencedSOPSequence[0]
    numbers = reference.ReferencedSegmentNumber
    coded = [item for item in group.ContentSequence if item.ValueType == "CODE"]
    return Group(
        label=by_name["112039"].TextValue,
        tracking_uid=str(by_name["112040"].UID),
        time_point=by_name["C2348792"].TextValue if "C2348792" in by_name else "",
        items={
            (name_of(item), _site(item)): item for item in group.ContentSequence if item.ValueType == "NUM"
        },
        statements={name_of(item): item.ConceptCodeSequence[0].CodeValue for item in coded},
        segmentation=str(reference.ReferencedSOPInstanceUID),
        segments=(numbers,) if isinstance(numbers, int) else tuple(numbers),
        series=str(by_name["121232"].UID),
    )


def _site(item: Dataset) -> str:
    sites = [child for child in item.get("ContentSequence", ()) if name_of(child) == "363698007"]
    return str(sites[0].ConceptCodeSequence[0].CodeValue) if sites else ""
