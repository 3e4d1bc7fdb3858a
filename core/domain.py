"""Values that travel between the rooms. Frozen; `eq=False` where they hold arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NewType

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from core.geometry import Geometry

if TYPE_CHECKING:  # a comparison is made of what stands here
    from core.comparison import Comparison

AETitle = NewType("AETitle", str)
StudyInstanceUID = NewType("StudyInstanceUID", str)
SeriesInstanceUID = NewType("SeriesInstanceUID", str)
SOPInstanceUID = NewType("SOPInstanceUID", str)


# --- what arrives -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What makes two instances belong to one series: an anonymised copy never merges with the original.

    Parameters
    ----------
    study_instance_uid, series_instance_uid
        UIDs as received.
    patient_digest
        `core.uid.patient_digest` of Patient ID and Issuer of Patient ID.
    """

    study_instance_uid: StudyInstanceUID
    series_instance_uid: SeriesInstanceUID
    patient_digest: str


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One instance in the spool.

    Parameters
    ----------
    path
        Part 10 file.
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        As received.
    sha256
        Digest of the raw data-set bytes (without File Meta Information), hexadecimal.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: SOPInstanceUID
    transfer_syntax_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SealedSeries:
    """A series whose reception has ended, with the evidence for that.

    Parameters
    ----------
    key
        Which series.
    generation
        1, and one more for every batch of stragglers after a sealing.
    calling_ae_title
        The caller that sent it first.
    instances
        Every instance of this and the earlier generations.
    evidence
        Why the series was held to be complete, for people and for the log.
    """

    key: SeriesKey
    generation: int
    calling_ae_title: AETitle
    instances: tuple[ReceivedInstance, ...]
    evidence: str


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """The image behind one slice of a volume.

    Parameters
    ----------
    sop_instance_uid
        Instance that holds it.
    frame_number
        1-based frame in a multi-frame instance, None in a single-frame one.
    """

    sop_instance_uid: SOPInstanceUID
    frame_number: int | None


@dataclass(frozen=True, slots=True, eq=False)
class CtVolume:
    """One regular stack of CT slices.

    Parameters
    ----------
    hu_zyx
        int16 Hounsfield units; axis z rises along the slice normal, in-plane exactly as in the source images;
        pixel padding is −1024.
    geometry
        Where the voxels are; sheared where the gantry was tilted.
    frames
        The source image of each slice, in axis-z order.
    headers
        Data sets of the source instances without pixel data: one per slice in axis-z order, or the single
        one of a multi-frame instance, or one per part of a concatenation.
    remarks
        What was noticed and did not stop the analysis, for the report.
    """

    hu_zyx: NDArray[np.int16]
    geometry: Geometry
    frames: tuple[SourceFrame, ...]
    headers: tuple[Dataset, ...]
    remarks: tuple[str, ...] = ()


# --- what is found ----------------------------------------------------------------------------------------


class Side(StrEnum):
    """A lung, from the patient's point of view."""

    RIGHT = "right"
    LEFT = "left"


class Finding(StrEnum):
    """What a voxel shows."""

    GROUND_GLASS = "ground_glass"
    CONSOLIDATION = "consolidation"


class LesionClass(StrEnum):
    """What a whole lesion is called, by its share of dense voxels."""

    GROUND_GLASS = "ground_glass"
    CONSOLIDATION = "consolidation"
    MIXED = "mixed"


#: Label of each lung in `LungMask.labels_zyx`.
LUNG_LABEL: dict[Side, int] = {Side.RIGHT: 1, Side.LEFT: 2}
#: Label of each finding in `LesionMask.labels_zyx`.
FINDING_LABEL: dict[Finding, int] = {Finding.GROUND_GLASS: 1, Finding.CONSOLIDATION: 2}


class Region(Enum):
    """A measured region; each is one segment of the SEG and at most one measurement group of the SR.

    The value is the Segment Number (0062,0004). It is the same in every case, so that display presets of a
    PACS and comparisons over time can rely on it.
    """

    LUNG_RIGHT = 1
    LUNG_LEFT = 2
    GROUND_GLASS_RIGHT = 3
    GROUND_GLASS_LEFT = 4
    CONSOLIDATION_RIGHT = 5
    CONSOLIDATION_LEFT = 6
    LESIONS = 7

    @property
    def side(self) -> Side | None:
        """The lung that the region belongs to, None for both."""
        if self is Region.LESIONS:
            return None
        return Side.RIGHT if self.name.endswith("RIGHT") else Side.LEFT

    @property
    def finding(self) -> Finding | None:
        """The finding that fills the region; None for a whole lung and for all lesions."""
        if self.name.startswith("GROUND_GLASS"):
            return Finding.GROUND_GLASS
        if self.name.startswith("CONSOLIDATION"):
            return Finding.CONSOLIDATION
        return None


@dataclass(frozen=True, slots=True, eq=False)
class LungMask:
    """The lungs with everything diseased inside them, without trachea and main bronchi.

    Parameters
    ----------
    labels_zyx
        uint8 in the order of the source volume: 0 background, 1 right lung, 2 left lung (`LUNG_LABEL`).
    """

    labels_zyx: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model with which parameters produced a mask; goes into SEG and SR.

    Parameters
    ----------
    name, version
        Algorithm Name and Version as in the package's manifest.
    sha256
        Digest of the model file, hexadecimal.
    family_code
        (value, scheme, meaning) of the algorithm family, CID 7162.
    parameters
        What was set: thresholds, provider and the like, one short line.
    manufacturer
        Who made the model.
    research_only
        Whether results have to be marked as not for clinical use.
    """

    name: str
    version: str
    sha256: str
    family_code: tuple[str, str, str]
    parameters: str
    manufacturer: str
    research_only: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class LesionMask:
    """The lesions inside the lungs.

    Parameters
    ----------
    labels_zyx
        uint8 in the order of the source volume: 0 none, 1 ground-glass opacity, 2 consolidation
        (`FINDING_LABEL`); zero outside the lungs.
    model
        Who says so.
    """

    labels_zyx: NDArray[np.uint8]
    model: ModelIdentity


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What a model makes of a scan.

    Parameters
    ----------
    lungs
        The lungs that count from here on: those that were given, with dense lung that only the model knows.
    lesions
        What lies in them.
    remarks
        What a reader has to know about them, for the report.
    """

    lungs: LungMask
    lesions: LesionMask
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegionMeasurement:
    """The numbers of one region.

    Parameters
    ----------
    region
        Which one.
    volume_ml
        Voxel count times voxel volume.
    percent_of_lung
        Share of its own lung, or of both lungs for `Region.LESIONS`; for a lung itself, the share that is
        lesion. 0 where there is no lung.
    mean_hu, sd_hu
        Mean and standard deviation of attenuation; None where the region is empty.
    """

    region: Region
    volume_ml: float
    percent_of_lung: float
    mean_hu: float | None
    sd_hu: float | None


@dataclass(frozen=True, slots=True, eq=False)
class BoxedMask:
    """Some voxels of a volume, kept as the mask of a box around them.

    Parameters
    ----------
    start_zyx
        Index of the box's first voxel in the volume.
    mask_zyx
        bool, the size of the box.
    """

    start_zyx: tuple[int, int, int]
    mask_zyx: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lesion:
    """One connected lesion (26-neighbourhood).

    Parameters
    ----------
    number
        1 for the largest, and so on.
    lesion_class
        By `consolidation_share`.
    side
        The lung that holds most of it.
    volume_ml
        Voxel count times voxel volume.
    consolidation_share
        Share of its voxels that are consolidation, 0…1.
    mean_hu
        Mean attenuation.
    centroid_lps_mm
        Centre of mass, LPS mm.
    long_axis_mm, short_axis_mm
        Largest caliper in the axial plane where its area is largest, and its width perpendicular to it
        (`inference.lesion_axes`).
    voxels
        Which voxels it is, on the grid of the source; left out where lesions are compared.
    """

    number: int
    lesion_class: LesionClass
    side: Side
    volume_ml: float
    consolidation_share: float
    mean_hu: float
    centroid_lps_mm: tuple[float, float, float]
    long_axis_mm: float
    short_axis_mm: float
    voxels: BoxedMask = field(compare=False, repr=False)


class Zone(StrEnum):
    """A third of a lung by height; the zones of the six-zone severity score."""

    UPPER_RIGHT = "upper_right"
    MIDDLE_RIGHT = "middle_right"
    LOWER_RIGHT = "lower_right"
    UPPER_LEFT = "upper_left"
    MIDDLE_LEFT = "middle_left"
    LOWER_LEFT = "lower_left"

    @property
    def side(self) -> Side:
        """The lung that the zone belongs to."""
        return Side.RIGHT if self.name.endswith("RIGHT") else Side.LEFT


#: The most that the scores of all zones can add up to.
HIGHEST_SEVERITY_SCORE = 4 * len(Zone)


