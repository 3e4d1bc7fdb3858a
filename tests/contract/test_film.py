"""The film: what it says, what it shows and where, and the Secondary Capture image that carries it."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from core.domain import Analysis, Finding, Language, Region, ResultKind, Side, Zone
from sr_writer.context import ResultContext
from sr_writer.film.content import film_content
from sr_writer.film.front import Front
from sr_writer.film.page import HEIGHT, WIDTH, film, slices_shown
from sr_writer.film.views import COLOURS, key_slices, overview, slice_views
from sr_writer.film.words import WORDS
from sr_writer.rounding import percent_text, volume_text
from tests.helpers.analyses import Phantom, analysis_of, context_of, encoded, results_of
from tests.helpers.judges import dciodvfy_complaints

#: Eight ways in which an axial series may be stored: either in-plane axis reversed, slices from either end.
#: Rows and columns exchanged stand for scans that are not axial in the usual sense.
ORIENTATIONS = [(sign_x, 0.0, 0.0, 0.0, sign_y, 0.0) for sign_x, sign_y in product((1.0, -1.0), repeat=2)] + [
    (0.0, sign_y, 0.0, sign_x, 0.0, 0.0) for sign_x, sign_y in product((1.0, -1.0), repeat=2)
]
EDGE = 200


def capture(analysis: Analysis, **changes: object) -> Dataset:
    """Write the results of an analysis; return the film as it would be sent."""
    return results_of(analysis, **changes)[ResultKind.FILM]


def is_lesion(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which pixels are drawn in the colour of a finding, mixed with grey or not."""
    red, _, blue = (picture[..., channel].astype(int) for channel in range(3))
    return np.asarray(abs(red - blue) > 30)


# --- what it says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", list(Language))
def test_numbers_are_those_of_the_analysis(language: Language) -> None:
    """Each row of the table holds the volumes of its lung, the last row those of both."""
    analysis = analysis_of()
    content = film_content(analysis, context_of(analysis, language=language))
    numbers = analysis.measurements
    for row, sides in zip(content.table, ([Side.RIGHT], [Side.LEFT], list(Side)), strict=True):
        lung_ml = sum(numbers.of(Region[f"LUNG_{side.name}"]).volume_ml for side in sides)
        parts_ml = [
            sum(numbers.of(Region[f"{finding.name}_{side.name}"]).volume_ml for side in sides)
            for finding in Finding
        ]
        assert row[1:5] == tuple(volume_text(ml) for ml in (lung_ml, *parts_ml, sum(parts_ml)))
        assert row[5] == percent_text(100 * sum(parts_ml) / lung_ml)
    assert content.score == numbers.severity_score
    assert {zone.zone for zone in content.zones} == set(Zone)
    assert content.notice == ""


def test_every_word_is_there_in_every_language() -> None:
    """No language lacks a text or an entry, and what is filled in has the same names everywhere."""
    english = WORDS[Language.ENGLISH]
    for language, words in WORDS.items():
        for one in fields(words):
            text, model = getattr(words, one.name), getattr(english, one.name)
            assert text, f"{language} {one.name}"
            if isinstance(model, str):
                assert sorted(_names(text)) == sorted(_names(model)), f"{language} {one.name}"
            else:
                assert text.keys() == model.keys()
    assert set(WORDS) == set(Language)


def _names(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("{")[1:]]


def test_nothing_that_names_the_patient_is_drawn() -> None:
    """Two patients whose scans are alike have the same film, pixel by pixel."""
    one = analysis_of(Phantom(attributes={"PatientName": "Doe^Jane", "PatientID": "1"}))
    two = analysis_of(Phantom(attributes={"PatientName": "Roe^Richard", "PatientID": "2", "PatientSex": "M"}))
    np.testing.assert_array_equal(film(one, context_of(one)), film(two, context_of(two)))


def test_no_lesion_and_no_lung_are_said() -> None:
    """A clean scan says so and shows slices all the same; without lungs nobody claims that they are clean."""
    healthy = analysis_of(Phantom(lesion_sides=()))
    content = film_content(healthy, context_of(healthy))
    assert content.notice == WORDS[Language.ENGLISH].nothing_found
    assert content.lesions == ()
    assert [row[4] for row in content.table] == ["0 ml"] * 3
    assert len(slices_shown(healthy)) == 6
    empty = analysis_of(Phantom(lungs=()))
    assert film_content(empty, context_of(empty)).notice == WORDS[Language.ENGLISH].no_lungs
    assert film(empty, context_of(empty)).shape == (HEIGHT, WIDTH, 3)


def test_traces_are_not_nothing() -> None:
    """Small shares and volumes keep their meaning when they are rounded."""
    assert [percent_text(value) for value in (0.0, 0.02, 3.24, 55.5)] == ["0 %", "< 0.1 %", "3.2 %", "56 %"]
    assert [volume_text(value) for value in (0.0, 0.02, 0.34, 12.6)] == [
        "0 ml",
        "< 0.1 ml",
        "0.3 ml",
        "13 ml",
    ]


