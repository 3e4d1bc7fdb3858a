"""Where a model does worst on phantoms, as a picture for its card: what it missed and what it marked wrongly.

    python -m benchmarks.worst_places --model NAME --output FILE.png [--seeds 1,2,3]

The phantoms are those of `benchmarks.phantom_lesions`. Of every connected piece of lesion that was missed, or
that was marked where there is none, the largest are shown, each in the slice where it is largest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.arguments import UNUSABLE, add_seeds, model_parser
from benchmarks.opened import OpenedModel, open_model
from benchmarks.phantom_patients import Scan, scans
from core.domain import CtVolume
from core.errors import NodeError
from core.geometry import CanonicalOrder
from inference.preparation import Window, prepare
from lesionnode.phantom.generate import generate_phantom

_WINDOW = Window(step="window", low_hu=-1350.0, high_hu=150.0)
_OF_EACH, _PER_ROW = 3, 3
_TILE, _CAPTION, _MARGIN = 420, 46, 12
_FIELD_MM = 150.0
# Blue, green, red; told apart by people with red-green blindness, and by the dashes of the legend's words.
_TRUTH, _FOUND, _INK, _PAPER = (255, 255, 255), (40, 150, 255), (230, 230, 230), 18


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One connected piece of error.

    Parameters
    ----------
    missed
        Whether lesion was missed; else marked where there is none.
    volume_ml
        Of the piece.
    caption
        What it is and where.
    hu_yx, truth_yx, found_yx
        The slice in which it is largest, cut around it: HU and bool, isotropic pixels.
    """

    missed: bool
    volume_ml: float
    caption: str
    hu_yx: NDArray[np.float32]
    truth_yx: NDArray[np.bool_]
    found_yx: NDArray[np.bool_]


def main(arguments: Sequence[str] | None = None) -> int:
    """Find the places, draw them; return the exit status."""
    parser = model_parser(
        "worst_places", "Where a model does worst on phantoms, as a picture.", as_json=False
    )
    add_seeds(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    options = parser.parse_args(arguments)
    try:
        model = open_model(options.model)
    except NodeError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    places = [place for seed in options.seeds for scan in scans(seed) for place in worst_of(model, scan)]
    chosen = [
        place
        for missed in (True, False)
        for place in sorted((one for one in places if one.missed is missed), key=lambda one: -one.volume_ml)[
            :_OF_EACH
        ]
    ]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.output), drawn(chosen))
    for place in chosen:
        print(place.caption)
    return 0


def worst_of(model: OpenedModel, scan: Scan) -> Iterator[Place]:
    """Yield the largest pieces of either error in one phantom."""
    phantom = generate_phantom(scan.spec)
    found = model.segment(CtVolume(phantom.hu_zyx, phantom.geometry, (), ()))
    order = CanonicalOrder.of(phantom.geometry)
    hu, truth, marked = (
        order.apply(part) for part in (phantom.hu_zyx, phantom.truth.lesions_zyx, found.lesions.labels_zyx)
    )
    truth, marked = truth > 0, marked > 0
    spacing_mm = order.apply_geometry(phantom.geometry).spacing_zyx_mm
    for missed, error in ((True, truth & ~marked), (False, marked & ~truth)):
        # A rim of half a voxel is no error anybody would look at.
        labels, count = ndimage.label(ndimage.binary_opening(error, np.ones((1, 3, 3))))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        sizes[0] = 0
        for number in np.argsort(sizes)[::-1][:_OF_EACH]:
            if sizes[number] == 0:
                break
            piece = labels == number
            z = int(np.argmax(piece.sum(axis=(1, 2))))
            middle = np.argwhere(piece[z]).mean(axis=0)
            volume_ml = float(sizes[number] * phantom.geometry.voxel_ml)
            planes = [_cut(part[z].astype(np.float32), middle, spacing_mm[1]) for part in (hu, truth, marked)]
            words = "missed" if missed else "marked where there is none"
            caption = f"{volume_ml:.1f} ml {words}; {_described(scan)}"
            yield Place(missed, volume_ml, caption, planes[0], planes[1] > 0.5, planes[2] > 0.5)


def drawn(places: Sequence[Place]) -> NDArray[np.uint8]:
    """Return the picture, (y, x, 3) blue, green, red."""
    rows = -(-len(places) // _PER_ROW)
    height = _MARGIN + rows * (_TILE + _CAPTION + _MARGIN) + 30
    page = np.full((height, _MARGIN + _PER_ROW * (_TILE + _MARGIN), 3), _PAPER, np.uint8)
    for at, place in enumerate(places):
        top = _MARGIN + (at // _PER_ROW) * (_TILE + _CAPTION + _MARGIN)
        left = _MARGIN + (at % _PER_ROW) * (_TILE + _MARGIN)
        page[top : top + _TILE, left : left + _TILE] = _tile(place)
        for row, text in enumerate(place.caption.split("; ")):
            _write(page, text, (left, top + _TILE + 18 + 20 * row))
    _write(page, "white: the true lesion", (_MARGIN, height - 12))
    cv2.rectangle(page, (_MARGIN + 230, height - 24), (_MARGIN + 246, height - 12), _FOUND, -1)
    _write(page, "what the model marks", (_MARGIN + 254, height - 12))
    return page


def _tile(place: Place) -> NDArray[np.uint8]:
    grey = prepare(place.hu_yx, [_WINDOW]).astype(np.uint8)
    tile = cv2.cvtColor(cv2.resize(grey, (_TILE, _TILE), interpolation=cv2.INTER_LINEAR), cv2.COLOR_GRAY2BGR)
    for mask, colour, width in ((place.found_yx, _FOUND, 2), (place.truth_yx, _TRUTH, 1)):
        large = cv2.resize(mask.astype(np.uint8), (_TILE, _TILE), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, outlines, -1, colour, width)
    return np.asarray(tile, np.uint8)


def _cut(plane: NDArray[np.float32], middle_yx: NDArray[np.float64], pixel_mm: float) -> NDArray[np.float32]:
    """Cut a square of `_FIELD_MM` around a place, the first value beyond the edges."""
    half = round(_FIELD_MM / 2 / pixel_mm)
    row, column = (round(float(at)) for at in middle_yx)
    padded = np.pad(plane, half, mode="edge")
    return np.ascontiguousarray(padded[row : row + 2 * half, column : column + 2 * half])


def _described(scan: Scan) -> str:
    said = scan.described()
    return (
        f"phantom {said['seed']} {said['kind']}, slices {said['spacing_mm']:g} mm, "
        f"{said['kernel']} kernel, noise {said['noise_hu']:.0f} HU"
    )


def _write(page: NDArray[np.uint8], text: str, at: tuple[int, int]) -> None:
    cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)


if __name__ == "__main__":
    sys.exit(main())
