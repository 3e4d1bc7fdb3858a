"""A lesion high in the right lung is right and high in every result, however the scan was stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from config import ModelSettings
from core import codes
from core.domain import Analysis, LesionClass, Region, ResultKind, Side, Zone
from inference.model_package import shipped_models_folder
from lesionnode.engine import Engine
from lesionnode.phantom.dicom import phantom_datasets
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.spec import LesionTruth, PatientPosition, PhantomLesion, PhantomSpec
from lesionnode.pipeline import analyse_series
from sr_writer.film.content import film_content
from sr_writer.film.views import overview
from tests.helpers.analyses import context_of
from tests.helpers.cases import objects_of, write_files
from tests.helpers.judges import read_segments, tid1500_groups

#: Towards the back, so that front and back cannot be exchanged unseen either.
HIGH_RIGHT = (PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.78, 0.72, 0.6, (30.0, 28.0, 28.0)),)
#: Vessels at the hila count as a little consolidation on both sides (MODEL_CARD.md).
VESSELS = 0.25


class Stack(NamedTuple):
    """How a scan is stored.

    Parameters
    ----------
    spec
        What differs from a coarse phantom of a supine patient.
    orientation
        Image Orientation (Patient) that this gives.
    position
        Patient Position (0018,5100); None for what the phantom says.
    from_head
        Whether Instance Number and files count from the head down.
    """

    spec: Mapping[str, Any]
    orientation: tuple[float, ...]
    position: str | None = None
    from_head: bool = False


STACKS = {
    "HFS": Stack({}, (1, 0, 0, 0, 1, 0)),
    "FFS": Stack({"patient_position": PatientPosition.FFS}, (-1, 0, 0, 0, 1, 0)),
    "HFP": Stack({"patient_position": PatientPosition.HFP}, (-1, 0, 0, 0, -1, 0)),
    "FFP": Stack({"patient_position": PatientPosition.FFP}, (1, 0, 0, 0, -1, 0)),
    "HFDR": Stack({"rotation_deg": (0.0, 0.0, 90.0)}, (0, 1, 0, -1, 0, 0), "HFDR"),
    "HFDL": Stack({"rotation_deg": (0.0, 0.0, -90.0)}, (0, -1, 0, 1, 0, 0), "HFDL"),
    "slices from the head down": Stack({}, (1, 0, 0, 0, 1, 0), from_head=True),
    "oblique": Stack({"rotation_deg": (0.0, 12.0, 8.0)}, (0.969, 0.136, -0.208, -0.139, 0.990, 0)),
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The shipped model, opened once."""
    return Engine(ModelSettings(execution="cpu"), [shipped_models_folder()])


@pytest.mark.parametrize("name", STACKS)
def test_a_lesion_high_in_the_right_lung_is_there_in_every_result(
    engine: Engine, tmp_path: Path, name: str
) -> None:
    """Measured, in SEG and SR as dcmqi reads them, on the film and among the key slices."""
    stack = STACKS[name]
    paths, truth = _stored(stack, tmp_path / "in")
    assert dcmread(paths[0]).ImageOrientationPatient == pytest.approx(stack.orientation, abs=2e-3)
    analysis = analyse_series(paths, engine, "densitometry", ModelSettings(execution="cpu")).analysis
    _check_measurements(analysis, truth)
    objects = objects_of(analysis)
    files = dict(zip((one.kind for one in objects), write_files(objects, tmp_path, "result"), strict=True))
    _check_segmentation_and_report(files, truth, tmp_path)
    _check_film(analysis)
    _check_key_slices(dcmread(files[ResultKind.KEY_OBJECTS]), analysis, truth)


def _stored(stack: Stack, folder: Path) -> tuple[list[Path], LesionTruth]:
    """Store the scan; return its files in the order of their Instance Numbers, and where the lesion is."""
    values = {"shape_zyx": (60, 160, 160), "spacing_zyx_mm": (5.0, 2.2, 2.2), "lesions": HIGH_RIGHT}
    phantom = generate_phantom(PhantomSpec(**{**values, **stack.spec}))
    folder.mkdir()
    numbered: dict[int, Path] = {}
    for dataset in phantom_datasets(phantom, StudyHeader(instances_from_head=stack.from_head)):
        if stack.position is not None:
            dataset.PatientPosition = stack.position
        path = folder / f"{dataset.InstanceNumber}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        numbered[int(dataset.InstanceNumber)] = path
    return [numbered[number] for number in sorted(numbered)], phantom.truth.lesions[0]


