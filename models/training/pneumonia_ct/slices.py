"""Training slices in one form, whatever they come from, and the two published sets of slices."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.preparation import Clip, Equalise, Stretch, Window, prepare

#: Edge of every slice, pixels.
SIZE = 256
#: CLAHE as the published slices went through it.
EQUALISE = Equalise(step="equalise", clip_limit=7.0, tiles=8)
STRETCH = Stretch(step="stretch")
#: The window through which the node shows a scan: the usual one for lungs.
WINDOW = Window(step="window", low_hu=-1350.0, high_hu=150.0)
#: Edge of the square that is shown, as a multiple of the larger extent of the lungs: about what the published
#: slices show.
FIELD_OF_VIEW = 1.35

#: Mean and standard deviation of ImageNet in grey, of values from 0 to 1: what the encoder expects.
GREY_MEAN, GREY_SD = 0.449, 0.226

#: Bits of a label. UNSURE: nothing is known about lesion here, such as in a tumour.
LUNG, LESION, CONSOLIDATION, UNSURE = 1, 2, 4, 8
_CLASS_VALUES = {0: 0, 1: LESION, 38: LESION, 2: LESION | CONSOLIDATION, 75: LESION | CONSOLIDATION}


@dataclass(frozen=True, slots=True, eq=False)
class SliceSet:
    """Slices of one case.

    Parameters
    ----------
    case
        Name of the patient, scan or picture.
    pictures
        (n, 256, 256) uint8, stretched and equalised; spine at the bottom, in some
        published cases at the top.
    labels
        (n, 256, 256) uint8, sums of the bits `LUNG`, `LESION`, `CONSOLIDATION`, `UNSURE`.
    lungs_known, classes_known
        Whether absent bits of `LUNG` and `CONSOLIDATION` mean that there is none.
    calibrated
        Whether greys stand for Hounsfield units through `WINDOW`.
    """

    case: str
    pictures: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    lungs_known: bool
    classes_known: bool
    calibrated: bool = False


def pneumonia_cases(folder: Path) -> list[SliceSet]:
    """Read the slices with lungs and lesions of the COVID-19 CT set (Ma et al., Medical Physics 2021).

    Parameters
    ----------
    folder
        Holds `cases.csv` (file, case), `ct/`, `lungs/`, `lesions/`.
    """
    with (folder / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    cases = []
    for case in sorted({row["case"] for row in rows}):
        files = [row["file"] for row in rows if row["case"] == case]
        pictures = np.stack([_picture(folder / "ct" / file) for file in files])
        lungs = np.stack([_picture(folder / "lungs" / file) > 127 for file in files])
        lesions = np.stack([_picture(folder / "lesions" / file) > 127 for file in files])
        labels = np.where(lungs | lesions, LUNG, 0) | np.where(lesions, LESION, 0)
        cases.append(SliceSet(case, pictures, labels.astype(np.uint8), lungs_known=True, classes_known=False))
    return cases


def class_cases(folder: Path) -> list[SliceSet]:
    """Read the slices with ground glass and consolidation (Fan et al., IEEE TMI 2020).

    Each is a case of its own: which of them belong to one patient is not known.
    It holds the picture as it is and equalised.

    Parameters
    ----------
    folder
        Holds `ct/*.jpg` and `labels/*.png`, cropped to the lungs, rows and columns exchanged.
    """
    cases = []
    for path in sorted((folder / "ct").iterdir(), key=lambda path: int(path.stem)):
        picture = _picture(path).T
        values = _picture(folder / "labels" / f"{path.stem}.png").T
        unknown = set(np.unique(values).tolist()) - set(_CLASS_VALUES)
        if unknown:
            raise ValueError(f"{path.stem}.png: unknown label values {sorted(unknown)}")
        table = np.zeros(256, np.uint8)
        for value, bits in _CLASS_VALUES.items():
            table[value] = bits
        shown = place(picture, cv2.INTER_AREA)
        stretched = prepare(shown.astype(np.float32), [STRETCH])
        pictures = np.stack([stretched, prepare(stretched, [EQUALISE])]).astype(np.uint8)
        labels = np.stack([place(table[values], cv2.INTER_NEAREST)] * 2)
        cases.append(SliceSet(f"class_{path.stem}", pictures, labels, lungs_known=False, classes_known=True))
    return cases


def toned(case: SliceSet, seed: int) -> SliceSet:
    """Give equalised slices back the grey values of Hounsfield units, as far as one curve for a slice can.

    Equalised slices show healthy lung and soft tissue at other greys in every slice. Three anchors are
    known: air around the patient, healthy lung, soft tissue. A curve through them brings each near its usual
    density, and the node's window makes a picture of it again.

    Parameters
    ----------
    case
        Slices with known lungs.
    seed
        Chooses densities.

    Returns
    -------
    SliceSet
        Pictures that are not equalised, with the same labels and the same case.
    """
    rng = np.random.default_rng(seed)
    pairs = zip(case.pictures, case.labels, strict=True)
    pictures = np.stack([_toned(picture, label, rng) for picture, label in pairs])
    return replace(case, pictures=pictures, calibrated=True)


def _toned(
    picture: NDArray[np.uint8], label: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    # Equalising has multiplied the noise of the lung; some of it is taken back.
    smooth = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 1.0)))
    healthy = smooth[(label & (LUNG | LESION)) == LUNG]
    lung = float(np.median(healthy)) if healthy.size > 50 else 50.0
    dense = smooth[(label & LUNG) == 0]
    dense = dense[dense > lung + 25.0]
    tissue = max(float(np.median(dense)) if dense.size > 50 else 150.0, lung + 40.0)
    greys = [0.0, lung, tissue, max(255.0, tissue + 20.0)]
    hu = [-1050.0, rng.uniform(-900.0, -800.0), rng.uniform(10.0, 60.0), rng.uniform(400.0, 1100.0)]
    values = np.interp(smooth.astype(np.float32), greys, hu).astype(np.float32)
    return prepare(values, [WINDOW]).astype(np.uint8)


def random_window(rng: np.random.Generator) -> Clip:
    """Return the window of some viewer: most often one for lungs, as the node's own (−1350 to 150 HU)."""
    if rng.random() < 0.6:
        low, high = rng.uniform(-1400.0, -1200.0), rng.uniform(100.0, 250.0)
    else:
        low, high = -1024.0, rng.uniform(150.0, 1200.0)
    return Clip(step="clip", low_hu=float(low), high_hu=float(high))


def place(picture: NDArray[np.uint8], method: int) -> NDArray[np.uint8]:
    """Put a picture that was cropped to the lungs into the middle of a slice, at the usual size of lungs."""
    scale = SIZE / FIELD_OF_VIEW / max(picture.shape)
    rows, columns = (max(1, round(count * scale)) for count in picture.shape)
    small = cv2.resize(picture, (columns, rows), interpolation=method)
    top, left = (SIZE - rows) // 2, (SIZE - columns) // 2
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    canvas[top : top + rows, left : left + columns] = small
    return canvas


def _picture(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise FileNotFoundError(f"{path}: no picture")
    return np.asarray(picture, dtype=np.uint8)