def test_a_film_of_research_software_says_so() -> None:
    """The warning stands on the film exactly where the model asks for it."""
    analysis = analysis_of()
    released = replace(
        analysis,
        lesions=replace(analysis.lesions, model=replace(analysis.lesions.model, research_only=False)),
    )
    assert film_content(analysis, context_of(analysis)).warning
    assert film_content(released, context_of(released)).warning == ""
    assert (film(analysis, context_of(analysis)) != film(released, context_of(released))).any()


# --- what it shows, and where -----------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_lesion_low_in_the_right_lung_is_shown_there(orientation: tuple[float, ...]) -> None:
    """However the slices are stored: at the letters R and P of its slice; from the front low on the left."""
    analysis = analysis_of(Phantom(orientation=orientation, lesion_sides=(Side.RIGHT,)))
    front = overview(analysis, 300, 300)
    rows, columns = np.nonzero(is_lesion(front.picture))
    assert columns.mean() < 0.45 * front.picture.shape[1]
    assert rows.mean() > 0.55 * front.picture.shape[0]
    assert front.zones[Zone.LOWER_RIGHT][0] < front.zones[Zone.LOWER_LEFT][0]
    assert front.zones[Zone.UPPER_RIGHT][1] < front.zones[Zone.LOWER_RIGHT][1]
    (view,) = slice_views(analysis, key_slices(analysis, 1), EDGE)
    rows, columns = np.nonzero(is_lesion(view.picture))
    middle = (EDGE - 1) / 2
    left, right, top, bottom = view.letters
    beside = left if columns.mean() < middle else right
    above = top if rows.mean() < middle else bottom
    assert {beside, above} == {"R", "P"}
    assert sorted(view.letters) == ["A", "L", "P", "R"]


@pytest.mark.parametrize("direction", [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.6, -0.8)])
def test_a_tilted_gantry_changes_nothing_of_what_is_seen(direction: tuple[float, float]) -> None:
    """Slices that slide show the lungs in the middle all the same, and the front view is not askew."""
    small = Phantom(shape_zyx=(24, 120, 120), spacing_zyx_mm=(2.5, 1.0, 1.0), lesion_sides=(Side.RIGHT,))
    straight, tilted = analysis_of(small), analysis_of(small.changed(tilt_deg=24.0, tilt_direction=direction))
    fronts = [Front.of(analysis) for analysis in (straight, tilted)]
    for side in Side:
        assert _same(*(front.lungs_zx[side] for front in fronts)) > 0.9
    for finding in Finding:
        depths = [front.depth_mm[finding] for front in fronts]
        assert depths[1].max() == pytest.approx(depths[0].max(), abs=2.1)
        volumes = [
            depth.sum(dtype=float) * np.prod(front.spacing_zx_mm)
            for depth, front in zip(depths, fronts, strict=True)
        ]
        region = Region[f"{finding.name}_RIGHT"]
        for volume, analysis in zip(volumes, (straight, tilted), strict=True):
            assert volume / 1000 == pytest.approx(analysis.measurements.of(region).volume_ml, rel=1e-3)
    pictures = []
    for analysis in (straight, tilted):
        indices = [4, 8, 16]
        pictures.append([is_lesion(view.picture) for view in slice_views(analysis, indices, EDGE)])
    for before, after in zip(*pictures, strict=True):
        assert before.any() == after.any()
        if before.any():
            assert np.argwhere(after).mean(axis=0) == pytest.approx(np.argwhere(before).mean(axis=0), abs=3.0)


def test_the_front_view_of_inclined_slices_looks_along_the_patient() -> None:
    """Oblique slices are added up by where their voxels stand: lungs are as high and as wide as upright."""
    turn = Rotation.from_euler("xyz", (14.0, -6.0, 9.0), degrees=True).as_matrix()
    small = Phantom(shape_zyx=(40, 120, 120), spacing_zyx_mm=(2.0, 1.0, 1.0), lesion_sides=(Side.RIGHT,))
    upright = Front.of(analysis_of(small))
    oblique = Front.of(analysis_of(small.changed(orientation=(*turn[:, 0].tolist(), *turn[:, 1].tolist()))))
    for side in Side:
        extent = [
            np.ptp(np.nonzero(front.lungs_zx[side]), axis=1) * front.spacing_zx_mm
            for front in (upright, oblique)
        ]
        assert extent[1] == pytest.approx(extent[0], abs=3.0)
    middles = [
        np.average(np.indices(depth.shape).reshape(2, -1), axis=1, weights=depth.ravel())
        * front.spacing_zx_mm
        for front in (upright, oblique)
        for depth in [front.depth_mm[Finding.GROUND_GLASS]]
    ]
    assert middles[1] == pytest.approx(middles[0], abs=3.0)


