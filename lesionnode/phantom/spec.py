"""What a phantom is asked for, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.domain import Finding, LesionClass, Side
from core.geometry import Geometry


class PatientPosition(StrEnum):
    """Patient Position (0018,5100): which end goes into the gantry first, and which side is down."""

    HFS = "HFS"
    HFP = "HFP"
    FFS = "FFS"
    FFP = "FFP"

    @property
    def prone(self) -> bool:
        """Whether the patient lies face down."""
        return self.value.endswith("P")


@dataclass(frozen=True, slots=True)
class PhantomLesion:
    """One lesion of known class, place and size.

    Parameters
    ----------
    lesion_class
        Ground glass, consolidation, or mixed: a consolidated core in a ground-glass shell.
    side
        The lung that holds it.
    up, back, out
        Centre as shares of the lung's extent: base 0 to apex 1; at that height front 0 to back 1; on that
        line the mediastinal surface 0 to the ribs 1. Near 1 the lesion is subpleural: it is cut off by the
        pleura.
    radii_mm
        Half axes to the left, to the back and to the head, mm.
    irregularity
        How far the surface departs from the ellipsoid, as a share of the smallest radius.
    core_share
        Radius of the core of a mixed lesion, as a share of the lesion's.
    identity
        Given (0 or more), it alone chooses the irregular surface, wherever the lesion stands in the list and
        in the lung; the same lesion at another size is then the same shape, scaled. None: the place in the
        list chooses, and the surface depends on the place in the lung too.
    """

    lesion_class: LesionClass
    side: Side
    up: float
    back: float
    out: float
    radii_mm: tuple[float, float, float]
    irregularity: float = 0.15
    core_share: float = 0.6
    identity: int | None = None


#: Both lungs, mostly posterior, basal and peripheral: the usual picture of a viral pneumonia.
DEFAULT_LESIONS = (
    PhantomLesion(LesionClass.MIXED, Side.RIGHT, 0.36, 0.92, 0.62, (44.0, 34.0, 46.0)),
    PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.62, 0.45, 0.97, (34.0, 46.0, 42.0)),
    PhantomLesion(LesionClass.GROUND_GLASS, Side.RIGHT, 0.80, 0.35, 0.45, (17.0, 20.0, 16.0)),
    PhantomLesion(LesionClass.CONSOLIDATION, Side.LEFT, 0.30, 0.95, 0.45, (36.0, 22.0, 34.0)),
    PhantomLesion(LesionClass.GROUND_GLASS, Side.LEFT, 0.52, 0.62, 0.98, (34.0, 46.0, 46.0)),
    PhantomLesion(LesionClass.MIXED, Side.LEFT, 0.74, 0.70, 0.70, (26.0, 24.0, 24.0)),
)


@dataclass(frozen=True, slots=True)
class PhantomSpec:
    """Everything that determines a phantom; the same specification gives the same voxels.

    Parameters
    ----------
    shape_zyx
        Slices, rows, columns.
    spacing_zyx_mm
        Distance of neighbouring slices along their normal, of rows, of columns, mm.
    slice_thickness_mm
        Thickness over which a slice averages, mm; None for the distance of the slices.
    lesions
        Lesions; where two overlap, consolidation wins and then the earlier one.
    noise_sd_hu
        Standard deviation of the noise, HU.
    noise_grain_mm
        Standard deviation of the Gaussian that gives the noise its in-plane correlation, mm: about 0.6 for a
        soft kernel, 0.2 for a lung kernel.
    blur_mm
        Standard deviation of the in-plane point spread, mm.
    seed
        Chooses vessels, the lesions' irregularity and noise. Two phantoms that share it are the same patient.
    noise_seed
        Another value gives another scan of the same patient.
    contrast
        Whether blood is enhanced.
    arms, table
        Whether arms lie beside the body (seen in a wide field of view), whether there is a table.
    size
        Scale of the whole patient, 1 for an adult with lungs of about 5 l; lesion radii are not scaled.
    inspiration
        Volume of both lungs as a share of that at rest, 0.75 to 1.3: the diaphragm moves and what lies above
        it follows, lung holds the same mass in another volume, and lesions move but keep their size.
    shift_mm, turn_deg
        How the patient lies in the frame of reference: turned about the x, y and z axis through the carina
        in that order, degrees, then shifted, LPS mm. The table follows the patient.
    visit
        Which examination of the patient; each has a Frame of Reference UID of its own.
    patient_position
        How the patient lies on the table. It turns the image axes as a scanner that does not reorder its
        images does, and prone patients have the table in front of them.
    gantry_tilt_deg
        Tilt of the image planes about the left-right axis, degrees; slices still follow the table, so that
        the stack is sheared.
    rotation_deg
        Turn of the whole grid about the x, y and z axis in that order, degrees: an oblique series.
    centre_lps_mm
        Centre of the grid, LPS mm; the origin is the carina of a patient who is not shifted.
    """

    shape_zyx: tuple[int, int, int] = (120, 512, 512)
    spacing_zyx_mm: tuple[float, float, float] = (2.5, 0.7, 0.7)
    slice_thickness_mm: float | None = None
    lesions: tuple[PhantomLesion, ...] = DEFAULT_LESIONS
    noise_sd_hu: float = 20.0
    noise_grain_mm: float = 0.6
    blur_mm: float = 0.6
    seed: int = 1
    noise_seed: int = 0
    contrast: bool = False
    arms: bool = False
    table: bool = True
    size: float = 1.0
    inspiration: float = 1.0
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    visit: int = 0
    patient_position: PatientPosition = PatientPosition.HFS
    gantry_tilt_deg: float = 0.0
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre_lps_mm: tuple[float, float, float] = (0.0, 16.0, -28.0)

    def __post_init__(self) -> None:
        """Refuse what no scanner could deliver."""
        if min(self.shape_zyx) < 1 or min(self.spacing_zyx_mm) <= 0.0:
            raise ValueError(
                f"shape {self.shape_zyx} and spacing {self.spacing_zyx_mm} mm must be positive in every axis"
            )
        if self.size <= 0.0 or self.noise_sd_hu < 0.0 or self.blur_mm < 0.0 or self.noise_grain_mm < 0.0:
            raise ValueError("size must be positive; noise, its grain and blur must not be negative")
        if self.slice_thickness_mm is not None and self.slice_thickness_mm <= 0.0:
            raise ValueError(f"slice thickness {self.slice_thickness_mm} mm must be positive")
        if not 0.75 <= self.inspiration <= 1.3:
            raise ValueError(f"inspiration {self.inspiration} must be 0.75 to 1.3")
        if abs(self.gantry_tilt_deg) > 35.0:
            raise ValueError(f"gantry tilt {self.gantry_tilt_deg} degrees: gantries tilt up to 35 degrees")

    @property
    def thickness_mm(self) -> float:
        """Slice thickness in mm."""
        return self.spacing_zyx_mm[0] if self.slice_thickness_mm is None else self.slice_thickness_mm


@dataclass(frozen=True, slots=True)
class LesionTruth:
    """The true size of one lesion.

    Parameters
    ----------
    lesion
        As asked for.
    centre_lps_mm
        Where its centre came to stand, LPS mm.
    ground_glass_ml, consolidation_ml
        What of it lies inside its lung and in view and belongs to no lesion before it, ml.
    """

    lesion: PhantomLesion
    centre_lps_mm: tuple[float, float, float]
    ground_glass_ml: float
    consolidation_ml: float

    @property
    def volume_ml(self) -> float:
        """Whole lesion, ml."""
        return self.ground_glass_ml + self.consolidation_ml


@dataclass(frozen=True, slots=True, eq=False)
class PhantomTruth:
    """What is really there. Volumes come from the shapes, not from the voxels.

    Parameters
    ----------
    lungs_zyx
        uint8: 1 right lung, 2 left lung (`core.domain.LUNG_LABEL`), vessels and lesions included, trachea
        and main bronchi excluded.
    lesions_zyx
        uint8: 1 ground glass, 2 consolidation (`core.domain.FINDING_LABEL`).
    lung_ml
        Volume of each lung as far as it is in view, ml.
    finding_ml
        Volume of each finding in each lung, ml.
    lesions
        One per lesion asked for, in that order.
    """

    lungs_zyx: NDArray[np.uint8]
    lesions_zyx: NDArray[np.uint8]
    lung_ml: dict[Side, float]
    finding_ml: dict[tuple[Finding, Side], float]
    lesions: tuple[LesionTruth, ...]

    @property
    def burden_percent(self) -> float:
        """Share of both lungs that is lesion, percent."""
        lungs = sum(self.lung_ml.values())
        return 100.0 * sum(self.finding_ml.values()) / lungs if lungs else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A synthetic chest CT.

    Parameters
    ----------
    hu_zyx
        int16 Hounsfield units; slices along the normal of the images.
    geometry
        Where the voxels are; its Frame of Reference UID belongs to seed and visit.
    truth
        What is really there, on the same grid.
    spec
        What was asked for.
    """

    hu_zyx: NDArray[np.int16]
    geometry: Geometry
    truth: PhantomTruth
    spec: PhantomSpec
