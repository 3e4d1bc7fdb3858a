"""Where voxels are: affines in LPS millimetres, canonical orientation, regularity of a stack of slices.

Conventions, used everywhere: arrays are (z, y, x); z counts slices in rising order along the slice normal
(row direction × column direction, PS3.3 C.7.6.2.1.1), y counts pixel rows, x counts pixel columns. World
coordinates are the patient's LPS millimetres: +x to the patient's left, +y to the back, +z to the head.

Rows and columns are at right angles. In a *straight* stack the step from slice to slice follows the normal;
in a *sheared* one, that of a tilted gantry, each slice also slides sideways against the one before it.
Results lie on the source's own grid, sheared or not; what needs voxels with right angles works on a straight
one (`inference.straightening`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

#: Cosine under which two directions are not the same any more (about 0.25 degrees).
SAME_DIRECTION_COS = 1.0 - 1e-5
#: Slide from slice to slice, in pixels, below which it is the rounding of a straight stack's affine.
_NO_SLIDE_PX = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Position of a voxel grid in the patient.

    Parameters
    ----------
    affine_lps
        4 × 4 float64; maps the index column vector (k, j, i, 1) = (slice, row, column, 1) to LPS mm
        at voxel centres.
    shape_zyx
        Number of slices, rows and columns.
    frame_of_reference_uid
        Frame of Reference UID (0020,0052), empty where the source has none.
    """

    affine_lps: NDArray[np.float64]
    shape_zyx: tuple[int, int, int]
    frame_of_reference_uid: str

    @classmethod
    def from_dicom(
        cls,
        *,
        image_position_mm: Sequence[float],
        image_orientation: Sequence[float],
        pixel_spacing_mm: Sequence[float],
        slice_spacing_mm: float,
        shape_zyx: tuple[int, int, int],
        slide_mm: Sequence[float] = (0.0, 0.0, 0.0),
        frame_of_reference_uid: str = "",
    ) -> Geometry:
        """Build from the attributes of the first slice (lowest along the normal), PS3.3 C.7.6.2.1.1.

        Parameters
        ----------
        image_position_mm
            Image Position (Patient) of the first slice, LPS mm.
        image_orientation
            Image Orientation (Patient): direction of increasing column index, then of increasing row index.
        pixel_spacing_mm
            Pixel Spacing: between rows, then between columns, mm.
        slice_spacing_mm
            Distance of neighbouring slices along the normal, mm, positive.
        shape_zyx
            Slices, rows, columns.
        slide_mm
            How far each slice slides sideways against the one before it: LPS mm, at right angles to the
            normal; none in a straight stack.
        frame_of_reference_uid
            Frame of Reference UID.
        """
        along_x = np.asarray(image_orientation[:3], dtype=np.float64)
        along_y = np.asarray(image_orientation[3:], dtype=np.float64)
        affine = np.eye(4)
        affine[:3, 0] = slice_normal(image_orientation) * slice_spacing_mm + np.asarray(slide_mm)
        affine[:3, 1] = along_y * float(pixel_spacing_mm[0])
        affine[:3, 2] = along_x * float(pixel_spacing_mm[1])
        affine[:3, 3] = np.asarray(image_position_mm, dtype=np.float64)
        return cls(affine, shape_zyx, frame_of_reference_uid)

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring slices along their normal, of rows and of columns in mm."""
        z, y, x = np.linalg.norm(self.without_slide().affine_lps[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def slide_yx(self) -> tuple[float, float]:
        """Rows and columns by which each slice slides against the one before it; 0 in a straight stack."""
        step, *in_plane = self.affine_lps[:3, :3].T
        y, x = (float(step @ along / (along @ along)) for along in in_plane)
        return (y, x) if max(abs(y), abs(x)) > _NO_SLIDE_PX else (0.0, 0.0)

    @property
    def is_sheared(self) -> bool:
        """Whether slices slide sideways, as those of a tilted gantry do."""
        return self.slide_yx != (0.0, 0.0)

    @property
    def tilt_deg(self) -> float:
        """Angle between the step from slice to slice and the slice normal, degrees; 0 in a straight stack."""
        along_mm, row_mm, column_mm = self.spacing_zyx_mm
        rows, columns = self.slide_yx
        return math.degrees(math.atan2(math.hypot(rows * row_mm, columns * column_mm), along_mm))

    def without_slide(self) -> Geometry:
        """Return the straight grid with the same first slice; itself where it is straight."""
        slide = np.array(self.slide_yx)
        if not slide.any():
            return self
        affine = self.affine_lps.copy()
        affine[:3, 0] -= affine[:3, 1:3] @ slide
        return Geometry(affine, self.shape_zyx, self.frame_of_reference_uid)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine_lps[:3, :3]))) / 1000.0

    def to_lps_mm(self, index_zyx: NDArray[Any]) -> NDArray[np.float64]:
        """Map voxel indices to the patient.

        Parameters
        ----------
        index_zyx
            (…, 3) indices (slice, row, column), fractions allowed.

        Returns
        -------
        ndarray
            (…, 3) float64, LPS mm.
        """
        index = np.asarray(index_zyx, dtype=np.float64)
        return index @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]

    def to_index_zyx(self, point_lps_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Map points of the patient to fractional voxel indices; the inverse of `to_lps_mm`."""
        offset = np.asarray(point_lps_mm, dtype=np.float64) - self.affine_lps[:3, 3]
        return offset @ np.linalg.inv(self.affine_lps[:3, :3]).T


