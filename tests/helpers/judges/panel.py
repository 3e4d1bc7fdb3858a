"""All judges of written objects, and which kind of object each of them can judge.

A further judge is one more line in `JUDGES`; a further kind of object one more line in the sets above it, or
none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
)

from tests.helpers.judges import dciodvfy, dcmjs, dcmqi, dsrdump, pixelmed
from tests.helpers.judges.complaints import Complaint

REPORTS = frozenset({EnhancedSRStorage, ComprehensiveSRStorage, Comprehensive3DSRStorage})
DOCUMENTS = REPORTS | {KeyObjectSelectionDocumentStorage}
#: Kinds of object that dcmqi has a reader for.
READ_BY_DCMQI = REPORTS | {SegmentationStorage}


@dataclass(frozen=True, slots=True)
class Judge:
    """An independent program.

    Parameters
    ----------
    name
        As in the list of tolerated complaints.
    judges
        SOP Class UIDs of the objects that it can judge; None for all.
    judge
        Returns what it has against each of some files.
    """

    name: str
    judges: frozenset[str] | None
    judge: Callable[[Sequence[Path]], list[list[Complaint]]]


def _dciodvfy(paths: Sequence[Path]) -> list[list[Complaint]]:
    return [dciodvfy.dciodvfy(path) for path in paths]


def _dsrdump(paths: Sequence[Path]) -> list[list[Complaint]]:
    return [dsrdump.dsrdump(path)[1] for path in paths]


def _dcmqi(paths: Sequence[Path]) -> list[list[Complaint]]:
    return [dcmqi.dcmqi(path, _sop_class(path)) for path in paths]


JUDGES = (
    Judge(dciodvfy.NAME, None, _dciodvfy),
    Judge(pixelmed.NAME, DOCUMENTS, pixelmed.pixelmed),
    Judge(dcmqi.NAME, READ_BY_DCMQI, _dcmqi),
    Judge(dcmjs.NAME, None, dcmjs.dcmjs),
    Judge(dsrdump.NAME, DOCUMENTS, _dsrdump),
)


def judged(paths: Sequence[Path], judges: Sequence[Judge] = JUDGES) -> dict[Path, dict[str, list[Complaint]]]:
    """Put objects before judges.

    Parameters
    ----------
    paths
        Part 10 files of any kind.
    judges
        Which ones.

    Returns
    -------
    dict
        For each file the complaints of each judge that judged it, by the judge's name; a judge that cannot
        judge that kind of object is left out.
    """
    verdicts: dict[Path, dict[str, list[Complaint]]] = {path: {} for path in paths}
    classes = {path: _sop_class(path) for path in paths}
    for judge in judges:
        mine = [path for path in paths if judge.judges is None or classes[path] in judge.judges]
        for path, complaints in zip(mine, judge.judge(mine), strict=True):
            verdicts[path][judge.name] = complaints
    return verdicts


def _sop_class(path: Path) -> str:
    return str(dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).SOPClassUID)
