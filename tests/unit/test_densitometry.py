"""The shipped densitometry model: what it finds, what it leaves alone, and where it comes from."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from core.domain import FINDING_LABEL, CtVolume, Finding, LungMask
from core.geometry import Geometry
from inference.model_package import load_package, shipped_models_folder
from inference.segmenter import Segmenter
from inference.series_reader import read_series
from inference.session import ExecutionPolicy, open_session
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.spec import Phantom, PhantomSpec

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LESION_NODE_DATA", REPOSITORY.parent / "shared" / "data"))
GROUND_GLASS = FINDING_LABEL[Finding.GROUND_GLASS]
CONSOLIDATION = FINDING_LABEL[Finding.CONSOLIDATION]

PARENCHYMA_HU, GROUND_GLASS_HU, CONSOLIDATION_HU = -860.0, -600.0, 30.0
FINE_MM = 0.5


@cache
def densitometry() -> Segmenter:
    """Open the shipped model once."""
    package = load_package(shipped_models_folder() / "densitometry")
    return Segmenter(package, open_session(package, ExecutionPolicy.CPU))


def scan(fine_hu: NDArray[np.float64], slice_mm: float, seed: int) -> CtVolume:
    """Scan a block of 0.5 mm voxels: blur, average over slices and 0.7 mm pixels, add noise of 20 HU."""
    blurred = ndimage.gaussian_filter(fine_hu, 0.7 / FINE_MM, mode="nearest")
    per_slice = round(slice_mm / FINE_MM)
    count = blurred.shape[0] // per_slice
    slabs = blurred[: count * per_slice].reshape(count, per_slice, *blurred.shape[1:]).mean(axis=1)
    size = round(blurred.shape[1] * FINE_MM / 0.7)
    planes = np.stack([cv2.resize(slab, (size, size), interpolation=cv2.INTER_AREA) for slab in slabs])
    noise = np.random.default_rng(seed).normal(size=planes.shape)
    noise = ndimage.gaussian_filter(noise, (0.0, 0.6, 0.6))
    hu = np.rint(planes + noise * (20.0 / noise.std())).astype(np.int16)
    pixel_mm = blurred.shape[1] * FINE_MM / size
    affine = np.diag([slice_mm, pixel_mm, pixel_mm, 1.0])[[2, 1, 0, 3]]
    return CtVolume(hu, Geometry(affine, hu.shape, ""), (), ())


def distance_mm(side_mm: float, *, from_line: bool = False) -> NDArray[np.float64]:
    """Distance of each fine voxel from the middle of a cube, or from an oblique line through it, mm."""
    axis = (np.arange(round(side_mm / FINE_MM)) + 0.5) * FINE_MM - side_mm / 2 - 0.3
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    squared = np.sum(points**2, axis=-1)
    if from_line:
        squared = squared - (points @ (np.array([2.0, 1.0, 3.0]) / np.sqrt(14.0))) ** 2
    return np.sqrt(np.maximum(squared, 0.0))


def filled(distances_mm: NDArray[np.float64], radius_mm: float) -> NDArray[np.float64]:
    """Share of each fine voxel within a radius."""
    return np.clip(0.5 + (radius_mm - distances_mm) / FINE_MM, 0.0, 1.0)


def found_ml(volume: CtVolume) -> dict[int, float]:
    """Segment a block that is all lung; return ml by label."""
    lungs = LungMask(np.ones(volume.hu_zyx.shape, dtype=np.uint8))
    labels = densitometry().segment(volume, lungs).lesions.labels_zyx
    counts = np.bincount(labels.ravel(), minlength=3) * volume.geometry.voxel_ml
    return {GROUND_GLASS: float(counts[GROUND_GLASS]), CONSOLIDATION: float(counts[CONSOLIDATION])}


def test_the_script_writes_exactly_the_shipped_model() -> None:
    """The graph can be rebuilt byte by byte, and the manifest names that digest."""
    script = REPOSITORY / "models" / "training" / "build_densitometry.py"
    spec = importlib.util.spec_from_file_location("build_densitometry", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    content = module.build()
    package = load_package(shipped_models_folder() / "densitometry")
    assert hashlib.sha256(content).hexdigest() == package.manifest.sha256
    assert content == package.model_bytes()


@pytest.mark.parametrize("diameter_mm", [12.0, 20.0, 36.0])
@pytest.mark.parametrize(
    ("hu", "label"), [(GROUND_GLASS_HU, GROUND_GLASS), (CONSOLIDATION_HU, CONSOLIDATION)]
)
def test_a_lesion_is_found_with_its_volume(diameter_mm: float, hu: float, label: int) -> None:
    """Within 8 percent, and as what it is: the blurred rim of a consolidation is no ground glass."""
    inside = filled(distance_mm(diameter_mm + 24), diameter_mm / 2)
    found = found_ml(scan(PARENCHYMA_HU + inside * (hu - PARENCHYMA_HU), 2.5, 1))
    truth_ml = float(inside.sum()) * FINE_MM**3 / 1000
    assert sum(found.values()) == pytest.approx(truth_ml, rel=0.08)
    assert found[label] == pytest.approx(truth_ml, rel=0.08)


@pytest.mark.parametrize("diameter_mm", [20.0, 36.0])
def test_a_core_in_a_shell_is_parted(diameter_mm: float) -> None:
    """Consolidation inside ground glass: both volumes within 10 percent of the whole."""
    distances = distance_mm(diameter_mm + 24)
    whole, core = filled(distances, diameter_mm / 2), filled(distances, diameter_mm * 0.3)
    hu = PARENCHYMA_HU + whole * (GROUND_GLASS_HU - PARENCHYMA_HU)
    hu += core * (CONSOLIDATION_HU - GROUND_GLASS_HU)
    found = found_ml(scan(hu, 2.5, 2))
    whole_ml, core_ml = (float(share.sum()) * FINE_MM**3 / 1000 for share in (whole, core))
    assert sum(found.values()) == pytest.approx(whole_ml, rel=0.08)
    assert found[CONSOLIDATION] == pytest.approx(core_ml, abs=0.1 * whole_ml)


def test_thick_slices_keep_the_volume() -> None:
    """At 5 mm a lesion of 30 mm is still right within 8 percent."""
    inside = filled(distance_mm(54), 15.0)
    found = found_ml(scan(PARENCHYMA_HU + inside * (CONSOLIDATION_HU - PARENCHYMA_HU), 5.0, 3))
    assert sum(found.values()) == pytest.approx(float(inside.sum()) * FINE_MM**3 / 1000, rel=0.08)


@pytest.mark.parametrize("diameter_mm", [2.0, 3.5, 5.0, 6.0])
def test_vessels_are_no_lesions(diameter_mm: float) -> None:
    """A vessel up to 6 mm across leaves nothing, neither itself nor its blurred border."""
    vessel = filled(distance_mm(45, from_line=True), diameter_mm / 2)
    found = found_ml(scan(PARENCHYMA_HU + vessel * (40.0 - PARENCHYMA_HU), 2.5, 4))
    assert sum(found.values()) < 0.01


def test_noise_is_no_lesion() -> None:
    """Healthy parenchyma stays empty."""
    found = found_ml(scan(np.full((80, 80, 80), PARENCHYMA_HU), 1.0, 5))
    assert sum(found.values()) == 0.0


SPEC = PhantomSpec(shape_zyx=(60, 224, 224), spacing_zyx_mm=(5.0, 1.6, 1.6), slice_thickness_mm=2.5)


def run(phantom: Phantom) -> NDArray[np.uint8]:
    """Segment a phantom inside its true lungs."""
    volume = CtVolume(phantom.hu_zyx, phantom.geometry, (), ())
    return densitometry().segment(volume, LungMask(phantom.truth.lungs_zyx)).lesions.labels_zyx


def test_the_burden_of_a_phantom_is_right() -> None:
    """Six lesions among vessels and bronchi: the total within 8 percent, and most voxels agree."""
    phantom = generate_phantom(SPEC)
    found = run(phantom) > 0
    truth = phantom.truth.lesions_zyx > 0
    assert found.sum() * phantom.geometry.voxel_ml == pytest.approx(
        sum(phantom.truth.finding_ml.values()), rel=0.08
    )
    assert 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum()) > 0.93


def test_a_healthy_phantom_is_nearly_empty() -> None:
    """Vessels, bronchi and hila together make less than 1 percent of the lungs."""
    phantom = generate_phantom(replace(SPEC, lesions=()))
    assert np.count_nonzero(run(phantom)) < 0.01 * np.count_nonzero(phantom.truth.lungs_zyx)


@pytest.mark.real_data
def test_a_real_tumour_is_consolidation_and_the_rest_of_the_lungs_is_mostly_empty() -> None:
    """An expert's contours: four fifths of the tumour are found, under 4 percent of the other lung tissue."""
    folder = DATA / "ct-series" / "siemens-biograph40-3mm"
    contours = DATA / "ct-series" / "siemens-biograph40-3mm-lungs.npz"
    if not contours.exists():
        pytest.skip(f"no real CT data at {DATA}; set LESION_NODE_DATA")
    volume = read_series(sorted(path for path in folder.rglob("*") if path.is_file()))
    expert = np.load(contours)["labels_zyx"]
    lungs = np.where(expert == 3, 2, expert).astype(np.uint8)
    found = densitometry().segment(volume, LungMask(lungs)).lesions.labels_zyx
    assert np.mean(found[expert == 3] > 0) > 0.8
    assert np.mean(found[expert == 3] == CONSOLIDATION) > 0.75
    assert np.mean(found[(expert == 1) | (expert == 2)] > 0) < 0.04
