"""The segmentation object (PS3.3 A.51, or A.51 of Supplement 243 for label maps).

highdicom builds the object and every module of it; its frames are written here. Its constructor wants
overlapping segments as one array of (z, y, x, segment) and sums it to see whether they overlap: 14 bytes per
voxel and most of the time. Regions are nested by definition (a lung contains its lesions), so nothing has to
be found out, and one region at a time is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from core.codes import PRIVATE_SCHEME, Code
from core.ct_header import CT_IMAGE_STORAGE
from core.domain import Analysis, CtVolume, ResultKind
from core.forms import ResultForm, SegmentationEncoding
from sr_writer.concepts import concept, private_scheme
from sr_writer.context import ResultContext
from sr_writer.elements import lossy_attributes, raw_sequence, refer_to_sources, reference, write_as_is
from sr_writer.equipment import code_item, series_description, sign
from sr_writer.identity import IMAGE_ATTRIBUTES, SourceIdentity
from sr_writer.label_map import encode_label_map, label_segments
from sr_writer.segment_pixels import EncodedSegments, encode_binary
from sr_writer.segments import Segment, segments_of
from sr_writer.source_planes import SourcePlanes
from sr_writer.uids import ResultUids

# CID 7203, CID 7202
_SEGMENTATION = Code("113076", "DCM", "Segmentation")
_SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")
_PLACEHOLDER_UID = "2.25.1"

# A segment with the slices on which it has voxels: one frame each.
_Used = tuple[Segment, tuple[int, ...]]


def segmentation(
    analysis: Analysis,
    form: ResultForm,
    identity: SourceIdentity,
    context: ResultContext,
    uids: ResultUids,
) -> Dataset | None:
    """Write the regions and the larger lesions of an analysis as a segmentation object.

    Segment Numbers of regions are fixed: every region is described, one without voxels has no frames.

    Parameters
    ----------
    analysis
        Source volume and masks.
    form
        Chooses the encoding, and is part of the UIDs.
    identity, context, uids
        Patient and study, circumstances, UIDs.

    Returns
    -------
    Dataset or None
        The object with File Meta Information, not yet encoded; None where no region has a voxel.

    Raises
    ------
    ResultEncodingError
        Where the masks cannot be placed in the source's coordinates.
    """
    planes = SourcePlanes.of(analysis.volume)
    if not analysis.lungs.labels_zyx.any():
        return None
    encoded = _encoded(analysis, form, context, uids)
    result = _skeleton(analysis, form, planes, encoded, context, uids)
    headers = analysis.volume.headers
    sources = [reference(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in headers]
    refer_to_sources(result, str(headers[0].SeriesInstanceUID), sources)
    result.PerFrameFunctionalGroupsSequence = list(_frame_items(analysis.volume, planes, encoded.frames))
    result.NumberOfFrames = len(result.PerFrameFunctionalGroupsSequence)
    result.SegmentsOverlap = "YES" if encoded.overlap else "NO"
    if any(segment.property_type.scheme == PRIVATE_SCHEME for segment in encoded.segments):
        result.CodingSchemeIdentificationSequence = [private_scheme()]
    result.add_new("PixelData", "OB", encoded.pixel_data)
    identity.apply(result, IMAGE_ATTRIBUTES)
    if "PositionReferenceIndicator" not in result:  # type 2
        result.PositionReferenceIndicator = None
    sign(result, identity, context, analysis.lesions.model)
    return result


def _encoded(
    analysis: Analysis, form: ResultForm, context: ResultContext, uids: ResultUids
) -> EncodedSegments:
    segments = segments_of(analysis, context, uids)
    if form.segmentation is SegmentationEncoding.LABELMAP:
        return encode_label_map(analysis, label_segments(segments, uids), every_plane=form.empty_frames)
    return encode_binary(analysis, segments, every_plane=form.empty_frames)


def _skeleton(
    analysis: Analysis,
    form: ResultForm,
    planes: SourcePlanes,
    encoded: EncodedSegments,
    context: ResultContext,
    uids: ResultUids,
) -> hd.seg.Segmentation:
    """Return a segmentation with everything but its frames, references and identity."""
    model = analysis.lesions.model
    rows, columns = analysis.volume.geometry.shape_zyx[1:]
    one_pixel = np.zeros((1, rows, columns), dtype=np.uint8)
    one_pixel[0, 0, 0] = 1
    kind, variant = ResultKind.SEGMENTATION, form.variant(ResultKind.SEGMENTATION)
    result = hd.seg.Segmentation(
        source_images=[_template(analysis.volume, planes)],
        pixel_array=one_pixel,
        segmentation_type=hd.seg.SegmentationTypeValues(form.segmentation.name),
        segment_descriptions=[_description(segment) for segment in encoded.segments],
        series_instance_uid=uids.series(kind, variant),
        series_number=context.series_number(kind),
        sop_instance_uid=uids.instance(kind, variant),
        instance_number=1,
        manufacturer=context.manufacturer,
        manufacturer_model_name=context.node_name,
        software_versions=context.software_version,
        device_serial_number=context.device_serial_number,
        content_label="LESIONS",
        content_description="Lungs and lesions",
        series_description=series_description(
            "Lesion segmentation", analysis.volume.headers[0], context, model
        ),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    if "PixelPaddingValue" in result:  # the library leaves the choice between US and SS to the writer
        result["PixelPaddingValue"].VR = "US"
    dimensions = uids.dimension_organization(kind, variant)
    result.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimensions
    for index in result.DimensionIndexSequence:
        index.DimensionOrganizationUID = dimensions
    return result


def _template(volume: CtVolume, planes: SourcePlanes) -> Dataset:
    """Return what highdicom needs to know about the source, complete whatever the scanner left out."""
    template = Dataset()
    template.SOPClassUID = CT_IMAGE_STORAGE
    template.Modality = "CT"
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(template, keyword, _PLACEHOLDER_UID)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(template, keyword, "")
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(template, keyword, "")
    template.Rows, template.Columns = volume.geometry.shape_zyx[1:]
    template.ImagePositionPatient = list(planes.positions[0])
    template.ImageOrientationPatient = list(planes.orientation)
    template.PixelSpacing = list(planes.pixel_spacing)
    template.SliceThickness = planes.slice_thickness
    template.SpacingBetweenSlices = planes.slice_spacing
    template.update(lossy_attributes(volume.headers))
    return template


def _description(segment: Segment) -> hd.seg.SegmentDescription:
    algorithm = segment.algorithm
    identification = hd.AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=concept(algorithm.family),
        version=algorithm.version,
        source=algorithm.manufacturer,
    )
    identification[0].AlgorithmParameters = algorithm.parameters
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=concept(segment.category),
        segmented_property_type=concept(segment.property_type),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identification,
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.label,
        anatomic_regions=[concept(segment.anatomy)],
        display_color=CIELabColor(*segment.color_lab),
    )
    anatomy = description.AnatomicRegionSequence[0]
    anatomy.AnatomicRegionModifierSequence = [code_item(segment.laterality)]
    if segment.property_type == segment.anatomy:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [code_item(segment.laterality)]
    return description


def _frame_items(
    volume: CtVolume, planes: SourcePlanes, frames: Sequence[tuple[int | None, int]]
) -> Iterator[Dataset]:
    """Yield the functional groups of each frame.

    What depends on the plane alone is encoded once and shared by the segments: encoding a few thousand frames
    of nested sequences would otherwise take longer than finding their pixels.
    """
    indices = sorted({plane for _, plane in frames})
    ordinals = {plane: ordinal for ordinal, plane in enumerate(indices, start=1)}
    sop_class = str(volume.headers[0].SOPClassUID)
    shared = {plane: _plane_groups(volume, planes, plane, sop_class) for plane in indices}
    identifications = {
        number: _identification(number) for number in {number for number, _ in frames if number is not None}
    }
    for number, plane in frames:
        content = Dataset()
        content.DimensionIndexValues = [*([] if number is None else [number]), ordinals[plane]]
        item = Dataset()
        item.FrameContentSequence = [content]
        for element in shared[plane]:
            item[element.tag] = element
        if number is not None:
            item[identifications[number].tag] = identifications[number]
        write_as_is(item)
        yield item


def _identification(segment_number: int) -> RawDataElement:
    """Return the Segmentation macro (PS3.3 C.8.20.3.1)."""
    identifier = Dataset()
    identifier.ReferencedSegmentNumber = segment_number
    return raw_sequence("SegmentIdentificationSequence", [identifier])


def _plane_groups(
    volume: CtVolume, planes: SourcePlanes, plane: int, sop_class: str
) -> tuple[RawDataElement, RawDataElement]:
    """Return the Plane Position and Derivation Image macros (PS3.3 C.7.6.16.2.3, C.7.6.16.2.6) of a plane."""
    position = Dataset()
    position.ImagePositionPatient = list(planes.positions[plane])
    frame = volume.frames[plane]
    source = reference(sop_class, frame.sop_instance_uid, frame.frame_number)
    source.PurposeOfReferenceCodeSequence = [code_item(_SOURCE_IMAGE)]
    source.SpatialLocationsPreserved = "YES"
    derivation = Dataset()
    derivation.SourceImageSequence = [source]
    derivation.DerivationCodeSequence = [code_item(_SEGMENTATION)]
    return (
        raw_sequence("PlanePositionSequence", [position]),
        raw_sequence("DerivationImageSequence", [derivation]),
    )
