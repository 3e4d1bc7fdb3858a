"""Every source of slices in one place, and random batches from them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.pneumonia_ct.augment import augmented
from models.training.pneumonia_ct.folds import UNSEEN_SERIES, fold_of, fold_of_cases, patient_of
from models.training.pneumonia_ct.hu_slices import healthy_cases, healthy_volume, phantom_case
from models.training.pneumonia_ct.pasting import Donor, upside_down, with_pasted
from models.training.pneumonia_ct.slices import (
    CONSOLIDATION,
    GREY_MEAN,
    GREY_SD,
    LESION,
    LUNG,
    UNSURE,
    SliceSet,
    class_cases,
    pneumonia_cases,
    toned,
)

PHANTOM_SEEDS = range(1000, 1024)
#: Slices of each source in a batch of fourteen: published slices, the same toned, slices with classes, real
#: CT without pneumonia (most of it with painted lesions), phantoms.
SHARES = {"pneumonia": 5, "toned": 3, "classes": 1, "series": 3, "phantoms": 2}


#: How often a slice with a lesion is chosen, and from how many pixels it counts as one.
_DISEASED_SHARE, _LEAST_LESION_PX = 0.75, 40
#: How often lesions of other patients are pasted into a slice, and from which source they come.
_PASTED_SHARE, _DONORS = 0.5, {"pneumonia": "pneumonia", "toned": "toned", "series": "toned"}


@dataclass(frozen=True, slots=True)
class Sources:
    """All slices, by source."""

    pneumonia: list[SliceSet] = field(default_factory=list)
    toned: list[SliceSet] = field(default_factory=list)
    classes: list[SliceSet] = field(default_factory=list)
    series: list[SliceSet] = field(default_factory=list)
    phantoms: list[SliceSet] = field(default_factory=list)


def read_sources(data: Path, cache: Path, tell: Callable[[str], None]) -> Sources:
    """Prepare all slices, or take them from the cache.

    Parameters
    ----------
    data
        Holds `pneumonia-slices`, `class-slices`, `ct-series`.
    cache
        File to keep them in; delete it when the preparation has changed.
    tell
        Is told what is being done.
    """
    if cache.is_file():
        with cache.open("rb") as stream:
            cached: Sources = pickle.load(stream)
        return cached
    tell("reading the published slices")
    cases = pneumonia_cases(data / "pneumonia-slices")
    sources = Sources(
        pneumonia=cases,
        toned=[toned(case, seed) for seed, case in enumerate(cases)],
        classes=class_cases(data / "class-slices"),
    )
    for number, folder in enumerate(sorted(p for p in (data / "ct-series").iterdir() if p.is_dir())):
        tell(f"preparing {folder.name}")
        sources.series.extend(healthy_cases(healthy_volume(folder), seed=number))
    for seed in PHANTOM_SEEDS:
        tell(f"making phantom {seed}")
        sources.phantoms.append(phantom_case(seed))
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.open("wb") as stream:
        pickle.dump(sources, stream)
    return sources


def split(sources: Sources, fold: int, *, classes: bool) -> tuple[Sources, Sources]:
    """Keep the patients of a fold apart.

    Parameters
    ----------
    sources
        Everything.
    fold
        1 to 5; 0 keeps nothing apart.
    classes
        Whether the slices with classes are trained on.

    Returns
    -------
    tuple
        What to train on, and the published cases and slices with classes that are kept apart. Which slices
        with classes belong to one patient is not known: every fifth is kept apart.
    """
    of_case = fold_of_cases({one.case: len(one.pictures) for one in sources.pneumonia})
    unseen = UNSEEN_SERIES.get(fold)
    return (
        Sources(
            pneumonia=[one for one in sources.pneumonia if of_case[one.case] != fold],
            toned=[one for one in sources.toned if of_case[one.case] != fold],
            classes=[one for place, one in enumerate(sources.classes) if classes and fold_of(place) != fold],
            series=[one for one in sources.series if unseen is None or not one.case.startswith(unseen)],
            phantoms=sources.phantoms,
        ),
        Sources(
            pneumonia=[one for one in sources.pneumonia if of_case[one.case] == fold],
            classes=[one for place, one in enumerate(sources.classes) if fold_of(place) == fold],
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A batch.

    Parameters
    ----------
    pictures
        (n, 2, y, x) float32: standardised greys, and 1 where they are calibrated, else 0.
    targets
        (n, channel, y, x) float32, 0 or 1.
    weights
        The same shape: 0 where the truth is not known.
    """

    pictures: NDArray[np.float32]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]