@dataclass(frozen=True, slots=True)
class ZoneMeasurement:
    """Involvement of one zone.

    Parameters
    ----------
    zone
        Which one.
    lung_ml, lesion_ml
        Volumes inside it.
    consolidation_ml
        What of the lesion is consolidation; the rest is ground glass.
    percent
        Share of the zone that is lesion.
    score
        0: none, 1: <25 %, 2: 25–49 %, 3: 50–74 %, 4: ≥75 %.
    """

    zone: Zone
    lung_ml: float
    lesion_ml: float
    consolidation_ml: float
    percent: float
    score: int

    def finding_ml(self, finding: Finding) -> float:
        """Return the volume of a finding in the zone, ml."""
        dense = self.consolidation_ml
        return dense if finding is Finding.CONSOLIDATION else self.lesion_ml - dense


@dataclass(frozen=True, slots=True)
class LesionMeasurements:
    """Every number of one analysed series.

    Parameters
    ----------
    regions
        One measurement per `Region`, in its order.
    lesions
        Single lesions above the site's smallest volume, largest first.
    zones
        One per `Zone`, in its order.
    severity_score
        Sum of the zones' scores, 0…24.
    listed_from_ml
        The site's smallest volume: smaller lesions count in the regions only.
    """

    regions: tuple[RegionMeasurement, ...]
    lesions: tuple[Lesion, ...]
    zones: tuple[ZoneMeasurement, ...]
    severity_score: int
    listed_from_ml: float = 0.0

    def of(self, region: Region) -> RegionMeasurement:
        """Return the measurement of one region."""
        return self.regions[region.value - 1]


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What inference hands to the writers.

    Parameters
    ----------
    volume
        The source.
    lungs, lesions
        Masks on the grid of the source.
    measurements
        Their numbers.
    comparison
        What changed since an earlier scan; None where there is none to compare with.
    """

    volume: CtVolume
    lungs: LungMask
    lesions: LesionMask
    measurements: LesionMeasurements
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """A series that should have been analysed and could not be.

    Parameters
    ----------
    headers
        Those of its images that can be read, without pixel data.
    reason
        Why, in the user's words; no patient identifiers.
    model
        What was to look at it.
    """

    headers: tuple[Dataset, ...]
    reason: str
    model: ModelIdentity


# --- what is sent -----------------------------------------------------------------------------------------


class Language(StrEnum):
    """In which language results speak to people (RFC 5646)."""

    ENGLISH = "en"
    CHINESE = "zh"


class ResultKind(StrEnum):
    """Kind of a result object."""

    SEGMENTATION = "segmentation"
    MEASUREMENT_REPORT = "measurement_report"
    FILM = "film"
    KEY_OBJECTS = "key_objects"
    DOCUMENT = "document"
    OVERLAY = "overlay"
    REJECTION_NOTE = "rejection_note"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """An object of an earlier result of the same series, which the new result replaces.

    Parameters
    ----------
    kind, variant
        What it is, in which encoding.
    series_instance_uid, sop_class_uid, sop_instance_uid
        Where it is in the study.
    peers
        Names of the peers that have it, or will have it.
    """

    kind: ResultKind
    variant: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    peers: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class ResultObject:
    """One DICOM object to deliver.

    Parameters
    ----------
    kind
        What it is.
    dataset
        The object with its File Meta Information.
    variant
        Which of several encodings (`core.forms.ResultForm.variant`).
    """

    kind: ResultKind
    dataset: Dataset
    variant: str = ""

    @property
    def sop_instance_uid(self) -> SOPInstanceUID:
        """SOP Instance UID (0008,0018)."""
        return SOPInstanceUID(str(self.dataset.SOPInstanceUID))


@dataclass(frozen=True, slots=True, eq=False)
class ResultFile:
    """A result for software that reads no DICOM: kept beside the objects, not sent.

    Parameters
    ----------
    name
        File name with its ending.
    content
        Bytes of the file.
    """

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, eq=False)
class ResultSet:
    """All objects of one analysed series.

    Parameters
    ----------
    objects
        In the order in which a PACS should get them: what is referenced first.
    remarks
        What was left out and why.
    files
        The same results in other forms.
    tracking_uids
        Tracking UID (0062,0021) of each single lesion, by number, whether or not it has a segment.
    """

    objects: tuple[ResultObject, ...]
    remarks: tuple[str, ...] = field(default=())
    files: tuple[ResultFile, ...] = field(default=())
    tracking_uids: Mapping[int, str] = field(default_factory=dict)