def _check_measurements(analysis: Analysis, truth: LesionTruth) -> None:
    """The numbers name side, zone and place."""
    found = analysis.measurements
    assert found.of(Region.GROUND_GLASS_RIGHT).volume_ml == pytest.approx(truth.volume_ml, rel=0.2)
    left = (Region.GROUND_GLASS_LEFT, Region.CONSOLIDATION_LEFT)
    assert sum(found.of(region).volume_ml for region in left) < VESSELS * truth.volume_ml
    assert found.lesions[0].side is Side.RIGHT
    assert np.linalg.norm(np.subtract(found.lesions[0].centroid_lps_mm, truth.centre_lps_mm)) < 8.0
    assert max(found.zones, key=lambda zone: zone.lesion_ml).zone is Zone.UPPER_RIGHT


def _check_segmentation_and_report(
    files: Mapping[ResultKind, Path], truth: LesionTruth, folder: Path
) -> None:
    """The voxels lie where the lesion is, in the upper third of the right lung; the SR's group is of them."""
    segments = read_segments(files[ResultKind.SEGMENTATION], folder)
    points = segments[Region.GROUND_GLASS_RIGHT.value].points_lps_mm()
    assert np.linalg.norm(np.median(points, axis=0) - truth.centre_lps_mm) < 8.0
    lungs = [segments[one.value].points_lps_mm() for one in (Region.LUNG_RIGHT, Region.LUNG_LEFT)]
    assert lungs[0][:, 0].mean() < 0 < lungs[1][:, 0].mean()
    foot, head = lungs[0][:, 2].min(), lungs[0][:, 2].max()
    assert np.median(points[:, 2]) > foot + (head - foot) * 2 / 3
    volumes_ml = {"Right": 0.0, "Left": 0.0}
    for group in tid1500_groups(files[ResultKind.MEASUREMENT_REPORT], folder):
        number = int(group["ReferencedSegment"])
        volume_ml = next(
            float(item["value"])
            for item in group["measurementItems"]
            if item["quantity"]["CodeValue"] == codes.VOLUME.value
        )
        assert volume_ml == pytest.approx(segments[number].volume_ml, rel=1e-3)
        if number in (Region.GROUND_GLASS_RIGHT.value, Region.GROUND_GLASS_LEFT.value):
            volumes_ml[group["Laterality"]["CodeMeaning"]] = volume_ml
    assert volumes_ml["Right"] == pytest.approx(truth.volume_ml, rel=0.2)
    assert volumes_ml["Left"] < VESSELS * truth.volume_ml


def _check_film(analysis: Analysis) -> None:
    """The film's table of zones names the zone, and from the front its colour is at the upper left."""
    zones = film_content(analysis, context_of(analysis)).zones
    shares = {zone.zone: float(re.findall(r"([\d.]+) %", zone.text)[0]) for zone in zones}
    assert max(shares, key=lambda zone: shares[zone]) is Zone.UPPER_RIGHT
    front = overview(analysis, 300, 300)
    red, blue = (front.picture[..., channel].astype(int) for channel in (0, 2))
    rows, columns = np.nonzero(blue - red > 60)  # ground glass is drawn in blue
    assert np.median(rows) < front.picture.shape[0] / 3
    assert np.median(columns) < front.picture.shape[1] / 2


def _check_key_slices(document: Dataset, analysis: Analysis, truth: LesionTruth) -> None:
    """Half of the key slices at least lie in the lesion's height."""
    heights_mm = {
        str(header.SOPInstanceUID): float(header.ImagePositionPatient[2])
        for header in analysis.volume.headers
    }
    named = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in document.ContentSequence
        if item.ValueType == "IMAGE"
    ]
    slices = [heights_mm[uid] for uid in named if uid in heights_mm]
    near = [height for height in slices if abs(height - truth.centre_lps_mm[2]) < 60.0]
    assert len(near) >= len(slices) / 2 > 0
