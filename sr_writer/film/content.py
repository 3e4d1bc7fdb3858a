"""What the film says: every text and number of it, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from core.domain import Analysis, Finding, Language, Lesion, ModelIdentity, Region, Side, Zone
from sr_writer.context import ResultContext
from sr_writer.film.comparison_content import since_line
from sr_writer.film.words import WORDS, Words
from sr_writer.rounding import percent_text, volume_text
from sr_writer.totals import lung_volume_ml, total_of

#: Single lesions on the page, largest first; the report holds more.
MOST_LESIONS = 5
_DASH = "–"


@dataclass(frozen=True, slots=True)
class ZoneText:
    """What stands beside one zone of the overview."""

    zone: Zone
    score: int
    text: str


@dataclass(frozen=True, slots=True)
class FilmContent:
    """All text of the film.

    Parameters
    ----------
    language
        Of all of it; remarks and names of models are English in every language.
    title, subtitle
        Head of the page.
    notice
        Where there is no lesion or no lung; else empty.
    table_head, table
        Columns, and one row for each lung and both.
    listed
        How many single lesions there are.
    lesions
        The largest of them, cells of a row each.
    zones, score
        Of the overview and of the bar.
    foot
        Who made it.
    warning
        That it is for research, where it is.
    remarks
        What a reader has to know.
    since
        What changed since an earlier scan; empty where there is none.
    """

    language: Language
    title: str
    subtitle: str
    notice: str
    table_head: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    listed: str
    lesions: tuple[tuple[str, ...], ...]
    zones: tuple[ZoneText, ...]
    score: int
    foot: str
    warning: str
    remarks: tuple[str, ...]
    since: str = ""

    @property
    def words(self) -> Words:
        """The words of its language."""
        return WORDS[self.language]


def film_content(analysis: Analysis, context: ResultContext) -> FilmContent:
    """Put the numbers of an analysis into words.

    No value that identifies the patient is on the film: the viewer shows those of the object's header, which
    a PACS keeps right when it corrects them.

    Parameters
    ----------
    analysis
        Source and numbers.
    context
        Language, generation, node.
    """
    words = WORDS[context.language]
    numbers, model = analysis.measurements, analysis.lesions.model
    notice = ""
    if lung_volume_ml(numbers) <= 0:
        notice = words.no_lungs
    elif numbers.of(Region.LESIONS).volume_ml <= 0:
        notice = words.nothing_found
    return FilmContent(
        language=context.language,
        title=words.title,
        subtitle=subtitle(analysis.volume.headers[0], context, words),
        notice=notice,
        table_head=(
            "",
            words.lungs_ml,
            *(words.findings[finding] for finding in Finding),
            words.lesions_ml,
            words.share,
            words.attenuation,
        ),
        table=tuple(_row(analysis, words, side) for side in (Side.RIGHT, Side.LEFT, None)),
        listed=(words.listed if numbers.lesions else words.none_listed).format(
            count=len(numbers.lesions), smallest=f"{numbers.listed_from_ml:g}"
        ),
        lesions=tuple(_lesion(lesion, words) for lesion in numbers.lesions[:MOST_LESIONS]),
        zones=tuple(
            ZoneText(zone.zone, zone.score, f"{zone.score}  ({percent_text(zone.percent)})")
            for zone in numbers.zones
            if zone.lung_ml > 0
        ),
        score=numbers.severity_score,
        foot=made_by(context, model, words),
        warning=words.research_only if model.research_only else "",
        remarks=analysis.volume.remarks,
        since=since_line(analysis.comparison, context) if analysis.comparison else "",
    )


def made_by(context: ResultContext, model: ModelIdentity, words: Words) -> str:
    """Name node and model."""
    return words.made_by.format(
        node=context.node_name,
        version=context.software_version,
        model=model.name,
        model_version=model.version,
    )


def attenuation_text(mean_hu: float) -> str:
    """Show an attenuation in whole Hounsfield units, with a minus sign of the width of a digit."""
    return str(round(mean_hu)).replace("-", "−")


def image_number(analysis: Analysis, index: int) -> str:
    """Return the number by which a viewer finds a slice in its series; empty where there is none."""
    number: object = analysis.volume.frames[index].frame_number
    headers = analysis.volume.headers
    if number is None and len(headers) == len(analysis.volume.frames):
        number = headers[index].get("InstanceNumber")
    return "" if number is None else str(number)


def subtitle(header: Dataset, context: ResultContext, words: Words) -> str:
    """Say what was examined, without saying who."""
    parts = []
    date = _date(
        str(header.get("AcquisitionDate") or header.get("SeriesDate") or header.get("StudyDate") or "")
    )
    if date:
        parts.append(words.study.format(date=date))
    number = str(header.get("SeriesNumber") or "").strip()
    if number.isdigit():
        parts.append(words.series.format(number=number))
    if context.generation > 1:
        parts.append(words.update.format(number=context.generation))
    return ", ".join(parts)


def _date(value: str) -> str:
    """Return a DICOM date as ISO 8601, empty where it is none."""
    text = value.strip()
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else ""


def _row(analysis: Analysis, words: Words, side: Side | None) -> tuple[str, ...]:
    numbers = analysis.measurements
    sides = (side,) if side else tuple(Side)
    every = total_of(numbers, sides)
    return (
        words.lungs[side] if side else words.both_lungs,
        volume_text(lung_volume_ml(numbers, sides)),
        *(volume_text(total_of(numbers, sides, (finding,)).volume_ml) for finding in Finding),
        volume_text(every.volume_ml),
        _DASH if every.percent is None else percent_text(every.percent),
        _DASH if every.mean_hu is None else _attenuation(every.mean_hu),
    )


def _lesion(lesion: Lesion, words: Words) -> tuple[str, ...]:
    return (
        str(lesion.number),
        words.lungs[lesion.side],
        words.classes[lesion.lesion_class],
        volume_text(lesion.volume_ml),
        f"{lesion.long_axis_mm:.0f} mm",
        _attenuation(lesion.mean_hu),
    )


def _attenuation(mean_hu: float) -> str:
    return f"{attenuation_text(mean_hu)} HU"
