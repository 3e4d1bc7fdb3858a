"""An analysed scan as later scans of the patient are compared with it: small enough to be kept for years."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from core.domain import LesionMask, LesionMeasurements, LungMask, ModelIdentity, ResultKind
from core.geometry import Geometry


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """What of a scan's header tells it from others, and how far two can be compared. No patient identifiers.

    Parameters
    ----------
    study_instance_uid, series_instance_uid
        UIDs as received.
    scanned_at
        Acquisition date and time, else those of series or study; the scanner's own clock, no time zone. None
        where the header has none.
    kernel
        Convolution Kernel (0018,1210), its values joined by a space; empty where absent.
    slice_thickness_mm
        Slice Thickness (0018,0050); None where absent.
    contrast
        Whether a Contrast/Bolus Agent (0018,0010) is named.
    manufacturer, manufacturer_model_name, device_serial_number
        Of the scanner; empty where absent.
    patient_position
        Patient Position (0018,5100).
    cut_off
        Whether a lung goes on beyond the first or the last slice.
    """

    study_instance_uid: str
    series_instance_uid: str
    scanned_at: datetime | None
    kernel: str = ""
    slice_thickness_mm: float | None = None
    contrast: bool = False
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    device_serial_number: str = ""
    patient_position: str = ""
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class ResultReference:
    """A result object of an earlier scan that a new one may cite.

    Parameters
    ----------
    kind, variant
        What it is, in which encoding (`core.forms.ResultForm.variant`).
    series_instance_uid, sop_class_uid, sop_instance_uid
        Where it is in its study.
    segments
        How many segments a segmentation has, numbered from 1 without gaps: which single lesions have one
        depends on the settings of that time. 0 for other kinds, and where it is not known.
    """

    kind: ResultKind
    variant: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    segments: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class TimePoint:
    """One analysed scan of a patient.

    Parameters
    ----------
    facts
        What scan it is.
    model
        What looked at it.
    measurements
        Its numbers; the voxels of its lesions are counted on `geometry`.
    geometry
        Grid of the masks: that of the source, cut to the box of the lungs.
    lungs, lesions
        Masks on that grid.
    density_geometry
        Grid of the densities: the same box, coarser.
    density_hu_zyx
        int16 HU, averages over the voxels of the source.
    tracking_uids
        Tracking UID (0062,0021) of each single lesion, by `core.domain.Lesion.number`.
    results
        The objects that were made of it.
    digest
        SHA-256 of all that, hexadecimal: results that depend on it have it among what their UIDs come from.
    """

    facts: ScanFacts
    model: ModelIdentity
    measurements: LesionMeasurements
    geometry: Geometry
    lungs: LungMask
    lesions: LesionMask
    density_geometry: Geometry
    density_hu_zyx: NDArray[np.int16]
    tracking_uids: Mapping[int, str] = field(default_factory=dict)
    results: tuple[ResultReference, ...] = ()
    digest: str = ""

    def result(self, kind: ResultKind, variant: str = "") -> ResultReference | None:
        """Return its object of a kind: in that variant, else in the first one there is."""
        of_kind = [one for one in self.results if one.kind is kind]
        exact = [one for one in of_kind if one.variant == variant]
        return next(iter(exact or of_kind), None)
