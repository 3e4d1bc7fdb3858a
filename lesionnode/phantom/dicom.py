"""Phantoms as DICOM: CT Image Storage, one data set per slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from core.ct_header import CT_IMAGE_STORAGE
from core.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid
from lesionnode.phantom.encoding import set_pixels, stored_values
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.spec import Phantom


def phantom_datasets(
    phantom: Phantom,
    header: StudyHeader | None = None,
    *,
    transfer_syntax_uid: UID = ExplicitVRLittleEndian,
) -> Iterator[Dataset]:
    """Write a phantom as single-frame CT images.

    Parameters
    ----------
    phantom
        What to write; patient position, tilt and orientation are part of it.
    header
        Free values of the header; None for the defaults.
    transfer_syntax_uid
        One of `encoding.TRANSFER_SYNTAXES`.

    Yields
    ------
    Dataset
        One CT Image Storage instance (PS3.3 A.3) with File Meta Information per slice, in the order of the
        phantom's axis z.
    """
    header = (StudyHeader() if header is None else header).completed(phantom)
    for k in range(phantom.hu_zyx.shape[0]):
        sop_instance_uid = derived_uid("phantom instance", header.series_instance_uid, str(k))
        dataset = common_dataset(phantom, header, CT_IMAGE_STORAGE, sop_instance_uid)
        _set_slice(dataset, phantom, header, k)
        set_pixels(dataset, stored_values(phantom.hu_zyx[k : k + 1], header)[0], transfer_syntax_uid)
        yield dataset


def write_phantom(
    folder: Path,
    phantom: Phantom,
    header: StudyHeader | None = None,
    *,
    transfer_syntax_uid: UID = ExplicitVRLittleEndian,
) -> list[Path]:
    """Write a phantom as Part 10 files into a folder, which is made if need be.

    Parameters
    ----------
    folder
        Where to; files are called CT00001.dcm and so on along axis z.
    phantom, header, transfer_syntax_uid
        As for `phantom_datasets`.

    Returns
    -------
    list of Path
        One per slice, in the order of axis z.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    datasets = phantom_datasets(phantom, header, transfer_syntax_uid=transfer_syntax_uid)
    for number, dataset in enumerate(datasets, start=1):
        path = folder / f"CT{number:05d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def common_dataset(
    phantom: Phantom, header: StudyHeader, sop_class_uid: str, sop_instance_uid: str
) -> Dataset:
    """Return what single-frame and multi-frame instances share; the header must be completed."""
    dataset = Dataset()
    dataset.file_meta = _file_meta(sop_class_uid, sop_instance_uid)
    dataset.SpecificCharacterSet = (
        header.specific_character_set.split("\\")
        if "\\" in header.specific_character_set
        else header.specific_character_set
    )
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class_uid), UID(sop_instance_uid)
    dataset.ImageType = list(header.image_type)
    _set_patient_and_study(dataset, header)
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = UID(header.series_instance_uid)
    dataset.SeriesNumber = header.series_number
    dataset.SeriesDescription = header.series_description
    dataset.SeriesDate, dataset.SeriesTime = header.acquisition_date, header.acquisition_time
    dataset.ContentDate, dataset.ContentTime = header.acquisition_date, header.acquisition_time
    dataset.FrameOfReferenceUID = UID(header.frame_of_reference_uid)
    dataset.PositionReferenceIndicator = ""
    dataset.PatientPosition = str(phantom.spec.patient_position)
    dataset.Manufacturer = header.manufacturer
    dataset.ManufacturerModelName = header.manufacturer_model_name
    dataset.SoftwareVersions = header.software_versions
    dataset.StationName = header.station_name
    if header.institution_name:
        dataset.InstitutionName = header.institution_name
    if header.timezone_offset_from_utc:
        dataset.TimezoneOffsetFromUTC = header.timezone_offset_from_utc
    dataset.DeviceSerialNumber = "0"
    dataset.AcquisitionNumber = header.acquisition_number
    _set_pixel_description(dataset, phantom, header)
    return dataset