def _same(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the Dice overlap of two masks around the same lungs, laid upon each other by their middles."""
    shifts = [
        round(a - b)
        for a, b in zip(np.argwhere(one).mean(axis=0), np.argwhere(other).mean(axis=0), strict=True)
    ]
    size = np.maximum(one.shape, other.shape) + 2 * np.abs(shifts)
    padded = [
        np.pad(mask, [(0, int(a - b)) for a, b in zip(size, mask.shape, strict=True)])
        for mask in (one, other)
    ]
    moved = np.roll(padded[1], shifts, axis=(0, 1))
    return float(2 * (padded[0] & moved).sum() / (padded[0].sum() + moved.sum()))


def test_slices_are_chosen_from_head_to_foot_where_most_lesion_is() -> None:
    """Each chosen slice has the largest area of its part, and both storage orders show the same places."""
    shown = {}
    for orientation in ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)):
        analysis = analysis_of(
            Phantom(shape_zyx=(24, 64, 64), spacing_zyx_mm=(2.5, 1.25, 1.0), orientation=orientation)
        )
        area = np.count_nonzero(analysis.lesions.labels_zyx, axis=(1, 2))
        chosen = key_slices(analysis, 3)
        assert int(np.argmax(area)) in chosen
        heights = [float(analysis.volume.geometry.to_lps_mm(np.array([k, 0, 0]))[2]) for k in chosen]
        assert heights == sorted(heights, reverse=True)
        shown[orientation] = heights
    first, second = shown.values()
    assert first == pytest.approx(second, abs=2.6)


def test_both_findings_have_their_colour_and_its_key() -> None:
    """The colours of outlines stand in the head of the table too."""
    analysis = analysis_of()
    page = film(analysis, context_of(analysis))
    for colour in COLOURS.values():
        where = np.nonzero((page == colour).all(axis=2))[0]
        assert (where < 760).any(), "outlines"
        assert (where > 760).any(), "key"


# --- the object -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "phantom",
    [
        Phantom(),
        Phantom(lesion_sides=()),
        Phantom(lungs=()),
        Phantom(enhanced=True),
        Phantom(attributes={"BodyPartExamined": None, "SeriesNumber": 4}),
        Phantom(attributes={"BodyPartExamined": "LUNG"}),
        Phantom(attributes={"LossyImageCompression": "01", "LossyImageCompressionRatio": "10"}),
    ],
    ids=["usual", "clean", "no lungs", "enhanced", "no body part", "paired body part", "lossy"],
)
def test_the_validator_has_nothing_against_it(tmp_path: Path, phantom: Phantom) -> None:
    """dciodvfy finds no error in any case."""
    path = tmp_path / "film.dcm"
    path.write_bytes(encoded(capture(analysis_of(phantom))))
    assert [line for line in dciodvfy_complaints(path) if line.startswith("Error")] == []
    assert dcmread(path).pixel_array.shape == (HEIGHT, WIDTH, 3)


def test_it_belongs_to_patient_and_study_and_names_its_sources() -> None:
    """Patient and study are those of the source, and the referenced instances are the slices shown."""
    analysis = analysis_of()
    found, source = capture(analysis), analysis.volume.headers[0]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "BodyPartExamined"):
        assert found[keyword].value == source[keyword].value
    shown = [analysis.volume.frames[index].sop_instance_uid for index in slices_shown(analysis)]
    assert [str(one.ReferencedSOPInstanceUID) for one in found.SourceImageSequence] == shown
    assert (found.ConversionType, found.BurnedInAnnotation) == ("WSD", "YES")
    assert found.SeriesDescription.endswith("Research use only")
    assert int(found.SeriesNumber) == 9003


def test_loss_of_the_source_is_told() -> None:
    """A film of images that were compressed with loss says so, with their ratio."""
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "10"}
    found = capture(analysis_of(Phantom(attributes=lossy)))
    assert (found.LossyImageCompression, float(found.LossyImageCompressionRatio)) == ("01", 10.0)
    assert capture(analysis_of()).LossyImageCompression == "00"


def test_the_same_analysis_gives_the_same_bytes_and_another_language_another_object() -> None:
    """One digest per UID: the object is the same each time, and never two languages under one UID."""
    analysis = analysis_of()
    one, again = (encoded(capture(analysis)) for _ in range(2))
    assert one == again
    english, chinese = (capture(analysis, language=language) for language in Language)
    assert english.SOPInstanceUID != chinese.SOPInstanceUID
    assert english.SeriesInstanceUID != chinese.SeriesInstanceUID
    assert english.PixelData != chinese.PixelData


def test_many_remarks_are_counted_not_dropped_silently() -> None:
    """Two remarks are shown; that there are more is said."""
    analysis = analysis_of()
    volume = replace(analysis.volume, remarks=("one", "two", "three", "four"))
    few = replace(analysis, volume=replace(analysis.volume, remarks=("one", "two")))
    many = replace(analysis, volume=volume)
    context: ResultContext = context_of(analysis)
    assert (film(many, context) != film(few, context)).any()
