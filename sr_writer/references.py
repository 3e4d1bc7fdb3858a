"""How later results cite the objects of this one."""

from __future__ import annotations

from core.domain import ResultObject
from core.time_point import ResultReference


def reference_to(result: ResultObject) -> ResultReference:
    """Return what a result of a later scan has to know of an object to cite it."""
    dataset = result.dataset
    return ResultReference(
        kind=result.kind,
        variant=result.variant,
        series_instance_uid=str(dataset.SeriesInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=result.sop_instance_uid,
        segments=len(dataset.get("SegmentSequence") or ()),
    )
