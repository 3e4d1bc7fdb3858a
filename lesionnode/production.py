"""From a sealed series to its result objects: analysed and written, or refused with a page that says why.

No ledger and no spool here: the worker keeps what comes out, ``lesion-node reproduce`` compares it.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import Settings
from core.domain import Predecessor, ResultKind, ResultObject, SealedSeries
from core.errors import InferenceError, ModelError, OtherImages, ResultEncodingError, SeriesRejected
from core.forms import ResultForm, forms_to_write
from core.log import get_logger
from core.patient import NOBODY, Person
from core.time_point import TimePoint
from lesionnode import __version__
from lesionnode.comparing import Earlier, Written, compared, written
from lesionnode.engine import Engine
from lesionnode.pipeline import (
    Analysed,
    Progress,
    analyse_series,
    refusal_of,
    result_context,
    settings_digest,
)
from lesionnode.result_json import refused_json, result_json
from sr_writer.context import ResultContext
from sr_writer.elements import part_10
from sr_writer.results import write_refusal


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made results of.

    Parameters
    ----------
    series
        The images.
    model
        Name of the model package.
    sealed_at
        Time of the results, seconds since 1970 UTC: a repeated analysis must yield the same objects.
    predecessors
        What the results replace.
    earlier
        What is known of the patient from before; None where nothing is to be compared.
    citable
        Which of its objects later reports may refer to: those that peers get. None for all.
    person
        Whose images they are; nobody's where that is not legible, or does not matter.
    """

    series: SealedSeries
    model: str
    sealed_at: float
    predecessors: tuple[Predecessor, ...] = ()
    earlier: Earlier | None = None
    citable: frozenset[ResultKind] | None = None
    person: Person = NOBODY

    @property
    def paths(self) -> list[Path]:
        """The files of the images."""
        return [one.path for one in self.series.instances]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One result file, ready to be kept.

    Parameters
    ----------
    name, ending
        Of the file in the spool.
    content
        Its bytes.
    object
        The DICOM object that it is; None for a file that is not sent.
    """

    name: str
    ending: str
    content: bytes
    object: ResultObject | None

    @property
    def sha256(self) -> str:
        """Digest of the file, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Produced:
    """What came out.

    Parameters
    ----------
    reason
        Why the series was refused; None where it was analysed.
    result
        As in ``result.json``.
    triage
        The severity score, 0…24.
    files
        Encoded one by one as they are asked for: a segmentation is large.
    time_point
        What later scans of the patient are compared with; None where there is nothing to compare.
    compared_with
        Digests of the earlier scans that it was compared with.
    notes
        What the reader is told of the comparison (`lesionnode.pipeline.Analysed.notes`).
    """

    reason: str | None
    result: dict[str, Any]
    triage: int
    files: Iterator[Encoded]
    time_point: TimePoint | None = None
    compared_with: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Production:
    """Makes result sets.

    Parameters
    ----------
    settings
        Of the node.
    engine
        The models.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._forms = forms_to_write(peer.form for peer in settings.peers) or (ResultForm(),)

    def produce(self, order: Order, progress: Progress) -> Produced:
        """Analyse a series, or refuse it.

        Raises
        ------
        InferenceError, ModelError, SpoolError, OSError
            It can be tried again.
        """
        try:
            analysed = analyse_series(order.paths, self._engine, order.model, self._settings.models, progress)
            if order.earlier is not None:
                progress("comparing", 0.0)
                analysed = compared(analysed, order.earlier, self._engine, self._settings.comparison)
            start = time.perf_counter()
            done = self._written(order, analysed)
        except (SeriesRejected, ResultEncodingError) as error:
            silent = isinstance(error, OtherImages)
            notice = iter(()) if silent else self.refusal(order, str(error))
            return Produced(str(error), refused_json(str(error), order.model), 0, notice)
        analysed = done.analysed
        analysed.timings_s["write"] = round(time.perf_counter() - start, 3)
        score = analysed.analysis.measurements.severity_score
        files = _encoded(done.results.objects, done.results.files)
        comparison = analysed.analysis.comparison
        inputs = () if comparison is None else comparison.inputs
        return Produced(
            None, result_json(analysed), score, files, analysed.time_point, inputs, analysed.notes
        )

    def refusal(self, order: Order, reason: str) -> Iterator[Encoded]:
        """Return what tells the peers that there will be no result; nothing where that is not safe."""
        if not self._settings.results.refusals:
            return iter(())
        try:
            refusal = refusal_of(order.paths, reason, self._engine, order.model)
            context = self._context(order, self._engine.open(order.model)[1].provider)
            return _encoded(write_refusal(refusal, context, self._forms).objects)
        except ResultEncodingError as error:
            get_logger().warning("refusal_not_sent", reason=str(error))
            return iter(())

    def made_by(self, model: str) -> dict[str, str]:
        """Return what the bytes of results depend on besides the images."""
        made_by = {
            "software_version": __version__,
            "settings_digest": settings_digest(self._settings),
            "language": self._settings.results.language.value,
            "ae_title": self._settings.node.ae_title,
            "host": socket.gethostname(),
            "forms": ", ".join(sorted(one.variant(ResultKind.MEASUREMENT_REPORT) for one in self._forms)),
        }
        with contextlib.suppress(ModelError, InferenceError):  # that may be why there is only a refusal
            package, session = self._engine.open(model)
            identity = package.identity(session.provider)
            made_by |= {
                "model": f"{identity.name} {identity.version}",
                "model_sha256": identity.sha256,
                "model_parameters": identity.parameters,
                "provider": session.provider,
            }
        return made_by

    def _written(self, order: Order, analysed: Analysed) -> Written:
        wanted = {kind for peer in self._settings.peers for kind in peer.objects}
        context = self._context(order, analysed.provider)
        overlay = ResultKind.OVERLAY in wanted
        return written(analysed, context, self._forms, overlay=overlay, citable=order.citable)

    def _context(self, order: Order, provider: str) -> ResultContext:
        return result_context(
            self._settings,
            generation=order.series.generation,
            source_digests={one.sop_instance_uid: one.sha256 for one in order.series.instances},
            provider=provider,
            content_time_s=order.sealed_at,
            predecessors=order.predecessors,
        )


def _encoded(objects: tuple[ResultObject, ...], files: tuple[Any, ...] = ()) -> Iterator[Encoded]:
    for file in files:
        yield Encoded(Path(file.name).stem, Path(file.name).suffix.lstrip("."), file.content, None)
    for one in objects:
        # The kind, and which of its encodings where there are several.
        name = "-".join((one.kind.value, *one.variant.split()))
        yield Encoded(name, "dcm", part_10(one.dataset), one)
