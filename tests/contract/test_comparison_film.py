"""The comparison on the film: what it says, that both pictures of a plane show one place, and the object."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from scipy.spatial.transform import Rotation

from core.comparison import Change, Comparison, Course, HistoryPoint
from core.domain import Analysis, Finding, Language, LesionMask, LungMask, Region, ResultKind
from core.errors import ResultEncodingError
from core.geometry import Geometry
from core.time_point import TimePoint
from inference.lesions import measure
from inference.time_points import time_point_of
from sr_writer.film.canvas import PAPER, Canvas
from sr_writer.film.change_map import CHANGE_COLOURS, LABELS, Became, ChangeMap, change_from_front
from sr_writer.film.comparison_content import comparison_content, share_text, since_line
from sr_writer.film.comparison_words import COMPARISON_WORDS
from sr_writer.film.front import AROUND
from sr_writer.film.grids import AlignedGrids
from sr_writer.film.page import HEIGHT, WIDTH, film, slices_shown
from sr_writer.film.pairs import APART, MATCHED, Pair, pairs
from sr_writer.film.planes import Extent, Window, sampled
from sr_writer.film.trend import axis_end, positions, shares
from sr_writer.rounding import volume_text
from tests.helpers.analyses import Phantom, analysis_of, context_of, encoded, results_of
from tests.helpers.comparisons import Pair as ScanPair
from tests.helpers.comparisons import comparison_of, earlier_analysis, later_analysis
from tests.helpers.judges import dciodvfy_complaints

#: Directions of rows and columns: supine, prone, feet first, either in-plane axis reversed, axes exchanged.
ORIENTATIONS = [
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    (1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    (0.0, 1.0, 0.0, 1.0, 0.0, 0.0),
    (0.0, -1.0, 0.0, 1.0, 0.0, 0.0),
]
SIZE = (300, 200)
#: A rod along the patient through the right lung: LPS x and y, mm.
ROD_XY_MM = (-16.0, 4.0)
ROD_MM = 2.5


def compared(pair: ScanPair | None = None, **changes: Any) -> Analysis:
    """Return the later of two scans with its comparison; `changes` are those of the comparison."""
    pair = pair or ScanPair()
    later, prior = later_analysis(pair), time_point_of(earlier_analysis(pair), {})
    assert prior is not None
    if not pair.dated:
        prior = replace(prior, facts=replace(prior.facts, scanned_at=None))
    return replace(later, comparison=replace(comparison_of(later, prior, pair), **changes))


def comparison_in(analysis: Analysis) -> Comparison:
    """Return the comparison of an analysis that has one."""
    assert analysis.comparison is not None
    return analysis.comparison


def current_point(analysis: Analysis) -> TimePoint:
    """Return the analysis as it would be kept."""
    point = time_point_of(analysis, {})
    assert point is not None
    return point


def change_of(analysis: Analysis) -> ChangeMap | None:
    """Return what became of its voxels."""
    alignment = comparison_in(analysis).alignment
    return None if alignment is None else ChangeMap.of(analysis, alignment)


def pictures_of(analysis: Analysis) -> list[Pair]:
    """Return the planes that the film shows of both scans."""
    return pairs(analysis, comparison_in(analysis), change_of(analysis), SIZE)


def history_of(analysis: Analysis, moments: list[datetime | None]) -> tuple[HistoryPoint, ...]:
    """Return as many scans, each with another share of lesion."""
    last = comparison_in(analysis).history[-1]
    return tuple(
        replace(
            last,
            facts=replace(last.facts, scanned_at=moment),
            percent_of_lung=float(2 + 7 * (at % 4)),
            ground_glass_ml=last.lung_ml * (1 + 5 * (at % 3)) / 100,
        )
        for at, moment in enumerate(moments)
    )


def without_lesions(analysis: Analysis) -> Analysis:
    """Return a scan in which nothing is found any more."""
    lesions = LesionMask(np.zeros_like(analysis.lesions.labels_zyx), analysis.lesions.model)
    return _measured(replace(analysis, lesions=lesions))


def _measured(analysis: Analysis) -> Analysis:
    return replace(analysis, measurements=measure(analysis.volume, analysis.lungs, analysis.lesions))


def _compared_again(analysis: Analysis, pair: ScanPair) -> Analysis:
    prior = current_point(earlier_analysis(pair))
    return replace(analysis, comparison=comparison_of(analysis, prior, pair))


# --- the object -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("registered", [True, False])
def test_it_is_one_picture_of_the_kind_that_every_pacs_takes(
    tmp_path: Path, language: Language, registered: bool
) -> None:
    """One single-frame Secondary Capture, twice as high, without any error for the validator."""
    path = tmp_path / "film.dcm"
    results = results_of(compared(ScanPair(registered=registered)), language=language)
    path.write_bytes(encoded(results[ResultKind.FILM]))
    assert [line for line in dciodvfy_complaints(path) if line.startswith("Error")] == []
    found = dcmread(path)
    assert found.SOPClassUID == SecondaryCaptureImageStorage
    assert "NumberOfFrames" not in found
    assert found.pixel_array.shape == (2 * HEIGHT, WIDTH, 3)
    assert "comparison" in found.DerivationDescription


def test_without_a_comparison_the_film_is_as_it_was() -> None:
    """Only the line about the change is added to the upper half; a scan alone has that half, unchanged."""
    analysis = compared()
    alone = replace(analysis, comparison=None)
    before, after = film(alone, context_of(alone)), film(analysis, context_of(analysis))
    assert before.shape == (HEIGHT, WIDTH, 3)
    rows, columns = np.nonzero((before != after[:HEIGHT]).any(axis=2))
    assert (rows.min() > 60, rows.max() < 95, columns.min() > WIDTH // 2) == (True, True, True)
    found = results_of(alone)[ResultKind.FILM]
    assert found.DerivationDescription == "Page with key slices, outlines and measurements"
    assert len(found.SourceImageSequence) == len(slices_shown(alone)) <= 6


def test_the_same_comparison_gives_the_same_bytes_and_another_one_another_object() -> None:
    """Pixels are drawn the same each time; what a scan is compared with is part of the object's UIDs."""
    analysis = compared()
    one, again = (results_of(analysis)[ResultKind.FILM] for _ in range(2))
    alone = results_of(replace(analysis, comparison=None))[ResultKind.FILM]
    assert encoded(one) == encoded(again)
    assert one.SOPInstanceUID != alone.SOPInstanceUID


