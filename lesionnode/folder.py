"""``lesion-node analyse DIR``: the images of a folder, without a network and without a ledger."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from config import Settings
from core.ct_facts import FACT_KEYWORDS, CtFacts
from core.ct_header import REASON_KEYWORDS, reason_not_analysable
from core.domain import ResultKind, SOPInstanceUID
from core.errors import InferenceError, OtherImages, ResultEncodingError, SeriesRejected, UnsupportedImage
from core.forms import ResultForm
from core.patient import Person
from core.time_point import TimePoint
from inference.time_points import scan_facts
from lesionnode.comparing import Earlier, compared, written
from lesionnode.engine import Engine
from lesionnode.installed_models import model_folders
from lesionnode.pipeline import Progress, analyse_series, refusal_of, result_context
from lesionnode.result_json import refused_json, result_json
from scp.selection import Candidate, choose
from sr_writer.context import ResultContext
from sr_writer.elements import part_10
from sr_writer.encapsulated_pdf import pdf_of
from sr_writer.fhir_bundle import FILE_NAME as FHIR_FILE
from sr_writer.results import write_refusal

_FILE_NAMES = {
    ResultKind.SEGMENTATION: "segmentation.dcm",
    ResultKind.MEASUREMENT_REPORT: "report.dcm",
    ResultKind.FILM: "film.dcm",
    ResultKind.KEY_OBJECTS: "key-objects.dcm",
    ResultKind.DOCUMENT: "report.pdf.dcm",
}
_PDF_FILE = "report.pdf"
RESULT_FILE = "result.json"
#: Folder of the results of an earlier scan, by number.
_EARLIER = "earlier-{}"

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
    folder: Path,
    output: Path,
    model: str,
    settings: Settings,
    progress: Progress | None = None,
    priors: Sequence[Path] = (),
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
    priors
        Folders with earlier scans of the patient, in any order; each is analysed too, compared with those
        before it, and its results go to a folder ``earlier-1``, ``earlier-2``, … of the output, the oldest
        first.

    Returns
    -------
    dict
        What ``result.json`` holds.

    Raises
    ------
    ModelError, InferenceError, OSError
        Nothing can be said about the series.
    """
    _empty(output)
    run = _Run(model, settings, Engine(settings.models, model_folders(settings)), progress)
    content = look_into(folder)
    try:
        scan = _Scan.of(content)
        earlier = run.earlier(scan, priors, output) if priors else None
        result = run.analysed(scan, output, earlier)[0]
    except (SeriesRejected, ResultEncodingError) as error:
        result = refused_json(str(error), model)
    result["remarks"] = [*result["remarks"], *content.remark_lines]
    _write_json(result, output)
    return result


def _empty(output: Path) -> None:
    """Take away what an earlier run left, so that nothing of it is taken for a result of this one."""
    output.mkdir(parents=True, exist_ok=True)
    for folder in (output, *output.glob(_EARLIER.format("*"))):
        for name in (*_FILE_NAMES.values(), _PDF_FILE, FHIR_FILE, RESULT_FILE):
            (folder / name).unlink(missing_ok=True)
        if folder != output:
            with contextlib.suppress(OSError):  # something of the user's is in it
                folder.rmdir()


def _write_json(result: dict[str, Any], output: Path) -> None:
    (output / RESULT_FILE).write_text(json.dumps(result, indent=2) + "\n")


