"""`benchmarks.spacing`: the same model at its own distance of slices and at every slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import spacing
from benchmarks.opened import open_model
from core.domain import CtVolume, LungMask
from core.geometry import Geometry
from tests.helpers.packages import slice_model, write_package


def test_only_the_distance_of_slices_differs(tmp_path: Path) -> None:
    """A lesion in every slice is found in both ways; one in a single thin slice only where each is seen."""
    model = open_model(str(write_package(tmp_path / "slices", slice_model())))
    hu = np.full((20, 48, 48), -860, np.int16)
    hu[:, 8:16, 8:16] = 300
    hu[10, 28:36, 28:36] = 300
    volume = CtVolume(hu, Geometry(np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]], hu.shape, ""), (), ())
    lungs = LungMask(np.ones(hu.shape, np.uint8))
    truth = hu > 0
    own, own_mask = spacing._judged(model.segmenter, volume, lungs, truth)
    every, every_mask = spacing._judged(spacing._at_every_slice(model), volume, lungs, truth)
    assert own_mask[10, 12, 12]
    assert not own_mask[10, 32, 32]
    assert every_mask[10, 32, 32]
    assert own["dice"] < every["dice"] == pytest.approx(1.0, abs=0.1)


def test_a_model_of_blocks_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to compare where a model takes no single slices; the sentence names it."""
    assert spacing.main(["--model", "densitometry"]) == 2
    assert "densitometry is no slice model" in capsys.readouterr().err