def test_key_objects_and_document_refer_to_it_as_before() -> None:
    """The slices of both halves, each once, then the film; the document names it as a source."""
    analysis = compared()
    results = results_of(analysis)
    shown = [analysis.volume.frames[index].sop_instance_uid for index in slices_shown(analysis)]
    assert len(set(shown)) == len(shown)
    sources = [str(one.ReferencedSOPInstanceUID) for one in results[ResultKind.FILM].SourceImageSequence]
    assert sources == shown
    images = [
        str(one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for one in results[ResultKind.KEY_OBJECTS].ContentSequence
        if one.ValueType == "IMAGE"
    ]
    assert images == [*shown, results[ResultKind.FILM].SOPInstanceUID]
    named = [str(one.ReferencedSOPInstanceUID) for one in results[ResultKind.DOCUMENT].SourceInstanceSequence]
    assert results[ResultKind.FILM].SOPInstanceUID in named


# --- what it says -----------------------------------------------------------------------------------------


def test_every_word_is_there_in_every_language() -> None:
    """No language lacks a text or an entry, and what is filled in has the same names everywhere."""
    assert set(COMPARISON_WORDS) == set(Language)
    english = COMPARISON_WORDS[Language.ENGLISH]
    for language, words in COMPARISON_WORDS.items():
        for one in fields(words):
            text, model = getattr(words, one.name), getattr(english, one.name)
            assert text, f"{language} {one.name}"
            if isinstance(model, str):
                assert sorted(_names(text)) == sorted(_names(model)), f"{language} {one.name}"
            else:
                assert text.keys() == model.keys()
    assert set(english.courses) == set(Course)


def _names(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("{")[1:]]


def test_a_pacs_that_shows_the_first_page_only_shows_the_change() -> None:
    """The line on the upper half says since when, the course, and the burden then and now."""
    analysis = compared(course=Course.PROGRESSION)
    share = comparison_in(analysis).total.percent_of_lung
    line = since_line(comparison_in(analysis), context_of(analysis))
    numbers = f"{share_text(share.prior)} → {share_text(share.current)} %"
    assert line == f"Since 2026-01-02: progression, lesions {numbers} of lung"
    undated = compared(ScanPair(dated=False), scanned_at=None)
    assert "Since the earlier scan" in since_line(comparison_in(undated), context_of(undated))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (None, "Stable since 2026-01-02"),
        (0.2, "Stable since 2026-01-02 (less than a day)"),
        (1.0, "Stable since 2026-01-02 (1 day)"),
        (63.4, "Stable since 2026-01-02 (63 days)"),
    ],
)
def test_the_headline_says_how_long_ago(days: float | None, expected: str) -> None:
    """Course, date of the earlier scan and whole days, as far as they are known."""
    analysis = compared(days=days, course=Course.STABLE)
    content = comparison_content(analysis, comparison_in(analysis), context_of(analysis))
    assert content.headline == expected


