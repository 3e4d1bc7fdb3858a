"""From a specification to voxels: the grid of the scan, slice averaging, blur and noise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain import FINDING_LABEL, LUNG_LABEL, Finding, Side
from core.geometry import Geometry
from core.uid import derived_uid
from lesionnode.phantom import thorax
from lesionnode.phantom.patient import InView, Patient, PlaneShares
from lesionnode.phantom.shapes import FloatArray, Points, vector
from lesionnode.phantom.spec import (
    LesionTruth,
    PatientPosition,
    Phantom,
    PhantomSpec,
    PhantomTruth,
)

#: Direction of rows (increasing column) and columns (increasing row) per position, for a scanner that shows
#: every patient as seen from the foot end of the table. LPS.
IMAGE_AXES: dict[PatientPosition, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    PatientPosition.HFS: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    PatientPosition.HFP: ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    PatientPosition.FFS: ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    PatientPosition.FFP: ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
}

_SUBSLICE_MM = 1.3
_MOST_SUBSLICES = 8
#: Fine enough: half of it changes the lungs by less than 0.05 percent.
_LUNG_LATTICE_MM = 2.0


def generate_phantom(spec: PhantomSpec | None = None) -> Phantom:
    """Make a phantom.

    Parameters
    ----------
    spec
        What is wanted; None for the default: 120 slices of 512 × 512 of an adult with six lesions.

    Returns
    -------
    Phantom
        Voxels, geometry and truth; the same specification always gives the same.
    """
    spec = PhantomSpec() if spec is None else spec
    geometry = scan_geometry(spec)
    anatomy = replace(geometry, affine_lps=_out_of_pose(spec) @ geometry.affine_lps)
    patient = Patient.of(spec)
    hu = np.empty(spec.shape_zyx, dtype=np.int16)
    lungs = np.empty(spec.shape_zyx, dtype=np.uint8)
    lesions = np.empty(spec.shape_zyx, dtype=np.uint8)
    for k in range(spec.shape_zyx[0]):
        shares = _slice_shares(patient, anatomy, k)
        hu[k] = _imaged(shares.hu, spec, k)
        right = thorax.right_side(_plane(anatomy, k, spec.size)) < 0
        lungs[k], lesions[k] = _labels(shares, right)
    return Phantom(hu, geometry, _truth(patient, anatomy, lungs, lesions), spec)


def scan_geometry(spec: PhantomSpec) -> Geometry:
    """Return where a specification's voxels are.

    The slices of a tilted gantry follow the table, so that the affine is sheared; their distance along the
    normal stays what the specification asks for.
    """
    row_axis, column_axis = (np.array(axis) for axis in IMAGE_AXES[spec.patient_position])
    table_axis = np.cross(row_axis, column_axis)
    tilt = math.radians(spec.gantry_tilt_deg)
    column_axis = column_axis * math.cos(tilt) + table_axis * math.sin(tilt)
    turn = _rotation(spec.rotation_deg)
    dz, dy, dx = spec.spacing_zyx_mm
    affine = np.eye(4)
    affine[:3, 0] = turn @ table_axis * (dz / math.cos(tilt))
    affine[:3, 1] = turn @ column_axis * dy
    affine[:3, 2] = turn @ row_axis * dx
    middle = (np.array(spec.shape_zyx) - 1.0) / 2.0
    affine[:3, 3] = np.array(spec.centre_lps_mm) - affine[:3, :3] @ middle
    visit = (str(spec.visit),) if spec.visit else ()
    uid = derived_uid("phantom", "frame of reference", str(spec.seed), *visit)
    return Geometry(affine, spec.shape_zyx, uid)


def pose(spec: PhantomSpec) -> NDArray[np.float64]:
    """Return how the patient lies in the frame of reference: 4 × 4, LPS mm from the carina to LPS mm."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = _rotation(spec.turn_deg), spec.shift_mm
    return affine


def _out_of_pose(spec: PhantomSpec) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(pose(spec)))


def _rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(degrees):
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        step = np.eye(3)
        one, other = [at for at in range(3) if at != axis]
        step[one, one] = step[other, other] = cos
        step[one, other], step[other, one] = (-sin, sin) if axis != 1 else (sin, -sin)
        turn = step @ turn
    return turn


def _plane(geometry: Geometry, k: float, size: float) -> Points:
    """Return the pixel centres of the plane at a slice index (fractions allowed), mm of the anatomy."""
    _, rows, columns = geometry.shape_zyx
    affine = geometry.affine_lps / size
    parts = []
    for axis in range(3):
        along_y = affine[axis, 1] * np.arange(rows)[:, None]
        along_x = affine[axis, 2] * np.arange(columns)[None, :]
        start = affine[axis, 3] + affine[axis, 0] * k
        # What does not vary along an axis stays of length 1 there: most planes cost a fraction then.
        along_y = along_y if abs(affine[axis, 1]) > 1e-9 else along_y[:1]
        along_x = along_x if abs(affine[axis, 2]) > 1e-9 else along_x[:, :1]
        parts.append((start + along_y + along_x).astype(np.float32))
    return Points(parts[0], parts[1], parts[2])


