"""An earlier scan is brought onto the current one: true places of tissue, every orientation, refusals."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name under which the library is known
from numpy.typing import NDArray
from structlog.testing import capture_logs

from core.comparison import RegistrationQuality
from core.domain import LesionClass, LungMask, Side
from core.geometry import CanonicalOrder, Geometry
from core.time_point import TimePoint
from inference.affine_alignment import affine_between
from inference.carrying import carried
from inference.lattice import MOST_VOXELS, Lattice, SampledScan, healthy_density_hu
from inference.registration import Registration, register
from lesionnode.phantom import generate_phantom
from lesionnode.phantom.correspondence import corresponding_lps_mm
from lesionnode.phantom.spec import PatientPosition, PhantomLesion, PhantomSpec
from lesionnode.phantom.time_points import LUNG_KERNEL, Fate, LesionChange, PairPlan, Scan, generate_pair
from tests.helpers.scans import phantom_point

#: A small patient: a registration costs a second.
PATIENT = PhantomSpec(size=0.55, lesions=())
GRID = Scan(
    shape_zyx=(68, 100, 120),
    spacing_zyx_mm=(3.0, 1.8, 1.8),
    slice_thickness_mm=1.3,
    centre_lps_mm=(0.0, 10.0, -16.0),
)
#: Another position, turned, at less inspiration, by another kernel.
MOVED = replace(
    GRID,
    centre_lps_mm=(8.0, 25.0, 0.0),
    inspiration=0.85,
    shift_mm=(8.0, 15.0, 12.0),
    turn_deg=(5.0, 0.0, 0.0),
    kernel=LUNG_KERNEL,
    noise_seed=1,
)


def ball(side: Side, up: float, radius_mm: float, *, back: float = 0.6) -> PhantomLesion:
    """Return a ground-glass lesion in the middle of a lung."""
    return PhantomLesion(LesionClass.GROUND_GLASS, side, up, back, 0.5, (radius_mm, radius_mm, radius_mm))


#: Radius of the lesion that grew.
GROWN_MM = 12.0 * 3.0 ** (1 / 3)
QUALITY = RegistrationQuality(True, "none", 1.0, 0.0, 1.0)
CHANGES = (
    LesionChange(ball(Side.RIGHT, 0.25, 10.0), Fate.RESOLVED),
    LesionChange(
        replace(ball(Side.RIGHT, 0.6, 12.0), lesion_class=LesionClass.CONSOLIDATION), Fate.GROWN, 3.0
    ),
    LesionChange(ball(Side.LEFT, 0.25, 11.0), Fate.SHRUNK, 0.4),
    LesionChange(ball(Side.LEFT, 0.50, 9.0, back=0.3), Fate.NEW),
    LesionChange(ball(Side.LEFT, 0.75, 9.0), Fate.PERSISTENT),
)


class Scans:
    """Two scans of a patient, as they are kept, and what is known of them."""

    def __init__(self, plan: PairPlan) -> None:
        """Make them."""
        self.first, self.second = plan.specs()
        pair = generate_pair(plan)
        self.prior, self.current = phantom_point(pair.first, 1), phantom_point(pair.second, 2)
        self.grown_lps_mm = pair.second.truth.lesions[0].centre_lps_mm

    def prior_places(self, places_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where tissue of the second scan really was in the first."""
        return corresponding_lps_mm(self.second, self.first, places_lps_mm)

    def errors_mm(self, registration: Registration, current: TimePoint | None = None) -> tuple[float, float]:
        """Return median and 95th percentile of the error inside the lungs of the current scan."""
        return self.errors_from_mm(self.second, registration, current or self.current)

    def errors_from_mm(
        self, spec: PhantomSpec, registration: Registration, current: TimePoint
    ) -> tuple[float, float]:
        """Return the same for another scan of the patient."""
        places = lung_places(current)
        true = corresponding_lps_mm(spec, self.first, places)
        missed = registration.prior_places_lps_mm(places) - true
        errors = np.linalg.norm(missed, axis=1)
        return float(np.median(errors)), float(np.percentile(errors, 95))