def test_a_change_within_its_limit_has_no_arrow() -> None:
    """A sign of equality up to the limit, an arrow beyond; the limit stands beside it, where it is known."""
    changes = (
        Change(10.0, 14.0, 5.0),
        Change(10.0, 20.0, 5.0),
        Change(10.0, 3.0, 5.0),
        Change(0.0, 9.0, 5.0),
    )
    rows = [_row(change) for change in changes]
    assert [row[3] for row in rows] == ["=", "▲", "▼", "▲"]
    assert [row[4] for row in rows] == ["+4.0 ml", "+10 ml", "−7.0 ml", "+9.0 ml"]
    assert [row[5] for row in rows] == ["+40 %", "+100 %", "−70 %", "–"]
    assert {row[6] for row in rows} == {"± 5.0 ml"}
    assert _row(Change(10.0, 99.0, math.inf))[3:] == ("=", "+89 ml", "+890 %", "not known")
    assert _row(Change(10.0, 10.04, 1.0))[4] == "≈ 0 ml"


def _row(lungs: Change) -> tuple[str, ...]:
    analysis = compared(lung_ml=lungs)
    content = comparison_content(analysis, comparison_in(analysis), context_of(analysis))
    return content.table[-1]


def test_rows_hold_the_numbers_of_the_comparison() -> None:
    """All lesions, each finding, share of the lungs and the lungs: then and now."""
    analysis = compared()
    found = comparison_in(analysis)
    content = comparison_content(analysis, found, context_of(analysis))
    volumes = [found.total.volume_ml, *(one.volume_ml for one in found.findings)]
    for row, change in zip(content.table, volumes, strict=False):
        assert row[1:3] == (volume_text(change.prior), volume_text(change.current))
    assert len(content.table) == len(volumes) + 2
    fates = {row[2] for row in content.lesions}
    assert {"new", "grown"} <= fates
    assert content.lesions[0][0] == "1"


# --- one place in both pictures ---------------------------------------------------------------------------


def _rod(geometry: Geometry, background: NDArray[np.int16]) -> NDArray[np.int16]:
    """Lay a dense rod along the patient into densities."""
    places = geometry.to_lps_mm(np.moveaxis(np.indices(geometry.shape_zyx), 0, -1))
    beside = np.hypot(places[..., 0] - ROD_XY_MM[0], places[..., 1] - ROD_XY_MM[1])
    return np.where(beside < ROD_MM, np.int16(300), background).astype(np.int16)