@dataclass(frozen=True, slots=True, eq=False)
class _Scan:
    """The series of a folder that is analysed: its files, one of its headers, and what was left out."""

    paths: Sequence[Path]
    header: Dataset
    others: tuple[str, ...]

    @classmethod
    def of(cls, content: FolderContent) -> _Scan:
        """Choose a series.

        Raises
        ------
        UnsupportedImage
            There is none.
        """
        if not content.series:
            found = "; ".join(content.remark_lines) or "the folder is empty"
            raise UnsupportedImage(f"no CT images to analyse: {found}")
        best, losers = choose([Candidate(uid, tuple(content.facts[uid])) for uid in content.series])
        others = tuple(f"series {uid} not analysed: {reason}" for uid, reason in losers.items())
        paths = content.series[best.series_id]
        return cls(paths, dcmread(paths[0], stop_before_pixels=True), others)

    @property
    def scanned_at(self) -> datetime | None:
        """When; None where nothing says so."""
        return scan_facts(self.header, cut_off=False).scanned_at

    def why_not_compared(self, other: _Scan) -> str | None:
        """Return why an earlier scan is not compared with this one; None where it is."""
        if other.header.get("StudyInstanceUID") == self.header.get("StudyInstanceUID"):
            return "it is of the same study"
        if self.scanned_at is None or other.scanned_at is None:
            return "one of the two has no date"
        if other.scanned_at > self.scanned_at:
            return "it is dated later"
        return Person.of(self.header).why_not_the_same(Person.of(other.header))


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """What is the same for every folder of one call."""

    model: str
    settings: Settings
    engine: Engine
    progress: Progress | None

    def earlier(self, current: _Scan, folders: Sequence[Path], output: Path) -> Earlier:
        """Analyse earlier scans, the oldest first, each compared with those before it."""
        notes: list[str] = []
        scans: list[_Scan] = []
        for number, folder in enumerate(folders, start=1):
            try:
                scan = _Scan.of(look_into(folder))
            except (SeriesRejected, OSError) as error:
                notes.append(f"Earlier scan {number} was not compared: {_reason(error)}.")
                continue
            reason = current.why_not_compared(scan)
            if reason is None:
                scans.append(scan)
            else:
                notes.append(f"Earlier scan {number} was not compared: {reason}.")
        done: list[tuple[_Scan, TimePoint]] = []
        for number, scan in enumerate(sorted(scans, key=lambda one: one.scanned_at or datetime.min), start=1):
            place = output / _EARLIER.format(number)
            place.mkdir(exist_ok=True)
            before = tuple(point for one, point in done if scan.why_not_compared(one) is None)
            try:
                result, point = self.analysed(scan, place, Earlier(before))
            except (SeriesRejected, ResultEncodingError, InferenceError, OSError) as error:
                result, point = refused_json(_reason(error), self.model), None
                notes.append(
                    f"An earlier scan was not compared, because it cannot be analysed: {_reason(error)}."
                )
            _write_json(result, place)
            done += [] if point is None else [(scan, point)]
        return Earlier(tuple(point for _, point in done), tuple(notes))

    def analysed(
        self, scan: _Scan, output: Path, earlier: Earlier | None
    ) -> tuple[dict[str, Any], TimePoint | None]:
        """Analyse a series, compare it and write its results; return what ``result.json`` gets."""
        try:
            analysed = analyse_series(
                scan.paths, self.engine, self.model, self.settings.models, self.progress
            )
        except SeriesRejected as error:
            if self.settings.results.refusals and not isinstance(error, OtherImages):
                with contextlib.suppress(ResultEncodingError):  # not certain whose images they are
                    self._write_refusal(scan.paths, str(error), output)
            raise
        if earlier is not None:
            analysed = compared(analysed, earlier, self.engine, self.settings.comparison)
        start = time.perf_counter()
        context = _context(scan.paths, analysed.provider, self.settings)
        done = written(analysed, context, (ResultForm(),))
        for one in done.results.objects:
            (output / _FILE_NAMES[one.kind]).write_bytes(part_10(one.dataset))
            if one.kind is ResultKind.DOCUMENT:
                (output / _PDF_FILE).write_bytes(pdf_of(one.dataset))
        for file in done.results.files:
            (output / file.name).write_bytes(file.content)
        done.analysed.timings_s["write"] = round(time.perf_counter() - start, 3)
        result = result_json(done.analysed)
        result["remarks"] = [*result["remarks"], *scan.others]
        return result, done.analysed.time_point

    def _write_refusal(self, paths: Sequence[Path], reason: str, output: Path) -> None:
        """Write the page and the report that a PACS would get in place of results."""
        context = _context(paths, self.engine.open(self.model)[1].provider, self.settings)
        refusal = refusal_of(paths, reason, self.engine, self.model)
        for one in write_refusal(refusal, context).objects:
            (output / _FILE_NAMES[one.kind]).write_bytes(part_10(one.dataset))


def _reason(error: Exception) -> str:
    """Return an error without names of files, which may be those of patients."""
    return error.strerror or "it cannot be read" if isinstance(error, OSError) else str(error)


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
