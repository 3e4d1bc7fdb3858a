"""The cases whose result objects are put before every judge, by the suite and by `benchmarks.conformance`.

A case is a function that returns what the writers write; a further kind of case is one more line in `CASES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from core.domain import Analysis, ResultObject, Side
from sr_writer.results import write_results
from tests.helpers.analyses import STUDY_UID, Phantom, analysis_of, context_of, encoded

Case = Callable[[], Sequence[ResultObject]]


def objects_of(analysis: Analysis) -> Sequence[ResultObject]:
    """Return every object that is written of an analysis, in the order of delivery."""
    return write_results(analysis, context_of(analysis)).objects


def phantom_case(number: int, phantom: Phantom) -> Sequence[ResultObject]:
    """Return every object that is written of a phantom; each number is a patient and a study of its own."""
    whose = {"PatientID": f"CASE-{number}", "StudyInstanceUID": f"{STUDY_UID}.99.{number}"}
    return objects_of(analysis_of(phantom.changed(attributes={**phantom.attributes, **whose})))


CASES: Mapping[str, Case] = {
    "lesions": partial(phantom_case, 1, Phantom()),
    "one lung, enhanced CT": partial(phantom_case, 2, Phantom(lungs=(Side.LEFT,), enhanced=True)),
    "no lesion": partial(phantom_case, 3, Phantom(lesion_sides=())),
    "no lung": partial(phantom_case, 4, Phantom(lungs=())),
}


def write_files(objects: Sequence[ResultObject], folder: Path, name: str) -> list[Path]:
    """Write result objects as they would be sent, as ``NAME-NUMBER-KIND.dcm``; return the files in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, one in enumerate(objects, start=1):
        paths.append(folder / f"{name}-{number}-{one.kind.value}.dcm")
        paths[-1].write_bytes(encoded(one.dataset))
    return paths
