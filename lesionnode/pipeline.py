"""One series in, its analysis out: a straight sequence of calls."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from config import ModelSettings, Settings
from core.domain import Analysis, Predecessor, Refusal, SOPInstanceUID
from core.own_results import PRODUCT_MODEL_NAME
from core.time_point import TimePoint
from inference.intended_use import intended_use_remarks
from inference.lesions import MeasurementRules, measure
from inference.lungs import coverage_remarks, segment_lungs
from inference.series_files import readable_headers
from inference.series_reader import read_series
from inference.straightening import Straightening
from lesionnode import __version__
from lesionnode.engine import Engine
from sr_writer.context import ResultContext

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Analysed:
    """An analysed series with what was measured on the way.

    Parameters
    ----------
    analysis
        Volume, masks and measurements.
    model
        Name of the model package.
    provider
        Execution provider that really ran.
    timings_s
        Seconds of each step.
    time_point
        What later scans are compared with; None where that was not asked for, or no lung was found.
    notes
        What its reader is told of the comparison beyond what it holds itself; among the remarks.
    """

    analysis: Analysis
    model: str
    provider: str
    timings_s: dict[str, float]
    time_point: TimePoint | None = None
    notes: tuple[str, ...] = ()


class Stopwatch:
    """Seconds spent in named steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 3)


def analyse_series(
    paths: Sequence[Path],
    engine: Engine,
    model: str,
    settings: ModelSettings,
    progress: Progress | None = None,
) -> Analysed:
    """Analyse the images of one series.

    Parameters
    ----------
    paths
        Part 10 files.
    engine, model
        Which model looks at it.
    settings
        Smallest lesion, threads.
    progress
        Called with the name of the step and its share done, 0…1.

    Raises
    ------
    SeriesRejected
        The series cannot be analysed; the message says why.
    InferenceError, ModelError
        The model failed or cannot be used.
    """
    report = progress or (lambda _step, _share: None)
    watch = Stopwatch()
    segmenter = engine.segmenter(model)
    package, session = engine.open(model)
    with watch.step("read"):
        volume = read_series(
            paths, threads=settings.threads or 2, progress=lambda share: report("reading", share)
        )
    report("finding lungs", 0.0)
    with watch.step("lungs"):
        straightening = Straightening.of(volume.geometry)
        straight = straightening.straight(volume)
        lungs = segment_lungs(straight)
        remarks = (
            *volume.remarks,
            *coverage_remarks(straightening.lungs_on_source(lungs), volume),
            *intended_use_remarks(volume, package.manifest.intended_use),
        )
        volume = replace(volume, remarks=remarks)
    with watch.step("lesions"):
        found = segmenter.segment(straight, lungs, lambda share: report("finding lesions", share))
        found = straightening.on_source(found)
        volume = replace(volume, remarks=(*volume.remarks, *found.remarks))
    report("measuring", 0.0)
    with watch.step("measure"):
        rules = MeasurementRules(smallest_lesion_ml=settings.smallest_lesion_ml)
        measurements = measure(volume, found.lungs, found.lesions, rules)
    return Analysed(
        Analysis(volume, found.lungs, found.lesions, measurements),
        package.manifest.name,
        session.provider,
        watch.seconds,
    )


def refusal_of(paths: Sequence[Path], reason: str, engine: Engine, model: str) -> Refusal:
    """Describe a series that could not be analysed to the writers.

    Parameters
    ----------
    paths
        Part 10 files; those that cannot be read are left out.
    reason
        Why, in the user's words.
    engine, model
        What was to look at it.
    """
    package, _session = engine.open(model)
    return Refusal(readable_headers(paths), reason, package.identity("not run"))


def result_context(
    settings: Settings,
    *,
    generation: int,
    source_digests: Mapping[SOPInstanceUID, str],
    provider: str,
    content_time_s: float,
    predecessors: tuple[Predecessor, ...] = (),
) -> ResultContext:
    """Describe this node and this run to the writers.

    Parameters
    ----------
    settings
        Of the node.
    generation
        Of the sealed series.
    source_digests
        SHA-256 of each source instance.
    provider
        Execution provider that ran.
    content_time_s
        Time of the result, seconds since 1970 UTC. For a job it is the time of sealing: a repeated analysis
        after a crash must yield the same object.
    predecessors
        What the result replaces.
    """
    host = "".join(sign for sign in socket.gethostname() if sign.isascii() and sign.isprintable())
    return ResultContext(
        node_name=PRODUCT_MODEL_NAME,
        manufacturer=PRODUCT_MODEL_NAME,
        software_version=__version__,
        device_serial_number=host.replace("\\", "")[:64] or "unnamed",
        station_name=settings.node.ae_title,
        generation=generation,
        source_digests=source_digests,
        settings_digest=settings_digest(settings),
        provider=provider,
        content_datetime_utc=datetime.fromtimestamp(content_time_s, UTC),
        language=settings.results.language,
        predecessors=predecessors,
        lesions_from_ml=settings.results.lesions_from_ml,
    )


def settings_digest(settings: Settings) -> str:
    """Return the digest of the settings that change numbers or segments; it is part of the results' UIDs."""
    values = {
        "smallest_lesion_ml": settings.models.smallest_lesion_ml,
        "consolidation_from_hu": settings.models.consolidation_from_hu,
        "lesions_from_ml": settings.results.lesions_from_ml,
        "changes": settings.comparison.thresholds,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