def lung_places(point: TimePoint) -> NDArray[np.float64]:
    """Return some places all over the lungs."""
    return point.geometry.to_lps_mm(np.argwhere(point.lungs.labels_zyx)[::37])


def affine_alone(registration: Registration) -> Registration:
    """Return a registration without its deformation."""
    return Registration(registration.quality, registration.affine_lps)


def reordered(point: TimePoint, order: CanonicalOrder) -> TimePoint:
    """Return the same scan with its voxels stored in another order of axes."""
    return replace(
        point,
        geometry=order.apply_geometry(point.geometry),
        lungs=LungMask(order.apply(point.lungs.labels_zyx)),
        lesions=replace(point.lesions, labels_zyx=order.apply(point.lesions.labels_zyx)),
        density_geometry=order.apply_geometry(point.density_geometry),
        density_hu_zyx=order.apply(point.density_hu_zyx),
    )


def cut(point: TimePoint, start: float, stop: float) -> TimePoint:
    """Return the part of an axial scan between two shares of its height, as a shorter scan would show it."""
    grids = (point.geometry, point.density_geometry)
    parts = [slice(round(start * one.shape_zyx[0]), round(stop * one.shape_zyx[0])) for one in grids]
    geometries = []
    for one, part in zip(grids, parts, strict=True):
        affine = one.affine_lps.copy()
        affine[:3, 3] = one.to_lps_mm(np.array([part.start, 0, 0]))
        geometries.append(Geometry(affine, (part.stop - part.start, *one.shape_zyx[1:]), ""))
    return replace(
        point,
        geometry=geometries[0],
        lungs=LungMask(point.lungs.labels_zyx[parts[0]]),
        lesions=replace(point.lesions, labels_zyx=point.lesions.labels_zyx[parts[0]]),
        density_geometry=geometries[1],
        density_hu_zyx=point.density_hu_zyx[parts[1]],
    )


@pytest.fixture(scope="module")
def scans() -> Scans:
    """A patient with a lesion of every fate, seen again otherwise in every respect."""
    return Scans(PairPlan(PATIENT, CHANGES, GRID, MOVED))


@pytest.fixture(scope="module")
def registration(scans: Scans) -> Registration:
    """The two brought together."""
    return register(scans.prior, scans.current)


# --- how well ---------------------------------------------------------------------------------------------


def test_tissue_is_found_again(scans: Scans, registration: Registration) -> None:
    """Places are right to about a millimetre in spite of breath, position, kernel and change."""
    median_mm, most_mm = scans.errors_mm(registration)
    assert median_mm <= 1.8
    assert most_mm <= 4.0
    quality = registration.quality
    assert quality.succeeded
    assert quality.reason == ""
    assert quality.lung_overlap > 0.95
    assert quality.surface_mm < 1.5
    assert quality.correlation > 0.7


def test_the_deformation_is_worth_it(scans: Scans, registration: Registration) -> None:
    """Breathing is no affine map: the deformation takes away a third of the error at least."""
    before_mm, _ = scans.errors_mm(affine_alone(registration))
    after_mm, _ = scans.errors_mm(registration)
    assert after_mm < 0.67 * before_mm


def test_a_deeper_breath_from_the_other_side_of_the_table(scans: Scans) -> None:
    """More air, prone, tilted gantry: the same places are found."""
    prone = replace(
        scans.first,
        lesions=scans.second.lesions,
        noise_seed=1,
        inspiration=1.12,
        patient_position=PatientPosition.HFP,
        gantry_tilt_deg=12.0,
        shape_zyx=(76, 110, 120),
        centre_lps_mm=(0.0, 10.0, -22.0),
    )
    current = phantom_point(generate_phantom(prone), 3)
    registration = register(scans.prior, current)
    assert registration.quality.succeeded, registration.quality
    median_mm, most_mm = scans.errors_from_mm(prone, registration, current)
    assert median_mm <= 1.8
    assert most_mm <= 4.0


