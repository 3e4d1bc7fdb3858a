"""dcmjs, the JavaScript library of web viewers: whether it reads in an object what was written.

Everything that its script reports is read once more with pydicom; where the two differ, it complains.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.helpers.judges.complaints import Complaint, Severity
from tests.helpers.programs import require_file, require_program

NAME = "dcmjs"

_FOLDER = Path(__file__).parents[2] / "judges"


def read_with_dcmjs(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what dcmjs reads in each of some files.

    Returns
    -------
    list of dict
        ``sopInstanceUID``; ``patientName``, three component groups; ``bulkBytes``, of Pixel Data or of the
        encapsulated document; ``content``, every content item in order; ``segments``, by Segment Number as
        text: label, frames, voxels, volumeMl.
    """
    if not paths:
        return []
    node = require_program("node", "nodejs")
    require_file(_FOLDER / "node_modules" / "dcmjs", "npm ci in tests/judges; make test does it")
    run = subprocess.run(
        [node, str(_FOLDER / "read_results.mjs"), *map(str, paths)],
        capture_output=True,
        check=False,
        timeout=280,
        encoding="utf-8",
    )
    if run.returncode:
        raise AssertionError(f"dcmjs failed: {run.stderr[-1500:]}")
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found


def dcmjs(paths: Sequence[Path]) -> list[list[Complaint]]:
    """Return where dcmjs reads each of some files otherwise than pydicom."""
    return [
        [Complaint.of(NAME, Severity.ERROR, text) for text in differences(read, dcmread(path))]
        for path, read in zip(paths, read_with_dcmjs(paths), strict=True)
    ]


def differences(read: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """Return in words where that which dcmjs read is not what a data set says."""
    ours = _read(dataset)
    content = list(zip_longest(read["content"], ours.pop("content")))
    found = [f"{key}: {read[key]} instead of {value}" for key, value in ours.items() if read[key] != value]
    return found + [f"content item {one} instead of {other}" for one, other in content if one != other]


def _read(dataset: Dataset) -> dict[str, Any]:
    """Return the same of a data set as the script does of a file."""
    name = dataset.PatientName
    bulk = dataset.get("PixelData", dataset.get("EncapsulatedDocument", b""))
    return {
        "sopInstanceUID": dataset.SOPInstanceUID,
        "patientName": [name.alphabetic, name.ideographic, name.phonetic] if name else ["", "", ""],
        "bulkBytes": len(bulk),
        "content": list(_content(dataset, "1")) if "ContentSequence" in dataset else [],
        "segments": _segments(dataset) if "SegmentSequence" in dataset else {},
    }


def _content(item: Dataset, path: str) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {
        "path": path,
        "type": item.ValueType,
        "name": _code(item.get("ConceptNameCodeSequence")),
    }
    if item.ValueType == "NUM":
        measured = (item.MeasuredValueSequence or [None])[0]
        found["value"] = None if measured is None else float(measured.NumericValue)
        found["unit"] = None if measured is None else _code(measured.MeasurementUnitsCodeSequence)
    elif item.ValueType == "CODE":
        found["value"] = _code(item.ConceptCodeSequence)
    elif item.ValueType == "TEXT":
        found["value"] = item.TextValue
    for reference in item.get("ReferencedSOPSequence", [])[:1]:
        found["refers"] = [reference.ReferencedSOPInstanceUID]
        if "ReferencedSegmentNumber" in reference:
            numbers = reference.ReferencedSegmentNumber
            found["refers"].append(numbers if isinstance(numbers, int) else list(numbers))
    yield found
    for at, child in enumerate(item.get("ContentSequence", ()), start=1):
        yield from _content(child, f"{path}.{at}")


def _code(sequence: Sequence[Dataset] | None) -> list[str] | None:
    if not sequence:
        return None
    code = sequence[0]
    return [code.get("CodeValue") or code.LongCodeValue, code.CodingSchemeDesignator, code.CodeMeaning]


def _segments(dataset: Dataset) -> dict[str, dict[str, Any]]:
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    row_mm, column_mm = map(float, measures.PixelSpacing)
    voxel_ml = row_mm * column_mm * float(measures.SpacingBetweenSlices) / 1000
    found: dict[str, dict[str, Any]] = {
        str(item.SegmentNumber): {"label": item.SegmentLabel, "frames": 0, "voxels": 0}
        for item in dataset.SegmentSequence
    }
    for number, voxels in _counted(dataset):
        found[str(number)]["frames"] += 1
        found[str(number)]["voxels"] += voxels
    for segment in found.values():
        segment["volumeMl"] = segment["voxels"] * voxel_ml
    return found


def _counted(dataset: Dataset) -> Iterator[tuple[int, int]]:
    """Yield Segment Number and voxels of each frame."""
    pixels = _frames_pyx(dataset)
    if dataset.SegmentationType == "LABELMAP":
        for frame in pixels:
            labels, voxels = np.unique(frame, return_counts=True)
            yield from ((int(one), int(count)) for one, count in zip(labels, voxels, strict=True) if one)
        return
    for frame, groups in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        yield int(number), int(np.count_nonzero(frame))


def _frames_pyx(dataset: Dataset) -> NDArray[np.uint8] | NDArray[np.uint16]:
    shape = (int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns)
    if dataset.BitsAllocated == 1:
        bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
        return bits[: np.prod(shape)].reshape(shape)
    pixels = np.frombuffer(dataset.PixelData, f"<u{dataset.BitsAllocated // 8}")
    return pixels[: np.prod(shape)].reshape(shape)
