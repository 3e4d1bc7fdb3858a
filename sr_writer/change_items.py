"""What changed since an earlier scan, in the groups of the current one.

TID 1419 numbers with names of their own: the change, with the limit within which it would be none as its
parameter, and with the prior report that it was computed from. How the size differs is a coded statement
(CID 6133, CID 6134).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from highdicom import sr

from core import codes
from core.codes import Code
from core.comparison import Change, Comparison, Direction, Fate, LesionChange, ZoneChange, is_known
from core.domain import Finding, Lesion, Region, ResultKind, Side
from core.time_point import ResultReference
from sr_writer.concepts import SIDE_CODE, UNDETERMINED, ZONE_CODE, concept
from sr_writer.group_parts import ReportInput, evaluation, number, rounded

#: What became of a lesion; how its size differs is another statement.
FATE_CODE = {
    Fate.PERSISTENT: codes.PERSISTENT,
    Fate.GROWN: codes.PERSISTENT,
    Fate.SHRUNK: codes.PERSISTENT,
    Fate.NEW: codes.NEW,
    Fate.RESOLVED: codes.RESOLVED,
    Fate.MERGED: codes.MERGED,
    Fate.SPLIT: codes.SPLIT,
}
_DIRECTION_CODE = {
    Direction.INCREASE: codes.INCREASE,
    Direction.DECREASE: codes.DECREASE,
    Direction.NO_SIGNIFICANT_CHANGE: codes.NO_SIGNIFICANT_CHANGE,
}
_INFERRED = sr.RelationshipTypeValues.INFERRED_FROM
_LUNGS = (Region.LUNG_RIGHT, Region.LUNG_LEFT)
_ZONE_VOLUME = {
    None: codes.ZONE_LESION_CHANGE,
    Finding.GROUND_GLASS: codes.ZONE_GROUND_GLASS_CHANGE,
    Finding.CONSOLIDATION: codes.ZONE_CONSOLIDATION_CHANGE,
}


@dataclass(frozen=True, slots=True, eq=False)
class ChangeItems:
    """What a group says of the change.

    Parameters
    ----------
    numbers, evaluations
        Items of TID 1419, and coded statements.
    """

    numbers: Sequence[sr.Measurement] = ()
    evaluations: Sequence[sr.QualitativeEvaluation] = ()


def direction_code(change: Change) -> Code:
    """Return how a size differs; undetermined where nobody knows what measuring alone may change."""
    return _DIRECTION_CODE[change.direction] if is_known(change.limit) else UNDETERMINED


def share_codes(region: Region) -> tuple[Code, Code]:
    """Return what a region's share of its lung in the prior scan is called, and the change of it."""
    if region in _LUNGS:
        return codes.PRIOR_PERCENT_LESION, codes.PERCENT_LESION_CHANGE
    return codes.PRIOR_PERCENT_OF_LUNG, codes.PERCENT_OF_LUNG_CHANGE


def region_items(material: ReportInput, region: Region) -> ChangeItems:
    """Return what became of a region; nothing where there is no earlier scan."""
    if material.comparison is None:
        return ChangeItems()
    report, change = prior_report(material), material.comparison.of(region)
    prior_share, share_change = share_codes(region)
    share = change.percent_of_lung
    return ChangeItems(
        [
            *_volume(change.volume_ml, report),
            _inferred(number(prior_share, share.prior, codes.PERCENT), report),
            _difference(share_change, share, codes.PERCENT, report),
        ],
        [
            evaluation(codes.DIFFERENCE_IN_SIZE, direction_code(change.volume_ml)),
            evaluation(share_change, direction_code(share)),
        ],
    )


def lesion_items(material: ReportInput, lesion: Lesion) -> ChangeItems:
    """Return what became of a lesion. Of several that were one, the largest has the numbers of all."""
    change = None if material.comparison is None else change_of(material.comparison, lesion)
    if change is None:
        return ChangeItems()
    fate = evaluation(codes.LESION_FATE, FATE_CODE[change.fate])
    if change.fate is Fate.NEW:
        return ChangeItems([], [evaluation(codes.DIFFERENCE_IN_SIZE, codes.NEW), fate])
    if change.current[0].number != lesion.number:
        return ChangeItems([], [fate])
    difference = evaluation(codes.DIFFERENCE_IN_SIZE, direction_code(change.volume_ml))
    return ChangeItems(_volume(change.volume_ml, prior_report(material)), [difference, fate])