def _file_meta(sop_class_uid: str, sop_instance_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def _set_patient_and_study(dataset: Dataset, header: StudyHeader) -> None:
    dataset.PatientName, dataset.PatientID = header.patient_name, header.patient_id
    if header.issuer_of_patient_id:
        dataset.IssuerOfPatientID = header.issuer_of_patient_id
    dataset.PatientBirthDate, dataset.PatientSex = header.patient_birth_date, header.patient_sex
    dataset.StudyInstanceUID = UID(header.study_instance_uid)
    dataset.StudyDate, dataset.StudyTime = header.study_date, header.study_time
    dataset.StudyID, dataset.AccessionNumber = header.study_id, header.accession_number
    dataset.StudyDescription = header.study_description
    dataset.ReferringPhysicianName = ""


def _set_pixel_description(dataset: Dataset, phantom: Phantom, header: StudyHeader) -> None:
    _, dataset.Rows, dataset.Columns = phantom.hu_zyx.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = 16, header.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = header.bits_stored - 1, header.pixel_representation
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    if header.pixel_padding_value is not None:
        dataset.PixelPaddingValue = header.pixel_padding_value
        dataset["PixelPaddingValue"].VR = "SS" if header.pixel_representation else "US"


def _set_slice(dataset: Dataset, phantom: Phantom, header: StudyHeader, k: int) -> None:
    spec, slices = phantom.spec, phantom.hu_zyx.shape[0]
    dataset.InstanceNumber = slices - k if header.instances_from_head else k + 1
    dataset.AcquisitionDate, dataset.AcquisitionTime = header.acquisition_date, header.acquisition_time
    dataset.BodyPartExamined = header.body_part_examined
    dataset.ImageOrientationPatient = image_orientation(phantom)
    dataset.ImagePositionPatient = image_position(phantom, k)
    dataset.PixelSpacing = decimals(spec.spacing_zyx_mm[1:])
    dataset.SliceThickness = decimal(spec.thickness_mm)
    dataset.SpacingBetweenSlices = decimal(spec.spacing_zyx_mm[0])
    dataset.SliceLocation = decimal(phantom.geometry.to_lps_mm(np.array([k, 0, 0]))[2])
    dataset.GantryDetectorTilt = decimal(spec.gantry_tilt_deg)
    dataset.KVP = decimal(header.kvp)
    dataset.XRayTubeCurrent, dataset.ExposureTime = header.x_ray_tube_current_ma, header.exposure_time_ms
    dataset.Exposure = round(header.x_ray_tube_current_ma * header.exposure_time_ms / 1000)
    dataset.ConvolutionKernel = header.convolution_kernel
    dataset.ReconstructionDiameter = decimal(spec.spacing_zyx_mm[2] * phantom.hu_zyx.shape[2])
    dataset.RescaleSlope = decimal(header.rescale_slope)
    dataset.RescaleIntercept = decimal(header.rescale_intercept)
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = ["-600", "40"], ["1500", "400"]
    if spec.contrast:
        dataset.ContrastBolusAgent, dataset.ContrastBolusRoute = "Iodine", "IV"


def image_orientation(phantom: Phantom) -> list[str]:
    """Return Image Orientation (Patient): direction of rows, then of columns (PS3.3 C.7.6.2.1.1)."""
    affine = phantom.geometry.affine_lps
    axes = (affine[:3, 2] / np.linalg.norm(affine[:3, 2]), affine[:3, 1] / np.linalg.norm(affine[:3, 1]))
    return decimals(np.concatenate(axes))


def image_position(phantom: Phantom, k: int) -> list[str]:
    """Return Image Position (Patient) of a slice: LPS mm of its first pixel's centre."""
    return decimals(phantom.geometry.to_lps_mm(np.array([k, 0, 0])))


def decimals(values: NDArray[np.float64] | tuple[float, ...]) -> list[str]:
    """Return numbers as Decimal Strings of at most 16 characters."""
    return [decimal(value) for value in values]


def decimal(value: float) -> str:
    """Return a number as Decimal String; a billionth is beyond any scanner, and −0 is 0."""
    return format_number_as_ds(round(float(value), 9) + 0.0)
