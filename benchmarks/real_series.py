"""The real CT series that measurements read: folders under ``ct-series`` of the data folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import NodeError

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"
#: The series that an expert's contours come with, and the value of the tumour in them.
EXPERT_SERIES, EXPERT_TUMOUR = "siemens-biograph40-3mm", 3
#: One scan in a lung kernel and in a soft one.
SENSATION_SHARP, SENSATION_SOFT = "siemens-sensation10-b70f-8mm", "siemens-sensation10-b40f-8mm"


def series_folders(data: Path | None = None, only: str = "") -> list[Path]:
    """Find the series.

    Parameters
    ----------
    data
        Data folder; None for the one that LESION_NODE_DATA names.
    only
        Start of the names that are wanted.

    Returns
    -------
    list of Path
        One folder per series, by name.

    Raises
    ------
    NodeError
        There is none; the message says where it was looked for.
    """
    data = Path(os.environ.get("LESION_NODE_DATA", _DEFAULT)) if data is None else data
    root = data / "ct-series"
    folders = sorted(path for path in root.glob(f"{only}*") if path.is_dir())
    if not folders:
        wanted = f'whose name starts with "{only}" ' if only else ""
        raise NodeError(
            f"No CT series {wanted}at {root}; name the data folder with --data or LESION_NODE_DATA."
        )
    return folders


def series_files(folder: Path) -> list[Path]:
    """Return the files of one series."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def expert_labels(folder: Path, *, rising: bool = True) -> NDArray[np.uint8] | None:
    """Return an expert's contours of a series, or None where there are none.

    Parameters
    ----------
    folder
        Of the series; the contours lie beside it as ``<name>-lungs.npz``.
    rising
        Whether the first slice shall be the lowest; else the highest.

    Returns
    -------
    ndarray or None
        (z, y, x) uint8: 1 right lung, 2 left lung, `EXPERT_TUMOUR`; rows and columns are those of the images.
    """
    contours = folder.with_name(f"{folder.name}-lungs.npz")
    if not contours.is_file():
        return None
    with np.load(contours) as expert:
        labels: NDArray[np.uint8] = expert["labels_zyx"]
    return labels if rising else labels[::-1]


def add_series_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and ``--only``."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder (else LESION_NODE_DATA)")
    parser.add_argument(
        "--only",
        default="",
        metavar="START",
        help="only series whose name starts so, for models that were trained on the others",
    )