def _slice_shares(patient: Patient, geometry: Geometry, k: int) -> PlaneShares:
    """Average the planes inside one slice's thickness."""
    spec = patient.spec
    spacing_mm, *in_plane_mm = spec.spacing_zyx_mm
    count = int(np.clip(math.ceil(spec.thickness_mm / _SUBSLICE_MM), 1, _MOST_SUBSLICES))
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * spec.thickness_mm / spacing_mm
    pixel_mm = math.sqrt(in_plane_mm[0] * in_plane_mm[1]) / spec.size
    planes = [patient.paint(_plane(geometry, k + offset, spec.size), pixel_mm) for offset in offsets]
    if count == 1:
        return planes[0]
    return PlaneShares(
        hu=_mean([plane.hu for plane in planes]),
        lung=_mean([plane.lung for plane in planes]),
        ground_glass=_mean([plane.ground_glass for plane in planes]),
        consolidation=_mean([plane.consolidation for plane in planes]),
    )


def _mean(planes: list[FloatArray]) -> FloatArray:
    total = planes[0]
    for plane in planes[1:]:
        total += plane
    total *= np.float32(1.0 / len(planes))
    return total


def _labels(shares: PlaneShares, right: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give each pixel to what fills at least half of it."""
    sides = np.where(right, LUNG_LABEL[Side.RIGHT], LUNG_LABEL[Side.LEFT])
    lungs = np.where(shares.lung >= 0.5, sides, 0).astype(np.uint8)
    findings = np.where(
        shares.consolidation >= shares.ground_glass,
        FINDING_LABEL[Finding.CONSOLIDATION],
        FINDING_LABEL[Finding.GROUND_GLASS],
    )
    lesion = (shares.consolidation + shares.ground_glass >= 0.5) & (lungs > 0)
    return lungs, np.where(lesion, findings, 0).astype(np.uint8)


def _imaged(hu_yx: FloatArray, spec: PhantomSpec, k: int) -> NDArray[np.int16]:
    """Add point spread and noise to one slice."""
    _, dy, dx = spec.spacing_zyx_mm
    if spec.blur_mm > 0.0:
        hu_yx = ndimage.gaussian_filter(hu_yx, (spec.blur_mm / dy, spec.blur_mm / dx), truncate=3.0)
    if spec.noise_sd_hu > 0.0:
        rng = np.random.default_rng((spec.seed, 5, spec.noise_seed, k))
        hu_yx = hu_yx + _noise_hu(rng, hu_yx.shape, spec)
    return np.clip(np.rint(hu_yx), -1024, 3071).astype(np.int16)


def _noise_hu(rng: np.random.Generator, shape: tuple[int, ...], spec: PhantomSpec) -> FloatArray:
    noise = rng.standard_normal(shape, dtype=np.float32)
    sigmas = (spec.noise_grain_mm / spec.spacing_zyx_mm[1], spec.noise_grain_mm / spec.spacing_zyx_mm[2])
    if spec.noise_grain_mm > 0.0:
        noise = ndimage.gaussian_filter(noise, sigmas, truncate=3.0, mode="wrap")
    gain = math.prod(math.sqrt(float(np.sum(_gaussian_weights(sigma) ** 2))) for sigma in sigmas)
    return noise * np.float32(spec.noise_sd_hu / gain)


def _gaussian_weights(sigma: float) -> NDArray[np.float64]:
    """Return the weights that `scipy.ndimage.gaussian_filter` uses with truncate=3."""
    reach = int(3.0 * sigma + 0.5)
    if sigma <= 0.0 or reach == 0:
        return np.ones(1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def _truth(
    patient: Patient, anatomy: Geometry, lungs: NDArray[np.uint8], lesions: NDArray[np.uint8]
) -> PhantomTruth:
    size, lies = patient.spec.size, pose(patient.spec)
    in_view = _view(anatomy, size)
    measured = []
    for number, placed in enumerate(patient.lesions):
        volumes = patient.lesion_ml(number, in_view)
        centre = vector(lies[:3, :3] @ (size * np.array(placed.centre)) + lies[:3, 3])
        ground_glass_ml, consolidation_ml = volumes[Finding.GROUND_GLASS], volumes[Finding.CONSOLIDATION]
        measured.append(LesionTruth(placed.lesion, centre, ground_glass_ml, consolidation_ml))
    finding_ml = {(finding, side): 0.0 for finding in Finding for side in Side}
    for lesion in measured:
        finding_ml[Finding.GROUND_GLASS, lesion.lesion.side] += lesion.ground_glass_ml
        finding_ml[Finding.CONSOLIDATION, lesion.lesion.side] += lesion.consolidation_ml
    lung_ml = patient.lung_ml(_LUNG_LATTICE_MM, in_view)
    return PhantomTruth(lungs, lesions, lung_ml, finding_ml, tuple(measured))


def _view(geometry: Geometry, size: float) -> InView:
    """Return the test whether points of the anatomy lie inside the scanned grid, voxel borders included."""
    inverse = np.linalg.inv(geometry.affine_lps[:3, :3]) * size
    offset = np.linalg.inv(geometry.affine_lps[:3, :3]) @ geometry.affine_lps[:3, 3]

    def in_view(points: Points) -> NDArray[np.bool_]:
        inside = np.ones((1,) * len(points.shape), dtype=np.bool_)
        for axis, length in enumerate(geometry.shape_zyx):
            a, b, c = (float(value) for value in inverse[axis])
            index = a * points.x + b * points.y + c * points.z - np.float32(offset[axis])
            inside = inside & (index >= -0.5) & (index <= length - 0.5)
        return inside

    return in_view
