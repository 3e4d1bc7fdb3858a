"""`benchmarks.worst_places`: the picture of what a model missed and marked wrongly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.opened import OpenedModel, open_model
from benchmarks.phantom_patients import Scan
from benchmarks.worst_places import Place, drawn, main, worst_of
from core.domain import LesionClass, LesionMask, LungMask, Segmentation, Side
from lesionnode.phantom.spec import PhantomLesion, PhantomSpec

_LESIONS = (
    PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.5, 0.6, 0.5, (30.0, 30.0, 30.0)),
    PhantomLesion(LesionClass.CONSOLIDATION, Side.LEFT, 0.4, 0.6, 0.5, (24.0, 24.0, 24.0)),
)
_SCAN = Scan(
    "default", PhantomSpec(shape_zyx=(60, 160, 160), spacing_zyx_mm=(5.0, 2.2, 2.2), lesions=_LESIONS)
)


class _Misplaced(OpenedModel):
    """Marks one block in the air before the chest, and nothing else."""

    def segment(self, volume: object) -> Segmentation:
        """Find the block."""
        shape = volume.hu_zyx.shape  # type: ignore[attr-defined]
        labels = np.zeros(shape, np.uint8)
        labels[28:32, 20:30, 70:90] = 1
        identity = self.package.identity("")
        return Segmentation(LungMask(np.ones(shape, np.uint8)), LesionMask(labels, identity))


def test_what_was_missed_and_what_is_false_are_told_apart() -> None:
    """Both true lesions are missed, the larger first; the block is false, with its volume."""
    opened = open_model("densitometry", threads=1)
    model = _Misplaced(opened.engine, opened.name, opened.settings)
    places = list(worst_of(model, _SCAN))
    missed = [place for place in places if place.missed]
    (false,) = [place for place in places if not place.missed]
    assert [round(place.volume_ml) > 40 for place in missed] == [True, True]
    assert missed[0].volume_ml > missed[1].volume_ml
    assert false.volume_ml == pytest.approx(4 * 10 * 20 * 5.0 * 2.2 * 2.2 / 1000, rel=0.01)
    # What is shown is cut around the place: its middle is what the caption speaks of.
    for place in missed:
        half = place.truth_yx.shape[0] // 2
        assert place.truth_yx[half, half]
        assert not place.found_yx.any()
    assert f"ml missed; phantom {_SCAN.spec.seed} default, slices 5 mm" in missed[0].caption


def test_the_picture_shows_both_outlines() -> None:
    """A tile for each place, the truth in white and what was found in orange, with a caption."""
    square = np.zeros((60, 60), bool)
    square[20:40, 20:40] = True
    hu = np.full((60, 60), -860.0, np.float32)
    place = Place(True, 3.0, "3.0 ml missed; phantom 1", hu, square, np.roll(square, 8, axis=1))
    page = drawn([place, replace(place, missed=False)])
    assert (page == (255, 255, 255)).all(axis=2).sum() > 100
    assert (page == (40, 150, 255)).all(axis=2).sum() > 100


def test_a_model_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 and a sentence."""
    assert main(["--model", "no-such-model", "--output", "x.png"]) == 2
    assert "no-such-model" in capsys.readouterr().err


def test_a_good_model_has_only_small_places() -> None:
    """Densitometry finds these large lesions: what it misses or marks wrongly are pieces below 40 ml."""
    model = open_model("densitometry", threads=1)
    places = list(worst_of(model, _SCAN))
    assert places
    assert max(place.volume_ml for place in places) < 40
