"""The shipped package `pneumonia-ct`: sound, true to its card, restricted, and right side right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from benchmarks import model_card
from benchmarks.opened import OpenedModel, open_model
from core.domain import FINDING_LABEL, LUNG_LABEL, CtVolume, Finding, LesionClass, Side
from core.errors import ModelNotLicensed
from inference.model_check import check_package
from inference.model_package import load_package, require_licence, shipped_models_folder
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.spec import PatientPosition, PhantomLesion, PhantomSpec

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = shipped_models_folder() / "pneumonia-ct"
SMALL = PhantomSpec(shape_zyx=(60, 200, 200), spacing_zyx_mm=(5.0, 1.8, 1.8))


@cache
def model() -> OpenedModel:
    """Open the package once."""
    return open_model("pneumonia-ct")


# --- the package ------------------------------------------------------------------------------------------


def test_package_and_card_are_what_they_say() -> None:
    """The digest is that of the file, the graph opens, and every table of the card is that of its figures."""
    assert check_package(PACKAGE) == []
    assert model_card.main([str(PACKAGE), "--check"]) == 0


def test_the_manifest_is_the_one_that_training_writes() -> None:
    """Nobody changed the shipped manifest by hand: it is the template with name and digest."""
    template = (ROOT / "models/training/pneumonia_ct/package/model.toml").read_text()
    found = load_package(PACKAGE).manifest
    assert (PACKAGE / "model.toml").read_text() == template.replace("PACKAGE", found.name).replace(
        "DIGEST", found.sha256
    )


def test_the_words_of_the_card_are_those_of_the_training() -> None:
    """What stands between the tables is the template's text."""
    measured = re.compile(r"(<!-- begin:[a-z-]+ -->).*?(<!-- end:)", re.DOTALL)
    template = (ROOT / "models/training/pneumonia_ct/package/MODEL_CARD.md.template").read_text()
    card = (PACKAGE / "MODEL_CARD.md").read_text()
    assert measured.sub(r"\1\n\2", card) == measured.sub(r"\1\n\2", template)


def test_it_is_small_and_for_research_only() -> None:
    """At most 25 MB; whoever has not accepted the terms by name cannot use it."""
    package = load_package(PACKAGE)
    assert (PACKAGE / "model.onnx").stat().st_size <= 25e6
    with pytest.raises(ModelNotLicensed, match='accept_licence = "research"'):
        require_licence(package, frozenset())
    require_licence(package, frozenset({"research"}))
    assert package.manifest.intended_use.research_only


# --- what it finds ----------------------------------------------------------------------------------------


def test_lesions_of_a_phantom_are_found_and_hardly_anything_else() -> None:
    """Every lesion of a millilitre and more is found for the most part; healthy lungs stay clean."""
    phantom = generate_phantom(SMALL)
    found = model().segment(CtVolume(phantom.hu_zyx, phantom.geometry, (), ())).lesions.labels_zyx > 0
    truth = phantom.truth.lesions_zyx > 0
    assert np.mean(found[truth]) > 0.7
    assert np.count_nonzero(found) == pytest.approx(np.count_nonzero(truth), rel=0.25)
    healthy = generate_phantom(replace(SMALL, lesions=()))
    segmented = model().segment(CtVolume(healthy.hu_zyx, healthy.geometry, (), ()))
    lungs = np.count_nonzero(segmented.lungs.labels_zyx)
    assert np.count_nonzero(segmented.lesions.labels_zyx) < 0.005 * lungs


@pytest.mark.parametrize("position", list(PatientPosition))
@pytest.mark.parametrize("side", list(Side))
def test_a_lesion_is_found_in_its_lung_however_the_patient_lies(
    position: PatientPosition, side: Side
) -> None:
    """Consolidation in one lung: in that lung, at its place, and called consolidation, in every position."""
    lesion = PhantomLesion(LesionClass.CONSOLIDATION, side, 0.6, 0.6, 0.5, (24.0, 24.0, 24.0))
    phantom = generate_phantom(replace(SMALL, lesions=(lesion,), patient_position=position))
    found = model().segment(CtVolume(phantom.hu_zyx, phantom.geometry, (), ()))
    labels, own = found.lesions.labels_zyx, found.lungs.labels_zyx == LUNG_LABEL[side]
    assert np.count_nonzero((labels > 0) & own) > 0.9 * np.count_nonzero(labels)
    inside = phantom.truth.lesions_zyx > 0
    assert np.mean(labels[inside] == FINDING_LABEL[Finding.CONSOLIDATION]) > 0.6
    places = [np.argwhere(mask).mean(axis=0) for mask in (labels > 0, inside)]
    apart_mm = np.linalg.norm(np.subtract(*(phantom.geometry.to_lps_mm(place) for place in places)))
    assert apart_mm < 10.0


# --- the commands -----------------------------------------------------------------------------------------


def test_analyse_gives_all_results_once_the_terms_are_accepted(
    tmp_path: Path, small_phantom_files: list[Path]
) -> None:
    """Without the terms a sentence that says how to accept them; with them SEG, SR and film by this model."""
    command = [sys.executable, "-m", "lesionnode", "analyse", str(small_phantom_files[0].parent)]
    command += ["--model", "pneumonia-ct", "--output", str(tmp_path / "out")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode != 0
    assert 'accept_licence = "research"' in refused.stderr
    command += ["--accept-licence", "research"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["model"] == "pneumonia-ct"
    assert result["burden"]["ground_glass_ml"] > 0
    assert result["burden"]["consolidation_ml"] > 0
    segmentation = dcmread(tmp_path / "out" / "segmentation.dcm")
    algorithms = {
        str(segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName)
        for segment in segmentation.SegmentSequence
    }
    assert "lesion-node pneumonia-ct" in algorithms
    assert (tmp_path / "out" / "report.dcm").is_file()
    assert (tmp_path / "out" / "film.dcm").is_file()
