"""dcmqi, the tools of quantitative imaging research: they read segmentations and TID 1500 reports."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from tests.helpers.judges.complaints import Complaint, Severity

NAME = "dcmqi"


def tid1500_groups(path: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the measurement groups that dcmqi reads from a report."""
    out = folder / "report.json"
    _dcmqi("tid1500reader", "--inputDICOM", str(path), "--outputMetadata", str(out))
    groups: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8")).get("Measurements", [])
    return groups


@dataclass(frozen=True, eq=False)
class ReadSegment:
    """One segment as dcmqi reads it.

    Parameters
    ----------
    mask_kji
        bool, fastest axis last.
    affine_lps
        4 × 4, index (k, j, i, 1) to LPS mm.
    """

    mask_kji: NDArray[np.bool_]
    affine_lps: NDArray[np.float64]

    @property
    def volume_ml(self) -> float:
        """Number of voxels times their size."""
        return float(self.mask_kji.sum() * abs(np.linalg.det(self.affine_lps[:3, :3])) / 1000)

    def points_lps_mm(self) -> NDArray[np.float64]:
        """Return the (n, 3) centres of its voxels."""
        return np.argwhere(self.mask_kji) @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]


def read_segments(path: Path, folder: Path) -> dict[int, ReadSegment]:
    """Return the segments that dcmqi reads from a SEG, by Segment Number."""
    _dcmqi(
        "segimage2itkimage",
        "--inputDICOM",
        str(path),
        "--outputDirectory",
        str(folder),
        "--outputType",
        "nrrd",
    )
    return {int(file.stem): _read_nrrd(file) for file in sorted(folder.glob("*.nrrd"))}


def segment_points_lps_mm(seg: Dataset, number: int) -> NDArray[np.float64]:
    """Return the (n, 3) centres of a segment's voxels from the elements of the SEG alone.

    For stacks whose slices slide sideways it is the only judge: dcmqi lays the frames on each other along
    their normal, or refuses them, and highdicom makes no volume of them.
    """
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points = [np.empty((0, 3))]
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
            y, x = np.nonzero(frame)
            in_plane = x[:, None] * orientation[:3] * column_mm + y[:, None] * orientation[3:] * row_mm
            points.append(origin + in_plane)
    return np.concatenate(points)


def dcmqi(path: Path, sop_class_uid: str) -> list[Complaint]:
    """Return what the reader for an object has against it."""
    with tempfile.TemporaryDirectory(prefix="dcmqi-") as name:
        try:
            if sop_class_uid == SegmentationStorage:
                read_segments(path, Path(name))
            else:
                tid1500_groups(path, Path(name))
        except AssertionError as failure:
            return [Complaint.of(NAME, Severity.ERROR, str(failure))]
    return []


def _dcmqi(program: str, *arguments: str) -> None:
    spec = find_spec("dcmqi")
    if spec is None or spec.submodule_search_locations is None:
        raise RuntimeError("dcmqi is not installed")
    path = Path(spec.submodule_search_locations[0]) / "bin" / program
    run = subprocess.run([path, *arguments], capture_output=True, check=False, timeout=60, text=True)
    output = run.stdout + run.stderr
    if run.returncode or re.search(r"\b(error|fatal)\b", output, re.IGNORECASE):
        raise AssertionError(f"{program} failed: {output}")


def _read_nrrd(path: Path) -> ReadSegment:
    header, data = path.read_bytes().split(b"\n\n", 1)
    fields = dict(
        line.split(": ", 1) for line in header.decode("ascii").splitlines() if ": " in line and line[0] != "#"
    )
    raw = gzip.decompress(data) if fields["encoding"] == "gzip" else data
    dtype = {"short": "<i2", "unsigned char": "u1", "unsigned short": "<u2"}[fields["type"]]
    sizes_ijk = [int(size) for size in fields["sizes"].split()]
    if fields["space"] != "left-posterior-superior":
        raise AssertionError(f"unexpected space {fields['space']}")
    vectors_ijk = [_vector(text) for text in re.findall(r"\([^)]*\)", fields["space directions"])]
    affine = np.eye(4)
    affine[:3, :3] = np.array(vectors_ijk[::-1]).T
    affine[:3, 3] = _vector(fields["space origin"])
    return ReadSegment(np.frombuffer(raw, dtype).reshape(sizes_ijk[::-1]) > 0, affine)


def _vector(text: str) -> list[float]:
    return [float(number) for number in text.strip("()").split(",")]