def _with_rod(analysis: Analysis) -> Analysis:
    volume = analysis.volume
    return replace(analysis, volume=replace(volume, hu_zyx=_rod(volume.geometry, volume.hu_zyx)))


def _rod_pair(later: Phantom, earlier: Phantom, *, registered: bool) -> Analysis:
    """Return two healthy scans that both show the rod."""
    pair = ScanPair(later=later, earlier=earlier, registered=registered)
    prior = current_point(_with_rod(earlier_analysis(pair)))
    analysis = _with_rod(later_analysis(pair))
    return replace(analysis, comparison=comparison_of(analysis, prior, pair))


def _seen_at(
    picture: NDArray[np.uint8], near: NDArray[np.float64], pixels_per_mm: float
) -> NDArray[np.float64]:
    """Return the middle (x, y) of what is bright around a pixel, nearer than the wall of the chest."""
    height, width = picture.shape[:2]
    rows, columns = np.arange(height)[:, None] + np.zeros(width), np.zeros((height, 1)) + np.arange(width)
    close = np.hypot(columns - near[0], rows - near[1]) < 4.5 * pixels_per_mm
    bright = close & (picture.min(axis=2) > 170)
    assert bright.any()
    return np.array([columns[bright].mean(), rows[bright].mean()])


def _expected(analysis: Analysis) -> tuple[NDArray[np.float64], float]:
    """Return the pixel at which the rod has to be in the current scan, and the scale in pixels per mm."""
    extent = Extent.of(analysis.lungs.labels_zyx, analysis.volume.geometry)
    scale = extent.mm_per_pixel(*SIZE, AROUND)
    middle = (np.array(SIZE) - 1) / 2
    return middle + (np.array(ROD_XY_MM) - extent.centre_xy_mm) / scale, 1.0 / scale


SMALL = Phantom(shape_zyx=(24, 72, 72), spacing_zyx_mm=(2.5, 1.0, 1.0), lesion_sides=())


@given(
    orientation=st.sampled_from(ORIENTATIONS),
    turn_deg=st.tuples(*(st.floats(-14.0, 14.0) for _ in range(3))),
    tilt_deg=st.sampled_from([0.0, -12.0, 20.0]),
    fine=st.booleans(),
)
@hypothesis_settings(max_examples=15, deadline=None)
def test_both_pictures_of_a_plane_show_the_same_place(
    orientation: tuple[float, ...], turn_deg: tuple[float, float, float], tilt_deg: float, fine: bool
) -> None:
    """However slices lie, turn and slide: a rod is at one pixel in both, where the patient has it."""
    turn = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix() if tilt_deg == 0.0 else np.eye(3)
    cosines = np.array(orientation).reshape(2, 3) @ turn.T
    phantom = SMALL.changed(orientation=tuple(cosines.ravel().tolist()), tilt_deg=tilt_deg)
    if fine:  # densities are kept coarser than the images
        phantom = phantom.changed(shape_zyx=(48, 120, 120), spacing_zyx_mm=(1.2, 0.6, 0.6))
    analysis = _rod_pair(phantom, phantom, registered=True)
    expected, pixels_per_mm = _expected(analysis)
    planes = pictures_of(analysis)
    assert len(planes) == MATCHED
    for plane in planes:
        assert plane.change is not None
        now, then = (_seen_at(picture, expected, pixels_per_mm) for picture in (plane.now, plane.then))
        assert now == pytest.approx(expected, abs=0.6 * pixels_per_mm)
        assert then == pytest.approx(now, abs=0.6 * pixels_per_mm)


