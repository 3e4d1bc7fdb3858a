"""A node without network and model: series in every stage, made by the parts of the real one."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import Connection, select

from config import Settings
from custody.holdings import Holdings
from custody.ledger import Ledger, deliveries, jobs, reception
from custody.ledger.deliveries import Attempted
from custody.ledger.jobs import JobEnd, StoredResult
from custody.ledger.result_sets import result_set_of
from custody.ledger.states import DeliveryState, JobState
from custody.ledger.tables import (
    acquisition,
    delivery,
    instance,
    job,
    manifest,
    metadata,
    result_object,
    series,
    series_source,
)
from custody.rebuilding import Rebuilding
from custody.result_set import RESULT_SET, KeptFile
from custody.shelving import Shelving
from custody.spool import Spool
from custody.verification import Verification
from scp.completion import Completion, destinations
from scp.reception import Reception, StoreRequest
from scp.rereading import reread
from tests.helpers.instances import (
    SEGMENTATION_STORAGE,
    Clock,
    ct_image,
    ct_series,
    dose_report,
    encoded,
    open_caller,
    peer,
    settings_for,
    source,
)

NODE = "n1"
STAGES = (
    "sealed",
    "delivered",
    "half delivered",
    "refused",
    "stragglers",
    "second scan",
    "aside",
    "other content",
    "not shelved",
    "open",
)


@dataclass(slots=True)
class Station:
    """Ledger, spool and clock of a node whose peers are ``pacs`` and ``research``."""

    folder: Path
    ledger: Ledger
    clock: Clock = field(default_factory=Clock)
    settings: Settings = field(init=False)
    spool: Spool = field(init=False)
    holdings: Holdings = field(init=False)
    reception: Reception = field(init=False)

    def __post_init__(self) -> None:
        self.settings = settings_for(
            self.folder,
            peers=(peer("pacs", 1), peer("research", 2)),
            sources=(source("scanner", "CT1", send_to=["pacs", "research"]), source("other", "CT2")),
        )
        self.spool = Spool(self.folder)
        (self.folder / "node-name").write_text(NODE)
        self.holdings = Holdings(self.spool, self.ledger)
        self.reception = Reception(self.spool, self.ledger, NODE, self.clock)

    def receive(
        self, datasets: Iterable[Dataset], *, source: str = "scanner", calling: str = "CT1"
    ) -> list[str]:
        """Take data sets in on an association of their own; return what became of each."""
        caller = open_caller(self.ledger, self.clock.now, source=source, calling=calling)
        before = set(self.spool.received.rglob("*.dcm"))
        outcomes = []
        for ds in datasets:
            data = encoded(ds, ExplicitVRLittleEndian)
            request = StoreRequest(
                memoryview(data), str(ExplicitVRLittleEndian), str(ds.SOPClassUID), str(ds.SOPInstanceUID)
            )
            outcomes.append(self.reception.take(request, caller))
            for path in set(self.spool.received.rglob("*.dcm")) - before:
                os.utime(path, (self.clock.now, self.clock.now))
                before.add(path)
            self.clock.advance(0.5)
        reception.close_association(self.ledger, caller.association_id, "released", self.clock.now)
        return outcomes

    def seal(self, *, shelve: bool = True) -> None:
        """Let the quiet time pass and seal."""
        self.clock.advance(100)
        Completion(self.settings, self.ledger, self.holdings, self.clock).step()
        if shelve:
            self.shelve()

    def shelve(self) -> None:
        """Move what is sealed into manifests."""
        Shelving(self.ledger, self.spool, self.holdings, NODE, self.clock).step()

    def analyse(
        self, state: JobState = JobState.ANALYSED, kinds: Sequence[str] = ("segmentation", "film")
    ) -> str:
        """Bring the newest job to an end whose objects are of these kinds; return its id."""
        with self.ledger.write() as connection:
            # Series that were open are sealed in the same moment: the one that came last is meant.
            newest = connection.execute(
                select(job.c.id)
                .join_from(job, series)
                .order_by(job.c.sealed_at.desc(), job.c.state.desc(), series.c.first_received_at.desc())
            )
            connection.execute(job.update().where(job.c.id == newest.scalars().first()).values(due_at=0))
        claimed = jobs.claim(self.ledger, "w", lease_s=60, max_attempts=3, now=self.clock.now)
        assert claimed is not None
        self.clock.advance(7)
        stored = []
        for kind in kinds:
            content = f"{claimed.id} {kind}".encode()
            path = self.spool.keep_result(claimed.id, kind, content)
            digest = hashlib.sha256(content).hexdigest()
            uid = f"2.25.{int(digest[:20], 16)}"
            stored.append(StoredResult(kind, SEGMENTATION_STORAGE, uid, path, digest, "binary", len(content)))
        self.spool.keep_result(claimed.id, "fhir", b"{}", ending="json")
        beside = [KeptFile("fhir.json", hashlib.sha256(b"{}").hexdigest(), 2)]
        reason = None if state is JobState.ANALYSED else "2 slices missing"
        result = {"status": state.value, "severity_score": 6, "provider": "CPU", "timings_s": {"read": 1.25}}
        end = JobEnd(state, reason, result, stored, 6, files=beside)
        owed = destinations(self.settings)
        described = result_set_of(self.ledger, claimed, end, owed, {"software_version": "0"}, self.clock.now)
        self.spool.keep_result(claimed.id, RESULT_SET, described.encoded(), ending="json")
        assert jobs.finish(self.ledger, claimed, end, owed, self.clock.now)
        return claimed.id

    def deliver(self, to: str, state: DeliveryState = DeliveryState.DELIVERED, most: int = 99) -> None:
        """Let everything that is due to a peer end like this; what is beyond the most stays due."""
        self.clock.advance(2)
        while due := deliveries.claim_for_peer(self.ledger, to, "lane", lease_s=60, now=self.clock.now):
            outcomes = [
                Attempted(
                    one,
                    one.object,
                    state if at < most else DeliveryState.DUE,
                    None if state is DeliveryState.DELIVERED and at < most else "no space",
                    0 if state is DeliveryState.DELIVERED and at < most else 0xA700,
                    self.clock.now + 3600,
                )
                for at, one in enumerate(due)
            ]
            deliveries.record(self.ledger, outcomes, self.clock.now)

    def bring(self, stage: str, name: str) -> None:
        """Bring a new series of a new study to a stage."""
        if stage == "not shelved":
            # What stood open must not share its fate: without manifest and result nothing says it was sealed.
            self.seal()
        images = ct_series(3, study=name)
        if stage == "aside":
            report = dose_report()
            report.SeriesInstanceUID = report.SOPInstanceUID = images[0].SeriesInstanceUID
            self.receive([report])
        elif stage == "other content":
            self.receive([*images, ct_image(1, study=name, SliceThickness=9.0)])
        else:
            self.receive(images)
        if stage == "second scan":
            self.receive(ct_series(2, study=name, series="thick", SliceThickness=5.0))
        if stage in ("open", "aside"):
            return
        self.seal(shelve=stage != "not shelved")
        if stage in ("sealed", "other content"):
            return
        self.analyse(JobState.REFUSED if stage == "refused" else JobState.ANALYSED)
        if stage == "half delivered":
            self.deliver("pacs", most=1)
        else:
            self.deliver("pacs")
        if stage == "delivered":
            self.deliver("research", DeliveryState.LEFT_OUT)
        if stage == "stragglers":
            self.receive([ct_image(9, study=name)])
            self.seal()
            self.analyse()

    def verification(self, **options: Any) -> Verification:
        """Return a comparison that looks an hour after the last thing happened."""
        later = max(time.time(), self.clock.now) + 3600
        return Verification(
            self.ledger, self.spool, NODE, now=lambda: later, pause=lambda _seconds: None, **options
        )

    def disagreements(self) -> list[str]:
        """Return the kinds of what does not agree, sorted."""
        return sorted(one.kind.value for one in self.verification().run())

    def lose_ledger(self) -> None:
        """Delete every row."""
        with self.ledger.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())

    def rebuild(self) -> Rebuilding:
        """Make the ledger anew."""
        names = {"CT1": "scanner", "CT2": "other"}
        rebuilding = Rebuilding(
            self.ledger, self.spool, NODE, reread, lambda title: names.get(title, "unknown"), self.clock
        )
        rebuilding.run()
        return rebuilding

    def snapshot(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return what matters of every row, sorted: whatever must be the same after a rebuild."""
        with self.ledger.read() as connection:
            return {name: _rows(connection, *columns) for name, columns in _MATTERS.items()}


