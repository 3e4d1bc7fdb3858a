"""Training slices from Hounsfield units: real CT without pneumonia, the same with painted lesions, phantoms.

They go through the node's own preparation, so that the network learns what the node will show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.real_series import EXPERT_TUMOUR, expert_labels
from core.domain import FINDING_LABEL, LUNG_LABEL, Finding, LesionClass, Side
from core.geometry import CanonicalOrder
from inference.framing import Square, square_around
from inference.lungs import segment_lungs
from inference.preparation import AnyStep, prepare
from inference.series_reader import read_series
from inference.straightening import Straightening
from lesionnode.phantom import PhantomLesion, PhantomSpec, generate_phantom
from models.training.pneumonia_ct.implants import with_lesions
from models.training.pneumonia_ct.slices import (
    CONSOLIDATION,
    EQUALISE,
    FIELD_OF_VIEW,
    LESION,
    LUNG,
    SIZE,
    STRETCH,
    UNSURE,
    WINDOW,
    SliceSet,
    random_window,
)

#: Slices beyond the lungs that are shown too.
_MARGIN_MM = 15.0
#: How far around a tumour, and around other dense blobs, it is not known whether the lung is healthy.
_AROUND_TUMOUR_MM, _AROUND_BLOB_MM = 30.0, 8.0
#: Disease beside the tumour, found by looking: the right lung above this height, LPS mm, is partly destroyed.
_DISEASED_FROM_MM = {"siemens-biograph40-3mm": -432.0}
#: Share of phantoms that are shown as the node shows a scan.
_PHANTOMS_CALIBRATED = 0.8
#: Variants of one volume: healthy, painted, painted.
_PAINTED_COUNTS = (0, 4, 9)
#: Share of slices that are equalised as the published ones are, where greys are not calibrated.
_EQUALISED = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class HealthyVolume:
    """A canonical CT volume without pneumonia.

    Parameters
    ----------
    name
        Of the series' folder.
    hu_zyx
        (z, y, x) float32, HU.
    lungs_zyx
        bool, by the node's geometric segmentation.
    unsure_zyx
        bool, dense places of the lung that may be tumour or are one.
    spacing_zyx_mm
        Of the voxels, mm.
    """

    name: str
    hu_zyx: NDArray[np.float32]
    lungs_zyx: NDArray[np.bool_]
    unsure_zyx: NDArray[np.bool_]
    spacing_zyx_mm: tuple[float, float, float]


def healthy_volume(folder: Path) -> HealthyVolume:
    """Read a series of `ct-series`.

    Parameters
    ----------
    folder
        Holds the Part 10 files; contours may lie beside it as `<name>-lungs.npz`.
    """
    volume = read_series(sorted(path for path in folder.iterdir() if path.is_file()))
    volume = Straightening.of(volume.geometry).straight(volume)
    order = CanonicalOrder.of(volume.geometry)
    spacing = order.apply_geometry(volume.geometry).spacing_zyx_mm
    hu = order.apply(volume.hu_zyx).astype(np.float32)
    labels = order.apply(segment_lungs(volume).labels_zyx)
    lungs, right = labels > 0, labels == LUNG_LABEL[Side.RIGHT]
    unsure = _grown(_dense_blobs(hu, lungs, spacing), spacing, _AROUND_BLOB_MM)
    expert = expert_labels(folder)  # its rows and columns are canonical ones here
    if expert is not None:
        # Behind the tumour the lung is consolidated too.
        unsure |= _grown(expert == EXPERT_TUMOUR, spacing, _AROUND_TUMOUR_MM)
    if folder.name in _DISEASED_FROM_MM:
        lower_mm = float(order.apply_geometry(volume.geometry).affine_lps[2, 3])
        first = max(0, round((_DISEASED_FROM_MM[folder.name] - lower_mm) / spacing[0]))
        unsure[first:] |= right[first:]
    return HealthyVolume(folder.name, hu, lungs, unsure, spacing)


def healthy_cases(volume: HealthyVolume, seed: int) -> list[SliceSet]:
    """Return the slices of a volume, as it is and with painted lesions."""
    cases = []
    for variant, most in enumerate(_PAINTED_COUNTS):
        rng = np.random.default_rng((seed, variant))
        hu, labels = volume.hu_zyx, np.zeros(volume.hu_zyx.shape, np.uint8)
        if most:
            hu, labels = with_lesions(hu, volume.lungs_zyx, volume.spacing_zyx_mm, most, rng)
        labels |= np.where(volume.lungs_zyx, LUNG, 0).astype(np.uint8)
        labels |= np.where(volume.unsure_zyx, UNSURE, 0).astype(np.uint8)
        cases.append(_slices(volume.name, hu, labels, volume.spacing_zyx_mm, rng, calibrated=True))
    cases.append(_slices(volume.name, hu, labels, volume.spacing_zyx_mm, rng, calibrated=False))
    return cases


def phantom_case(seed: int) -> SliceSet:
    """Return slices of a synthetic chest CT with random lesions.

    Parameters
    ----------
    seed
        1000 and above: the seeds below are kept for measuring.
    """
    if seed < 1000:
        raise ValueError(f"phantom seed {seed}: seeds below 1000 are kept for measuring")
    rng = np.random.default_rng(seed)
    spec = PhantomSpec(
        shape_zyx=(34, 256, 256),
        spacing_zyx_mm=(8.0, 1.4, 1.4),
        slice_thickness_mm=2.5,
        lesions=tuple(_random_lesion(rng) for _ in range(int(rng.integers(0, 9)))),
        noise_sd_hu=float(rng.uniform(8.0, 45.0)),
        noise_grain_mm=float(rng.uniform(0.2, 0.8)),
        seed=seed,
        contrast=bool(rng.random() < 0.3),
        size=float(rng.uniform(0.85, 1.1)),
    )
    phantom = generate_phantom(spec)
    order = CanonicalOrder.of(phantom.geometry)
    lungs, lesions = (order.apply(mask) for mask in (phantom.truth.lungs_zyx, phantom.truth.lesions_zyx))
    labels = np.where(lungs > 0, LUNG, 0) | np.where(lesions > 0, LESION, 0)
    labels |= np.where(lesions == FINDING_LABEL[Finding.CONSOLIDATION], CONSOLIDATION, 0)
    hu = order.apply(phantom.hu_zyx).astype(np.float32)
    calibrated = bool(rng.random() < _PHANTOMS_CALIBRATED)
    name = f"phantom_{seed}"
    return _slices(name, hu, labels.astype(np.uint8), spec.spacing_zyx_mm, rng, calibrated=calibrated)


def phantom_volume(seed: int) -> HealthyVolume:
    """Return a synthetic chest CT without lesions, for measuring the preparation."""
    phantom = generate_phantom(
        PhantomSpec(shape_zyx=(60, 256, 256), spacing_zyx_mm=(5.0, 1.4, 1.4), lesions=(), seed=seed)
    )
    order = CanonicalOrder.of(phantom.geometry)
    lungs = order.apply(phantom.truth.lungs_zyx) > 0
    hu = order.apply(phantom.hu_zyx).astype(np.float32)
    return HealthyVolume(f"phantom {seed}", hu, lungs, np.zeros_like(lungs), phantom.spec.spacing_zyx_mm)


def _slices(
    name: str,
    hu_zyx: NDArray[np.float32],
    labels_zyx: NDArray[np.uint8],
    spacing_zyx_mm: tuple[float, float, float],
    rng: np.random.Generator,
    *,
    calibrated: bool,
) -> SliceSet:
    """Frame and prepare the slices with lung in them, as the node does or as some viewer might have."""
    inside = labels_zyx & np.uint8(LUNG)
    square = square_around(inside, spacing_zyx_mm[1:], FIELD_OF_VIEW * float(np.exp(rng.normal(0.0, 0.05))))
    if square is None:
        raise ValueError(f"{name}: no lungs")
    rows = np.flatnonzero(inside.any(axis=(1, 2)))
    margin = round(_MARGIN_MM / spacing_zyx_mm[0])
    span = range(max(0, int(rows[0]) - margin), min(len(hu_zyx), int(rows[-1]) + 1 + margin))
    pictures, labels = [], []
    for z in span:
        shown = square.cut(hu_zyx[z], SIZE)
        if rng.random() < 0.3:
            shown = _sampled(square, hu_zyx[z])
        steps: list[AnyStep] = [WINDOW]
        if not calibrated:
            steps = [random_window(rng), STRETCH, *([EQUALISE] if rng.random() < _EQUALISED else [])]
        pictures.append(prepare(shown, steps).astype(np.uint8))
        labels.append(_label(square, labels_zyx[z]))
    return SliceSet(
        name,
        np.stack(pictures),
        np.stack(labels),
        lungs_known=True,
        classes_known=True,
        calibrated=calibrated,
    )


def _sampled(square: Square, plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Show a slice by cubic interpolation without averaging, as the published slices were made."""
    whole = square.cut(plane, max(square.shape_yx))
    return np.asarray(cv2.resize(whole, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.float32)


def _label(square: Square, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Show each bit of a label as the picture is shown."""
    label = np.zeros((SIZE, SIZE), np.uint8)
    for bit in (LUNG, LESION, CONSOLIDATION, UNSURE):
        if (plane & bit).any():
            share = square.cut(((plane & bit) > 0).astype(np.float32), SIZE, beyond=0.0)
            label |= np.where(share >= 0.5, bit, 0).astype(np.uint8)
    return label


def _dense_blobs(
    hu_zyx: NDArray[np.float32], lungs_zyx: NDArray[np.bool_], spacing_zyx_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Return what is dense and thicker than vessels inside the lungs."""
    dense = (np.asarray(ndimage.gaussian_filter(hu_zyx, [0.0, 1.0, 1.0])) > -600.0) & lungs_zyx
    radius = max(1, round(5.0 / spacing_zyx_mm[1]))
    disc = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    opened = np.stack(
        [cv2.morphologyEx(p.astype(np.uint8), cv2.MORPH_OPEN, disc.astype(np.uint8)) for p in dense]
    )
    return opened > 0


def _grown(
    mask_zyx: NDArray[np.bool_], spacing_zyx_mm: tuple[float, float, float], reach_mm: float
) -> NDArray[np.bool_]:
    """Return what lies within a distance of the mask."""
    if not mask_zyx.any():
        return mask_zyx
    return np.asarray(ndimage.distance_transform_edt(~mask_zyx, sampling=spacing_zyx_mm) <= reach_mm)


def _random_lesion(rng: np.random.Generator) -> PhantomLesion:
    radius = float(np.exp(rng.uniform(np.log(5.0), np.log(42.0))))
    x, y, z = (radius * float(np.exp(rng.normal(0.0, 0.25))) for _ in range(3))
    return PhantomLesion(
        lesion_class=list(LesionClass)[int(rng.choice(3, p=[0.4, 0.35, 0.25]))],
        side=list(Side)[int(rng.integers(2))],
        up=float(rng.uniform(0.05, 0.95)),
        back=float(rng.uniform(0.05, 1.0)),
        out=float(rng.beta(2.0, 1.0)),
        radii_mm=(x, y, z),
        irregularity=float(rng.uniform(0.05, 0.3)),
    )
