"""Right stays right and upper stays upper, whatever way a chest was scanned and reconstructed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from config import ModelSettings, Settings
from core.domain import (
    Analysis,
    CtVolume,
    LesionClass,
    LesionMask,
    LungMask,
    Region,
    ResultKind,
    Segmentation,
    Side,
    SOPInstanceUID,
    Zone,
)
from inference.lesions import measure
from inference.model_package import shipped_models_folder
from inference.series_reader import read_series
from inference.straightening import Straightening
from lesionnode.engine import Engine
from lesionnode.phantom.dicom import write_phantom
from lesionnode.phantom.enhanced import enhanced_ct_dataset
from lesionnode.phantom.generate import generate_phantom
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.spec import PatientPosition, PhantomLesion, PhantomSpec
from lesionnode.pipeline import analyse_series, result_context
from sr_writer.film.page import slices_shown
from sr_writer.film.views import overview, slice_views
from sr_writer.results import write_results
from tests.helpers.analyses import MODEL
from tests.helpers.ct_series import CtSpec, ct_datasets, write
from tests.helpers.judges import segment_points_lps_mm

#: The lesion of the painted scans: in the right lung, in its upper third, in front.
CENTRE_LPS_MM = (-55.0, -12.0, 40.0)
PIXEL_MM, SLICE_MM = 5.0, 4.0
EDGE = 240


# --- any scan, its masks painted --------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """How a chest was scanned.

    Parameters
    ----------
    upside_down
        Slices rise to the feet.
    around_deg
        Turn of the image about the patient's long axis: 180 for prone, 90 for one who lies on a side.
    lean_deg
        How far the planes are inclined to the front and to the side.
    tilt_deg, along_deg
        How far slices slide, and in which direction of the image.
    from_head
        Order of the Instance Numbers.
    """

    upside_down: bool
    around_deg: float
    lean_deg: tuple[float, float]
    tilt_deg: float
    along_deg: float
    from_head: bool

    def datasets(self) -> list[Dataset]:
        """Return its images; the middle of the stack is the middle of the patient."""
        flip = Rotation.from_euler("x", 180 if self.upside_down else 0, degrees=True)
        lean = Rotation.from_euler("xy", self.lean_deg, degrees=True)
        turn = (lean * Rotation.from_euler("z", self.around_deg, degrees=True) * flip).as_matrix()
        cosines = [round(float(value), 9) for value in (*turn[:, 0], *turn[:, 1])]
        spec = CtSpec(
            shape_zyx=(48, 64, 60), spacing_zyx_mm=(SLICE_MM, PIXEL_MM, PIXEL_MM), orientation=tuple(cosines)
        )
        along = np.radians(self.along_deg)
        slide = np.tan(np.radians(self.tilt_deg)) * (turn[:, :2] @ [np.cos(along), np.sin(along)])
        datasets = ct_datasets(spec)
        slices, rows, columns = spec.shape_zyx
        for z, ds in enumerate(datasets):
            from_middle = (z - (slices - 1) / 2) * SLICE_MM * (turn[:, 2] + slide)
            corner = turn[:, 0] * (columns - 1) / 2 + turn[:, 1] * (rows - 1) / 2
            ds.ImagePositionPatient = [f"{value:.5f}" for value in from_middle - corner * PIXEL_MM]
            ds.InstanceNumber = slices - z if self.from_head else z + 1
        return datasets


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    """Any position and plane that the reader takes, with slices that slide or not."""
    return Scan(
        upside_down=draw(st.booleans()),
        around_deg=draw(st.sampled_from([0, 90, 180, 270])) + draw(st.floats(-25, 25)),
        lean_deg=draw(st.tuples(st.floats(-20, 20), st.floats(-20, 20))),
        tilt_deg=draw(st.one_of(st.just(0.0), st.floats(-30, 30))),
        along_deg=draw(st.sampled_from([90.0, 0.0, 37.0])),
        from_head=draw(st.booleans()),
    )


def painted(ds: Dataset) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return lungs and lesion of one image, by PS3.3 equation C.7.6.2.1-1 from its own header."""
    position, cosines = np.array(ds.ImagePositionPatient, float), np.array(ds.ImageOrientationPatient, float)
    row, column = np.indices((ds.Rows, ds.Columns))
    lps_mm = position + column[..., None] * cosines[:3] * PIXEL_MM + row[..., None] * cosines[3:] * PIXEL_MM

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
        return np.asarray((((lps_mm - centre) / radii) ** 2).sum(axis=-1) <= 1.0)

    lungs = np.zeros((ds.Rows, ds.Columns), np.uint8)
    lungs[ellipsoid((-55.0, 0.0, 0.0), (45.0, 55.0, 70.0))] = 1
    lungs[ellipsoid((55.0, 0.0, 0.0), (45.0, 55.0, 66.0))] = 2
    return lungs, ellipsoid(CENTRE_LPS_MM, (15.0, 15.0, 13.0)).astype(np.uint8)


