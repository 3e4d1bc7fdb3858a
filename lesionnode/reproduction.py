"""Makes an old result again from the same images, and compares it object by object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from sqlalchemy import select

from config import Settings
from core.domain import Predecessor, SeriesInstanceUID, SeriesKey, StudyInstanceUID
from core.errors import NodeError, SpoolDamaged
from custody.holdings import Holdings
from custody.ledger import Ledger, replaced
from custody.ledger.instances import sealed_series
from custody.ledger.jobs import ClaimedJob
from custody.ledger.states import JobState
from custody.ledger.tables import job, manifest, result_object, series
from custody.result_set import ResultSet, read_result_set
from custody.spool import Spool
from custody.time_points import TimePoints
from lesionnode.comparing import Earlier
from lesionnode.engine import Engine
from lesionnode.installed_models import model_folders
from lesionnode.paths import open_storage
from lesionnode.pipeline import Progress
from lesionnode.predecessors import predecessors_of
from lesionnode.production import Encoded, Order, Production
from lesionnode.retaining import time_points_kept_s

_MOST_TAGS = 8


@dataclass(frozen=True, slots=True)
class Compared:
    """One object.

    Parameters
    ----------
    name
        File name in the spool.
    before, now
        Digests, empty where there is no such object.
    differs_in
        Names of data elements, no values.
    """

    name: str
    before: str
    now: str
    differs_in: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether every byte is the same."""
        return self.before == self.now


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What came out the second time.

    Parameters
    ----------
    generation, state
        Of the old result.
    objects
        Each of the old ones and of the new ones.
    circumstances
        What was otherwise when the old ones were made: name → (then, now).
    """

    generation: int
    state: str
    objects: tuple[Compared, ...]
    circumstances: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether every byte of every object is the same."""
        return all(one.same for one in self.objects)


