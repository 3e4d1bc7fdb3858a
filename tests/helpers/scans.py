"""Scans of a simple chest as they are kept for comparison: two boxes of lung with balls of lesion in them.

Everything is painted in the patient's millimetres and measured as any scan is; how one scan is brought onto
another is known exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from core.comparison import RegistrationQuality
from core.domain import Analysis, CtVolume, LesionMask, LungMask, ModelIdentity
from core.geometry import Geometry
from core.repeatability import Condition, Limit, Quantity, Repeatability
from core.time_point import TimePoint
from inference.lesions import measure
from inference.time_points import time_point_of
from lesionnode.phantom.correspondence import corresponding_lps_mm
from lesionnode.phantom.spec import Phantom, PhantomSpec
from tests.helpers.analyses import MODEL

GROUND_GLASS, CONSOLIDATION = 1, 2
#: Half of the lungs' extent to each side of their middle, x, y, z, mm: 540 ml each.
LUNG_MM, LUNG_AT_MM = (30.0, 50.0, 45.0), 45.0
MOMENT = datetime(2026, 3, 2, 10, 30)

#: 95 % of unchanged lesions stay within 1 ml and 20 %; other kernels were measured, nothing else was.
REPEATABILITY = Repeatability(
    tuple(
        Limit(quantity, condition, 0.0 if quantity is Quantity.LUNG else 1.0, percent)
        for quantity in Quantity
        for condition, percent in (
            (Condition.SAME_PROTOCOL, 2.0 if quantity is Quantity.LUNG else 20.0),
            (Condition.OTHER_KERNEL, 3.0 if quantity is Quantity.LUNG else 30.0),
        )
    )
)


@dataclass(frozen=True)
class Ball:
    """A lesion: centre and radius, LPS mm; ground glass if nothing else is said."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    label: int = GROUND_GLASS

    @property
    def volume_ml(self) -> float:
        """Its true volume."""
        return 4.0 / 3.0 * np.pi * self.radius_mm**3 / 1000.0

    def moved(self, *by_mm: float) -> Ball:
        """Return it elsewhere."""
        x, y, z = np.add(self.centre_mm, by_mm).tolist()
        return replace(self, centre_mm=(x, y, z))


@dataclass(frozen=True, eq=False)
class Chest:
    """A scan that is asked for.

    Parameters
    ----------
    lesions
        What is in the lungs; later ones over earlier ones.
    spacing_zyx_mm, shape_zyx
        The grid; its middle is that of the lungs.
    centre_mm
        Where the middle of the grid is, LPS mm: elsewhere it cuts the lungs off.
    stretch
        Length of the lungs along z, as a share of that at rest.
    header
        Header attributes beyond the ordinary ones.
    model
        What looked at it.
    """

    lesions: Sequence[Ball] = ()
    spacing_zyx_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
    shape_zyx: tuple[int, int, int] = (52, 62, 90)
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stretch: float = 1.0
    header: dict[str, Any] = field(default_factory=dict)
    model: ModelIdentity = MODEL

    def point(self, number: int = 1, when: datetime | None = MOMENT) -> TimePoint:
        """Return it as it is kept; each number is another series."""
        analysis = self.analysis(number, when)
        point = time_point_of(analysis)
        assert point is not None, "a chest without lungs cannot be compared"
        tracked = {one.number: f"2.25.{number}00{one.number}" for one in analysis.measurements.lesions}
        return replace(point, tracking_uids=tracked)

    def analysis(self, number: int, when: datetime | None) -> Analysis:
        """Paint and measure it."""
        affine = np.zeros((4, 4))
        affine[[2, 1, 0], [0, 1, 2]] = self.spacing_zyx_mm
        middle = affine[:3, :3] @ ((np.array(self.shape_zyx) - 1.0) / 2.0)
        affine[:3, 3], affine[3, 3] = np.array(self.centre_mm) - middle, 1.0
        geometry = Geometry(affine, self.shape_zyx, f"2.25.{number}")
        places = geometry.to_lps_mm(np.moveaxis(np.indices(self.shape_zyx), 0, -1))
        x, y, z = np.abs(np.moveaxis(places, -1, 0))
        inside = (np.abs(x - LUNG_AT_MM) < LUNG_MM[0]) & (y < LUNG_MM[1]) & (z < LUNG_MM[2] * self.stretch)
        lungs = np.where(places[..., 0] < 0.0, 1, 2).astype(np.uint8) * inside
        lesions = np.zeros(self.shape_zyx, np.uint8)
        for ball in self.lesions:
            lesions[np.sum((places - ball.centre_mm) ** 2, axis=-1) <= ball.radius_mm**2] = ball.label
        lesions *= inside
        hu = np.array([-850, -550, 10], np.int16)[lesions]
        return _analysed(hu, geometry, lungs, lesions, _header(number, when, self.header), self.model)


def phantom_point(phantom: Phantom, number: int, when: datetime | None = MOMENT) -> TimePoint:
    """Return a phantom as if a model without fault had looked at it."""
    truth, header = phantom.truth, _header(number, when, {})
    analysis = _analysed(phantom.hu_zyx, phantom.geometry, truth.lungs_zyx, truth.lesions_zyx, header, MODEL)
    point = time_point_of(analysis)
    assert point is not None, "a phantom without lungs cannot be compared"
    return point


def _header(number: int, when: datetime | None, values: dict[str, Any]) -> Dataset:
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = f"2.25.{number}1", f"2.25.{number}2"
    header.ConvolutionKernel, header.SliceThickness, header.PatientPosition = "B30f", 2.0, "HFS"
    header.Manufacturer, header.ManufacturerModelName = "MAKER", "SCANNER"
    if when is not None:
        header.AcquisitionDate, header.AcquisitionTime = f"{when:%Y%m%d}", f"{when:%H%M%S}"
    for keyword, value in values.items():
        setattr(header, keyword, value)
    return header


def _analysed(
    hu: NDArray[np.int16],
    geometry: Geometry,
    lungs_zyx: NDArray[np.uint8],
    lesions_zyx: NDArray[np.uint8],
    header: Dataset,
    model: ModelIdentity,
) -> Analysis:
    volume = CtVolume(hu, geometry, (), (header,))
    lungs, lesions = LungMask(lungs_zyx), LesionMask(lesions_zyx, model)
    return Analysis(volume, lungs, lesions, measure(volume, lungs, lesions))


@dataclass(frozen=True, eq=False)
class Exact:
    """A registration that is known.

    Parameters
    ----------
    way
        From places of the current scan to those of the prior one, (n, 3) LPS mm.
    quality
        What it says of itself.
    """

    way: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda places: places
    quality: RegistrationQuality = RegistrationQuality(True, "exact", 1.0, 0.0, 1.0)  # noqa: RUF009 - frozen

    def prior_places_lps_mm(self, places_lps_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Go the way."""
        return np.asarray(self.way(np.asarray(places_lps_mm, np.float64)))

    def brought(
        self, array_zyx: NDArray[Any], prior_geometry: Geometry, onto: Geometry, *, order: int, outside: float
    ) -> NDArray[np.float32]:
        """Sample a prior array at the voxels of a grid of the current scan."""
        found = np.empty(onto.shape_zyx, np.float32)
        for k in range(onto.shape_zyx[0]):
            _, rows, columns = onto.shape_zyx
            index = np.moveaxis(np.indices((1, rows, columns)), 0, -1).reshape(-1, 3) + np.array([k, 0, 0])
            there = prior_geometry.to_index_zyx(self.prior_places_lps_mm(onto.to_lps_mm(index)))
            values = ndimage.map_coordinates(
                array_zyx.astype(np.float32), there.T, order=order, mode="constant", cval=outside
            )
            found[k] = values.reshape(rows, columns)
        return found

    def __call__(self, prior: TimePoint, current: TimePoint) -> Exact:
        """Be what registering gives."""
        return self


def shifted(*by_mm: float) -> Exact:
    """Return the registration of a prior scan that lies elsewhere by that much, LPS mm."""
    return Exact(lambda places: places + np.array(by_mm))


def failed(reason: str = "The lungs could not be brought together.") -> Exact:
    """Return a registration that did not succeed."""
    return Exact(quality=RegistrationQuality(False, "affine", 0.4, 15.0, 0.1, reason))


def between(prior: PhantomSpec, current: PhantomSpec) -> Exact:
    """Return the exact registration of two phantoms of one patient."""
    return Exact(lambda places: corresponding_lps_mm(current, prior, places))
