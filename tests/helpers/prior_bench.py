"""A node without worker, and a PACS on a real socket that holds earlier scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy import select

from config import ComparisonSettings, DimsePeerSettings, Settings
from core.ct_header import CT_IMAGE_STORAGE
from custody.holdings import Holdings
from custody.ledger import Ledger, jobs
from custody.ledger.jobs import ClaimedJob, JobEnd
from custody.ledger.states import JobPurpose, JobState
from custody.ledger.tables import association, delivery, job, prior_search, result_object, series
from custody.ledger.time_points import NewTimePoint
from custody.shared_storage import SharedStorage
from custody.shelving import Shelving
from custody.spool import Spool
from scp.completion import Completion, destinations
from scp.prior_seeker import PriorSeeker
from scp.prior_settling import PriorSettling
from scp.reception import Reception
from tests.helpers.archive import ListingPacs, filed, listing
from tests.helpers.archive import series as listed_series
from tests.helpers.archive import study as listed_study
from tests.helpers.commitment import receiving, until
from tests.helpers.dicom_peers import Scanner, Store, contexts_for
from tests.helpers.instances import SEGMENTATION_STORAGE, Clock, ct_series, peer, settings_for, source

WHO = {"PatientBirthDate": "19600517", "PatientSex": "F", "StudyDate": "20240101"}
COUNT = 4
QUIET_S = 3.0
WAIT_S = 60.0


def scan(study: str, **changes: Any) -> list[Dataset]:
    """Return the images of a scan of the patient."""
    return ct_series(COUNT, study=study, **{**WHO, **changes})


def earlier(study: str = "earlier", year: int = 2023, **changes: Any) -> list[Dataset]:
    """Return the images of an earlier scan."""
    return scan(study, **{"StudyDate": f"{year}0101", "AcquisitionDate": f"{year}0101", **changes})


@dataclass
class Bench:
    """A node without worker, and a PACS that holds scans."""

    settings: Settings
    ledger: Ledger
    clock: Clock
    pacs: ListingPacs
    spool: Spool
    storage: SharedStorage | None = None
    port: int = 0
    held: list[list[Dataset]] = field(default_factory=list)

    @property
    def asked(self) -> DimsePeerSettings:
        """The PACS in the settings."""
        return self.settings.prior_peers[0]

    def hold(self, *scans: list[Dataset], **listed: Any) -> None:
        """Let the PACS hold scans, and list them so."""
        self.held = list(scans)
        studies, rows = [], []
        for images in scans:
            one = images[0]
            studies.append(
                listed_study("", one.StudyDate, **{"StudyInstanceUID": one.StudyInstanceUID, **listed})
            )
            uids = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": one.SeriesInstanceUID}
            rows.append(listed_series("", "axial", **uids))
        self.pacs.find = listing(studies, rows)

    def begin(self) -> None:
        """Let the PACS hold an earlier scan, and receive and seal the current one."""
        self.hold(earlier())
        self.send(scan("now"))
        self.seal()

    def before_answering(self, action: Callable[[str], object]) -> None:
        """Let something happen, given the way, whenever the PACS is to send; then it sends as it would."""
        move, get = self.pacs.move, self.pacs.get

        def moved(event: Any) -> Iterator[Any]:
            action("move")
            return move(event)

        def got() -> Any:
            action("get")
            return get()

        self.pacs.move, self.pacs.get = moved, got

    def send(self, images: list[Dataset], calling: str = "CT1", **command: Any) -> set[int]:
        """Send as a scanner, or as whoever; return the statuses."""
        return set(Scanner(self.port, calling).send(*(Store.of(one, **command) for one in images)))

    def seal(self) -> None:
        """Let the quiet time pass and seal what is complete."""
        until(lambda: all(row.closed_at for row in self.rows(association)))
        self.clock.advance(QUIET_S + 0.1)
        self.complete()

    def complete(self) -> int:
        """Seal what is complete now; return how many series."""
        sealed = Completion(self.settings, self.ledger, self._holdings, self.clock).step()
        if self.storage is not None:
            self.shelve()
        return sealed

    def shelve(self) -> None:
        """Move what is sealed into manifests."""
        Shelving(self.ledger, self.spool, self._holdings, "", self.clock).step()

    def seek(self, times: int = 20) -> int:
        """Let the services work until there is nothing more to do; return how many turns did something."""
        seeker = self.seeker()
        return next((number for number in range(times) if not self.settle() + seeker.step()), times)

    def seeker(self) -> PriorSeeker:
        """Return the service that asks the PACS."""
        taking = Reception(self.spool, self.ledger, now=self.clock)
        return PriorSeeker(
            self.settings, self.asked, self.ledger, self._holdings, taking, "seeker", self.clock
        )

    def settle(self) -> int:
        """End the searches of which all that came is analysed; return how many there were."""
        return PriorSettling(self.settings, self.ledger, self.clock).step()

    def claim(self) -> ClaimedJob | None:
        """Claim the next job as a worker."""
        return jobs.claim(self.ledger, "w", lease_s=600, max_attempts=3, now=self.clock.now)

    def finish(
        self, claimed: ClaimedJob, state: JobState = JobState.ANALYSED, *, person: str | None = "a woman"
    ) -> None:
        """End a job with segmentation and report, or with the report that there is none.

        `person`: whose time point it leaves; None where it leaves none, as a scan without lungs.
        """
        kinds = (
            ("segmentation", "measurement_report") if state is JobState.ANALYSED else ("measurement_report",)
        )
        stored = [jobs.StoredResult(kind, SEGMENTATION_STORAGE, "2.25.1", Path("/x"), "0") for kind in kinds]
        end = JobEnd(state, None if state is JobState.ANALYSED else "it has a gap", None, stored)
        if state is JobState.ANALYSED and person is not None:
            end = replace(end, time_point=_time_point(claimed, person))
        assert jobs.finish(self.ledger, claimed, end, destinations(self.settings), self.clock.now)

    def sent(self) -> list[tuple[str, str]]:
        """Return job and kind of everything that is to be delivered."""
        found = select(delivery.c.job_id, result_object.c.kind).join_from(delivery, result_object)
        with self.ledger.read() as connection:
            return [tuple(row) for row in connection.execute(found.order_by(delivery.c.created_at))]

    def rows(self, table: Any) -> list[Any]:
        """Return every row of a table."""
        with self.ledger.read() as connection:
            return list(connection.execute(select(table)).all())

    def search(self) -> Any:
        """Return the one search."""
        (row,) = self.rows(prior_search)
        return row

    def bring(self, event: Any) -> Iterator[Any]:
        """Send as C-MOVE wants it."""
        uid = event.identifier.SeriesInstanceUID
        images = next((one for one in self.held if one[0].SeriesInstanceUID == uid), [])
        yield "127.0.0.1", self.port, {"contexts": contexts_for(CT_IMAGE_STORAGE)}
        yield len(images)
        for image in images:
            yield 0xFF00, filed(image)

    def forward(self, event: Any) -> Iterator[Any]:
        """Answer C-MOVE without counting anything: send the images as if nobody had asked for them."""
        uid = event.identifier.SeriesInstanceUID
        self.send(next(one for one in self.held if one[0].SeriesInstanceUID == uid), calling="PACS")
        yield "127.0.0.1", self.port, {"contexts": contexts_for(CT_IMAGE_STORAGE)}
        yield 0

    def jobs(self) -> list[tuple[Any, Any]]:
        """Return each job beside its series."""
        rows = {row.id: row for row in self.rows(series)}
        return [(rows[one.series_id], one) for one in self.rows(job)]

    @property
    def _holdings(self) -> Holdings:
        return Holdings(self.spool, self.ledger, self.storage)


def _time_point(claimed: ClaimedJob, person: str) -> NewTimePoint:
    year = 2023 if claimed.purpose is JobPurpose.PRIOR else 2024
    return NewTimePoint(
        path=Path("/x"),
        sha256="0",
        size_bytes=1,
        patient_digest=claimed.key.patient_digest,
        person_digest=person,
        study_instance_uid=claimed.key.study_instance_uid,
        scanned_at=datetime(year, 1, 1),
        digest=claimed.id,
    )


@contextmanager
def bench_on(folder: Path, ledger: Ledger, **options: Any) -> Iterator[Bench]:
    """Run a receiver and a PACS that is no source, and is asked for earlier scans."""
    by = options.pop("priors_by", "move")
    sources = (source("scanner", "CT1", priors="pacs", priors_from="pacs", **options),)
    clock = Clock()
    with ListingPacs(offers_get=True) as pacs:
        base = settings_for(
            folder, sources=sources, peers=(peer("pacs", pacs.port, priors_by=by),), quiet_s=QUIET_S
        )
        limits = ComparisonSettings(wait_s=WAIT_S, query_within_s=5, retrieve_within_s=5)
        settings = base.model_copy(update={"comparison": limits})
        at = Bench(settings, ledger, clock, pacs, Spool(folder))
        pacs.move = at.bring
        pacs.get = lambda: at.held[0]
        with receiving(settings, ledger, clock) as at.port:
            yield at