def read_and_measured(datasets: list[Dataset]) -> Analysis:
    """Read a scan from files, carry its masks to the straight grid and back, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        volume: CtVolume = read_series(write(Path(folder), datasets))
    masks = {str(ds.SOPInstanceUID): painted(ds) for ds in datasets}
    lungs, lesions = (
        np.stack([masks[frame.sop_instance_uid][which] for frame in volume.frames]) for which in (0, 1)
    )
    way = Straightening.of(volume.geometry)
    straight = Segmentation(LungMask(way.placed(lungs)), LesionMask(way.placed(lesions), MODEL))
    found = way.on_source(straight)
    np.testing.assert_array_equal(found.lesions.labels_zyx, lesions)
    return Analysis(volume, found.lungs, found.lesions, measure(volume, found.lungs, found.lesions))


@settings(max_examples=15, deadline=None)
@example(scan=Scan(False, 0.0, (0.0, 0.0), 1.0, 90.0, False))  # slides by less than a pixel in all
@given(scan=scans())
def test_right_is_right_and_upper_is_upper_in_any_scan(scan: Scan) -> None:
    """Oblique, reversed, prone, on a side, feet first, sheared: side, zone, place, SEG and film agree."""
    datasets = scan.datasets()
    analysis = read_and_measured(datasets)
    slide_mm = 47 * SLICE_MM * np.tan(np.radians(abs(scan.tilt_deg)))
    assert analysis.volume.geometry.is_sheared == (slide_mm > PIXEL_MM)
    (lesion,) = analysis.measurements.lesions
    assert lesion.side is Side.RIGHT
    # A slide of less than a pixel over the whole stack is taken for rounding and left as it is.
    left_mm = 0.0 if analysis.volume.geometry.is_sheared else slide_mm
    assert lesion.centroid_lps_mm == pytest.approx(CENTRE_LPS_MM, abs=1.0 + left_mm)
    by_zone = {zone.zone: zone.lesion_ml for zone in analysis.measurements.zones}
    assert by_zone.pop(Zone.UPPER_RIGHT) == pytest.approx(lesion.volume_ml)
    assert set(by_zone.values()) == {0.0}
    points = segment_points_lps_mm(segmentation_of(analysis), Region.GROUND_GLASS_RIGHT.value)
    assert points.mean(axis=0) == pytest.approx(CENTRE_LPS_MM, abs=1.0)
    assert len(points) * analysis.volume.geometry.voxel_ml == pytest.approx(lesion.volume_ml, rel=1e-3)
    assert_film_shows_it(analysis)


# --- odd scans, all the way -------------------------------------------------------------------------------

#: Large enough for the shipped model on a coarse grid.
UPPER_RIGHT = PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.76, 0.4, 0.5, (30.0, 30.0, 24.0))
COARSE = PhantomSpec(shape_zyx=(56, 128, 128), spacing_zyx_mm=(5.5, 2.8, 2.8), lesions=(UPPER_RIGHT,))
ODD = {
    "on the left side, from the head": ({"rotation_deg": (0.0, 0.0, 90.0)}, True, False),
    "feet first, tilted, from the head": (
        {"patient_position": PatientPosition.FFS, "gantry_tilt_deg": -28.0},
        True,
        False,
    ),
    "prone, tilted, enhanced": (
        {"patient_position": PatientPosition.HFP, "gantry_tilt_deg": 20.0},
        False,
        True,
    ),
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The shipped model, opened once."""
    return Engine(ModelSettings(execution="cpu"), [shipped_models_folder()])


