"""What the report says about the examination as a whole: TID 1500 rows 12 to 14.

No grade (mild, moderate, severe) is given. Thresholds have been published for other CT scores; none is known
for this one, whose zones are thirds of each lung's height.
"""

from __future__ import annotations

from collections.abc import Collection

from highdicom import sr

from core import codes
from core.codes import Code
from core.comparison import Comparison
from core.domain import HIGHEST_SEVERITY_SCORE, Analysis, Finding, LesionMeasurements, Region, Side
from sr_writer.change_texts import change_facts, change_sentence, change_warnings
from sr_writer.concepts import (
    ABSENT,
    COURSE_CODE,
    FINDING_CODE,
    LATERALITY,
    PRESENT,
    UNDETERMINED,
    concept,
    laterality,
    sides_with,
)
from sr_writer.context import plain_text
from sr_writer.report_document import code_answer, research_comment, text_item
from sr_writer.rounding import percent_text, volume_text

_LUNG_OF = {Side.RIGHT: Region.LUNG_RIGHT, Side.LEFT: Region.LUNG_LEFT}


def qualitative_evaluations(analysis: Analysis) -> list[sr.ContentItem]:
    """Return what is there and where, the summary, the score, the course, and every remark."""
    numbers, comparison = analysis.measurements, analysis.comparison
    text = summary(numbers) if comparison is None else f"{summary(numbers)} {change_sentence(comparison)}"
    items = [
        _presence(codes.LESION, tuple(Finding), numbers),
        *(_presence(FINDING_CODE[finding], (finding,), numbers) for finding in Finding),
        text_item(codes.SUMMARY, text),
    ]
    if lungs_in_view(numbers):
        items.append(text_item(codes.SEVERITY_SCORE, _score(numbers)))
    remarks = [*analysis.volume.remarks]
    if comparison is not None:
        items += _course(comparison)
        remarks += [*change_warnings(comparison), *change_facts(comparison)]
    items += research_comment(analysis.lesions.model)
    return items + [text_item(codes.COMMENT, plain_text(remark)) for remark in remarks]


def _course(comparison: Comparison) -> list[sr.ContentItem]:
    """Return what became of the disease, and the rule that told it."""
    return [
        code_answer(codes.COURSE, COURSE_CODE[comparison.course]),
        text_item(codes.COURSE_REASON, plain_text(comparison.because)),
    ]


def summary(numbers: LesionMeasurements) -> str:
    """Put the numbers of an examination into one sentence, rounded."""
    lungs = lungs_in_view(numbers)
    if not lungs:
        return "No lung was found, so nothing is known about lesions."
    sides = sides_with(numbers)
    text = f"Lesions were found in {_lungs(sides)}: {_amount(numbers)}" if sides else _nothing(lungs)
    missing = "".join(f"; no {side.value} lung was found" for side in Side if side not in lungs)
    return f"{text}{missing}."


def lungs_in_view(numbers: LesionMeasurements) -> tuple[Side, ...]:
    """Return the lungs that were found."""
    return tuple(side for side, region in _LUNG_OF.items() if numbers.of(region).volume_ml > 0)


def _presence(name: Code, findings: Collection[Finding], numbers: LesionMeasurements) -> sr.ContentItem:
    """Say whether any of some findings is there, and in which lungs (row 13, and 13b).

    Without a lung nobody looked, so that is not known.
    """
    where = laterality(sides_with(numbers, findings))
    value = PRESENT if where else ABSENT if lungs_in_view(numbers) else UNDETERMINED
    item = code_answer(name, value)
    if where:
        modifier = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
        item.ContentSequence = sr.ContentSequence(
            [sr.CodeContentItem(concept(LATERALITY), concept(where), modifier)]
        )
    return item


def _nothing(lungs: Collection[Side]) -> str:
    return "No lesion was found in " + ("either lung" if len(lungs) > 1 else _lungs(lungs))


def _lungs(sides: Collection[Side]) -> str:
    return "both lungs" if len(sides) > 1 else "".join(f"the {side.value} lung" for side in sides)


def _amount(numbers: LesionMeasurements) -> str:
    """Say how much lesion there is, of what, and in how many pieces."""
    total = numbers.of(Region.LESIONS)
    share = f"{volume_text(total.volume_ml)}, {percent_text(total.percent_of_lung)} of lung volume"
    return "; ".join((share, _parts(numbers), f"CT severity score {_score(numbers)}", _pieces(numbers)))


def _parts(numbers: LesionMeasurements) -> str:
    words = {Finding.GROUND_GLASS: "ground glass", Finding.CONSOLIDATION: "consolidation"}
    parts_ml = {
        words[finding]: sum(one.volume_ml for one in numbers.regions if one.region.finding is finding)
        for finding in Finding
    }
    present = {word: volume_ml for word, volume_ml in parts_ml.items() if volume_ml > 0}
    if len(present) == 1:
        return f"all {next(iter(present))}"
    return ", ".join(f"{volume_text(volume_ml)} {word}" for word, volume_ml in present.items())


def _pieces(numbers: LesionMeasurements) -> str:
    limit = f"of at least {numbers.listed_from_ml:g} ml"
    if not numbers.lesions:
        return f"no single lesion {limit}"
    largest = volume_text(numbers.lesions[0].volume_ml)
    if len(numbers.lesions) == 1:
        return f"one single lesion {limit}, of {largest}"
    return f"{len(numbers.lesions)} single lesions {limit}, the largest {largest}"


def _score(numbers: LesionMeasurements) -> str:
    return f"{numbers.severity_score} of {HIGHEST_SEVERITY_SCORE}"
