"""What a phantom's header says: patient, study, scanner and encoding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from core.uid import derived_uid
from lesionnode.phantom.spec import Phantom


class Vendor(StrEnum):
    """Whose habits of encoding a header follows."""

    SIEMENS = "siemens"
    GE = "ge"
    PHILIPS = "philips"
    CANON = "canon"


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """Values of the header that are free to choose; field names follow the DICOM keywords.

    Parameters
    ----------
    patient_id, issuer_of_patient_id, patient_name, patient_birth_date, patient_sex
        The patient; an empty issuer is left out.
    accession_number, study_id, study_description, study_date, study_time
        The study.
    study_instance_uid, series_instance_uid, frame_of_reference_uid
        Empty: derived from the rest of the header and the phantom's specification, so that the same phantom
        with the same header is the same series.
    series_number, series_description, acquisition_number, acquisition_date, acquisition_time
        The series; empty acquisition date and time are those of the study.
    manufacturer, manufacturer_model_name, software_versions, station_name, institution_name
        The scanner.
    convolution_kernel, kvp, x_ray_tube_current_ma, exposure_time_ms
        How it scanned.
    image_type
        Image Type (0008,0008).
    specific_character_set
        Specific Character Set (0008,0005), several values separated by a backslash; texts must fit it.
    rescale_slope, rescale_intercept
        Stored value × slope + intercept = HU.
    pixel_representation, bits_stored
        0 unsigned, 1 signed; bits that count.
    pixel_padding_value
        Stored value outside the circle of reconstruction; None for a square image.
    timezone_offset_from_utc
        Such as "+0800"; empty: left out.
    body_part_examined
        Body Part Examined (0018,0015).
    instances_from_head
        Instance Number counts against the slice normal.
    """

    patient_id: str = "PHANTOM-1"
    issuer_of_patient_id: str = ""
    patient_name: str = "Phantom^Chest"
    patient_birth_date: str = "19600229"
    patient_sex: str = "O"
    accession_number: str = "PH0001"
    study_id: str = "1"
    study_description: str = "CT Chest (synthetic phantom)"
    study_date: str = "20260105"
    study_time: str = "081500"
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    frame_of_reference_uid: str = ""
    series_number: int = 2
    series_description: str = "Chest 2.5 mm soft"
    acquisition_number: int = 1
    acquisition_date: str = ""
    acquisition_time: str = ""
    manufacturer: str = "lesion-node"
    manufacturer_model_name: str = "Digital chest phantom"
    software_versions: str = "1"
    station_name: str = "PHANTOM"
    institution_name: str = ""
    convolution_kernel: str = "SOFT"
    kvp: float = 120.0
    x_ray_tube_current_ma: int = 150
    exposure_time_ms: int = 500
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    specific_character_set: str = "ISO_IR 100"
    rescale_slope: float = 1.0
    rescale_intercept: float = -1024.0
    pixel_representation: int = 0
    bits_stored: int = 12
    pixel_padding_value: int | None = None
    timezone_offset_from_utc: str = ""
    body_part_examined: str = "CHEST"
    instances_from_head: bool = False

    def like(self, vendor: Vendor) -> StudyHeader:
        """Return this header with a vendor's habits: names, kernel, Image Type, rescaling, signedness."""
        return replace(self, **_HABITS[vendor])

    def later(self, days: int, accession_number: str) -> StudyHeader:
        """Return the header of another study of the same patient.

        Parameters
        ----------
        days
            How many days after this study.
        accession_number
            Its Accession Number (0008,0050).

        Returns
        -------
        StudyHeader
            With dates shifted, where there are any, and no UIDs of this study.
        """
        return replace(
            self,
            accession_number=accession_number,
            study_date=_shifted(self.study_date, days),
            acquisition_date=_shifted(self.acquisition_date, days),
            study_instance_uid="",
            series_instance_uid="",
            frame_of_reference_uid="",
        )

    def completed(self, phantom: Phantom) -> StudyHeader:
        """Return this header with every derived value filled in."""
        study = self.study_instance_uid or derived_uid(
            "phantom study",
            self.patient_id,
            self.issuer_of_patient_id,
            self.accession_number,
            self.study_date + self.study_time,
            str(phantom.spec.seed),
        )
        series = self.series_instance_uid or derived_uid(
            "phantom series", study, str(self.series_number), self.convolution_kernel, repr(phantom.spec)
        )
        return replace(
            self,
            study_instance_uid=study,
            series_instance_uid=series,
            frame_of_reference_uid=self.frame_of_reference_uid or phantom.geometry.frame_of_reference_uid,
            acquisition_date=self.acquisition_date or self.study_date,
            acquisition_time=self.acquisition_time or self.study_time,
        )

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest stored value."""
        if self.pixel_representation:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1


def _shifted(date: str, days: int) -> str:
    """Return a date (VR DA) some days later, an empty one as it is."""
    return f"{datetime.strptime(date, '%Y%m%d') + timedelta(days=days):%Y%m%d}" if date else ""


_HABITS: dict[Vendor, dict[str, Any]] = {
    Vendor.SIEMENS: {
        "manufacturer": "SIEMENS",
        "convolution_kernel": "B40f",
        "image_type": ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"),
        "rescale_intercept": -1024.0,
        "pixel_representation": 0,
        "bits_stored": 12,
    },
    Vendor.GE: {
        "manufacturer": "GE MEDICAL SYSTEMS",
        "convolution_kernel": "STANDARD",
        "rescale_intercept": -1024.0,
        "pixel_representation": 1,
        "bits_stored": 16,
        "pixel_padding_value": -2000,
    },
    Vendor.PHILIPS: {
        "manufacturer": "Philips",
        "convolution_kernel": "B",
        "image_type": ("ORIGINAL", "PRIMARY", "AXIAL", "HELIX"),
        "rescale_intercept": -1000.0,
        "pixel_representation": 0,
        "bits_stored": 12,
    },
    Vendor.CANON: {
        "manufacturer": "TOSHIBA",
        "convolution_kernel": "FC08",
        "rescale_intercept": 0.0,
        "pixel_representation": 1,
        "bits_stored": 16,
        "pixel_padding_value": -2048,
    },
}