def _rows(connection: Connection, *columns: Any) -> list[tuple[Any, ...]]:
    statement = select(*columns)
    if any(column.table is delivery for column in columns):
        statement = statement.join_from(delivery, result_object)
    return sorted((tuple(row) for row in connection.execute(statement)), key=repr)


_MATTERS: dict[str, list[Any]] = {
    "series": [
        series.c.id,
        series.c.study_instance_uid,
        series.c.series_instance_uid,
        series.c.patient_digest,
        series.c.modality,
        series.c.generation,
        series.c.flag,
    ],
    "series_source": [series_source.c.series_id, series_source.c.source, series_source.c.calling_ae_title],
    "instance": [
        instance.c.id,
        instance.c.series_id,
        instance.c.sop_class_uid,
        instance.c.sop_instance_uid,
        instance.c.transfer_syntax_uid,
        instance.c.sha256,
        instance.c.size_bytes,
        instance.c.path,
        instance.c.set_aside,
        instance.c.generation,
        instance.c.node,
    ],
    "manifest": [
        manifest.c.series_id,
        manifest.c.generation,
        manifest.c.path,
        manifest.c.sha256,
        manifest.c.instances,
        manifest.c.set_aside,
        manifest.c.size_bytes,
        manifest.c.purged_at,
    ],
    "acquisition": [acquisition.c.id, acquisition.c.study_instance_uid, acquisition.c.started_at],
    "job": [
        job.c.id,
        job.c.series_id,
        job.c.acquisition_id,
        job.c.generation,
        job.c.state,
        job.c.reason,
        job.c.evidence,
        job.c.model,
        job.c.calling_ae_title,
        job.c.sealed_at,
        job.c.finished_at,
        job.c.attempt,
        job.c.lane,
        job.c.triage,
        job.c.purpose,
    ],
    "result_object": [
        result_object.c.job_id,
        result_object.c.position,
        result_object.c.kind,
        result_object.c.variant,
        result_object.c.corrected,
        result_object.c.sop_instance_uid,
        result_object.c.path,
        result_object.c.sha256,
        result_object.c.size_bytes,
    ],
    "delivery": [
        delivery.c.job_id,
        delivery.c.peer,
        delivery.c.state,
        delivery.c.delivered_at,
        result_object.c.kind,
        result_object.c.corrected,
    ],
}
