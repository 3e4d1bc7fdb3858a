"""An analysis compared with what is known of earlier scans of the patient; it never costs the analysis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from config import ComparisonSettings, PriorsRule, Settings
from core.comparison import Comparison, CourseRules
from core.domain import ResultKind, ResultSet
from core.errors import ResultEncodingError, SpoolDamaged, StorageUnreachable
from core.forms import ResultForm
from core.log import get_logger
from core.repeatability import Repeatability
from core.time_point import TimePoint
from custody.time_points import noted_unreadable
from inference.comparison import compare
from inference.time_points import time_point_of, with_results
from lesionnode.engine import Engine
from lesionnode.pipeline import Analysed, Stopwatch
from sr_writer.context import ResultContext
from sr_writer.references import reference_to
from sr_writer.results import write_results

_BROKE = "The comparison with an earlier scan failed: the log of the node says why."


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of a patient from before.

    Parameters
    ----------
    points
        Earlier scans of the same patient, in any order.
    notes
        Why some are not compared, English sentences without identifiers.
    whole
        Completes a time point whose masks and densities were left out: of fifty scans one is compared voxel
        by voxel.
    """

    points: tuple[TimePoint, ...] = ()
    notes: tuple[str, ...] = ()
    whole: Callable[[TimePoint], TimePoint] = lambda point: point


def compared(analysed: Analysed, earlier: Earlier, engine: Engine, settings: ComparisonSettings) -> Analysed:
    """Compare an analysis with earlier scans.

    Parameters
    ----------
    analysed
        Of the current scan.
    earlier
        What it is compared with.
    engine
        Has the repeatability of the model.
    settings
        From which change on the site calls it one.

    Returns
    -------
    Analysed
        With the time point that later scans will be compared with. Without a comparison where there is
        nothing to compare with, or where comparing failed; the notes are among its remarks.
    """
    watch = Stopwatch()
    notes, comparison, point = earlier.notes, None, None
    with watch.step("compare"):
        try:
            point = time_point_of(analysed.analysis)
            if point is not None:
                repeatability = engine.open(analysed.model)[0].repeatability
                comparison, unreadable = _compared(point, earlier, repeatability, course_rules(settings))
                notes = (*notes, *unreadable)
        except StorageUnreachable:
            raise  # it answers later, and so the whole job waits
        except Exception:  # noqa: BLE001 - border: whatever is wrong with an earlier scan, this one is reported
            get_logger().error("comparison_broke", exc_info=True)
            notes = (*notes, _BROKE)
    timings = {**analysed.timings_s, **watch.seconds}
    analysis = replace(analysed.analysis, comparison=comparison)
    return _noted(replace(analysed, analysis=analysis, time_point=point, timings_s=timings), notes)


def _compared(
    point: TimePoint, earlier: Earlier, repeatability: Repeatability, rules: CourseRules
) -> tuple[Comparison | None, tuple[str, ...]]:
    """Compare with the newest earlier scan that can still be read; return notes on those that cannot."""
    points, unreadable = list(earlier.points), 0
    asked_for: list[TimePoint] = []

    def whole(one: TimePoint) -> TimePoint:
        asked_for.append(one)
        return earlier.whole(one)

    while True:
        try:
            return compare(point, points, repeatability, rules, whole=whole), noted_unreadable(unreadable)
        except SpoolDamaged as error:
            get_logger().error("earlier_scan_unreadable", reason=str(error))
            points = [one for one in points if one is not asked_for[-1]]
            unreadable += 1


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What was written of an analysis.

    Parameters
    ----------
    analysed
        What it was written of: without the comparison where that could not be written. Its time point names
        the objects.
    results
        The objects and files.
    """

    analysed: Analysed
    results: ResultSet


def written(
    analysed: Analysed,
    context: ResultContext,
    forms: Sequence[ResultForm],
    *,
    overlay: bool = False,
    citable: frozenset[ResultKind] | None = None,
) -> Written:
    """Write the results of an analysis; without its comparison where that cannot be written.

    Parameters
    ----------
    analysed
        Compared or not.
    context, forms, overlay
        As `sr_writer.results.write_results` wants them.
    citable
        Which objects later reports may refer to; None for all.

    Raises
    ------
    ResultEncodingError
        The results would be wrong without a comparison too.
    """
    try:
        results = write_results(analysed.analysis, context, forms, overlay=overlay)
    except Exception as error:
        if analysed.analysis.comparison is None:
            raise
        reason = str(error) if isinstance(error, ResultEncodingError) else type(error).__name__
        get_logger().error("comparison_not_written", reason=reason, exc_info=True)
        analysed = _noted(replace(analysed, analysis=replace(analysed.analysis, comparison=None)), (_BROKE,))
        results = write_results(analysed.analysis, context, forms, overlay=overlay)
    point = analysed.time_point
    if point is not None:
        objects = tuple(
            reference_to(one) for one in results.objects if citable is None or one.kind in citable
        )
        point = with_results(point, results.tracking_uids, objects)
    return Written(replace(analysed, time_point=point), results)


def compares(settings: Settings, sources: Iterable[str]) -> bool:
    """Tell whether a scan from these sources is compared: unless each of them says that its are not."""
    known = [settings.source(name) for name in sources]
    rules = [one.priors for one in known if one is not None]
    return not rules or any(rule is not PriorsRule.NONE for rule in rules)


def course_rules(settings: ComparisonSettings) -> CourseRules:
    """Return from which change on the site calls it one."""
    return CourseRules(
        least_change_ml=settings.least_change_ml,
        least_change_percent=settings.least_change_percent,
        least_new_lesion_ml=settings.least_new_lesion_ml,
    )


def _noted(analysed: Analysed, notes: Sequence[str]) -> Analysed:
    """Return an analysis with more that its reader is told."""
    volume = analysed.analysis.volume
    volume = replace(volume, remarks=(*volume.remarks, *notes))
    analysis = replace(analysed.analysis, volume=volume)
    return replace(analysed, analysis=analysis, notes=(*analysed.notes, *notes))