def test_a_lesion_that_grew_does_not_draw_its_surroundings_in(
    scans: Scans, registration: Registration
) -> None:
    """At the border of a consolidation of three times its volume the map is nearly as good as elsewhere."""
    around = np.random.default_rng(0).normal(size=(200, 3))
    around *= GROWN_MM / np.linalg.norm(around, axis=1, keepdims=True)
    places = np.array(scans.grown_lps_mm) + around
    missed = np.linalg.norm(registration.prior_places_lps_mm(places) - scans.prior_places(places), axis=1)
    assert float(np.median(missed)) <= 1.5


@pytest.mark.parametrize(("start", "stop"), [(0.0, 0.6), (0.4, 1.0)])
def test_cut_off_lungs_find_their_place(scans: Scans, start: float, stop: float) -> None:
    """A scan that shows the lower or the upper part of the lungs is laid onto that part."""
    registration = register(scans.prior, cut(scans.current, start, stop))
    assert registration.quality.succeeded, registration.quality
    median_mm, _ = scans.errors_mm(registration, cut(scans.current, start, stop))
    assert median_mm <= 3.0


# --- refusals ---------------------------------------------------------------------------------------------


def test_another_patient_is_refused(scans: Scans) -> None:
    """Lungs of the same shape with other vessels overlap well, and are refused."""
    stranger = phantom_point(generate_phantom(replace(scans.first, seed=2)), 3)
    quality = register(stranger, scans.current).quality
    assert not quality.succeeded
    assert quality.lung_overlap > 0.9
    assert quality.correlation < 0.25
    assert "does not match" in quality.reason


def test_scans_of_different_parts_are_refused(scans: Scans) -> None:
    """The apices then and the bases now have nothing in common."""
    quality = register(cut(scans.prior, 0.65, 1.0), cut(scans.current, 0.0, 0.35)).quality
    assert not quality.succeeded
    assert quality.reason.endswith(".")


def test_without_lungs_there_is_nothing_to_register(scans: Scans) -> None:
    """It is said which of the scans has no lungs; the maps lead nowhere else."""
    empty = replace(scans.prior, lungs=LungMask(np.zeros_like(scans.prior.lungs.labels_zyx)))
    for earlier, later, name in (
        (empty, scans.current, "earlier"),
        (scans.prior, replace(empty, geometry=scans.prior.geometry), "current"),
    ):
        registration = register(earlier, later)
        assert not registration.quality.succeeded
        assert registration.quality.reason == f"No lungs were found in the {name} scan."
        place = np.array([[1.0, 2.0, 3.0]])
        assert registration.prior_places_lps_mm(place) == pytest.approx(place)


def test_a_broken_scan_is_a_reason_not_an_error(scans: Scans) -> None:
    """A grid without extent ends in a reason and in the log."""
    affine = scans.prior.density_geometry.affine_lps.copy()
    affine[:3, 0] = 0.0
    flat = replace(scans.prior.density_geometry, affine_lps=affine)
    with capture_logs() as logs:
        quality = register(replace(scans.prior, density_geometry=flat), scans.current).quality
    assert not quality.succeeded
    assert "could not be brought together" in quality.reason
    assert [one["event"] for one in logs] == ["registration_failed"]


def test_a_lung_that_is_all_lesion_is_not_trusted(scans: Scans) -> None:
    """Where no healthy lung is left, nothing tells whether the scans match: they are not compared."""
    lungs = scans.current.lungs.labels_zyx
    white = replace(scans.current, lesions=replace(scans.current.lesions, labels_zyx=np.minimum(lungs, 1)))
    quality = register(scans.prior, white).quality
    assert not quality.succeeded
    assert "free of lesions" in quality.reason
    assert np.isnan(quality.correlation)


# --- always the same --------------------------------------------------------------------------------------

_AGAIN = """
import pickle, sys
from pathlib import Path
from inference.registration import register
prior, current = pickle.loads(Path(sys.argv[1]).read_bytes())
found = register(prior, current)
Path(sys.argv[2]).write_bytes(pickle.dumps((found.quality, found.affine_lps, found.displacement_mm)))
"""