def network_input(values: NDArray[np.float32], *, calibrated: bool) -> NDArray[np.float32]:
    """Return (2, y, x) float32 for the network from greys between 0 and 1."""
    grey = ((values - GREY_MEAN) / GREY_SD).astype(np.float32)
    return np.stack([grey, np.full_like(grey, float(calibrated))])


class Sampler:
    """Draws batches without end.

    Parameters
    ----------
    sources
        What to draw from.
    size, edge
        Slices in a batch, pixels along either edge of each.
    """

    def __init__(self, sources: Sources, size: int, edge: int) -> None:
        names = {name: share for name, share in SHARES.items() if getattr(sources, name)}
        self._sources = sources
        self._size = size
        self._edge = edge
        self._names = list(names)
        self._shares = np.array(list(names.values()), dtype=float) / sum(names.values())
        # Long cases count more than short ones, but not in proportion: neighbouring slices are alike.
        weights = {name: [len(one.pictures) ** 0.5 for one in getattr(sources, name)] for name in names}
        self._case_shares = {name: np.array(values) / sum(values) for name, values in weights.items()}
        self._diseased = {case: _diseased(case) for name in names for case in getattr(sources, name)}
        self._donors = {name: _donors(getattr(sources, source)) for name, source in _DONORS.items()}

    def batch(self, step: int, seed: int) -> Batch:
        """Return the batch of a step; the same step and seed give the same batch."""
        rng = np.random.default_rng((seed, step))
        counts = np.floor(self._shares * self._size).astype(int)
        rest = rng.choice(len(counts), size=self._size - counts.sum(), p=self._shares)
        names = [name for name, count in zip(self._names, counts, strict=True) for _ in range(count)]
        drawn = [self._draw(name, rng) for name in [*names, *(self._names[one] for one in rest)]]
        pictures, targets, weights = (np.stack(part) for part in zip(*drawn, strict=True))
        return Batch(pictures, targets, weights)

    def _choose(self, case: SliceSet, rng: np.random.Generator) -> int:
        """Choose a slice: one with a lesion three times out of four, where there is any.

        All published slices have lesions. Scans and phantoms have few in most slices, and a network that is
        shown mostly healthy ones learns that scans have none.
        """
        diseased = self._diseased[case]
        if diseased.size and rng.random() < _DISEASED_SHARE:
            return int(rng.choice(diseased))
        return int(rng.integers(len(case.pictures)))

    def _draw(
        self, name: str, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        cases: list[SliceSet] = getattr(self._sources, name)
        case = cases[int(rng.choice(len(cases), p=self._case_shares[name]))]
        index = self._choose(case, rng)
        picture, label = case.pictures[index], case.labels[index]
        donors = self._donors.get(name)
        # A slice of a scan that was drawn as a picture, uncalibrated, has no donors of its kind.
        same_greys = name == "pneumonia" or case.calibrated
        if donors and same_greys and rng.random() < _PASTED_SHARE:
            picture, label = with_pasted(case, picture, label, donors, rng)
        values, label = augmented(picture, label, self._edge, rng, calibrated=case.calibrated)
        targets = np.stack([(label & bit) > 0 for bit in (LUNG, LESION, CONSOLIDATION)])
        sure = (label & UNSURE) == 0
        weights = np.stack(
            [
                np.full(label.shape, case.lungs_known) & sure,
                sure,
                ((label & LESION) > 0) & case.classes_known & sure,
            ]
        )
        return (
            network_input(values, calibrated=case.calibrated),
            targets.astype(np.float32),
            weights.astype(np.float32),
        )


def _donors(cases: list[SliceSet]) -> list[Donor]:
    """Return every slice of some cases that has a lesion worth the name."""
    return [
        Donor(patient_of(case.case), case.pictures[index], case.labels[index], upside_down(case.case))
        for case in cases
        for index in _diseased(case)
    ]


def _diseased(case: SliceSet) -> NDArray[np.intp]:
    """Return which slices of a case have a lesion that is worth the name."""
    sure = ((case.labels & LESION) > 0) & ((case.labels & UNSURE) == 0)
    return np.flatnonzero(np.count_nonzero(sure, axis=(1, 2)) >= _LEAST_LESION_PX)