def change_of(comparison: Comparison, lesion: Lesion) -> LesionChange | None:
    """Return what became of a lesion of the current scan; None where places were not compared."""
    number_now = lesion.number
    found = (one for one in comparison.lesions if number_now in {now.number for now in one.current})
    return next(found, None)


def zone_changes(material: ReportInput, side: Side | None) -> list[sr.Measurement]:
    """Return what changed in the zones of a lung, each number with its own Finding Site."""
    if material.comparison is None:
        return []
    in_view = {zone.zone for zone in material.analysis.measurements.zones if zone.lung_ml > 0}
    return [
        item
        for change in material.comparison.zones
        if change.zone.side is side and change.zone in in_view
        for item in _zone(change, prior_report(material))
    ]


def prior_report(material: ReportInput) -> ResultReference | None:
    """Return the report of the prior scan, in the encoding of this one if there is one."""
    if material.comparison is None:
        return None
    kind = ResultKind.MEASUREMENT_REPORT
    return material.comparison.prior.result(kind, material.form.variant(kind))


def _zone(change: ZoneChange, report: ResultReference | None) -> list[sr.Measurement]:
    volume = change.volume_ml
    if change.finding is not None and not (volume.prior or volume.current):
        return []
    where, side = ZONE_CODE[change.zone], SIDE_CODE[change.zone.side]
    sites = [sr.FindingSite(concept(where), laterality=concept(side))]
    items = [_difference(_ZONE_VOLUME[change.finding], volume, codes.CUBIC_CENTIMETER, report, sites)]
    if change.finding is None:
        items.append(_difference(codes.ZONE_PERCENT_CHANGE, change.percent, codes.PERCENT, report, sites))
    return items


def _volume(change: Change, report: ResultReference | None) -> list[sr.Measurement]:
    """Return a volume then, and its change: absolute, relative and per day, as far as these say anything."""
    items = [
        _inferred(number(codes.PRIOR_VOLUME, change.prior, codes.CUBIC_CENTIMETER), report),
        _difference(codes.VOLUME_CHANGE, change, codes.CUBIC_CENTIMETER, report),
    ]
    for name, value, unit in (
        (codes.VOLUME_CHANGE_PERCENT, change.percent, codes.PERCENT),
        (codes.VOLUME_CHANGE_PER_DAY, change.per_day, codes.CUBIC_CENTIMETER_PER_DAY),
    ):
        if value is not None:
            items.append(_inferred(number(name, value, unit), report))
    return items


def _difference(
    name: Code,
    change: Change,
    unit: Code,
    report: ResultReference | None,
    sites: Sequence[sr.FindingSite] | None = None,
) -> sr.Measurement:
    """Return a change, and up to what size it would be called none."""
    item = number(name, change.absolute, unit, sites)
    if is_known(change.limit):
        limit = sr.NumContentItem(
            concept(codes.CHANGE_LIMIT), rounded(change.limit), concept(unit), relationship_type=_INFERRED
        )
        _add(item, limit)
    return _inferred(item, report)


def _inferred(item: sr.Measurement, report: ResultReference | None) -> sr.Measurement:
    """Say which report a number was computed from, where there is one (TID 1419, INFERRED FROM)."""
    if report is not None:
        _add(
            item,
            sr.CompositeContentItem(
                concept(codes.PRIOR_REPORT),
                report.sop_class_uid,
                report.sop_instance_uid,
                _INFERRED,
            ),
        )
    return item


def _add(item: sr.Measurement, child: sr.ContentItem) -> None:
    if "ContentSequence" not in item[0]:
        item[0].ContentSequence = sr.ContentSequence()
    item[0].ContentSequence.append(child)