@given(later=st.sampled_from(ORIENTATIONS), earlier=st.sampled_from(ORIENTATIONS))
@hypothesis_settings(max_examples=12, deadline=None)
def test_scans_that_are_not_brought_together_are_shown_in_one_direction_and_scale(
    later: tuple[float, ...], earlier: tuple[float, ...]
) -> None:
    """The patient's right is at the left of both, the front above, and a millimetre is as long in both."""
    phantoms = [SMALL.changed(orientation=one) for one in (later, earlier)]
    analysis = _rod_pair(*phantoms, registered=False)
    expected, pixels_per_mm = _expected(analysis)
    planes = pictures_of(analysis)
    assert len(planes) == APART
    for plane in planes:
        assert plane.change is None
        now, then = (_seen_at(picture, expected, pixels_per_mm) for picture in (plane.now, plane.then))
        assert now == pytest.approx(expected, abs=0.6 * pixels_per_mm)
        assert then == pytest.approx(now, abs=0.6 * pixels_per_mm)


def test_both_pictures_are_equally_sharp() -> None:
    """An unchanged patient looks the same in both, though the earlier densities were kept coarser."""
    phantom = SMALL.changed(shape_zyx=(48, 120, 120), spacing_zyx_mm=(1.2, 0.6, 0.6))
    analysis = _rod_pair(phantom, phantom, registered=True)
    for plane in pictures_of(analysis):
        difference = plane.now.astype(int) - plane.then
        assert np.abs(difference).mean() < 3.0
        assert np.abs(difference).max() < 70


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_show_whole_slices_where_slices_are_upright(orientation: tuple[float, ...]) -> None:
    """From head to foot, on slices of the scan, so that a viewer finds them by their number."""
    analysis = compared(ScanPair(later=Phantom(orientation=orientation)))
    planes = pictures_of(analysis)
    indices = [plane.slice_index for plane in planes]
    geometry = analysis.volume.geometry
    heights = [float(geometry.to_lps_mm(np.array([index, 0, 0]))[2]) for index in indices]
    assert heights == sorted(heights, reverse=True)
    assert all(plane.is_slice for plane in planes)
    assert set(indices) <= set(slices_shown(analysis))


def test_sampling_knows_where_the_grid_ends() -> None:
    """Beyond the outermost voxels there is nothing; within, linear values between them."""
    geometry = Geometry(np.eye(4)[[2, 1, 0, 3]], (2, 2, 3), "")
    array = np.arange(12, dtype=np.int16).reshape(2, 2, 3)
    places = Window((1.0, 0.5), 1.0, 5, 2).places(0.0)
    values = sampled(array, geometry, places, outside=-7.0)
    assert values.tolist() == [[-7, 0, 1, 2, -7], [-7, 3, 4, 5, -7]]
    assert (sampled(array, geometry, places + np.array((0.0, 0.0, 90.0)), outside=-7.0) == -7.0).all()
    assert sampled(array, geometry, places + np.array((0.0, 0.0, 0.25)))[0, 1] == pytest.approx(1.5)


# --- grids ------------------------------------------------------------------------------------------------


@given(
    orientation=st.sampled_from(ORIENTATIONS),
    tilt_deg=st.sampled_from([0.0, 18.0]),
    edge=st.integers(50, 130),
    slices=st.integers(12, 60),
    slice_mm=st.floats(0.8, 5.0),
    pixel_mm=st.floats(0.5, 1.5),
)
@hypothesis_settings(max_examples=30, deadline=None)
def test_the_grids_of_an_alignment_are_those_of_the_kept_scan(
    orientation: tuple[float, ...],
    tilt_deg: float,
    edge: int,
    slices: int,
    slice_mm: float,
    pixel_mm: float,
) -> None:
    """The writers place the arrays where the time point of the current scan has its voxels."""
    phantom = Phantom(
        shape_zyx=(slices, edge, edge + 3),
        spacing_zyx_mm=(slice_mm, pixel_mm, pixel_mm),
        orientation=orientation,
        tilt_deg=tilt_deg,
    )
    analysis = analysis_of(phantom)
    point = time_point_of(analysis, {})
    if point is None:
        return
    alignment = _alignment_like(point)
    grids = AlignedGrids.of(analysis, alignment)
    for found, kept in ((grids.masks, point.geometry), (grids.densities, point.density_geometry)):
        assert found.shape_zyx == kept.shape_zyx
        np.testing.assert_allclose(found.affine_lps, kept.affine_lps, atol=1e-9)
    np.testing.assert_array_equal(analysis.lungs.labels_zyx[grids.box], point.lungs.labels_zyx)


