"""A ledger with finished jobs and a spool with their objects: what a courier works from."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from sqlalchemy import select

from config import PeerSettings, Settings
from core.domain import SeriesInstanceUID, SeriesKey, StudyInstanceUID
from core.uid import derived_uid
from custody.ledger import Ledger, completion, deliveries, jobs, new_id, reception
from custody.ledger.completion import KnownAcquisition, Sealing
from custody.ledger.deliveries import Attempted
from custody.ledger.destinations import Destinations
from custody.ledger.jobs import JobEnd, StoredResult
from custody.ledger.reception import NewInstance
from custody.ledger.states import DeliveryState, JobState, Lane
from custody.ledger.tables import commitment, delivery, result_object
from custody.spool import Spool
from lesionnode.corrections import Corrections
from scp.courier import Courier
from tests.helpers.instances import (
    COMPREHENSIVE_3D_SR_STORAGE,
    SEGMENTATION_STORAGE,
    Clock,
    encoded,
    open_caller,
    settings_for,
)

#: Kind, variant and SOP class of the objects of an ordinary job.
PLAIN = (
    ("segmentation", "binary", SEGMENTATION_STORAGE),
    ("measurement_report", "comprehensive-3d of binary", COMPREHENSIVE_3D_SR_STORAGE),
)


@dataclass(slots=True)
class Office:
    """A ledger and a spool with results, and a clock."""

    folder: Path
    ledger: Ledger
    spool: Spool
    clock: Clock
    corrections: Corrections = field(init=False)

    def __post_init__(self) -> None:
        self.corrections = Corrections(self.ledger, self.spool)

    def settings(self, *peers: PeerSettings) -> Settings:
        """Return settings with these peers, short waits and the default backoff."""
        settings = settings_for(self.folder, peers=peers)
        return settings.model_copy(
            update={"delivery": settings.delivery.model_copy(update={"timeout_s": 5.0})}
        )

    def finish_job(
        self,
        peers: tuple[str, ...] = ("pacs",),
        name: str = "1",
        objects: Sequence[tuple[str, str, str]] = PLAIN,
        to: Destinations | None = None,
        *,
        lane: Lane = Lane.ROUTINE,
        triage: int = 0,
    ) -> list[Path]:
        """Bring one job to its end whose objects (kind, variant, SOP class) go to peers; return the files."""
        key = SeriesKey(StudyInstanceUID("1"), SeriesInstanceUID(name), "digest")
        job_id = sealed_job(self.ledger, key, self.clock.now, lane)
        claimed = jobs.claim(self.ledger, "w", lease_s=60, max_attempts=3, now=self.clock.now)
        assert claimed is not None
        stored = []
        for kind, variant, sop_class in objects:
            uid = derived_uid(name, kind, *variant.split())
            path = self.spool.keep_result(
                job_id, "-".join((kind, *variant.split())), _part_10(sop_class, uid)
            )
            stored.append(StoredResult(kind, sop_class, uid, path, "0" * 64, variant))
        end = JobEnd(JobState.ANALYSED, None, None, stored, triage)
        destinations = to or Destinations({"scanner": peers})
        assert jobs.finish(self.ledger, claimed, end, destinations, self.clock.now)
        return [one.path for one in stored]

    def courier(self, to: PeerSettings) -> Courier:
        """Return the lane of a peer."""
        return Courier(self.settings(to), to, self.ledger, "lane", self.clock, self.corrections)

    def deliveries(self) -> dict[str, Any]:
        """Return the delivery rows by kind of object."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(delivery, result_object.c.kind, result_object.c.variant).join_from(
                    delivery, result_object
                )
            ).mappings()
            return {str(row["kind"]): dict(row) for row in rows}

    def states(self) -> list[str]:
        """Return the states of segmentation and report."""
        rows = self.deliveries()
        return [rows[kind]["state"] for kind, _, _ in PLAIN]


def _part_10(sop_class: str, uid: str) -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class), UID(uid)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2", derived_uid(sop_class)
    ds.PatientName, ds.PatientID = "Example^Patient", "P-1"
    ds.Modality = "SEG" if sop_class == SEGMENTATION_STORAGE else "SR"
    ds.ContentLabel = "LESIONS"
    ds.ReferencedSeriesSequence = [Dataset()]
    ds.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("1.2.3")
    ds.file_meta = meta
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    start = len(content) - len(encoded(ds, ExplicitVRLittleEndian))
    # A group length (0008,0000), which pydicom never writes: encoding anew would lose it.
    return content[:start] + struct.pack("<HH2sHI", 0x0008, 0, b"UL", 4, 0) + content[start:]


def sealed_job(ledger: Ledger, key: SeriesKey, now: float, lane: Lane = Lane.ROUTINE) -> str:
    """Enter a series of one image that is sealed and waits to be analysed; return the id of its job."""
    series_id = reception.series_id_of(ledger, key, "CT", now)
    caller = open_caller(ledger, now)
    new = NewInstance(
        new_id(), "1.2", "1.2.3", "1.2.840.10008.1.2.1", "0" * 64, 1, Path("/x"), "CT", None, None, None, {}
    )
    reception.record_instance(ledger, series_id, caller, new, now)
    with ledger.write() as connection:
        scan = KnownAcquisition(new_id(), "1", "1", None, None)
        completion.keep_acquisition(connection, key.study_instance_uid, key.patient_digest, scan)
        (one,) = completion.open_series(connection)
        sealing = Sealing(one, scan.id, JobState.QUEUED, None, "quiet", "m", lane)
        return completion.seal(connection, sealing, now)


def deliver(office: Office, peer: str = "pacs", *, ask_commitment: bool = True) -> list[str]:
    """Record as delivered whatever is due to a peer; return the SOP Instance UIDs."""
    uids: list[str] = []
    while due := deliveries.claim_for_peer(office.ledger, peer, "courier", lease_s=60, now=office.clock.now):
        outcomes = [
            Attempted(one, one.object, DeliveryState.DELIVERED, None, 0, office.clock.now) for one in due
        ]
        deliveries.record(office.ledger, outcomes, office.clock.now, ask_commitment=ask_commitment)
        uids += [one.object.sop_instance_uid for one in due]
    return uids


def commitments_of(office: Office) -> dict[str, dict[str, Any]]:
    """Return the commitment rows by kind of object."""
    with office.ledger.read() as connection:
        rows = connection.execute(
            select(commitment, result_object.c.kind)
            .join_from(commitment, delivery)
            .join(result_object, result_object.c.id == delivery.c.result_object_id)
        ).mappings()
        return {str(row["kind"]): dict(row) for row in rows}
