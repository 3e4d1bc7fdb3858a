"""Phantoms as DICOM: one multi-frame instance of Enhanced CT Image Storage (PS3.3 A.38)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from core.ct_header import ENHANCED_CT_IMAGE_STORAGE
from core.uid import derived_uid
from lesionnode.phantom.dicom import (
    common_dataset,
    decimal,
    decimals,
    image_orientation,
    image_position,
)
from lesionnode.phantom.encoding import set_pixels, stored_values
from lesionnode.phantom.header import StudyHeader
from lesionnode.phantom.spec import Phantom


def enhanced_ct_dataset(
    phantom: Phantom,
    header: StudyHeader | None = None,
    *,
    transfer_syntax_uid: UID = ExplicitVRLittleEndian,
    intercept_step_hu: int = 0,
) -> Dataset:
    """Write a phantom as one Enhanced CT image.

    Parameters
    ----------
    phantom, header, transfer_syntax_uid
        As for `dicom.phantom_datasets`; frames stand in the order of axis z.
    intercept_step_hu
        Rescale Intercept rises by this much over every third frame and starts again, as where a scanner
        scales each frame by itself; HU stay the same.

    Returns
    -------
    Dataset
        With File Meta Information; rescaling, position and content of each frame in the per-frame functional
        groups.
    """
    header = (StudyHeader() if header is None else header).completed(phantom)
    header = replace(header, image_type=(*header.image_type[:2], "VOLUME", "NONE"))
    sop_instance_uid = derived_uid("phantom enhanced", header.series_instance_uid)
    dataset = common_dataset(phantom, header, ENHANCED_CT_IMAGE_STORAGE, sop_instance_uid)
    slices = phantom.hu_zyx.shape[0]
    intercepts = [header.rescale_intercept + intercept_step_hu * (k % 3) for k in range(slices)]
    _set_image(dataset, phantom, header)
    dataset.SharedFunctionalGroupsSequence = Sequence([_shared_groups(phantom, header)])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        _frame_groups(phantom, header, k, intercepts[k]) for k in range(slices)
    )
    frames: list[NDArray[np.int16 | np.uint16]] = [
        stored_values(phantom.hu_zyx[k], replace(header, rescale_intercept=intercepts[k]))
        for k in range(slices)
    ]
    set_pixels(dataset, np.stack(frames), transfer_syntax_uid)
    return dataset


def _set_image(dataset: Dataset, phantom: Phantom, header: StudyHeader) -> None:
    when = header.acquisition_date + header.acquisition_time
    dataset.InstanceNumber = 1
    dataset.AcquisitionDateTime, dataset.AcquisitionDuration = when, 5.0
    dataset.NumberOfFrames = phantom.hu_zyx.shape[0]
    dataset.PixelPresentation, dataset.VolumetricProperties = "MONOCHROME", "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ContentQualification, dataset.PresentationLUTShape = "RESEARCH", "IDENTITY"
    dataset.AcquisitionContextSequence = Sequence()
    dataset.MultienergyCTAcquisition = "NO"
    organization = Dataset()
    organization.DimensionOrganizationUID = UID(derived_uid("phantom dimensions", header.series_instance_uid))
    dataset.DimensionOrganizationSequence = Sequence([organization])
    index = Dataset()
    index.DimensionOrganizationUID = organization.DimensionOrganizationUID
    index.DimensionIndexPointer = Tag("InStackPositionNumber")
    index.FunctionalGroupPointer = Tag("FrameContentSequence")
    index.DimensionDescriptionLabel = "In-stack position"
    dataset.DimensionIndexSequence = Sequence([index])
    if phantom.spec.contrast:
        dataset.ContrastBolusAgentSequence = Sequence([_contrast_agent()])


def _contrast_agent() -> Dataset:
    agent = _code("412372002", "SCT", "Meglumine ioxithalamate")
    agent.ContrastBolusAgentNumber = 1
    agent.ContrastBolusAdministrationRouteSequence = Sequence([_code("47625008", "SCT", "Intravenous route")])
    agent.ContrastBolusIngredientCodeSequence = Sequence([_code("44588005", "SCT", "Iodine")])
    agent.ContrastBolusVolume, agent.ContrastBolusIngredientConcentration = "80", "300"
    agent.ContrastBolusIngredientOpaque = "YES"
    return agent


def _shared_groups(phantom: Phantom, header: StudyHeader) -> Dataset:
    spec = phantom.spec
    groups = Dataset()
    groups.PixelMeasuresSequence = _one(
        PixelSpacing=decimals(spec.spacing_zyx_mm[1:]), SliceThickness=decimal(spec.thickness_mm)
    )
    groups.PixelMeasuresSequence[0].SpacingBetweenSlices = decimal(spec.spacing_zyx_mm[0])
    groups.PlaneOrientationSequence = _one(ImageOrientationPatient=image_orientation(phantom))
    anatomy = Sequence([_code("51185008", "SCT", "Chest")])
    groups.FrameAnatomySequence = _one(FrameLaterality="U", AnatomicRegionSequence=anatomy)
    groups.CTImageFrameTypeSequence = _one(
        FrameType=list(header.image_type),
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    groups.CTAcquisitionTypeSequence = _one(
        AcquisitionType="SPIRAL", ConstantVolumeFlag="NO", FluoroscopyFlag="NO"
    )
    groups.CTAcquisitionDetailsSequence = _one(
        RotationDirection="CW",
        RevolutionTime=0.5,
        SingleCollimationWidth=0.625,
        TotalCollimationWidth=40.0,
        TableHeight=decimal(0.0),
        GantryDetectorTilt=decimal(spec.gantry_tilt_deg),
        DataCollectionDiameter=decimal(500.0),
    )
    groups.CTTableDynamicsSequence = _one(TableSpeed=80.0, TableFeedPerRotation=40.0, SpiralPitchFactor=1.0)
    groups.CTGeometrySequence = _one(
        DistanceSourceToDetector=decimal(1000.0), DistanceSourceToDataCollectionCenter=550.0
    )
    _set_reconstruction_and_exposure(groups, phantom, header)
    event = UID(derived_uid("phantom irradiation", header.series_instance_uid))
    groups.IrradiationEventIdentificationSequence = _one(IrradiationEventUID=event)
    groups.FrameVOILUTSequence = _one(WindowCenter=["-600", "40"], WindowWidth=["1500", "400"])
    return groups


def _set_reconstruction_and_exposure(groups: Dataset, phantom: Phantom, header: StudyHeader) -> None:
    spec = phantom.spec
    groups.CTReconstructionSequence = _one(
        ReconstructionAlgorithm="FILTER_BACK_PROJ",
        ConvolutionKernel=header.convolution_kernel,
        ConvolutionKernelGroup="LUNG" if spec.noise_grain_mm < 0.4 else "SOFT_TISSUE",
        ReconstructionDiameter=decimal(spec.spacing_zyx_mm[2] * phantom.hu_zyx.shape[2]),
        ReconstructionPixelSpacing=list(spec.spacing_zyx_mm[1:]),
        ReconstructionAngle=360.0,
        ImageFilter="NONE",
    )
    seconds = header.exposure_time_ms / 1000.0
    groups.CTExposureSequence = _one(
        ExposureTimeInms=float(header.exposure_time_ms),
        XRayTubeCurrentInmA=float(header.x_ray_tube_current_ma),
        ExposureInmAs=header.x_ray_tube_current_ma * seconds,
        ExposureModulationType="NONE",
        CTDIvol=5.0,
        CTDIPhantomTypeCodeSequence=Sequence([_code("113691", "DCM", "IEC Body Dosimetry Phantom")]),
    )
    groups.CTXRayDetailsSequence = _one(
        KVP=decimal(header.kvp),
        FocalSpots=decimal(1.0),
        FilterType="FLAT",
        FilterMaterial="ALUMINUM",
    )


def _frame_groups(phantom: Phantom, header: StudyHeader, k: int, intercept: float) -> Dataset:
    groups = Dataset()
    when = header.acquisition_date + header.acquisition_time
    groups.FrameContentSequence = _one(
        FrameAcquisitionNumber=header.acquisition_number,
        FrameReferenceDateTime=when,
        FrameAcquisitionDateTime=when,
        FrameAcquisitionDuration=500.0,
        DimensionIndexValues=[k + 1],
        StackID="1",
        InStackPositionNumber=k + 1,
    )
    position = image_position(phantom, k)
    groups.PlanePositionSequence = _one(ImagePositionPatient=position)
    groups.CTPositionSequence = _one(
        TablePosition=float(position[2]),
        DataCollectionCenterPatient=list(phantom_centre(phantom, k)),
        ReconstructionTargetCenterPatient=list(phantom_centre(phantom, k)),
    )
    groups.PixelValueTransformationSequence = _one(
        RescaleIntercept=decimal(intercept), RescaleSlope=decimal(header.rescale_slope), RescaleType="HU"
    )
    if phantom.spec.contrast:
        groups.ContrastBolusUsageSequence = _one(
            ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered="YES", ContrastBolusAgentDetected="YES"
        )
    return groups


def phantom_centre(phantom: Phantom, k: int) -> tuple[float, float, float]:
    """Return the middle of a slice, LPS mm."""
    _, rows, columns = phantom.hu_zyx.shape
    x, y, z = phantom.geometry.to_lps_mm(np.array([k, (rows - 1) / 2, (columns - 1) / 2]))
    return float(x), float(y), float(z)


def _one(**elements: object) -> Sequence:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
