"""What the document says: every text and number of it, before anything is laid out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from core.domain import (
    Analysis,
    Finding,
    Language,
    Lesion,
    Region,
    Side,
    Zone,
    ZoneMeasurement,
)
from sr_writer.concepts import Algorithm
from sr_writer.context import ResultContext, plain_text
from sr_writer.document.changes import ChangeSection, change_section, change_summary
from sr_writer.document.tables import DASH, Head, Table, amount
from sr_writer.document.words import DOCUMENT_WORDS, DocumentWords
from sr_writer.film.content import attenuation_text, film_content
from sr_writer.film.words import WORDS, Words
from sr_writer.totals import lung_volume_ml, total_of

#: Of a SHA-256, so many hexadecimal digits tell models apart; SEG and SR hold all.
_DIGEST_DIGITS = 16


@dataclass(frozen=True, slots=True)
class DocumentContent:
    """All text of the document.

    Parameters
    ----------
    language
        Of all of it; remarks and names of models are English in every language.
    title, subtitle, warning
        Head of every page of text; the warning is empty where the model asks for none.
    film
        What page 1 shows, for readers who cannot see it.
    summary
        The result in a few sentences, above the tables.
    regions, zones, lesions
        The tables; `lesions` has no row where there is none.
    facts
        Captions, each with names and values: what was examined, and what measured it.
    changes
        What changed since an earlier scan; None where there is none.
    remarks_caption, remarks
        What a reader has to know.
    foot, page
        Foot of every page; `{page}` and `{pages}` of the latter are filled in by the layout.
    """

    language: Language
    title: str
    subtitle: str
    warning: str
    film: str
    summary: str
    regions: Table
    zones: Table
    lesions: Table
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    changes: ChangeSection | None
    remarks_caption: str
    remarks: tuple[str, ...]
    foot: str
    page: str


@dataclass(frozen=True, slots=True)
class LesionColumn:
    """A column of the table of single lesions.

    Parameters
    ----------
    head
        Its head in the words of a language.
    cell
        Its text for a lesion.
    """

    head: Callable[[DocumentWords], str]
    cell: Callable[[Lesion, Words], str]


#: `_LESION_TEXTS` columns of words, then columns of numbers. A further one is one more entry here.
LESION_COLUMNS: tuple[LesionColumn, ...] = (
    LesionColumn(lambda words: words.number, lambda lesion, _: str(lesion.number)),
    LesionColumn(lambda words: words.lesion_class, lambda lesion, words: words.classes[lesion.lesion_class]),
    LesionColumn(lambda words: words.side, lambda lesion, words: words.lungs[lesion.side]),
    LesionColumn(lambda words: words.volume, lambda lesion, _: amount(lesion.volume_ml)),
    LesionColumn(
        lambda words: words.consolidation, lambda lesion, _: f"{100 * lesion.consolidation_share:.0f}"
    ),
    LesionColumn(lambda words: words.attenuation, lambda lesion, _: attenuation(lesion.mean_hu)),
    LesionColumn(
        lambda words: words.axes, lambda lesion, _: f"{lesion.long_axis_mm:.0f} × {lesion.short_axis_mm:.0f}"
    ),
)
_LESION_TEXTS = 3


def document_content(analysis: Analysis, context: ResultContext, moment: datetime) -> DocumentContent:
    """Put every number of an analysis into words and tables.

    As on the film, nothing identifies the patient: name and ID stand in the header, where a PACS corrects
    them.

    Parameters
    ----------
    analysis
        Source and numbers.
    context
        Language, generation, node.
    moment
        When it was computed, in the time zone of the study.
    """
    film, words = film_content(analysis, context), DOCUMENT_WORDS[context.language]
    return DocumentContent(
        language=context.language,
        title=film.title,
        subtitle=film.subtitle,
        warning=film.warning,
        film=words.film,
        summary=summary(analysis, context.language),
        regions=_regions(analysis, film.words, words),
        zones=_zones(analysis, film.words, words),
        lesions=_lesions(analysis, film.words, words, film.listed),
        facts=(
            (words.examined, _examined(analysis, words)),
            (words.made_by, _made_by(analysis, context, moment, words)),
        ),
        changes=change_section(analysis.comparison, context.language),
        remarks_caption=film.words.remarks,
        remarks=tuple(plain_text(remark) for remark in film.remarks),
        foot=film.foot,
        page=words.page,
    )


def summary(analysis: Analysis, language: Language) -> str:
    """Return the result in a few sentences."""
    numbers, film, words = analysis.measurements, WORDS[language], DOCUMENT_WORDS[language]
    every = total_of(numbers)
    if every.percent is None:
        return film.no_lungs
    if every.volume_ml > 0:
        first = words.burden.format(volume=amount(every.volume_ml), percent=amount(every.percent))
    else:
        first = words.nothing_found
    listed = film.listed if numbers.lesions else film.none_listed
    sentences = (
        first,
        listed.format(count=len(numbers.lesions), smallest=f"{numbers.listed_from_ml:g}"),
        film.severity.format(score=numbers.severity_score),
        *change_summary(analysis.comparison, language),
    )
    return "".join(sentence + words.stop for sentence in sentences).strip()


def attenuation(mean_hu: float | None) -> str:
    """Show an attenuation in whole Hounsfield units, a dash where there is nothing to measure."""
    return DASH if mean_hu is None else attenuation_text(mean_hu)


def _regions(analysis: Analysis, film: Words, words: DocumentWords) -> Table:
    numbers = analysis.measurements
    groups: tuple[tuple[str, tuple[Finding, ...]], ...] = (
        *((film.findings[finding], (finding,)) for finding in Finding),
        (film.lesions_ml, tuple(Finding)),
    )
    rows = []
    for side in (Side.RIGHT, Side.LEFT, None):
        sides = (side,) if side else tuple(Side)
        totals = [total_of(numbers, sides, group) for _, group in groups]
        cells = (
            (
                amount(total.volume_ml),
                DASH if total.percent is None else amount(total.percent),
                attenuation(total.mean_hu),
            )
            for total in totals
        )
        rows.append(
            (
                film.lungs[side] if side else film.both_lungs,
                amount(lung_volume_ml(numbers, sides)),
                *(cell for group in cells for cell in group),
            )
        )
    columns = (words.volume, words.share, words.attenuation)
    return Table(
        words.regions,
        (
            (Head("", 2), *(Head(name, len(columns)) for name, _ in groups)),
            (Head(""), Head(words.lung), *(Head(column) for _ in groups for column in columns)),
        ),
        tuple(rows),
    )


def _zones(analysis: Analysis, film: Words, words: DocumentWords) -> Table:
    measured = {zone.zone: zone for zone in analysis.measurements.zones}
    columns = (words.lesion, words.share_of_zone, words.score)
    return Table(
        film.severity.format(score=analysis.measurements.severity_score),
        (
            (Head(""), *(Head(film.lungs[side], len(columns)) for side in Side)),
            (Head(""), *(Head(column) for _ in Side for column in columns)),
        ),
        tuple(
            (name, *(cell for side in Side for cell in _zone_cells(measured[Zone(f"{third}_{side}")])))
            for third, name in words.thirds.items()
        ),
        note=film.severity_note,
    )


def _zone_cells(zone: ZoneMeasurement) -> tuple[str, str, str]:
    if zone.lung_ml <= 0:
        return DASH, DASH, DASH
    return amount(zone.lesion_ml), amount(zone.percent), str(zone.score)


def _lesions(analysis: Analysis, film: Words, words: DocumentWords, caption: str) -> Table:
    return Table(
        caption,
        (tuple(Head(column.head(words)) for column in LESION_COLUMNS),),
        tuple(
            tuple(column.cell(lesion, film) for column in LESION_COLUMNS)
            for lesion in analysis.measurements.lesions
        ),
        texts=_LESION_TEXTS,
    )


def _examined(analysis: Analysis, words: DocumentWords) -> tuple[tuple[str, str], ...]:
    slice_mm, row_mm, column_mm = analysis.volume.geometry.spacing_zyx_mm
    return (
        (words.images, str(len(analysis.volume.frames))),
        (words.slice_spacing, f"{slice_mm:.2f} mm"),
        (words.pixel_spacing, f"{row_mm:.3f} × {column_mm:.3f} mm"),
    )


def _made_by(
    analysis: Analysis, context: ResultContext, moment: datetime, words: DocumentWords
) -> tuple[tuple[str, str], ...]:
    model = analysis.lesions.model
    lungs = Algorithm.of(Region.LUNG_RIGHT, model, context)
    return (
        (words.lesions_by, f"{model.name} {model.version}, {model.manufacturer}"),
        (words.model_digest, f"{model.sha256[:_DIGEST_DIGITS]}…"),
        (words.lungs_by, f"{lungs.name} {lungs.version}"),
        (words.node, f"{context.node_name} {context.software_version}, {context.station_name}"),
        (words.computed, f"{moment:%Y-%m-%d %H:%M %z}"),
    )