def _alignment_like(point: TimePoint) -> Any:
    alignment = comparison_in(compared()).alignment
    assert alignment is not None
    return replace(alignment, density_hu_zyx=point.density_hu_zyx, lesions_zyx=point.lesions.labels_zyx)


def test_an_alignment_on_another_grid_is_refused() -> None:
    """A picture that shows another place is worse than none."""
    analysis = compared()
    alignment = comparison_in(analysis).alignment
    assert alignment is not None
    shapes = [alignment.lesions_zyx.shape, alignment.density_hu_zyx.shape]
    for lesions, density in (((3, 3, 3), shapes[1]), (shapes[0], (500, 500, 500))):
        wrong = replace(
            alignment,
            lesions_zyx=np.zeros(lesions, np.uint8),
            density_hu_zyx=np.zeros(density, np.int16),
        )
        with pytest.raises(ResultEncodingError, match="another grid"):
            AlignedGrids.of(analysis, wrong)


# --- what became of it ------------------------------------------------------------------------------------


def test_the_change_map_tells_what_became_of_each_voxel() -> None:
    """New, resolved, in both, and ground glass that consolidated; nothing where there never was lesion."""
    analysis = compared()
    change, alignment = change_of(analysis), comparison_in(analysis).alignment
    assert change is not None
    assert alignment is not None
    then, now = alignment.lesions_zyx, analysis.lesions.labels_zyx[change.grids.box]
    expected = {
        Became.NEW: (then == 0) & (now > 0),
        Became.RESOLVED: (then > 0) & (now == 0),
        Became.CONSOLIDATED: (then == 1) & (now == 2),
        Became.REMAINED: (then > 0) & (now > 0) & ~((then == 1) & (now == 2)),
    }
    for became, mask in expected.items():
        assert mask.any()
        np.testing.assert_array_equal(change.labels_zyx == LABELS[became], mask, err_msg=became)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_what_is_new_low_in_the_right_lung_is_shown_there_from_the_front(
    orientation: tuple[float, ...],
) -> None:
    """Whatever way the slices lie: at the left of the picture, in its lower half, in the colour of new."""
    pair = ScanPair(later=Phantom(orientation=orientation, lesion_sides=()))
    later = later_analysis(pair)
    lesions = np.zeros_like(later.lesions.labels_zyx)
    places = later.volume.geometry.to_lps_mm(np.moveaxis(np.indices(lesions.shape), 0, -1))
    lesions[np.linalg.norm(places - (-15.0, 6.0, -10.0), axis=-1) < 7.0] = 1
    analysis = _measured(replace(later, lesions=LesionMask(lesions, later.lesions.model)))
    analysis = _compared_again(analysis, pair)
    change = change_of(analysis)
    assert change is not None
    picture = change_from_front(analysis, change, *SIZE).astype(int)
    yellow = picture[..., 0] - picture[..., 2] > 40
    rows, columns = np.nonzero(yellow)
    assert columns.mean() < 0.45 * picture.shape[1]
    assert rows.mean() > 0.55 * picture.shape[0]


#: Linear RGB as people without red or without green cones see it (Machado, Oliveira and Fernandes 2009).
_PROTANOPIA = ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052))
_DEUTERANOPIA = ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969))


@pytest.mark.parametrize("sight", [_PROTANOPIA, _DEUTERANOPIA, tuple(np.eye(3))])
def test_colours_are_told_apart_with_red_green_blindness(sight: Any) -> None:
    """Any two colours of the map differ clearly in lightness or hue for everybody."""
    for one, other in combinations(CHANGE_COLOURS.values(), 2):
        assert np.linalg.norm(_seen(one, sight) - _seen(other, sight)) > 50.0


