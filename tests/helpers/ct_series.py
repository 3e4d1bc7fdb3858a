"""Small synthetic CT series for the tests of the reader: any orientation, any defect, any transfer syntax."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from core.ct_header import CT_IMAGE_STORAGE, ENHANCED_CT_IMAGE_STORAGE
from core.uid import derived_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class CtSpec:
    """What a synthetic series is like.

    Parameters
    ----------
    shape_zyx
        Slices, rows, columns.
    spacing_zyx_mm
        Between slices, rows, columns.
    orientation
        Image Orientation (Patient).
    origin_mm
        Image Position (Patient) of the slice lowest along the normal.
    is_signed, bits_stored
        Format of the stored values.
    slope, intercept
        Rescale.
    """

    shape_zyx: tuple[int, int, int] = (16, 32, 32)
    spacing_zyx_mm: tuple[float, float, float] = (5.0, 0.8, 0.7)
    orientation: tuple[float, ...] = AXIAL
    origin_mm: tuple[float, float, float] = (-100.0, -120.0, -40.0)
    is_signed: bool = False
    bits_stored: int = 12
    slope: float = 1.0
    intercept: float = -1024.0


#: An everyday series: 16 axial slices of 32 × 32, 80 mm.
EVERYDAY = CtSpec()


def hu_pattern(shape_zyx: tuple[int, int, int]) -> NDArray[np.int16]:
    """Return (z, y, x) int16 HU without any symmetry: air, tissue, noise, one bright corner per slice."""
    slices, rows, columns = shape_zyx
    rng = np.random.default_rng(7)
    hu = rng.normal(40.0, 30.0, shape_zyx)
    lung = hu[:, rows // 4 : rows // 2, columns // 4 : -2]
    lung[...] = rng.normal(-850.0, 40.0, lung.shape)
    hu[:, :2, :] = -1024
    hu[:, -1, 0] = 1000 + np.arange(slices)
    return np.clip(np.rint(hu), -1024, 3000).astype(np.int16)


def ct_datasets(spec: CtSpec = EVERYDAY) -> list[Dataset]:
    """Return one data set per slice in axis-z order, Explicit VR Little Endian, pixels included."""
    stored = stored_pattern(spec)
    normal = np.cross(spec.orientation[:3], spec.orientation[3:])
    datasets = []
    for z in range(spec.shape_zyx[0]):
        ds = _image(spec, CT_IMAGE_STORAGE, f"slice-{z}")
        ds.InstanceNumber = spec.shape_zyx[0] - z
        position = np.asarray(spec.origin_mm) + z * spec.spacing_zyx_mm[0] * normal
        ds.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
        ds.ImageOrientationPatient = list(spec.orientation)
        ds.PixelSpacing = list(spec.spacing_zyx_mm[1:])
        ds.SliceThickness = spec.spacing_zyx_mm[0]
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = spec.slope, spec.intercept, "HU"
        ds.PixelData = stored[z].tobytes()
        datasets.append(ds)
    return datasets


def stored_pattern(spec: CtSpec) -> NDArray[np.uint16]:
    """Return (z, y, x) uint16 words of `hu_pattern`: two's complement within Bits Stored where signed."""
    values = np.rint((hu_pattern(spec.shape_zyx) - spec.intercept) / spec.slope).astype(np.int32)
    return values.astype(np.uint16)


def enhanced_ct(
    spec: CtSpec = EVERYDAY, *, first: int = 0, count: int | None = None, name: str = "multi"
) -> Dataset:
    """Return an Enhanced CT with some or all slices as frames, in falling axis-z order."""
    chosen = list(reversed(ct_datasets(spec)))[first:][:count]
    ds = _image(spec, ENHANCED_CT_IMAGE_STORAGE, name)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.InstanceNumber = 1
    ds.NumberOfFrames = len(chosen)
    shared = Dataset()
    shared.PixelMeasuresSequence = [
        _item(PixelSpacing=list(spec.spacing_zyx_mm[1:]), SliceThickness=spec.spacing_zyx_mm[0])
    ]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(spec.orientation))]
    shared.CTImageFrameTypeSequence = [_item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [
        _frame_groups(source, number) for number, source in enumerate(chosen, first + 1)
    ]
    ds.PixelData = b"".join(source.PixelData for source in chosen)
    return ds


def concatenation(spec: CtSpec, lengths: Sequence[int]) -> list[Dataset]:
    """Return one Enhanced CT cut into parts with these numbers of frames."""
    parts = []
    for number, count in enumerate(lengths, start=1):
        offset = sum(lengths[: number - 1])
        part = enhanced_ct(spec, first=offset, count=count, name=f"part-{number}")
        part.ConcatenationUID = derived_uid("concatenation")
        part.InConcatenationNumber = number
        part.InConcatenationTotalNumber = len(lengths)
        part.ConcatenationFrameOffsetNumber = offset
        parts.append(part)
    return parts


def write(
    folder: Path, datasets: Sequence[Dataset], transfer_syntax: str = ExplicitVRLittleEndian
) -> list[Path]:
    """Write Part 10 files whose names say nothing about their order; native transfer syntaxes only."""
    order = np.random.default_rng(3).permutation(len(datasets))
    paths = []
    for at, name in enumerate(order):
        ds = copy.deepcopy(datasets[at])
        ds.file_meta.TransferSyntaxUID = transfer_syntax
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", derived_uid("nameless"))
        if transfer_syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        path = folder / f"{name:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return [paths[at] for at in np.argsort(order)]


def _image(spec: CtSpec, sop_class: str, name: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = derived_uid("instance", name)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid("study"), derived_uid("series")
    ds.FrameOfReferenceUID = derived_uid("frame of reference")
    ds.PatientID, ds.PatientName = "TEST-1", "Test^Patient"
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = spec.shape_zyx[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, spec.bits_stored, spec.bits_stored - 1
    ds.PixelRepresentation = int(spec.is_signed)
    return ds


def _frame_groups(source: Dataset, number: int) -> Dataset:
    groups = Dataset()
    groups.PlanePositionSequence = [_item(ImagePositionPatient=list(source.ImagePositionPatient))]
    groups.FrameContentSequence = [_item(StackID="1", InStackPositionNumber=number)]
    groups.PixelValueTransformationSequence = [
        _item(RescaleSlope=source.RescaleSlope, RescaleIntercept=source.RescaleIntercept, RescaleType="HU")
    ]
    return groups


def _item(**attributes: object) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
