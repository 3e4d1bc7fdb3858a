"""What changed since an earlier scan, in sentences for people: English, as all text of the report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from core.comparison import Change, Comparison, CompositionShift, Course, LesionChange, is_known
from core.domain import Lesion
from sr_writer.rounding import percent_text, volume_text

_COURSES = {
    Course.PROGRESSION: "progression",
    Course.REGRESSION: "regression",
    Course.STABLE: "stable",
    Course.MIXED: "mixed, more in one place and less in another",
    Course.UNDETERMINED: "course undetermined",
}
_UNKNOWN_LIMIT = (
    "How far apart two measurements of an unchanged patient would lie is not known for these two scans: "
    "no difference is called a change."
)


def time_points(comparison: Comparison) -> tuple[str, str]:
    """Return what the prior and the current scan are called: dates, with the time within one day."""
    moments = comparison.prior.facts.scanned_at, comparison.scanned_at
    unnamed = "prior scan", "current scan"
    for style in ("%Y-%m-%d", "%Y-%m-%d %H:%M"):
        then, now = (_moment(moment, style) for moment in moments)
        if then != now:
            return then or unnamed[0], now or unnamed[1]
    return unnamed


def change_sentence(comparison: Comparison) -> str:
    """Put the change of the burden, and the course, into one sentence."""
    share, volume = comparison.total.percent_of_lung, comparison.total.volume_ml
    then, _ = time_points(comparison)
    since = (
        f"on {then}" if comparison.prior.facts.scanned_at and then != "prior scan" else "in the prior scan"
    )
    text = f"Lesion burden {percent_text(share.current)} of lung, was {percent_text(share.prior)} {since}"
    details = [f"{share.absolute:+.1f} percentage points{_within(comparison.days)}"]
    details.append(f"{volume_text(volume.current)}, was {volume_text(volume.prior)}{_relative(volume)}")
    return f"{text} ({'; '.join(details)}): {_COURSES[comparison.course]}."


def change_warnings(comparison: Comparison) -> list[str]:
    """Return why numbers may differ without a change, or a change is not told, sentence by sentence."""
    warnings = list(comparison.warnings)
    if not comparison.registration.succeeded:
        reason = comparison.registration.reason
        warnings.append(f"Places were not compared, so single lesions were not matched: {reason}")
    if not is_known(comparison.total.volume_ml.limit):
        warnings.append(_UNKNOWN_LIMIT)
    return warnings


def change_facts(comparison: Comparison) -> list[str]:
    """Return what else is to be known about the change, sentence by sentence."""
    quality, shift = comparison.registration, comparison.shift
    facts = []
    if quality.succeeded:
        facts.append(
            f"The prior scan was brought onto this one ({quality.method}): overlap of the lungs "
            f"{quality.lung_overlap:.2f}, mean distance of their surfaces {quality.surface_mm:.1f} mm, "
            f"correlation of densities {quality.correlation:.2f}."
        )
    if shift is not None and is_known(shift.limit_ml) and (shift.consolidated_ml or shift.loosened_ml):
        facts.append(_composition(shift))
    facts += [_joined(one) for one in comparison.lesions if len(one.prior) > 1 or len(one.current) > 1]
    facts += _trend(comparison)
    return facts


def _composition(shift: CompositionShift) -> str:
    limit = f"limit {volume_text(shift.limit_ml)}"
    if not shift.is_significant:
        return f"Nothing beyond what measuring alone may show went from one finding to the other ({limit})."
    then, now = "ground glass", "consolidation"
    if shift.net_ml < 0:
        then, now = now, then
    return f"On balance {volume_text(abs(shift.net_ml))} that was {then} is {now} now ({limit})."


def _trend(comparison: Comparison) -> Iterator[str]:
    """Say which scan had the most, of all that one model looked at."""
    history, peak = comparison.history, comparison.peak
    others = sum(not point.is_by_the_model_of(history[-1]) for point in history)
    if peak is not None and len(history) - others > 2:
        yield (
            f"Highest burden of {len(history) - others} scans: {percent_text(peak.percent_of_lung)} "
            f"of lung{_moment(peak.facts.scanned_at, ' on %Y-%m-%d')}."
        )
    if others:
        one = others == 1
        yield (
            f"Another model looked at {others} earlier scan{'' if one else 's'} of the trend: "
            f"{'its numbers are' if one else 'their numbers are'} not compared with the others."
        )


def _moment(moment: datetime | None, style: str) -> str:
    return "" if moment is None else moment.strftime(style)


def _within(days: float | None) -> str:
    if days is None:
        return ""
    return " within a day" if days < 1 else f" in {days:.0f} day{'' if round(days) == 1 else 's'}"


def _relative(change: Change) -> str:
    return "" if change.percent is None else f", {change.percent:+.0f} %"


def _joined(change: LesionChange) -> str:
    """Say which lesions became which."""
    then, now = _named("prior lesion", change.prior), _named("lesion", change.current)
    verb = "is" if len(change.prior) == 1 else "are"
    text = f"{then} {verb} {now} now; changes are those of all together."
    return text[0].upper() + text[1:]


def _named(name: str, lesions: tuple[Lesion, ...]) -> str:
    numbers = [str(one.number) for one in lesions]
    if len(numbers) == 1:
        return f"{name} {numbers[0]}"
    return f"{name}s {', '.join(numbers[:-1])} and {numbers[-1]}"
