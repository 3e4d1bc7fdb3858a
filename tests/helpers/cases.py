"""The cases whose result objects are put before every judge, by the suite and by `benchmarks.conformance`.

A case is a function that returns what the writers write; a further kind of case is one more line in `CASES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from core.domain import Analysis, Predecessor, Refusal, ResultObject, Side
from core.forms import ReportClass, ResultForm, SegmentationEncoding
from sr_writer.results import write_refusal, write_results
from tests.helpers.analyses import MODEL, STUDY_UID, Phantom, analysis_of, context_of, encoded
from tests.helpers.comparisons import EVERY_LESION, Pair

Case = Callable[[], Sequence[ResultObject]]


#: Both lesions of a phantom get segments and groups of their own.
_LESIONS_FROM_ML = 0.5
_EVERY_FORM = (
    ResultForm(),
    ResultForm(report=ReportClass.COMPREHENSIVE),
    ResultForm(SegmentationEncoding.LABELMAP),
    ResultForm(empty_frames=True),
)


def objects_of(
    analysis: Analysis, forms: Sequence[ResultForm] = (ResultForm(),), **changes: Any
) -> Sequence[ResultObject]:
    """Return every object that is written of an analysis, in the order of delivery."""
    context = context_of(analysis, lesions_from_ml=_LESIONS_FROM_ML, **changes)
    return write_results(analysis, context, forms).objects


def phantom_case(
    number: int, phantom: Phantom, forms: Sequence[ResultForm] = (ResultForm(),)
) -> Sequence[ResultObject]:
    """Return every object that is written of a phantom; each number is a patient and a study of its own."""
    return objects_of(_whose(number, phantom), forms)


def refusal_case(number: int, reason: str) -> Sequence[ResultObject]:
    """Return what is written in place of results."""
    analysis = _whose(number, Phantom(attributes={"FrameOfReferenceUID": None}))
    refusal = Refusal(analysis.volume.headers, reason, MODEL)
    return write_refusal(refusal, context_of(analysis), _EVERY_FORM[:2]).objects


def later_result_case(number: int) -> Sequence[ResultObject]:
    """Return what is written of a series of which more images came later."""
    analysis = _whose(number, Phantom())
    replaced = tuple(
        Predecessor(
            one.kind,
            one.variant,
            str(one.dataset.SeriesInstanceUID),
            str(one.dataset.SOPClassUID),
            one.sop_instance_uid,
            frozenset({"pacs"}),
        )
        for one in objects_of(analysis)
    )
    return objects_of(analysis, generation=2, predecessors=replaced)


def comparison_case(number: int, forms: Sequence[ResultForm] = (ResultForm(),)) -> Sequence[ResultObject]:
    """Return what is written of two scans of a patient, of which the later is compared with the earlier."""
    pair = Pair(later=Phantom(attributes=_names(number)), forms=tuple(forms))
    later = pair.analysis()
    written = write_results(later, context_of(later, lesions_from_ml=EVERY_LESION), forms)
    return *pair.earlier_results().objects, *written.objects


def _whose(number: int, phantom: Phantom) -> Analysis:
    return analysis_of(phantom.changed(attributes={**phantom.attributes, **_names(number)}))


def _names(number: int) -> dict[str, str]:
    return {"PatientID": f"CASE-{number}", "StudyInstanceUID": f"{STUDY_UID}.99.{number}"}


CASES: Mapping[str, Case] = {
    "lesions": partial(phantom_case, 1, Phantom()),
    "one lung, enhanced CT": partial(phantom_case, 2, Phantom(lungs=(Side.LEFT,), enhanced=True)),
    "no lesion": partial(phantom_case, 3, Phantom(lesion_sides=())),
    "no lung": partial(phantom_case, 4, Phantom(lungs=())),
    "refusal": partial(refusal_case, 5, "2 slices missing: send the series again"),
    "every form": partial(phantom_case, 6, Phantom(), _EVERY_FORM),
    "later result": partial(later_result_case, 7),
    "comparison": partial(comparison_case, 8),
    "every form of a comparison": partial(comparison_case, 9, _EVERY_FORM),
}


def write_files(objects: Sequence[ResultObject], folder: Path, name: str) -> list[Path]:
    """Write result objects as they would be sent, as ``NAME-NUMBER-KIND.dcm``; return the files in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, one in enumerate(objects, start=1):
        paths.append(folder / f"{name}-{number}-{one.kind.value}.dcm")
        paths[-1].write_bytes(encoded(one.dataset))
    return paths