def test_the_same_scans_give_the_same_result(
    scans: Scans, registration: Registration, tmp_path: Path
) -> None:
    """Another process with another number of threads gives the same bits; the library stays as it was."""
    assert registration.displacement_mm is not None
    scans_file, found_file = tmp_path / "scans", tmp_path / "found"
    scans_file.write_bytes(pickle.dumps((scans.prior, scans.current)))
    threads = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", _AGAIN, str(scans_file), str(found_file)],
        check=True,
        env={**os.environ, **threads},
        cwd=Path(__file__).parents[2],
    )
    quality, affine, displacement = pickle.loads(found_file.read_bytes())
    assert quality == registration.quality
    assert np.array_equal(affine, registration.affine_lps)
    assert np.array_equal(displacement, registration.displacement_mm)


def test_the_library_keeps_its_settings(scans: Scans) -> None:
    """What else uses the library in this process finds its number of threads unchanged."""
    process = sitk.ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(3)
    try:
        register(cut(scans.prior, 0.4, 0.5), cut(scans.current, 0.4, 0.5))
        assert process.GetGlobalDefaultNumberOfThreads() == 3
    finally:
        process.SetGlobalDefaultNumberOfThreads(before)


def test_huge_lungs_cost_no_more(scans: Scans) -> None:
    """The steps of the lattice grow with the lungs, so that the number of voxels is bounded."""
    affine = scans.current.geometry.affine_lps.copy()
    affine[:3, :3] *= 9.0
    huge = replace(scans.current, geometry=replace(scans.current.geometry, affine_lps=affine))
    lattice = Lattice.around(huge)
    assert lattice.step_mm > 5.0
    assert np.prod(lattice.shape_zyx) <= 1.1 * MOST_VOXELS
    assert Lattice.around(scans.current).step_mm == 2.5


# --- every orientation ------------------------------------------------------------------------------------


def test_every_order_of_axes_gives_the_same_image(scans: Scans) -> None:
    """Sagittal, coronal, feet first, mirrored: on the lattice each is the same scan."""
    point = cut(scans.current, 0.1, 0.6)
    lattice = Lattice.around(point).coarser(2)
    expected = SampledScan.of(point, -850.0, lattice)
    assert 0 < np.count_nonzero(expected.lungs_zyx) < expected.lungs_zyx.size
    assert not expected.known_zyx.all()
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            other = reordered(point, CanonicalOrder((axes[0], axes[1], axes[2]), flips))  # type: ignore[arg-type]
            assert Lattice.around(other).coarser(2).shape_zyx == lattice.shape_zyx
            found = SampledScan.of(other, -850.0, lattice)
            for name in ("lungs_zyx", "lesions_zyx", "known_zyx"):
                differing = np.mean(getattr(found, name) != getattr(expected, name))
                # Half-way between voxels the last bit decides.
                assert differing < 0.002, (axes, flips, name)
            assert np.mean(np.abs(found.image_zyx - expected.image_zyx)) < 0.002


def test_the_affine_map_is_exact_for_an_affine_change(scans: Scans) -> None:
    """A scan that was turned, stretched and shifted as a whole is brought back."""
    change = np.array(
        [[1.04, 0.08, 0.0, 20.0], [-0.07, 0.97, 0.03, -35.0], [0.01, -0.02, 0.92, 60.0], [0, 0, 0, 1.0]]
    )
    moved = replace(
        scans.current,
        geometry=replace(scans.current.geometry, affine_lps=change @ scans.current.geometry.affine_lps),
        density_geometry=replace(
            scans.current.density_geometry,
            affine_lps=change @ scans.current.density_geometry.affine_lps,
        ),
    )
    lattices = [Lattice.around(one).coarser(2) for one in (scans.current, moved)]
    healthy_hu = healthy_density_hu(moved)
    sampled = [
        SampledScan.of(one, healthy_hu, lattice)
        for one, lattice in zip((scans.current, moved), lattices, strict=True)
    ]
    found = affine_between(lattices[0], sampled[0], lattices[1], sampled[1])
    places = lung_places(scans.current)
    missed = places @ (found - change)[:3, :3].T + (found - change)[:3, 3]
    assert float(np.percentile(np.linalg.norm(missed, axis=1), 95)) < 0.5


