"""``lesion-node analyse DIR``: the images of a folder, without a network and without a ledger."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from config import Settings
from core.ct_facts import FACT_KEYWORDS, CtFacts
from core.ct_header import REASON_KEYWORDS, reason_not_analysable
from core.domain import ResultKind, SOPInstanceUID
from core.errors import OtherImages, ResultEncodingError, SeriesRejected, UnsupportedImage
from lesionnode.engine import Engine
from lesionnode.installed_models import model_folders
from lesionnode.pipeline import (
    Progress,
    analyse_series,
    refusal_of,
    refused_json,
    result_context,
    result_json,
)
from scp.selection import Candidate, choose
from sr_writer.context import ResultContext
from sr_writer.elements import part_10
from sr_writer.encapsulated_pdf import pdf_of
from sr_writer.fhir_bundle import FILE_NAME as FHIR_FILE
from sr_writer.results import write_refusal, write_results

_FILE_NAMES = {
    ResultKind.SEGMENTATION: "segmentation.dcm",
    ResultKind.MEASUREMENT_REPORT: "report.dcm",
    ResultKind.FILM: "film.dcm",
    ResultKind.KEY_OBJECTS: "key-objects.dcm",
    ResultKind.DOCUMENT: "report.pdf.dcm",
}
_PDF_FILE = "report.pdf"
RESULT_FILE = "result.json"

_READ_KEYWORDS = ["SeriesInstanceUID", *REASON_KEYWORDS, *FACT_KEYWORDS]


@dataclass(slots=True)
class FolderContent:
    """What a folder holds.

    Parameters
    ----------
    series
        Files of each series that may be analysed, by Series Instance UID.
    facts
        Header facts of the same files.
    remarks
        What was left out and why, with counts.
    """

    series: dict[str, list[Path]] = field(default_factory=dict)
    facts: dict[str, list[CtFacts]] = field(default_factory=dict)
    remarks: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count a file that is no image to analyse."""
        self.remarks[reason] = self.remarks.get(reason, 0) + 1

    @property
    def remark_lines(self) -> list[str]:
        """The remarks as lines."""
        return [f"{count} file(s) left out: {reason}" for reason, count in self.remarks.items()]


def look_into(folder: Path) -> FolderContent:
    """Sort the files of a folder, subfolders included, into series."""
    content = FolderContent()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.stat().st_size == 0:
            content.leave_out("empty")
            continue
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=_READ_KEYWORDS)
            reason = reason_not_analysable(header)
            series_uid = str(header.get("SeriesInstanceUID", ""))
            facts = CtFacts.from_header(header) if reason is None else None
        except InvalidDicomError:
            content.leave_out("not a DICOM file")
            continue
        except Exception:  # noqa: BLE001 - damaged files raise anything
            content.leave_out("a DICOM file that cannot be read")
            continue
        if facts is None:
            content.leave_out(reason or "")
            continue
        content.series.setdefault(series_uid, []).append(path)
        content.facts.setdefault(series_uid, []).append(facts)
    return content


def analyse_folder(
    folder: Path, output: Path, model: str, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Analyse the best series of a folder and write all its results and ``result.json``.

    Parameters
    ----------
    folder
        Holds Part 10 files of one or more series.
    output
        Created where it does not exist. Earlier results in it are replaced.
    model
        Name of the model package.
    settings
        The node's, or the defaults.
    progress
        Called with the name of the step and its share done.

    Returns
    -------
    dict
        What ``result.json`` holds.

    Raises
    ------
    ModelError, InferenceError, OSError
        Nothing can be said about the series.
    """
    output.mkdir(parents=True, exist_ok=True)
    for name in (*_FILE_NAMES.values(), _PDF_FILE, FHIR_FILE):
        (output / name).unlink(missing_ok=True)
    content = look_into(folder)
    try:
        series, others = _chosen(content)
        result = _analyse(series, output, model, settings, progress)
        result["remarks"] = [*result["remarks"], *others]
    except (SeriesRejected, ResultEncodingError) as error:
        result = refused_json(str(error), model)
    result["remarks"] = [*result["remarks"], *content.remark_lines]
    (output / RESULT_FILE).write_text(json.dumps(result, indent=2) + "\n")
    return result


def _chosen(content: FolderContent) -> tuple[Sequence[Path], list[str]]:
    if not content.series:
        found = "; ".join(content.remark_lines) or "the folder is empty"
        raise UnsupportedImage(f"no CT images to analyse: {found}")
    best, losers = choose([Candidate(uid, tuple(content.facts[uid])) for uid in content.series])
    others = [f"series {uid} not analysed: {reason}" for uid, reason in losers.items()]
    return content.series[best.series_id], others


def _analyse(
    paths: Sequence[Path], output: Path, model: str, settings: Settings, progress: Progress | None
) -> dict[str, Any]:
    engine = Engine(settings.models, model_folders(settings))
    try:
        analysed = analyse_series(paths, engine, model, settings.models, progress)
    except SeriesRejected as error:
        if settings.results.refusals and not isinstance(error, OtherImages):
            with contextlib.suppress(ResultEncodingError):  # not certain whose images they are
                _write_refusal(paths, str(error), output, engine, model, settings)
        raise
    start = time.perf_counter()
    results = write_results(analysed.analysis, _context(paths, analysed.provider, settings))
    for one in results.objects:
        (output / _FILE_NAMES[one.kind]).write_bytes(part_10(one.dataset))
        if one.kind is ResultKind.DOCUMENT:
            (output / _PDF_FILE).write_bytes(pdf_of(one.dataset))
    for file in results.files:
        (output / file.name).write_bytes(file.content)
    analysed.timings_s["write"] = round(time.perf_counter() - start, 3)
    return result_json(analysed)


def _write_refusal(
    paths: Sequence[Path], reason: str, output: Path, engine: Engine, model: str, settings: Settings
) -> None:
    """Write the page and the report that a PACS would get in place of results."""
    context = _context(paths, engine.open(model)[1].provider, settings)
    for one in write_refusal(refusal_of(paths, reason, engine, model), context).objects:
        (output / _FILE_NAMES[one.kind]).write_bytes(part_10(one.dataset))


def _context(paths: Sequence[Path], provider: str, settings: Settings) -> ResultContext:
    return result_context(
        settings, generation=1, source_digests=_digests(paths), provider=provider, content_time_s=time.time()
    )


def _digests(paths: Sequence[Path]) -> dict[SOPInstanceUID, str]:
    """Return the digest of each file by its SOP Instance UID."""
    digests = {}
    for path in paths:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        uid = SOPInstanceUID(str(header.SOPInstanceUID))
        digests[uid] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests
