"""The process that owns the GPU: claims a job, analyses it, writes the results, again and again.

It is spawned, never forked: CUDA does not survive a fork. A crash here costs one attempt and never touches
reception.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from config import Settings
from core.errors import (
    DeviceFailed,
    LedgerUnavailable,
    NodeError,
    SpoolError,
    SpoolFull,
    StorageUnreachable,
)
from core.log import get_logger
from core.time_point import TimePoint
from custody.doorbell import Doorbell
from custody.holdings import Holdings
from custody.ledger import jobs, new_id, services
from custody.ledger.jobs import ClaimedJob, JobEnd, StoredResult
from custody.ledger.result_sets import result_set_of
from custody.ledger.states import JobState
from custody.ledger.time_points import NewTimePoint
from custody.result_set import RESULT_SET, KeptFile
from custody.spool import Spool
from custody.time_point_file import KeptFor
from custody.time_points import TimePoints
from lesionnode.engine import Engine
from lesionnode.installed_models import model_folders
from lesionnode.orders import Orders
from lesionnode.paths import open_ledger, open_storage
from lesionnode.production import Encoded, Order, Production
from lesionnode.result_json import refused_json
from lesionnode.retaining import time_points_kept_s
from scp.completion import WORKER_BELL, destinations
from scp.courier import ring_lanes

_T = TypeVar("_T")

#: The lease is renewed so many times before it would end.
_RENEWALS = 12
_POLL_S = 1.0
_RETRY_S = 10.0
#: Waits of a result for space: short at first, because space may come soon.
_FIRST_DISK_RETRY_S = 1.0
_LONGEST_DISK_RETRY_S = 10.0
#: No step of an analysis takes so long, not even a model's first batch on a slow CPU.
_HANGS_AFTER_S = 1800.0


class Worker:
    """Works off the analysis queue.

    Parameters
    ----------
    settings
        Of the node.
    owner
        Identity in claims.
    """

    def __init__(self, settings: Settings, owner: str) -> None:
        self._settings = settings
        self._owner = owner
        self._parent = os.getppid()
        self._ledger = open_ledger(settings)
        self._spool = Spool(settings.node.data_folder)
        self._holdings = Holdings(self._spool, self._ledger, open_storage(settings))
        self._engine = Engine(settings.models, model_folders(settings))
        self._stopping = threading.Event()
        self._device_failed = False
        self._progress_at = time.monotonic()
        self._production = Production(settings, self._engine)
        kept_s = time_points_kept_s(settings)
        self._time_points = TimePoints(self._ledger, self._spool, self._holdings, kept_s)
        self._orders = Orders(settings, self._ledger, self._holdings, self._time_points)

    def stop(self) -> None:
        """End after the current job."""
        self._stopping.set()

    def warm_up(self) -> Mapping[str, str]:
        """Open every configured model; return the provider that really runs each."""
        names = dict.fromkeys(source.model for source in self._settings.sources)
        providers = {name: self._engine.open(name)[1].provider for name in names}
        self._sign_of_life(providers)
        return providers

    def run(self) -> bool:
        """Work until told to stop, or until the parent is gone; False where the device failed meanwhile."""
        with Doorbell(self._settings.node.data_folder, WORKER_BELL) as bell:
            while not (self._stopping.is_set() or self._device_failed) and os.getppid() == self._parent:
                try:
                    busy = self.step()
                except SpoolError as error:
                    get_logger().error("worker_waits_for_ledger", reason=str(error))
                    busy = self._stopping.wait(_POLL_S)
                except Exception:  # noqa: BLE001 - border: the loop of a service goes on
                    get_logger().error("worker_failed", exc_info=True)
                    busy = False
                    time.sleep(_POLL_S)
                if not (busy or self._device_failed):
                    bell.wait(_POLL_S)
        self._ledger.close()
        return not self._device_failed

    def step(self) -> bool:
        """Work on one job; return whether there was one."""
        limit = self._settings.models.max_attempts
        lease_s = self._settings.ledger.lease_s
        claimed = jobs.claim(self._ledger, self._owner, lease_s=lease_s, max_attempts=limit, now=time.time())
        if claimed is None:
            return False
        log = get_logger(job=claimed.id, attempt=claimed.attempt)
        if claimed.attempt > limit:
            # Its worker was killed each time, so nothing could be said about it then.
            with self._lease_kept(claimed):
                self._try_again(claimed, f"the analysis broke off {limit} times without an answer")
            return True
        log.info("analysis_started", generation=claimed.generation, model=claimed.model)
        with self._lease_kept(claimed):
            try:
                end = self._work(claimed)
            except (StorageUnreachable, LedgerUnavailable, SpoolFull) as error:
                log.warning("analysis_waits", reason=str(error))
                now = time.time()
                jobs.put_back(self._ledger, claimed, str(error), due_at=now + _RETRY_S, now=now)
                return True
            except (NodeError, OSError, MemoryError) as error:
                self._device_failed |= isinstance(error, DeviceFailed)
                self._try_again(claimed, f"{type(error).__name__}: {error}")
                return True
            except Exception as error:
                log.error("analysis_broke", exc_info=True)
                self._try_again(claimed, f"internal error: {type(error).__name__}")
                return True
            kept = self._finish(claimed, end)
        log.info(
            "analysis_ended" if kept else "analysis_claim_lost",
            state=end.state.value,
            reason=end.reason,
            timings_s=(end.result or {}).get("timings_s"),
        )
        ring_lanes(self._settings)
        return True

    def _work(self, claimed: ClaimedJob) -> JobEnd:
        order = self._orders.of(claimed)
        produced = self._production.produce(order, self._mark_progress)
        objects, files = self._stored(claimed, produced.files)
        point = produced.time_point
        state = JobState.ANALYSED if produced.reason is None else JobState.REFUSED
        return JobEnd(
            state=state,
            reason=produced.reason,
            result=produced.result,
            objects=objects,
            triage=produced.triage,
            predecessors=order.predecessors,
            files=files,
            time_point=None if point is None else self._kept_time_point(claimed, order, point),
            compared_with=produced.compared_with,
            notes=produced.notes,
        )

    def _kept_time_point(self, claimed: ClaimedJob, order: Order, point: TimePoint) -> NewTimePoint:
        digest = claimed.key.patient_digest
        kept_for = KeptFor(claimed.id, claimed.series_id, claimed.generation, digest, order.person.digest)
        return self._once_there_is_space(claimed, lambda: self._time_points.keep(point, kept_for))

    def _finish(self, claimed: ClaimedJob, end: JobEnd) -> bool:
        """Write down the end of a job beside its objects, publish both, then record it in the ledger.

        The lease may run out while disk, storage or ledger take nothing. That costs nothing where this is the
        only worker; where there are others, one of them may do the analysis again. False where the claim was
        lost meanwhile.
        """
        if not self._once_there_is_space(claimed, lambda: jobs.is_known(self._ledger, claimed.id)):
            self._spool.drop_results(claimed.id)  # the patient was forgotten meanwhile
            self._spool.drop_time_point(claimed.id)
            return False
        now, owed = time.time(), destinations(self._settings)
        made_by = self._production.made_by(claimed.model)

        def describe() -> Path:
            found = result_set_of(self._ledger, claimed, end, owed, made_by, now)
            return self._spool.keep_result(claimed.id, RESULT_SET, found.encoded(), ending="json")

        self._once_there_is_space(claimed, describe)
        published = self._published(claimed, end)
        kept = self._once_there_is_space(
            claimed, lambda: jobs.finish(self._ledger, claimed, published, owed, now)
        )
        self._holdings.let_go_of_time_point(claimed.id)
        if kept:
            self._holdings.let_go_of_results(claimed.id)
        else:
            self._holdings.drop_results(claimed.id)  # another machine's are the ones that count
        return kept

    def _published(self, claimed: ClaimedJob, end: JobEnd) -> JobEnd:
        """Publish the results; storage that is away must not cost a second inference."""
        name = new_id()  # packages never change, and an attempt may be repeated under its number
        point = end.time_point
        while True:
            try:
                package = self._holdings.publish_results(claimed.id, name)
                if point is not None:
                    point = replace(point, package=self._holdings.publish_time_point(claimed.id, name))
                return replace(end, package=package, time_point=point)
            except (StorageUnreachable, SpoolFull) as error:
                get_logger().error("result_waits_for_storage", job=claimed.id, reason=str(error))
                if self._stopping.wait(_LONGEST_DISK_RETRY_S):
                    raise
                self._mark_progress()

    def _stored(
        self, claimed: ClaimedJob, files: Iterable[Encoded]
    ) -> tuple[list[StoredResult], list[KeptFile]]:
        stored, beside = [], []
        for file in files:
            path = self._kept(claimed, file)
            if file.object is None:
                beside.append(KeptFile(path.name, file.sha256, len(file.content)))
                continue
            stored.append(
                StoredResult(
                    kind=file.object.kind.value,
                    sop_class_uid=str(file.object.dataset.SOPClassUID),
                    sop_instance_uid=file.object.sop_instance_uid,
                    path=path,
                    sha256=file.sha256,
                    variant=file.object.variant,
                    size_bytes=len(file.content),
                    series_instance_uid=str(file.object.dataset.SeriesInstanceUID),
                )
            )
        return stored, beside

    def _kept(self, claimed: ClaimedJob, file: Encoded) -> Path:
        return self._once_there_is_space(
            claimed,
            lambda: self._spool.keep_result(claimed.id, file.name, file.content, ending=file.ending),
        )

    def _once_there_is_space(self, claimed: ClaimedJob, write: Callable[[], _T]) -> _T:
        """Write until it works: a full disk must not cost a second inference, so what was made waits here."""
        wait_s = _FIRST_DISK_RETRY_S
        while True:
            try:
                return write()
            except SpoolError as error:
                get_logger().error("result_waits_for_disk", job=claimed.id, reason=str(error))
                if self._stopping.wait(wait_s):
                    raise
                wait_s = min(2 * wait_s, _LONGEST_DISK_RETRY_S)
                self._mark_progress()  # waiting for space is no hang

    def _mark_progress(self, _step: str = "", _share: float = 0.0) -> None:
        self._progress_at = time.monotonic()

    def _try_again(self, claimed: ClaimedJob, reason: str) -> None:
        get_logger().error("analysis_failed", job=claimed.id, attempt=claimed.attempt, reason=reason)
        if claimed.attempt >= self._settings.models.max_attempts and self._gave_up(claimed, reason):
            return
        self._once_there_is_space(
            claimed,
            lambda: jobs.try_again(
                self._ledger,
                claimed,
                reason,
                due_at=time.time() + _RETRY_S * claimed.attempt,
                max_attempts=self._settings.models.max_attempts,
                now=time.time(),
            ),
        )

    def _gave_up(self, claimed: ClaimedJob, reason: str) -> bool:
        """End a job after its last attempt and tell the peers; False where even that does not work."""
        try:
            tried = min(claimed.attempt, self._settings.models.max_attempts)
            said = f"the analysis failed {tried} times: the log of the node says why"
            order = self._orders.of(claimed)
            notice, _ = self._stored(claimed, self._production.refusal(order, said))
        except Exception:  # noqa: BLE001 - whatever broke the analysis may break this too
            get_logger().warning("refusal_not_sent", job=claimed.id, exc_info=True)
            return False
        result = refused_json(said, claimed.model)
        self._finish(
            claimed, JobEnd(JobState.FAILED, reason, result, notice, predecessors=order.predecessors)
        )
        ring_lanes(self._settings)
        return True

    def _sign_of_life(self, detail: Mapping[str, Any]) -> None:
        services.sign_of_life(self._ledger, "worker", self._owner, {"models": dict(detail)}, time.time())

    @contextlib.contextmanager
    def _lease_kept(self, claimed: ClaimedJob) -> Iterator[None]:
        """Renew the lease while the work goes on; end the process at once when the parent died."""
        done = threading.Event()
        lease_s = self._settings.ledger.lease_s
        self._mark_progress()

        def keep() -> None:
            renewed_at = time.monotonic()
            while not done.wait(0.5):
                if os.getppid() != self._parent:
                    os._exit(1)  # an orphan must not work beside its successor
                if time.monotonic() - self._progress_at > _HANGS_AFTER_S:
                    get_logger().error("worker_hangs", job=claimed.id, attempt=claimed.attempt)
                    os._exit(1)  # a driver that never returns; the supervisor starts a new process
                if time.monotonic() - renewed_at >= lease_s / _RENEWALS:
                    renewed_at = time.monotonic()
                    with contextlib.suppress(Exception):
                        jobs.renew(self._ledger, claimed, lease_s=lease_s, now=time.time())

        thread = threading.Thread(target=keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