@pytest.mark.parametrize(("changes", "from_head", "enhanced"), ODD.values(), ids=ODD.keys())
def test_lungs_and_lesion_are_found_on_the_right_side_of_odd_scans(
    engine: Engine, tmp_path: Path, changes: dict[str, object], from_head: bool, enhanced: bool
) -> None:
    """The node's own masks lie on the phantom's, lung by lung, and its numbers say right and upper."""
    phantom = generate_phantom(replace(COARSE, **changes))  # type: ignore[arg-type]
    header = StudyHeader(instances_from_head=from_head)
    if enhanced:
        paths = [tmp_path / "enhanced.dcm"]
        enhanced_ct_dataset(phantom, header).save_as(paths[0], enforce_file_format=True)
    else:
        paths = write_phantom(tmp_path, phantom, header)
    analysis = analyse_series(paths, engine, "densitometry", ModelSettings(execution="cpu")).analysis
    for label in (1, 2):
        found, true = analysis.lungs.labels_zyx == label, phantom.truth.lungs_zyx == label
        assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.94
    (truth,) = phantom.truth.lesions
    largest = analysis.measurements.lesions[0]
    assert largest.side is Side.RIGHT
    assert largest.centroid_lps_mm == pytest.approx(truth.centre_lps_mm, abs=2.8)
    by_zone = {zone.zone: zone.lesion_ml for zone in analysis.measurements.zones}
    assert max(by_zone, key=lambda zone: by_zone[zone]) is Zone.UPPER_RIGHT
    assert by_zone[Zone.UPPER_RIGHT] == pytest.approx(truth.volume_ml, rel=0.2)


# --- what is written and shown ----------------------------------------------------------------------------


def assert_film_shows_it(analysis: Analysis) -> None:
    """Fail unless the lesion is at the upper left from the front, and towards the letter R in its slice."""
    front = overview(analysis, 300, 300)
    rows, columns = np.nonzero(is_lesion(front.picture))
    place = np.array([np.median(columns), np.median(rows)])
    height, width, _ = front.picture.shape
    assert place[0] < 0.45 * width
    assert place[1] < 0.40 * height
    nearest = min(front.zones, key=lambda zone: float(np.hypot(*(place - front.zones[zone]))))
    assert nearest is Zone.UPPER_RIGHT
    shown = slices_shown(analysis)
    middle = float(analysis.volume.geometry.to_index_zyx(np.array(CENTRE_LPS_MM))[0])
    (view,) = slice_views(analysis, [min(shown, key=lambda index: abs(index - middle))], EDGE)
    rows, columns = np.nonzero(is_lesion(view.picture))
    x, y = np.median(columns) - (EDGE - 1) / 2, np.median(rows) - (EDGE - 1) / 2
    left, right, top, bottom = view.letters
    towards = {left: -x, right: x, top: -y, bottom: y}
    assert towards["R"] > 0.1 * EDGE


def is_lesion(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which pixels are drawn in the colour of a finding, mixed with grey or not."""
    red, _, blue = (picture[..., channel].astype(int) for channel in range(3))
    return np.asarray(abs(red - blue) > 30)


def segmentation_of(analysis: Analysis) -> Dataset:
    """Return the SEG of an analysis as a node writes it."""
    context = result_context(
        Settings(),
        generation=1,
        source_digests={SOPInstanceUID(one.sop_instance_uid): "0" * 64 for one in analysis.volume.frames},
        provider="CPUExecutionProvider",
        content_time_s=datetime(2026, 1, 2, tzinfo=UTC).timestamp(),
    )
    results = write_results(analysis, context).objects
    return next(one.dataset for one in results if one.kind is ResultKind.SEGMENTATION)
