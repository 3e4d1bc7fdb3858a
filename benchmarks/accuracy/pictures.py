"""Reading pictures, masks and labels from disk, and refusing what cannot be one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

#: Endings of the files that are looked at; others are ignored.
SUFFIXES = (".png", ".jpg", ".jpeg")
_LOSSY = (".jpg", ".jpeg")

#: Grey values of labels. The published files are palette pictures: their colours for classes 1 and 2 are dark
#: red and dark green, which read as grey are 38 and 75.
_GROUND_GLASS_VALUES, _CONSOLIDATION_VALUES = (1, 38), (2, 75)


class UnusableSlices(Exception):
    """The folder cannot be measured; the message says which file is wrong and what is wanted."""


def with_stem(folder: Path, stem: str) -> Path | None:
    """Return the picture of that name in a folder, whichever of `SUFFIXES` it ends in."""
    for suffix in SUFFIXES:
        for spelt in (suffix, suffix.upper()):
            path = folder / f"{stem}{spelt}"
            if path.is_file():
                return path
    return None


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as grey.

    Parameters
    ----------
    path
        A PNG or JPEG; colours are turned to grey, 16 bits to 8.

    Returns
    -------
    ndarray
        (y, x) uint8, as stored: a rotation noted in the file is not applied, since masks have none.

    Raises
    ------
    UnusableSlices
        The file cannot be read or is no picture.
    """
    try:
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise UnusableSlices(f"{path}: cannot be read: {error.strerror}") from error
    try:
        picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # an empty file, or more pixels than it takes
        picture = None
    if picture is None:
        raise UnusableSlices(f"{path}: not a picture; wanted a whole PNG or JPEG file")
    return np.asarray(picture, dtype=np.uint8)


def read_mask(path: Path, shape_yx: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read a mask.

    Parameters
    ----------
    path
        A picture of 0 and 1 or of 0 and 255; a JPEG is cut at 128, because it blurs edges.
    shape_yx
        Rows and columns of the picture it belongs to.

    Raises
    ------
    UnusableSlices
        Another size, or other values.
    """
    values = _read_sized(path, shape_yx)
    if path.suffix.lower() in _LOSSY and values.max() > 1:
        return values >= 128
    if not (_holds_only(values, (0, 1)) or _holds_only(values, (0, 255))):
        raise UnusableSlices(f"{path}: a mask holds 0 and 1, or 0 and 255; found {_listed(values)}")
    return values > 0


def read_labels(path: Path, shape_yx: tuple[int, ...]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Read labels of two classes.

    Parameters
    ----------
    path
        A PNG of 0, 1 (ground-glass opacity) and 2 (consolidation), or of 0, 38 and 75.
    shape_yx
        Rows and columns of the picture it belongs to.

    Returns
    -------
    tuple of ndarray
        Ground glass and consolidation, (y, x) bool.

    Raises
    ------
    UnusableSlices
        Another size, or other values.
    """
    values = _read_sized(path, shape_yx)
    pairs = zip(_GROUND_GLASS_VALUES, _CONSOLIDATION_VALUES, strict=True)
    for ground_glass, consolidation in pairs:
        if _holds_only(values, (0, ground_glass, consolidation)):
            return values == ground_glass, values == consolidation
    raise UnusableSlices(
        f"{path}: labels hold 0, 1 (ground-glass opacity) and 2 (consolidation), or 0, 38 and 75 for the "
        f"same; found {_listed(values)}"
    )


def _read_sized(path: Path, shape_yx: tuple[int, ...]) -> NDArray[np.uint8]:
    values = read_picture(path)
    if values.shape != shape_yx:
        found, wanted = (f"{shape[0]} rows × {shape[1]} columns" for shape in (values.shape, shape_yx))
        raise UnusableSlices(f"{path}: found {found}, but its picture has {wanted}")
    return values


def _holds_only(values: NDArray[np.uint8], allowed: tuple[int, ...]) -> bool:
    return bool(np.isin(values, allowed).all())


def _listed(values: NDArray[np.uint8], most: int = 8) -> str:
    there = [str(value) for value in np.unique(values)]
    return ", ".join(there[:most]) + (f" … ({len(there)} values)" if len(there) > most else "")
