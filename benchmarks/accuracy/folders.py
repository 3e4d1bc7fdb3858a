"""The two kinds of folders that can be measured, told apart by what lies in them.

`lesions`: `cases.csv` (columns file, case), `ct/`, `lesions/` and, if there are any, `lungs/`: whole slices
that are equalised already. `labels`: `ct/` and `labels/`: pictures that were cropped to the lungs, each a
case of its own unless `cases.csv` says otherwise.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.orientation import Orientation
from benchmarks.accuracy.pictures import (
    SUFFIXES,
    UnusableSlices,
    read_labels,
    read_mask,
    read_picture,
    with_stem,
)

_CASES_FILE = "cases.csv"
_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known about every picture of a kind of folder.

    Parameters
    ----------
    masks
        Folder that gives the kind away.
    equalised
        Whether pictures went through the model's stretch and equalisation before they were stored.
    fit
        Share of the model's picture that the longer side of a picture takes.
    orientation
        How the published pictures of this kind have to be turned.
    """

    masks: Literal["lesions", "labels"]
    equalised: bool
    fit: float
    orientation: Orientation


#: The eight published cases named radiopaedia_* stand with the spine at the top, the others at the bottom;
#: the heart is on the right in both.
LESIONS = Kind("lesions", True, 1.0, Orientation(upside_down="radiopaedia_*"))
#: Rows and columns are exchanged in the published pictures: turned by 270° the spine is at the bottom, but
#: the heart on the left, so they are mirrored as well. Lungs fill 1/1.35 of what slice models are shown.
LABELS = Kind("labels", False, 1 / 1.35, Orientation(rotate=270, mirror=True))


@dataclass(frozen=True, slots=True, eq=False)
class SliceCase:
    """The slices of one patient, as stored; every sequence has one entry (y, x) per slice.

    Parameters
    ----------
    case
        Name.
    pictures
        uint8.
    lesion
        bool; of both classes where there are classes.
    lung
        bool, lesions included; None where it is not known.
    consolidation
        bool; None where classes are not known. The rest of `lesion` is ground glass.
    """

    case: str
    pictures: tuple[NDArray[np.uint8], ...]
    lesion: tuple[NDArray[np.bool_], ...]
    lung: tuple[NDArray[np.bool_], ...] | None = None
    consolidation: tuple[NDArray[np.bool_], ...] | None = None

    def turned(self, orientation: Orientation) -> SliceCase:
        """Return the case as the model is to see it."""

        def all_turned(planes: tuple[NDArray[_Value], ...]) -> tuple[NDArray[_Value], ...]:
            return tuple(orientation.apply(plane, self.case) for plane in planes)

        return SliceCase(
            self.case,
            all_turned(self.pictures),
            all_turned(self.lesion),
            None if self.lung is None else all_turned(self.lung),
            None if self.consolidation is None else all_turned(self.consolidation),
        )


@dataclass(frozen=True, slots=True, eq=False)
class SliceFolder:
    """Everything that is measured in a folder.

    Parameters
    ----------
    kind
        What it was recognised as.
    cases
        In the order of `cases.csv`, or of the file names.
    left_out
        Pictures that nothing belongs to.
    """

    kind: Kind
    cases: tuple[SliceCase, ...]
    left_out: int

    @property
    def slices(self) -> int:
        """Number of slices of all cases."""
        return sum(len(case.pictures) for case in self.cases)


def read_folder(folder: Path) -> SliceFolder:
    """Read every slice of a folder, so that faults show before anything is computed.

    Raises
    ------
    UnusableSlices
        The folder is of neither kind, is empty, or a file in it is missing or wrong.
    """
    kind = _kind(folder)
    cases_file = folder / _CASES_FILE
    pictures = _pictures(folder / "ct")
    if cases_file.is_file():
        groups = _listed_cases(cases_file)
    elif kind is LESIONS:
        raise UnusableSlices(
            f"{cases_file}: not found; wanted a table with the columns file and case, since accuracy is "
            f"measured by patient"
        )
    else:
        labelled = [path for path in pictures if with_stem(folder / kind.masks, path.stem)]
        groups = {path.stem: [path.stem] for path in labelled}
    if not groups:
        raise UnusableSlices(
            f"{folder}: no picture with a mask; wanted PNG or JPEG files in ct and {kind.masks}"
        )
    cases = tuple(_read_case(folder, kind, case, stems) for case, stems in groups.items())
    used = {stem for stems in groups.values() for stem in stems}
    return SliceFolder(kind, cases, sum(path.stem not in used for path in pictures))


def _kind(folder: Path) -> Kind:
    """Tell what a folder is."""
    if not folder.is_dir():
        raise UnusableSlices(f"{folder}: no such folder")
    kinds = [kind for kind in (LESIONS, LABELS) if (folder / kind.masks).is_dir()]
    if not (folder / "ct").is_dir() or len(kinds) != 1:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise UnusableSlices(
            f"{folder}: wanted the folders ct and lesions (with {_CASES_FILE}), or ct and labels; "
            f"found {there}"
        )
    return kinds[0]


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, 2 before 10; hidden files are none."""
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    return sorted(
        found, key=lambda path: (len(path.stem), path.name) if path.stem.isdigit() else (99, path.name)
    )


def _listed_cases(path: Path) -> dict[str, list[str]]:
    """Return the stems of the files of each case, as `cases.csv` lists them."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            columns = table.fieldnames or []
            rows = [((row.get("file") or "").strip(), (row.get("case") or "").strip()) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnusableSlices(f"{path}: cannot be read as a table: {error}") from error
    if not {"file", "case"} <= set(columns):
        found = ", ".join(columns) or "nothing"
        raise UnusableSlices(f"{path}: the first line names the columns file and case; found {found}")
    groups: dict[str, list[str]] = {}
    seen = set()
    for number, (file, case) in enumerate(rows, start=2):
        if not file or not case:
            raise UnusableSlices(f"{path}: entry {number}: its file or its case is empty; fill it in")
        stem = Path(file).stem
        if stem in seen:
            raise UnusableSlices(f"{path}: entry {number}: {file} is listed twice; list every picture once")
        seen.add(stem)
        groups.setdefault(case, []).append(stem)
    return groups


def _read_case(folder: Path, kind: Kind, case: str, stems: list[str]) -> SliceCase:
    """Read the pictures of a case and what is known about them."""
    pictures = tuple(read_picture(_needed(folder, "ct", stem)) for stem in stems)
    paths = [_needed(folder, kind.masks, stem) for stem in stems]
    shapes = [picture.shape for picture in pictures]
    if kind is LABELS:
        pairs = [read_labels(path, shape) for path, shape in zip(paths, shapes, strict=True)]
        lesion = tuple(ground_glass | consolidation for ground_glass, consolidation in pairs)
        return SliceCase(case, pictures, lesion, consolidation=tuple(pair[1] for pair in pairs))
    lesion = tuple(read_mask(path, shape) for path, shape in zip(paths, shapes, strict=True))
    if not any(with_stem(folder / "lungs", stem) for stem in stems):
        return SliceCase(case, pictures, lesion)
    lungs = (
        read_mask(_needed(folder, "lungs", stem), shape) for stem, shape in zip(stems, shapes, strict=True)
    )
    return SliceCase(case, pictures, lesion, lung=tuple(lungs))


def _needed(folder: Path, part: str, stem: str) -> Path:
    """Return a picture that has to be there."""
    path = with_stem(folder / part, stem)
    if path is None:
        raise UnusableSlices(
            f"{folder / part}: no picture {stem}.png or {stem}.jpg; add it, or take {stem} out of "
            f"{_CASES_FILE}"
        )
    return path
