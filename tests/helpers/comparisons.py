"""Two scans of one phantom patient, and what changed between them, as the writers get it.

Both scans are painted, measured and written like any other, so that what a report says of the earlier one can
be looked up in the objects that were really written of it. Lesions are brought together by their voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.comparison import (
    Alignment,
    Comparison,
    Course,
    HistoryPoint,
    LesionChange,
    RegistrationQuality,
)
from core.domain import (
    Analysis,
    LesionMask,
    ResultKind,
    ResultSet,
    Side,
    SOPInstanceUID,
)
from core.forms import ResultForm
from core.time_point import ResultReference, TimePoint
from inference.lesions import measure
from inference.time_points import time_point_of
from sr_writer.references import reference_to
from sr_writer.results import write_results
from tests.helpers.analyses import MODEL, Phantom, analysis_of, context_of, geometry_of
from tests.helpers.changes import (
    changes,
    finding_changes,
    lesion_changes,
    lung_ml,
    region_changes,
    shift,
    zone_changes,
)

EARLIER_STUDY_UID = "1.2.826.0.1.3680043.8.498.7"
EARLIER_SERIES_UID = "1.2.826.0.1.3680043.8.498.7.2"
EARLIER_INSTANCE_UID = "1.2.826.0.1.3680043.8.498.7.4"
EARLIER_FRAME_OF_REFERENCE_UID = "1.2.826.0.1.3680043.8.498.7.3"
FIRST_STUDY_UID = "1.2.826.0.1.3680043.8.498.6"
FIRST_SCANNED_AT = datetime(2025, 11, 20, 8, 0)
#: Every painted lesion has a segment of its own.
EVERY_LESION = 0.01
BECAUSE = "Consolidation grew in the right lung (+0.3 ml), ground glass shrank in the left (-0.7 ml)."
WARNINGS = (
    "The convolution kernels differ (B30f, then B60f): attenuation and small volumes are not comparable.",
    "Slices were 1 mm thick and are 5 mm thick now.",
)

_Ellipsoid = tuple[tuple[float, float, float], tuple[float, float, float], int]
_BOTH: tuple[_Ellipsoid, ...] = (
    ((-15.0, 2.0, 12.5), (3.0, 4.0, 6.0), 1),  # stays as it is
    ((15.0, 2.0, 12.5), (2.5, 2.5, 3.0), 1),  # two that were one
    ((15.0, -5.0, 2.5), (2.5, 2.5, 3.0), 1),
)
_EARLIER: tuple[_Ellipsoid, ...] = (
    ((-15.0, 8.0, -8.0), (5.0, 5.0, 7.0), 1),  # grows, and consolidates
    ((-15.0, 9.0, -8.0), (2.0, 2.0, 3.0), 2),
    ((15.0, 8.0, -8.0), (6.0, 6.0, 9.0), 1),  # shrinks
    ((15.0, 9.0, -8.0), (3.0, 3.0, 6.0), 2),
    ((15.0, -1.5, 7.5), (2.5, 6.0, 3.0), 1),  # joins the two
    ((15.0, -8.0, -7.5), (2.0, 1.7, 2.0), 1),  # two that will be one
    ((15.0, -3.0, -7.5), (2.0, 1.7, 2.0), 1),
    ((-15.0, -8.0, 2.5), (3.0, 3.0, 3.0), 1),  # goes away
)
_LATER: tuple[_Ellipsoid, ...] = (
    ((-15.0, 8.0, -8.0), (6.0, 6.0, 9.0), 1),
    ((-15.0, 9.0, -8.0), (3.0, 3.0, 6.0), 2),
    ((15.0, 8.0, -8.0), (5.1, 5.1, 7.65), 1),
    ((15.0, 9.0, -8.0), (3.0, 3.0, 6.0), 2),
    ((15.0, -5.5, -7.5), (2.5, 4.5, 3.0), 1),
    ((-15.0, -9.0, -7.5), (3.0, 3.0, 3.0), 2),  # new
)


@dataclass(frozen=True, eq=False)
class Pair:
    """What two scans of a patient are like, and what is known of the earlier one.

    Parameters
    ----------
    later, earlier
        The phantoms; the later one twice where the earlier is None.
    registered
        Whether places were compared.
    segmentation, report
        Whether these objects of the earlier scan are known.
    repeatability
        Whether it is known: without it every limit is infinite.
    dated
        Whether both scans have a date.
    course
        What became of the disease.
    forms
        In which the earlier results were written.
    warnings
        Why the two may not be comparable.
    lesions_from_ml
        From which volume on lesions of the earlier scan got a segment of their own.
    """

    later: Phantom = field(default_factory=Phantom)
    earlier: Phantom | None = None
    registered: bool = True
    segmentation: bool = True
    report: bool = True
    repeatability: bool = True
    dated: bool = True
    course: Course = Course.MIXED
    forms: tuple[ResultForm, ...] = (ResultForm(),)
    warnings: tuple[str, ...] = WARNINGS
    lesions_from_ml: float = EVERY_LESION

    def analysis(self) -> Analysis:
        """Return the analysis of the later scan, compared with the earlier one."""
        later = later_analysis(self)
        return replace(later, comparison=comparison_of(later, self.time_point(), self))

    def earlier_results(self) -> ResultSet:
        """Return the objects that were written of the earlier scan."""
        return _earlier_results(self)

    def time_point(self) -> TimePoint:
        """Return the earlier scan as it was kept."""
        results = self.earlier_results().objects
        kept = [one for one in results if self._is_kept(one.kind)]
        segments = next(one for one in results if one.kind is ResultKind.SEGMENTATION).dataset.SegmentSequence
        tracked = {
            int(one.SegmentLabel.removeprefix("Lesion ")): str(one.TrackingUID)
            for one in segments
            if one.SegmentLabel.startswith("Lesion ")
        }
        return _point(earlier_analysis(self), self, tracked, tuple(reference_to(one) for one in kept))

    def _is_kept(self, kind: ResultKind) -> bool:
        wanted = {
            ResultKind.SEGMENTATION: self.segmentation,
            ResultKind.MEASUREMENT_REPORT: self.report,
        }
        return wanted.get(kind, True)


@cache
def _earlier_results(pair: Pair) -> ResultSet:
    earlier = earlier_analysis(pair)
    context = context_of(earlier, lesions_from_ml=pair.lesions_from_ml)
    return write_results(earlier, context, pair.forms)


def later_analysis(pair: Pair | None = None) -> Analysis:
    """Return the analysis of the later scan, not compared with anything."""
    phantom = (pair or Pair()).later
    return _painted(analysis_of(phantom), phantom, (*_BOTH, *_LATER))


def earlier_analysis(pair: Pair | None = None) -> Analysis:
    """Return the analysis of the earlier scan: another study, with images and a frame of its own."""
    pair = pair or Pair()
    phantom = pair.earlier or pair.later
    study = phantom.attributes.get("StudyInstanceUID")
    other = {
        "StudyInstanceUID": f"{study}.7" if study else EARLIER_STUDY_UID,
        "SeriesInstanceUID": EARLIER_SERIES_UID,
        "FrameOfReferenceUID": EARLIER_FRAME_OF_REFERENCE_UID,
        "StudyDate": "20260102",
        "StudyTime": "094000",
        "AccessionNumber": "A-51",
    }
    phantom = phantom.changed(attributes={**phantom.attributes, **other})
    analysis = _painted(analysis_of(phantom), phantom, (*_BOTH, *_EARLIER))
    headers = tuple(deepcopy(header) for header in analysis.volume.headers)
    names = {}
    for number, header in enumerate(headers, start=1):
        names[str(header.SOPInstanceUID)] = SOPInstanceUID(f"{EARLIER_INSTANCE_UID}.{number}")
        header.SOPInstanceUID = f"{EARLIER_INSTANCE_UID}.{number}"
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    frames = tuple(
        replace(frame, sop_instance_uid=names[frame.sop_instance_uid]) for frame in analysis.volume.frames
    )
    geometry = replace(analysis.volume.geometry, frame_of_reference_uid=EARLIER_FRAME_OF_REFERENCE_UID)
    volume = replace(analysis.volume, geometry=geometry, headers=headers, frames=frames)
    return replace(analysis, volume=volume)


def comparison_of(later: Analysis, prior: TimePoint, pair: Pair | None = None) -> Comparison:
    """Compare an analysis with an earlier scan on the same grid; `pair` says what is known."""
    pair = pair or Pair()
    current = _point(later, pair, {}, ())
    if current.facts.scanned_at is None or prior.facts.scanned_at is None:
        days = None
    else:
        days = (current.facts.scanned_at - prior.facts.scanned_at).total_seconds() / 86400
    changed = changes(days, known=pair.repeatability)
    lesions = tuple(lesion_changes(prior, current, changed)) if pair.registered else ()
    return Comparison(
        prior=prior,
        scanned_at=current.facts.scanned_at,
        days=days,
        course=pair.course,
        because=BECAUSE,
        lung_ml=changed(lung_ml(prior), lung_ml(current)),
        regions=tuple(region_changes(prior, current, changed)),
        findings=tuple(finding_changes(prior, current, changed)),
        zones=tuple(zone_changes(prior, current, changed)),
        lesions=lesions,
        shift=shift(prior, current) if pair.registered else None,
        registration=_registration(pair.registered),
        warnings=pair.warnings,
        history=(_first(prior, pair), HistoryPoint.of(prior), HistoryPoint.of(current)),
        alignment=_alignment(prior, current) if pair.registered else None,
        tracking_uids={one.current[0].number: one.tracking_uid for one in lesions if _tracked(one)},
        inputs=(prior.digest, "12" * 32),
    )


def _painted(analysis: Analysis, phantom: Phantom, ellipsoids: Sequence[_Ellipsoid]) -> Analysis:
    """Return the analysis with these lesions instead of its own, where the phantom has any."""
    lps_mm = geometry_of(phantom).to_lps_mm(np.moveaxis(np.indices(phantom.shape_zyx), 0, -1))
    lungs = analysis.lungs.labels_zyx
    lesions = np.zeros_like(analysis.lesions.labels_zyx)
    for centre, radii, label in ellipsoids:
        if (Side.RIGHT if centre[0] < 0 else Side.LEFT) in phantom.lesion_sides:
            lesions[np.sum(((lps_mm - centre) / radii) ** 2, axis=-1) <= 1.0] = label
    lesions[lungs == 0] = 0
    hu = analysis.volume.hu_zyx.copy()
    noise = np.arange(hu.size, dtype=np.int16).reshape(hu.shape) % 7
    for where, value in ((lungs > 0, -850), (lesions == 1, -550), (lesions == 2, 10)):
        hu[where] = value + noise[where]
    volume, mask = replace(analysis.volume, hu_zyx=hu), LesionMask(lesions, MODEL)
    return replace(analysis, volume=volume, lesions=mask, measurements=measure(volume, analysis.lungs, mask))


def _point(
    analysis: Analysis, pair: Pair, tracked: dict[int, str], results: tuple[ResultReference, ...]
) -> TimePoint:
    point = time_point_of(analysis, tracked, results)
    assert point is not None, "a phantom without lungs cannot be compared"
    return point if pair.dated else replace(point, facts=replace(point.facts, scanned_at=None))


def _registration(succeeded: bool) -> RegistrationQuality:
    if succeeded:
        return RegistrationQuality(True, "affine, then deformable", 0.973, 0.8, 0.91)
    reason = "The lungs could not be brought together: their overlap is 0.41."
    return RegistrationQuality(False, "affine", 0.41, 14.2, math.nan, reason)


def _first(prior: TimePoint, pair: Pair) -> HistoryPoint:
    """Return the oldest scan, the worst of all."""
    facts = replace(
        prior.facts,
        study_instance_uid=FIRST_STUDY_UID,
        series_instance_uid=f"{FIRST_STUDY_UID}.2",
        scanned_at=FIRST_SCANNED_AT if pair.dated else None,
    )
    second = HistoryPoint.of(prior)
    return replace(
        second,
        facts=facts,
        lesion_ml=2.0 * second.lesion_ml,
        ground_glass_ml=2.0 * second.ground_glass_ml,
        consolidation_ml=2.0 * second.consolidation_ml,
        percent_of_lung=2.0 * second.percent_of_lung,
        severity_score=min(24, second.severity_score + 3),
    )


def _alignment(prior: TimePoint, current: TimePoint) -> Alignment:
    """Return the earlier scan in the place of the later: both are on the same grid."""
    density: NDArray[np.int16] = prior.density_hu_zyx.copy()
    assert density.shape == current.density_hu_zyx.shape, "the two phantoms differ in their grids"
    return Alignment(density, prior.lesions.labels_zyx.copy())


def _tracked(change: LesionChange) -> bool:
    return bool(change.tracking_uid and change.current)