@dataclass(frozen=True, slots=True)
class CanonicalOrder:
    """How a grid's axes are reordered and flipped to come closest to (foot→head, front→back, right→left).

    In the canonical order index z rises to the head, y to the back and x to the patient's left, whatever
    the patient's position on the table was. Algorithms run on canonical views; results return by `restore`.

    Parameters
    ----------
    axes
        Source axis that becomes canonical z, y, x.
    flips
        Whether that axis is reversed.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> CanonicalOrder:
        """Choose the order for a grid: each patient axis goes to the source axis most parallel to it.

        The slices of a sheared stack count by their normal, not by the way in which they slide.
        """
        columns = geometry.without_slide().affine_lps[:3, :3]
        directions = columns / np.linalg.norm(columns, axis=0)
        axes = [-1, -1, -1]
        flips = [False, False, False]
        strength = np.abs(directions)
        for _ in range(3):
            world, source = np.unravel_index(int(np.argmax(strength)), (3, 3))
            canonical = 2 - int(world)  # world (x, y, z) stands at canonical axis (2, 1, 0)
            axes[canonical] = int(source)
            flips[canonical] = bool(directions[world, source] < 0)
            strength[world, :] = -1.0
            strength[:, source] = -1.0
        return cls((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))

    def apply(self, array_zyx: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a canonical view of a source array (no copy)."""
        return array_zyx.transpose(self.axes)[self._slices()]

    def restore(self, canonical_zyx: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a view in source order of a canonical array (no copy); undoes `apply`."""
        inverse = tuple(int(axis) for axis in np.argsort(self.axes))
        return canonical_zyx[self._slices()].transpose(inverse)

    def apply_geometry(self, geometry: Geometry) -> Geometry:
        """Return the geometry of the canonical view."""
        affine = geometry.affine_lps.copy()
        columns = [geometry.affine_lps[:3, axis].copy() for axis in self.axes]
        shape = [geometry.shape_zyx[axis] for axis in self.axes]
        origin = geometry.affine_lps[:3, 3].copy()
        for canonical, flip in enumerate(self.flips):
            if flip:
                origin += columns[canonical] * (shape[canonical] - 1)
                columns[canonical] = -columns[canonical]
            affine[:3, canonical] = columns[canonical]
        affine[:3, 3] = origin
        return Geometry(affine, (shape[0], shape[1], shape[2]), geometry.frame_of_reference_uid)

    def _slices(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(None, None, -1) if flip else slice(None) for flip in self.flips)
        return z, y, x


def slice_normal(image_orientation: Sequence[float]) -> NDArray[np.float64]:
    """Return the unit slice normal: row direction × column direction (PS3.3 C.7.6.2.1.1), LPS."""
    normal = np.cross(
        np.asarray(image_orientation[:3], dtype=np.float64),
        np.asarray(image_orientation[3:], dtype=np.float64),
    )
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def position_along_normal_mm(image_position_mm: Sequence[float], image_orientation: Sequence[float]) -> float:
    """Return where a slice stands along its own normal, in mm; the only sorting key of a stack."""
    return float(np.dot(np.asarray(image_position_mm, dtype=np.float64), slice_normal(image_orientation)))


@dataclass(frozen=True, slots=True)
class StackRegularity:
    """What the positions of a stack's slices say about its completeness.

    Parameters
    ----------
    count
        Number of slices.
    spacing_mm
        Median distance of neighbouring distinct slices, mm; 0 for fewer than two.
    missing
        Slices that would have to be added to close every gap.
    gaps_mm
        Start and end position of each gap along the normal, mm.
    uneven
        Neighbouring distances that are neither one spacing nor a whole number of them.
    duplicates
        Slices whose position another slice holds already.
    """

    count: int
    spacing_mm: float
    missing: int
    gaps_mm: tuple[tuple[float, float], ...]
    uneven: int
    duplicates: int

    @property
    def is_regular(self) -> bool:
        """Whether the slices form one evenly spaced stack without gaps or duplicates."""
        return self.count > 1 and not (self.missing or self.uneven or self.duplicates)


def stack_regularity(positions_mm: Sequence[float], *, tolerance: float = 0.1) -> StackRegularity:
    """Judge a stack by its slices' positions along the normal.

    Parameters
    ----------
    positions_mm
        One position per slice, any order, mm.
    tolerance
        Deviation from the median distance that still counts as even, as a share of it.

    Returns
    -------
    StackRegularity
        Counts of what is missing, uneven and duplicate.
    """
    ordered = np.sort(np.asarray(positions_mm, dtype=np.float64))
    if ordered.size < 2:
        return StackRegularity(int(ordered.size), 0.0, 0, (), 0, 0)
    steps = np.diff(ordered)
    # Positions are written with limited decimals: 0.01 mm apart is the same place.
    distinct = steps > 0.01
    duplicates = int(np.count_nonzero(~distinct))
    if not distinct.any():
        return StackRegularity(int(ordered.size), 0.0, 0, (), 0, duplicates)
    spacing = float(np.median(steps[distinct]))
    ratios = steps / spacing
    whole = np.rint(ratios)
    even = np.abs(ratios - whole) <= tolerance * np.maximum(whole, 1)
    gap = distinct & (whole >= 2) & even
    uneven = distinct & ~even
    gaps = tuple((float(ordered[at]), float(ordered[at + 1])) for at in np.flatnonzero(gap))
    return StackRegularity(
        count=int(ordered.size),
        spacing_mm=spacing,
        missing=int(np.sum(whole[gap] - 1)),
        gaps_mm=gaps,
        uneven=int(np.count_nonzero(uneven | (distinct & (whole == 0)))),
        duplicates=duplicates,
    )