def _seen(colour: tuple[int, int, int], sight: Any) -> NDArray[np.float64]:
    linear = (np.array(colour) / 255.0) ** 2.2
    return np.asarray(255.0 * np.clip(np.array(sight) @ linear, 0.0, 1.0) ** (1 / 2.2))


# --- the plot ---------------------------------------------------------------------------------------------


@given(
    days=st.lists(st.integers(0, 4000), min_size=1, max_size=15),
    missing=st.sets(st.integers(0, 14), max_size=2),
)
def test_scans_stand_on_the_axis_in_their_order_and_apart(days: list[int], missing: set[int]) -> None:
    """From one end to the other, every two apart, whatever dates are the same or missing."""
    first = datetime(2020, 1, 1)
    moments = [None if at in missing else first + timedelta(days=one) for at, one in enumerate(sorted(days))]
    found = positions(moments)
    assert len(found) == len(days)
    if len(found) > 1:
        assert (found[0], found[-1]) == pytest.approx((0.0, 1.0))
        assert min(np.diff(found)) > 0.02
    else:
        assert found == [0.5]


def test_time_is_in_proportion() -> None:
    """Twice the days are twice as far."""
    first = datetime(2026, 1, 1)
    assert positions([first, first + timedelta(days=10), first + timedelta(days=30)]) == pytest.approx(
        [0.0, 1 / 3, 1.0]
    )


@given(largest=st.floats(0.0, 100.0))
def test_the_axis_reaches_beyond_the_largest_value(largest: float) -> None:
    """It ends above it and not far above, with at most five lines of round numbers."""
    end, step = axis_end(largest)
    assert largest < end <= max(2.0 * largest, 0.4)
    assert 1 <= round(end / step) <= 5


def test_findings_are_shares_of_both_lungs() -> None:
    """The parts in the plot add up to the whole, and a scan without lungs has none."""
    point = comparison_in(compared()).history[-1]
    found = shares(point)
    assert found[Finding.GROUND_GLASS] + found[Finding.CONSOLIDATION] == pytest.approx(found[None], rel=1e-3)
    assert set(shares(replace(point, lung_ml=0.0, percent_of_lung=0.0)).values()) == {0.0}


# --- on the page ------------------------------------------------------------------------------------------