class Reproduction:
    """Analyses a series again, beside a running node: reads the ledger and writes nothing into it.

    Parameters
    ----------
    settings, ledger
        Of the node.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._results = settings.node.data_folder / "results"
        spool = Spool(settings.node.data_folder)
        holdings = Holdings(spool, ledger, open_storage(settings))
        self._time_points = TimePoints(ledger, spool, holdings, time_points_kept_s(settings))

    def run(self, series_id: str, generation: int | None, scratch: Path, progress: Progress) -> Reproduced:
        """Make a result again.

        Parameters
        ----------
        series_id
            Our own id.
        generation
            Which one; None for the newest with objects.
        scratch
            Folder for the new objects.
        progress
            Called with the step and its share done.

        Raises
        ------
        NodeError
            There is no such result, or its images are not here any more.
        """
        claimed, state, old = self._old(series_id, generation)
        production = Production(self._settings, Engine(self._settings.models, model_folders(self._settings)))
        found = self._result_set(claimed.id)
        made = production.produce(self._order(claimed, found), progress)
        was_refused = state == JobState.REFUSED.value
        files: dict[str, Encoded] = {}
        for file in made.files:
            name = f"{file.name}.{file.ending}"
            (scratch / name).write_bytes(file.content)
            files[name] = file
        if found is not None:
            old |= {one.file: one.sha256 for one in found.files}
        compared = tuple(self._compared(claimed.id, old, files, scratch))
        then = dict(found.made_by or {}) if found is not None else {}
        circumstances = _changed(then, production.made_by(claimed.model))
        if found is not None and set(made.compared_with) != set(found.compared_with):
            counts = (str(len(one)) for one in (found.compared_with, made.compared_with))
            circumstances["earlier scans that it is compared with"] = (next(counts), next(counts))
        if was_refused != (made.reason is not None):
            circumstances["outcome"] = (
                state,
                "analysed" if made.reason is None else f"refused: {made.reason}",
            )
        return Reproduced(claimed.generation, state, compared, circumstances)

    def _old(self, series_id: str, generation: int | None) -> tuple[ClaimedJob, str, dict[str, str]]:
        with self._ledger.read() as connection:
            chosen = [job.c.series_id == series_id, job.c.state.in_(["analysed", "refused"])]
            chosen += [job.c.generation == generation] if generation is not None else []
            row = connection.execute(
                select(job).where(*chosen).order_by(job.c.generation.desc()).limit(1)
            ).one_or_none()
            of = connection.execute(select(series).where(series.c.id == series_id)).one()
            purged = connection.execute(
                select(manifest.c.purged_at).where(
                    manifest.c.series_id == series_id, manifest.c.purged_at.is_not(None)
                )
            ).first()
            if row is None:
                raise NodeError("this series has no result to reproduce: `lesion-node trace` says why")
            if purged is not None:
                raise NodeError("its images were deleted, so it cannot be analysed again")
            objects = connection.execute(
                select(result_object.c.path, result_object.c.sha256).where(
                    result_object.c.job_id == row.id, result_object.c.corrected == ""
                )
            )
            old = {Path(one.path).name: one.sha256 for one in objects}
        key = SeriesKey(
            StudyInstanceUID(of.study_instance_uid),
            SeriesInstanceUID(of.series_instance_uid),
            of.patient_digest,
        )
        names = (
            "id",
            "attempt",
            "model",
            "sealed_at",
            "series_id",
            "generation",
            "calling_ae_title",
            "evidence",
        )
        values = {name: getattr(row, name) for name in names}
        return ClaimedJob(owner="", key=key, **values), row.state, old

    def _result_set(self, job_id: str) -> ResultSet | None:
        with contextlib.suppress(SpoolDamaged):
            return read_result_set(self._results / job_id)
        return None

    def _order(self, claimed: ClaimedJob, found: ResultSet | None) -> Order:
        """Return the order of the time; what was replaced then is in the result set."""
        predecessors: tuple[Predecessor, ...] = (
            found.predecessors
            if found is not None
            else tuple(predecessors_of(replaced.replaced_objects(self._ledger, claimed)))
        )
        return Order(
            sealed_series(self._ledger, claimed),
            claimed.model,
            claimed.sealed_at,
            predecessors,
            None if found is None else self._earlier(found),
        )

    def _earlier(self, found: ResultSet) -> Earlier:
        """Return the earlier scans of the time, as far as they are still here."""
        points = self._time_points.of_digests(found.compared_with)
        return Earlier(points, found.notes, self._time_points.whole)

    def _compared(
        self, job_id: str, old: Mapping[str, str], files: Mapping[str, Encoded], scratch: Path
    ) -> Iterator[Compared]:
        for name in dict.fromkeys([*old, *files]):
            before = old.get(name, "")
            now = files[name].sha256 if name in files else ""
            stored = self._results / job_id / name
            differs: tuple[str, ...] = ()
            if before and now and before != now and name.endswith(".dcm"):
                differs = tuple(_differences(stored, scratch / name))
            yield Compared(name, before, now, differs)


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        name: (str(then[name]), str(value))
        for name, value in now.items()
        if name in then and str(then[name]) != str(value)
    }


def _differences(before: Path, now: Path) -> Iterator[str]:
    """Yield in which elements two objects differ, the first few; no values, they may be the patient's."""
    try:
        one, other = dcmread(before), dcmread(now)
    except (OSError, InvalidDicomError) as error:
        yield f"the stored object cannot be read ({type(error).__name__})"
        return
    found = [*_differing(one.file_meta, other.file_meta, ""), *_differing(one, other, "")]
    yield from found[:_MOST_TAGS]
    if len(found) > _MOST_TAGS:
        yield f"{len(found) - _MOST_TAGS} more"
    if not found:
        yield "encoding only"


def _differing(one: Dataset, other: Dataset, path: str) -> Iterator[str]:
    for tag in sorted({*one.keys(), *other.keys()}):
        name = f"{path}{keyword_for_tag(tag) or tag}"
        if tag not in one or tag not in other:
            yield f"{name} ({'new' if tag in other else 'gone'})"
            continue
        first, second = one[tag], other[tag]
        if first == second:
            continue
        if first.VR != "SQ" or second.VR != "SQ" or len(first.value) != len(second.value):
            yield name
            continue
        for number, (item, its) in enumerate(zip(first.value, second.value, strict=True), start=1):
            yield from _differing(item, its, f"{name}[{number}].")