# --- arrays of the prior scan -----------------------------------------------------------------------------


def test_lesions_come_to_lie_where_they_are(scans: Scans, registration: Registration) -> None:
    """Brought prior lesions overlap with the persistent lesion of the current scan, and have its labels."""
    brought = registration.brought(
        scans.prior.lesions.labels_zyx, scans.prior.geometry, scans.current.geometry, order=0, outside=0.0
    )
    assert brought.dtype == np.float32
    assert set(np.unique(brought)) == {0.0, 1.0, 2.0}
    persistent = max(
        (one for one in scans.current.measurements.lesions if one.side is Side.LEFT),
        key=lambda one: one.voxels.start_zyx[0],
    )
    box = tuple(
        slice(start, start + length)
        for start, length in zip(persistent.voxels.start_zyx, persistent.voxels.mask_zyx.shape, strict=True)
    )
    there, here = brought[box] > 0, persistent.voxels.mask_zyx
    assert 2.0 * np.count_nonzero(there & here) / (there.sum() + here.sum()) > 0.7


@pytest.mark.parametrize("order", [0, 1])
def test_arrays_are_sampled_where_places_say(scans: Scans, registration: Registration, order: int) -> None:
    """What a voxel gets is what lies at its prior place, on a sheared and turned grid too."""
    geometry = scans.prior.geometry
    affine = scans.current.geometry.affine_lps @ np.array(
        [[0.9, 0.1, 0.0, -8.0], [0.2, 1.4, 0.1, 5.0], [0.0, -0.1, 1.4, 5.0], [0, 0, 0, 1.0]]
    )
    onto = Geometry(affine, (40, 33, 47), "")
    index = np.moveaxis(np.indices(onto.shape_zyx), 0, -1).reshape(-1, 3)
    there = geometry.to_index_zyx(registration.prior_places_lps_mm(onto.to_lps_mm(index)))
    inside = np.all((there >= 0.0) & (there <= np.array(geometry.shape_zyx) - 1.0), axis=1)
    far = np.any((there < -1.0) | (there > np.array(geometry.shape_zyx)), axis=1)
    assert inside.sum() > 1000
    assert far.sum() > 1000
    for axis, spacing_mm in enumerate(geometry.spacing_zyx_mm):
        ramp = np.indices(geometry.shape_zyx, np.int16)[axis]
        found = registration.brought(ramp, geometry, onto, order=order, outside=-7.0).ravel()
        missed_mm = np.abs(found - there[:, axis])[inside] * spacing_mm
        assert missed_mm.max() < 0.3 + (0.0 if order else 0.5 * spacing_mm)
        assert np.all(found[far] == -7.0)


def test_brought_onto_itself_an_array_stays(scans: Scans) -> None:
    """Without any movement every voxel comes back, the outermost ones too."""
    labels = scans.prior.lungs.labels_zyx + np.uint8(1)
    found = Registration(QUALITY).brought(
        labels, scans.prior.geometry, scans.prior.geometry, order=0, outside=0.0
    )
    assert np.array_equal(found, labels)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 2), (3, 1, 40)])
def test_thin_grids_are_grids_too(shape: tuple[int, int, int]) -> None:
    """A grid of one voxel along an axis gets its values."""
    geometry = Geometry(np.eye(4), (4, 6, 41), "")
    ramp = np.arange(4 * 6 * 41, dtype=np.float32).reshape(geometry.shape_zyx)
    onto = Geometry(np.eye(4), shape, "")
    found = carried(ramp, geometry, onto, lambda places: places, order=1, outside=-1.0)
    assert np.array_equal(found, ramp[: shape[0], : shape[1], : shape[2]])


def test_where_there_is_nothing_nothing_comes(scans: Scans, registration: Registration) -> None:
    """An array without content gives the value outside, everywhere."""
    empty = np.zeros(scans.prior.geometry.shape_zyx, np.uint8)
    found = registration.brought(empty, scans.prior.geometry, scans.current.geometry, order=0, outside=0.0)
    assert found.shape == scans.current.geometry.shape_zyx
    assert not found.any()