def by_turns(history: tuple[HistoryPoint, ...], each: int) -> tuple[HistoryPoint, ...]:
    """Return scans that two models looked at, each at so many in turn; the current model at the last ones."""
    turns = [(len(history) - 1 - at) // each % 2 for at in range(len(history))]
    models = [point.model if not turn else "other 1.0" for point, turn in zip(history, turns, strict=True)]
    return tuple(replace(point, model=model) for point, model in zip(history, models, strict=True))


LONG = "The scans differ in something that takes very many words to be said in full, " * 4
_START = datetime(2024, 1, 31)
_WEEKS: list[datetime | None] = [_START + timedelta(days=17 * at) for at in range(15)]
_UNEVEN: list[datetime | None] = [_START, _START, None, _START + timedelta(days=900), _START]


def _one_lung(analysis: Analysis) -> Analysis:
    lungs = np.where(analysis.lungs.labels_zyx == 1, 1, 0).astype(np.uint8)
    lesions = np.where(lungs > 0, analysis.lesions.labels_zyx, 0).astype(np.uint8)
    mask = LesionMask(lesions, analysis.lesions.model)
    return _measured(replace(analysis, lungs=LungMask(lungs), lesions=mask))


def _only_right() -> Analysis:
    pair = ScanPair()
    later = _one_lung(later_analysis(pair))
    return replace(later, comparison=comparison_of(later, current_point(_one_lung(earlier_analysis(pair)))))


def _many_words() -> Analysis:
    quality = replace(comparison_in(compared()).registration, reason=LONG)
    return compared(
        ScanPair(registered=False),
        warnings=(LONG,) * 9,
        because=LONG,
        registration=quality,
        history=history_of(compared(), _WEEKS),
    )


SITUATIONS: dict[str, Callable[[], Analysis]] = {
    "usual": compared,
    "apart": lambda: compared(ScanPair(registered=False)),
    "undated": lambda: compared(ScanPair(dated=False), scanned_at=None),
    "unknown limits": lambda: compared(ScanPair(repeatability=False)),
    "one lung": _only_right,
    "all resolved": lambda: _compared_again(without_lesions(later_analysis(ScanPair())), ScanPair()),
    "never a lesion": lambda: compared(ScanPair(later=Phantom(lesion_sides=()))),
    "wide": lambda: compared(ScanPair(later=Phantom(shape_zyx=(12, 30, 120)))),
    "many words": _many_words,
    "fifteen scans": lambda: compared(history=history_of(compared(), _WEEKS)),
    "two models": lambda: compared(history=by_turns(history_of(compared(), _WEEKS[:6]), 2)),
    "two models by turns": lambda: compared(history=by_turns(history_of(compared(), _WEEKS), 1)),
    "two scans": lambda: compared(history=comparison_in(compared()).history[-2:]),
    "one day": lambda: compared(history=history_of(compared(), [_START] * 6)),
    "dates missing": lambda: compared(history=history_of(compared(), _UNEVEN)),
    "many warnings": lambda: compared(warnings=tuple(f"Warning {at}." for at in range(12))),
    "great volumes": lambda: compared(lung_ml=Change(12345.0, 9876.0, 1234.0)),
}


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("situation", SITUATIONS)
def test_text_stays_on_the_page_and_off_other_text(
    monkeypatch: pytest.MonkeyPatch, situation: str, language: Language
) -> None:
    """In every situation: nothing is cut off by an edge, and no text lies upon another."""
    written: list[tuple[str, tuple[float, float, float, float]]] = []
    write = Canvas.text

    def recorded(self: Canvas, *args: Any, **more: Any) -> tuple[float, float, float, float]:
        box = write(self, *args, **more)
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= self.image.width
        assert box[3] <= self.image.height
        # Halves of the film are pages of their own; letters and numbers on pictures are meant to be there.
        if args[1] and not more.get("halo"):
            written.append((f"{id(self)} {args[1]}", box))
        return box

    monkeypatch.setattr(Canvas, "text", recorded)
    analysis = SITUATIONS[situation]()
    page = film(analysis, context_of(analysis, language=language))
    assert page.shape == (2 * HEIGHT, WIDTH, 3)
    edges = np.concatenate([page[HEIGHT + 1 :, [0, -1]].reshape(-1, 3), page[-1]])
    assert (edges == PAPER).all()
    assert len(written) > 60
    for (one, box), (other, its) in combinations(written, 2):
        if one.split()[0] == other.split()[0]:
            apart = box[2] <= its[0] or its[2] <= box[0] or box[3] <= its[1] or its[3] <= box[1]
            assert apart, (one, other)


def test_what_is_left_out_is_counted() -> None:
    """More warnings than there is room for change the page: their number is said."""
    some, more = (
        film(analysis, context_of(analysis))
        for analysis in (compared(warnings=("A.",) * count) for count in (5, 6))
    )
    assert (some != more).any()


def test_a_scan_without_any_finding_in_either_is_compared_too() -> None:
    """Planes at even distances, no lesion in the list, zeros in the table."""
    analysis = compared(ScanPair(later=Phantom(lesion_sides=())))
    content = comparison_content(analysis, comparison_in(analysis), context_of(analysis))
    assert content.lesions == ()
    assert content.listed == COMPARISON_WORDS[Language.ENGLISH].no_lesion
    assert content.table[0][1:6] == ("0 ml", "0 ml", "=", "0 ml", "–")
    assert len(pictures_of(analysis)) == MATCHED
    assert analysis.measurements.of(Region.LESIONS).volume_ml == 0.0
