"""Random pairs of scans: which lesions a patient has, what becomes of them, and how the scans differ."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from lesionnode.phantom.correspondence import lung_box_lps_mm, lungs_in_view
from lesionnode.phantom.layout import lay_out
from lesionnode.phantom.shapes import Vector, vector
from lesionnode.phantom.spec import PhantomSpec
from lesionnode.phantom.time_points import LUNG_KERNEL, SOFT_KERNEL, Fate, Kernel, PairPlan, Scan

_FEWEST, _MOST = 3, 6
_INSPIRATION = (0.85, 1.1)
_SHIFT_MM, _TURN_DEG = 15.0, 6.0


class PairKind(StrEnum):
    """What happens to a patient's lesions as a whole."""

    VARIED = "varied"
    PROGRESSION = "progression"
    REGRESSION = "regression"
    STABLE = "stable"
    MIXED = "mixed"


#: Which fates a kind needs, and which it may have besides.
_FATES: dict[PairKind, tuple[tuple[Fate, ...], tuple[Fate, ...]]] = {
    PairKind.VARIED: ((), tuple(Fate)),
    PairKind.PROGRESSION: ((), (Fate.GROWN,)),
    PairKind.REGRESSION: ((), (Fate.SHRUNK,)),
    PairKind.STABLE: ((), (Fate.PERSISTENT,)),
    PairKind.MIXED: ((Fate.GROWN, Fate.SHRUNK), (Fate.GROWN, Fate.SHRUNK, Fate.PERSISTENT)),
}
_KIND_WEIGHTS = {
    PairKind.VARIED: 0.5,
    PairKind.PROGRESSION: 0.125,
    PairKind.REGRESSION: 0.125,
    PairKind.STABLE: 0.1,
    PairKind.MIXED: 0.15,
}


@dataclass(frozen=True, slots=True)
class PairGrid:
    """The grids that both scans of a random pair may have.

    Parameters
    ----------
    edge
        Rows and columns.
    in_plane_mm
        Distance of rows and of columns, mm; edge times this must hold both lungs wherever the patient lies.
    slices_mm
        Distances of slices to choose from, mm; as many slices as hold both lungs.
    slice_thickness_mm
        Thickness of all slices, mm; None for their distance. Thin slices are quicker made.
    """

    edge: int = 512
    in_plane_mm: float = 0.7
    slices_mm: tuple[float, ...] = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
    slice_thickness_mm: float | None = None


#: Enough to show every lesion of a random pair, in seconds.
COARSE_GRID = PairGrid(edge=256, in_plane_mm=1.4, slices_mm=(2.0, 2.5, 3.0), slice_thickness_mm=1.3)


def random_pair(seed: int, kind: PairKind | None = None, grid: PairGrid | None = None) -> PairPlan:
    """Choose a patient with 3 to 6 lesions in both lungs, what becomes of them, and both scans.

    Every lesion is one piece of about 2 to 80 ml, at least 8 mm from every other whether that is there at
    both times or at one, and its true volumes have the ratio asked for within about 10 percent.

    Parameters
    ----------
    seed
        Chooses everything; it is the patient's too.
    kind
        What happens to the lesions as a whole; None: the seed chooses.
    grid
        The grids of the scans; None for those of full size.

    Returns
    -------
    PairPlan
        The same arguments always give the same.

    Raises
    ------
    ValueError
        Where the grid is too small for the lungs.
    """
    grid = PairGrid() if grid is None else grid
    rng = np.random.default_rng((seed, 6))
    drawn = list(PairKind)[int(rng.choice(len(PairKind), p=[_KIND_WEIGHTS[one] for one in PairKind]))]
    patient = PhantomSpec(seed=seed, size=float(rng.uniform(0.9, 1.0)), lesions=())
    inspiration = float(rng.uniform(*_INSPIRATION))
    shift_mm, turn_deg = _within(rng, _SHIFT_MM), _within(rng, _TURN_DEG)
    first = _on_grid(patient, Scan(kernel=_soft(rng)), grid, rng)
    second = Scan(inspiration=inspiration, shift_mm=shift_mm, turn_deg=turn_deg, noise_seed=1)
    kernel = _soft(rng) if rng.random() < 0.7 else LUNG_KERNEL
    second = _on_grid(patient, replace(second, kernel=kernel), grid, rng)
    fates = _fates(drawn if kind is None else kind, int(rng.integers(_FEWEST, _MOST + 1)), rng)
    return PairPlan(patient, lay_out(fates, patient, inspiration, rng), first, second)


def _soft(rng: np.random.Generator) -> Kernel:
    return replace(SOFT_KERNEL, noise_sd_hu=float(rng.uniform(12.0, 28.0)))


def _within(rng: np.random.Generator, length: float) -> Vector:
    """Return a vector of random direction and of a length up to the one given."""
    direction = rng.normal(size=3)
    return vector(direction / np.linalg.norm(direction) * rng.uniform(0.0, length))


def _on_grid(patient: PhantomSpec, scan: Scan, grid: PairGrid, rng: np.random.Generator) -> Scan:
    """Choose slices that hold both lungs, with up to 2 cm to spare above and below."""
    spacing_mm = float(rng.choice(grid.slices_mm))
    low, high = lung_box_lps_mm(scan.of(patient, (), 0))
    bottom, top = low[2] - rng.uniform(2.0, 20.0), high[2] + rng.uniform(2.0, 20.0)
    scan = replace(
        scan,
        shape_zyx=(math.ceil((top - bottom) / spacing_mm), grid.edge, grid.edge),
        spacing_zyx_mm=(spacing_mm, grid.in_plane_mm, grid.in_plane_mm),
        slice_thickness_mm=grid.slice_thickness_mm,
        centre_lps_mm=(*scan.centre_lps_mm[:2], float(bottom + top) / 2.0),
    )
    if not lungs_in_view(scan.of(patient, (), 0)):
        raise ValueError(f"{grid.edge} pixels of {grid.in_plane_mm} mm do not hold both lungs")
    return scan


def _fates(kind: PairKind, count: int, rng: np.random.Generator) -> list[Fate]:
    needed, allowed = _FATES[kind]
    drawn = rng.integers(len(allowed), size=count - len(needed))
    fates = [*needed, *(allowed[int(at)] for at in drawn)]
    return [fates[int(at)] for at in rng.permutation(count)]
